//! `suspend` and `resume`.

use std::time::{Duration, Instant};

use fractune_agent::tune::exit;
use fractune_crds::{State, TuneJob};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::args::Switch;
use super::error::ClusterError;
use super::results::{is_current, reason, standing};
use super::{MANAGER, Session, find};
use crate::commands::print;
use crate::error::CliError;

/// Label by which a job is in a queue. Without one it is not held for long, whatever its status says meanwhile.
const QUEUE: &str = "kueue.x-k8s.io/queue-name";
/// How often is asked whether it is done.
const POLL: Duration = Duration::from_millis(500);

/// Sets `spec.suspend`, unless it is so already.
pub(crate) async fn switch(session: &Session, args: &Switch, suspend: bool) -> Result<u8, CliError> {
    let name = &args.job;
    let job = find::job(session, name).await?;
    if let Some(state) = over(&job).filter(|_| suspend && !job.spec.suspend) {
        print(&format!("tunejob/{name} is {state:?}; there is nothing to stop\n"))?;
        return Ok(exit::DONE);
    }
    let word = if suspend { "suspended" } else { "resumed" };
    if job.spec.suspend == suspend {
        let already = if suspend { "suspended already" } else { "not suspended" };
        print(&format!("tunejob/{name} is {already}\n"))?;
    } else {
        let api: Api<TuneJob> = Api::namespaced(session.client.clone(), &session.namespace);
        // A manager of its own: whoever keeps the job in Git sees who changed this field.
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": {"suspend": suspend}}));
        session.ask(api.patch(name, &parameters, &patch)).await?;
        print(&format!("tunejob/{name} {word}\n"))?;
    }
    if let Some(controller) = foreign(&job) {
        print(&format!("note: spec.managedBy names {controller}, which has to see to it\n"))?;
    }
    if args.wait {
        wait(session, name, suspend, args.timeout).await?;
    }
    Ok(exit::DONE)
}

/// The controller of a job that is not fractune's operator's.
fn foreign(job: &TuneJob) -> Option<&str> {
    job.spec.managed_by.as_deref().filter(|controller| *controller != fractune_crds::managers::OPERATOR)
}

async fn wait(session: &Session, name: &str, suspend: bool, longest: Duration) -> Result<(), CliError> {
    let began = Instant::now();
    loop {
        let job = find::job(session, name).await?;
        if let Some(text) = arrived(&job, suspend) {
            return print(&format!("{text}\n"));
        }
        if began.elapsed() >= longest {
            let message = format!("not so after {longest:?}: {}", standing(&job));
            return Err(ClusterError::Late(message).into());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The state of a job that is at its end, as its spec stands.
fn over(job: &TuneJob) -> Option<State> {
    let state = job.status.as_ref().filter(|_| is_current(job))?.state?;
    matches!(state, State::Complete | State::Failed).then_some(state)
}

/// How the job stands, once it has come to what was asked for, or to what it will not leave by itself.
fn arrived(job: &TuneJob, suspend: bool) -> Option<String> {
    let status = job.status.as_ref().filter(|_| is_current(job))?;
    let state = status.state?;
    let there = if suspend {
        matches!(state, State::Suspended | State::Stalled) && status.tasks.active == 0
    } else {
        // A queue may hold it; that is not this command's to change.
        let has_queue = job.metadata.labels.iter().flatten().any(|(key, _)| key == QUEUE);
        let queued = has_queue
            && reason(status).is_some_and(|c| c.reason == fractune_crds::conditions::reason::QUEUED);
        matches!(state, State::Running | State::Stalled) || state == State::Suspended && queued
    };
    let why = reason(status).map_or(String::new(), |c| format!("; {}: {}", c.reason, c.message));
    (there || over(job).is_some()).then(|| format!("{}{why}", standing(job)))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::Value;

    use super::*;
    use crate::args::{Args, Command};
    use crate::cluster::sample::{job, job_with};
    use crate::cluster::script::{Answer, Script};

    fn switched(words: &[&str]) -> Switch {
        match Args::parse_from([&["kubectl-fractune"], words].concat()).command {
            Command::Suspend(switch) | Command::Resume(switch) => switch,
            other => unreachable!("{other:?}"),
        }
    }

    fn server(suspended: bool) -> Script {
        let (mut job, _) = job(&["small"]);
        job.spec.suspend = suspended;
        let job = serde_json::to_value(job).unwrap();
        Script::new(move |asked| (asked.method == "GET").then(|| Answer::Is(200, job.clone())))
    }

    #[tokio::test]
    async fn one_field_is_changed_under_a_manager_of_its_own_and_only_if_it_differs() {
        let script = server(false);
        // What is answered to the patch is the patch itself, which is no TuneJob.
        let _ = switch(&script.session(), &switched(&["suspend", "demo"]), true).await;
        let writes = script.writes();
        assert_eq!(writes.len(), 1);
        assert_eq!(writes[0].method, "PATCH");
        let uri = &writes[0].uri;
        assert!(uri.contains("/namespaces/team/tunejobs/demo?"), "{uri}");
        assert!(uri.contains("fieldManager=kubectl-fractune"), "{uri}");
        assert_eq!(writes[0].body, json!({"spec": {"suspend": true}}));
        let script = server(true);
        assert_eq!(switch(&script.session(), &switched(&["suspend", "demo"]), true).await.unwrap(), 0);
        assert!(script.writes().is_empty());
        let script = server(false);
        assert_eq!(switch(&script.session(), &switched(&["resume", "demo"]), false).await.unwrap(), 0);
        assert!(script.writes().is_empty());
    }

    #[tokio::test]
    async fn a_job_at_its_end_is_left_as_it_is() {
        for (state, writes) in [("Complete", 0), ("Failed", 0), ("Running", 1)] {
            let job = job_with(json!({"observedGeneration": 1, "state": state}));
            let job = serde_json::to_value(job).unwrap();
            let script =
                Script::new(move |asked| (asked.method == "GET").then(|| Answer::Is(200, job.clone())));
            let _ = switch(&script.session(), &switched(&["suspend", "demo"]), true).await;
            assert_eq!(script.writes().len(), writes, "{state}");
        }
    }

    #[test]
    fn waiting_ends_where_the_job_will_not_go_on_by_itself() {
        let of = |status: Value, suspend| arrived(&job_with(status), suspend);
        let status = |state: &str, active: i32, generation: i64| {
            json!({"observedGeneration": generation,
            "state": state, "tasks": {"total": 2, "active": active}})
        };
        assert_eq!(of(status("Suspended", 1, 1), true), None, "a pod still runs");
        assert_eq!(of(status("Suspended", 0, 0), true), None, "of the spec before");
        assert!(of(status("Suspended", 0, 1), true).unwrap().starts_with("demo is Suspended"));
        assert!(of(status("Complete", 0, 1), true).is_some());
        assert_eq!(of(status("Pending", 0, 1), false), None);
        assert_eq!(of(status("Suspended", 0, 1), false), None);
        assert!(of(status("Running", 1, 1), false).is_some());
        let mut queued = status("Suspended", 0, 1);
        queued["conditions"] = json!([{"type": "Suspended", "status": "True", "reason": "Queued", "message": "waits",
            "lastTransitionTime": "2026-11-22T10:00:00Z"}]);
        assert_eq!(of(queued.clone(), false), None, "it only looks like that for a moment");
        let mut job = job_with(queued);
        job.metadata.labels = Some([(QUEUE.to_owned(), "gpus".to_owned())].into());
        assert!(arrived(&job, false).unwrap().contains("Queued: waits"));
    }
}

//! `logs`: what the pods of a job say.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::{Duration, Instant};

use fractune_agent::tune::exit;
use fractune_crds::conditions::PODS_ARE_STARTING;
use fractune_crds::{State, TuneJob, labels, names};
use futures::stream::SelectAll;
use futures::{AsyncBufReadExt as _, Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt as _};

use super::args::Logs;
use super::error::ClusterError;
use super::results::{is_current, reason, standing, waiting};
use super::text::one_line;
use super::{Session, find};
use crate::commands::{print, print_error};
use crate::error::CliError;

const TUNE: &str = "tune";
const REPORTER: &str = "reporter";
/// How often is asked for new pods.
const POLL: Duration = Duration::from_secs(2);
/// How long a job may be over before kubelet has told that its last container had started.
const TOLD_LATE: Duration = Duration::from_secs(10);

/// Prints the logs of a job's pods.
pub(crate) async fn logs(session: &Session, args: &Logs) -> Result<u8, CliError> {
    let job = find::job(session, &args.job).await?;
    let all = pods(session, args).await?;
    if args.follow {
        return follow(session, args).await;
    }
    if all.is_empty() {
        return Err(ClusterError::NotFound(no_pods(&job, args.task)).into());
    }
    let api: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
    let container = container(args);
    let several = all.len() > 1;
    for pod in all {
        if several {
            print(&format!("==> {} <==\n", title(&pod)))?;
        }
        // What kubelet last told of a container is up to seconds old, so it is asked for the log all the same.
        if !is_scheduled(&pod) {
            print(&format!("(container {container} has not started: {})\n", phase(&pod)))?;
            continue;
        }
        let parameters = LogParams { tail_lines: args.tail.map(i64::from), ..parameters(container) };
        match session.ask(api.logs(&pod.name_any(), &parameters)).await {
            Ok(log) => print(&log.lines().map(|line| plain(line) + "\n").collect::<String>())?,
            // A pod may go between two requests.
            Err(ClusterError::NotFound(why) | ClusterError::Refused(why)) => print(&format!("({why})\n"))?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(exit::DONE)
}

fn container(args: &Logs) -> &'static str {
    if args.reporter { REPORTER } else { TUNE }
}

fn parameters(container: &str) -> LogParams {
    LogParams { container: Some(container.to_owned()), ..LogParams::default() }
}

/// The job's pods, or those of one task, by task and age.
async fn pods(session: &Session, args: &Logs) -> Result<Vec<Pod>, ClusterError> {
    let api: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
    let mut selector = format!("{}={}", labels::JOB, names::base(&args.job));
    if let Some(task) = args.task {
        selector = format!("{selector},{}={task}", labels::INDEX);
    }
    let mut pods = session.ask(api.list(&ListParams::default().labels(&selector))).await?.items;
    pods.sort_by_key(|pod| (index(pod), pod.creation_timestamp()));
    Ok(pods)
}

fn index(pod: &Pod) -> Option<u32> {
    pod.labels().get(labels::INDEX)?.parse().ok()
}

fn no_pods(job: &TuneJob, task: Option<u32>) -> String {
    let name = job.name_any();
    let what =
        task.map_or(format!("{name} has no pods"), |task| format!("task {task} of {name} has no pods"));
    let tasks = job.status.as_ref().map_or(0, |status| status.tasks.total);
    let hint = match task {
        Some(task) if tasks > 0 && i64::from(task) >= i64::from(tasks) => {
            format!("its tasks are 0 to {}", tasks - 1)
        }
        _ => standing(job),
    };
    format!("{what}; {hint}")
}

fn title(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node yet");
    format!("{} on {node}, {}", pod.name_any(), phase(pod))
}

fn phase(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_else(|| "Unknown".to_owned())
}

fn is_scheduled(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// Whether a container of the pod has a log, as far as kubelet told.
fn has_started(pod: &Pod, container: &str) -> bool {
    let Some(status) = &pod.status else { return false };
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let started = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        let now = state.is_some_and(|state| state.running.is_some() || state.terminated.is_some());
        now || status.restart_count > 0
    };
    all.into_iter().any(|status| status.name == container && started(status))
}

/// A line of a log without what would steer the terminal.
fn plain(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}

/// A pod's line, or why there are no more.
type Line = (String, Result<String, String>);
type Lines = Pin<Box<dyn Stream<Item = Line>>>;

/// Prints what the job's pods log from now on, and before, until the job is over.
async fn follow(session: &Session, args: &Logs) -> Result<u8, CliError> {
    let api: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
    let mut lines: SelectAll<Lines> = SelectAll::new();
    let mut open: BTreeMap<String, String> = BTreeMap::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut broken: BTreeMap<String, Instant> = BTreeMap::new();
    let mut poll = tokio::time::interval(POLL);
    let mut away = false;
    // Since when the job is over, and how it stands.
    let mut over: Option<(Instant, String)> = None;
    let mut all_told = false;
    let mut excuse = None;
    loop {
        tokio::select! {
            biased;
            Some((pod, line)) = lines.next() => match line {
                Ok(line) => {
                    let prefix = open.get(&pod).map_or("", String::as_str);
                    print(&format!("{prefix}{}\n", plain(&line)))?;
                }
                Err(why) => {
                    open.remove(&pod);
                    if !why.is_empty() {
                        print_error(&format!("note: the log of {pod} broke off ({why}); it is opened again"));
                        seen.remove(&pod);
                        broken.insert(pod, Instant::now());
                    }
                }
            },
            _ = poll.tick() => {
                let told = |since: &Instant| all_told || since.elapsed() > TOLD_LATE;
                if over.as_ref().is_some_and(|(since, _)| open.is_empty() && told(since)) {
                    break;
                }
                let (job, all) = match look(session, args).await {
                    Ok(found) => found,
                    Err(error @ ClusterError::Unreachable { .. }) => {
                        if !std::mem::replace(&mut away, true) {
                            print_error(&format!("note: {error}; trying again"));
                        }
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                away = false;
                let container = container(args);
                for pod in all.iter().filter(|pod| has_started(pod, container)) {
                    let name = pod.name_any();
                    if !seen.insert(name.clone()) {
                        continue;
                    }
                    let mut parameters = LogParams { follow: true, ..parameters(container) };
                    match broken.remove(&name) {
                        // Some lines may come twice; none is missing.
                        Some(since) => parameters.since_seconds = i64::try_from(since.elapsed().as_secs() + 1).ok(),
                        None => parameters.tail_lines = args.tail.map(i64::from),
                    }
                    match session.ask(api.log_stream(&name, &parameters)).await {
                        Ok(log) => {
                            let prefix = args.task.map_or_else(|| format!("[{name}] "), |_| String::new());
                            open.insert(name.clone(), prefix);
                            let read = log.lines().map(|line| line.map_err(|error| error.to_string()));
                            let end = futures::stream::iter([Err(String::new())]);
                            lines.push(Box::pin(read.chain(end).map(move |line| (name.clone(), line))));
                        }
                        Err(why) => print_error(&format!("note: no log of {name}: {why}")),
                    }
                }
                let why = not_started(&job).filter(|_| seen.is_empty());
                if let Some(why) = why.filter(|why| excuse.as_ref() != Some(why)) {
                    print_error(&format!("note: no container has started: {why}"));
                    excuse = Some(why);
                }
                let state = job.status.as_ref().filter(|_| is_current(&job)).and_then(|status| status.state);
                let since = over.map_or_else(Instant::now, |(since, _)| since);
                over = matches!(state, Some(State::Complete | State::Failed)).then(|| (since, standing(&job)));
                all_told = all.iter().all(|pod| seen.contains(&pod.name_any()));
            }
        }
    }
    if let Some((_, standing)) = over {
        print_error(&standing);
    }
    Ok(exit::DONE)
}

/// Why nothing of a job has started, where it is more than a matter of seconds.
fn not_started(job: &TuneJob) -> Option<String> {
    let status = job.status.as_ref().filter(|_| is_current(job))?;
    let said = match reason(status) {
        Some(condition) => condition.message.as_str(),
        None => waiting(status).filter(|said| *said != PODS_ARE_STARTING)?,
    };
    Some(one_line(said))
}

async fn look(session: &Session, args: &Logs) -> Result<(TuneJob, Vec<Pod>), ClusterError> {
    // In this order: a job that is over starts no pods any more.
    let job = find::job(session, &args.job).await?;
    Ok((job, pods(session, args).await?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::sample::job_with;

    fn pod(state: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "demo-1-abcde", "labels": {(labels::INDEX): "1"}},
            "spec": {"containers": [], "nodeName": "n"},
            "status": {"phase": "Pending",
                "initContainerStatuses": [{"name": "reporter", "image": "", "imageID": "", "ready": false,
                    "restartCount": 0, "state": {"running": {}}}],
                "containerStatuses": [{"name": "tune", "image": "", "imageID": "", "ready": false,
                    "restartCount": 0, "state": state}]}}))
        .unwrap()
    }

    #[test]
    fn a_container_that_has_not_started_has_no_log() {
        let waiting = pod(&json!({"waiting": {"reason": "PodInitializing"}}));
        assert!(!has_started(&waiting, TUNE) && has_started(&waiting, REPORTER));
        assert!(has_started(&pod(&json!({"running": {}})), TUNE));
        assert!(has_started(&pod(&json!({"terminated": {"exitCode": 0}})), TUNE));
        assert_eq!((index(&waiting), title(&waiting)), (Some(1), "demo-1-abcde on n, Pending".to_owned()));
    }

    #[test]
    fn what_keeps_containers_from_starting_is_told() {
        let of = |state: &str, kind: &str, message: &str| {
            not_started(&job_with(
                json!({"observedGeneration": 1, "state": state, "conditions": [{"type": kind,
                "status": "True", "reason": "R", "message": message, "lastTransitionTime": "2026-11-22T10:00:00Z"}]}),
            ))
        };
        assert_eq!(
            of("Pending", "Reconciling", "no node can take the pods").as_deref(),
            Some("no node can take the pods")
        );
        assert_eq!(of("Pending", "Reconciling", PODS_ARE_STARTING), None);
        assert_eq!(of("Running", "Reconciling", "0 of 2 tasks are done"), None);
        assert_eq!(
            of("Suspended", "Suspended", "waits for its queue").as_deref(),
            Some("waits for its queue")
        );
    }

    #[test]
    fn a_task_that_does_not_exist_is_told_with_those_that_do() {
        let job = job_with(json!({"observedGeneration": 1, "state": "Running", "tasks": {"total": 2}}));
        assert_eq!(no_pods(&job, Some(7)), "task 7 of demo has no pods; its tasks are 0 to 1");
        assert!(no_pods(&job, None).contains("demo is Running"));
        assert_eq!(plain("a\x1b[2J\tb"), "a [2J\tb");
    }
}

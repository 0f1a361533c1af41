//! `watch`: a job, followed to its end.

mod pace;
mod render;
mod screen;
mod view;

use std::time::{Duration, Instant};

use fractune_agent::tune::exit;
use fractune_crds::{State, TuneJob, TuneTask};
use futures::{Stream, StreamExt as _};
use kube::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};

use self::pace::Pace;
use self::screen::Screen;
use self::view::View;
use super::args::Watch;
use super::error::ClusterError;
use super::results::{is_current, table};
use super::{Session, find};
use crate::commands::{print, terminal_width};
use crate::error::CliError;

/// How often a live table is drawn: its times go on while nothing else happens.
const REDRAW: Duration = Duration::from_secs(1);

/// What happened.
enum Change {
    Job(Event<TuneJob>),
    Task(Event<TuneTask>),
    Failed(watcher::Error),
}

/// Follows a job; the exit code says how it ended.
pub(crate) async fn watch(session: &Session, args: &Watch) -> Result<u8, CliError> {
    let job = find::job(session, &args.job).await?;
    let tasks = find::tasks(session, &job).await?;
    let mut view = View::new(job, tasks);
    let mut pace = Pace::default();
    let mut screen = Screen::new(args.plain);
    let began = Instant::now();
    let mut changes = Box::pin(changes(session, &args.job));
    let mut redraw = tokio::time::interval(REDRAW);
    loop {
        pace.note(began.elapsed(), view.trials());
        screen.show(&view, &pace)?;
        if let Some(code) = end(&view, args) {
            if matches!(state(&view.job), Some(State::Complete | State::Failed)) {
                print(&format!("\n{}", table(&view.job, terminal_width())))?;
            }
            return Ok(code);
        }
        let patience = args.timeout.map(|longest| longest.saturating_sub(began.elapsed()));
        tokio::select! {
            Some(change) = changes.next() => take(&mut view, change, &args.job, &session.place)?,
            _ = redraw.tick() => {}
            () = sleep(patience) => {
                let message = format!(
                    "{} is not done after {:?}; it goes on", args.job, args.timeout.unwrap_or_default()
                );
                return Err(ClusterError::Late(message).into());
            }
        }
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// What happens to the job and its tasks. The streams never end; they begin again after a failure.
fn changes(session: &Session, name: &str) -> impl Stream<Item = Change> + use<> {
    let jobs: Api<TuneJob> = Api::namespaced(session.client.clone(), &session.namespace);
    let tasks: Api<TuneTask> = Api::namespaced(session.client.clone(), &session.namespace);
    let this_one = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let of_this_one = watcher::Config::default().fields(&format!("spec.jobName={name}"));
    let jobs = watch_objects(jobs, this_one)
        .default_backoff()
        .map(|event| event.map_or_else(Change::Failed, Change::Job));
    let tasks = watch_objects(tasks, of_this_one)
        .default_backoff()
        .map(|event| event.map_or_else(Change::Failed, Change::Task));
    futures::stream::select(jobs, tasks)
}

/// Takes a change in. An error is one that waiting does not mend.
fn take(view: &mut View, change: Change, name: &str, place: &str) -> Result<(), ClusterError> {
    match change {
        Change::Job(Event::Apply(job) | Event::InitApply(job)) => view.job(job),
        Change::Job(Event::Init) => view.job_is_listed_anew(),
        Change::Job(Event::InitDone) if view.is_listed() => view.reached(),
        Change::Job(Event::Delete(_) | Event::InitDone) => {
            return Err(ClusterError::NotFound(format!("TuneJob {name} was deleted, and everything of it")));
        }
        Change::Task(Event::Apply(task) | Event::InitApply(task)) => view.task(task),
        Change::Task(Event::Delete(task)) => view.task_gone(&task),
        Change::Task(Event::Init | Event::InitDone) => view.reached(),
        Change::Failed(error) => match meaning(&error, place) {
            ClusterError::Unreachable { why, .. } => {
                view.away(format!("the API server does not answer, trying again: {why}"));
            }
            ClusterError::Refused(said) => view.away(format!("the watch broke off and begins again: {said}")),
            lasting => return Err(lasting),
        },
    }
    Ok(())
}

fn meaning(error: &watcher::Error, place: &str) -> ClusterError {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => ClusterError::of(error, place),
        watcher::Error::WatchError(status) => ClusterError::answer(status, place),
        watcher::Error::NoResourceVersion => ClusterError::Refused(error.to_string()),
    }
}

/// The state, if it speaks of the spec as it stands.
fn state(job: &TuneJob) -> Option<State> {
    job.status.as_ref().filter(|_| is_current(job))?.state
}

/// The exit code, once there is nothing to wait for.
fn end(view: &View, args: &Watch) -> Option<u8> {
    match state(&view.job)? {
        State::Complete => Some(exit::DONE),
        State::Failed => Some(exit::NO_RESULT),
        State::Stalled if args.fail_on_stall => Some(exit::NO_RESULT),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use kube::core::Status;
    use serde_json::json;

    use super::*;
    use crate::args::{Args, Command};
    use crate::cluster::sample::job_with;

    fn arguments(words: &[&str]) -> Watch {
        match Args::parse_from([&["kubectl-fractune", "watch", "demo"], words].concat()).command {
            Command::Watch(watch) => watch,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn it_ends_with_the_job_and_only_then() {
        let of = |state: &str, observed: i64, words: &[&str]| {
            let job = job_with(json!({"state": state, "observedGeneration": observed}));
            end(&View::new(job, Vec::new()), &arguments(words))
        };
        assert_eq!((of("Complete", 1, &[]), of("Failed", 1, &[])), (Some(0), Some(1)));
        assert_eq!(of("Complete", 0, &[]), None, "maxTrials was raised since");
        assert_eq!((of("Running", 1, &[]), of("Stalled", 1, &[])), (None, None));
        assert_eq!(of("Stalled", 1, &["--fail-on-stall"]), Some(1));
    }

    #[test]
    fn a_server_that_is_away_is_waited_for_and_a_lost_right_is_not() {
        let mut view = View::new(job_with(json!({})), Vec::new());
        let failed = |code: u16, message: &str| {
            let status = Status::failure(message, "").with_code(code);
            Change::Failed(watcher::Error::WatchError(status.boxed()))
        };
        take(&mut view, failed(503, "etcd is away"), "demo", "here").unwrap();
        let why = |view: &View| view.trouble.clone().unwrap();
        assert!(
            why(&view).starts_with("the API server does not answer") && why(&view).contains("etcd is away")
        );
        take(&mut view, failed(410, "too old"), "demo", "here").unwrap();
        assert_eq!(why(&view), "the watch broke off and begins again: the API server refuses: too old");
        take(&mut view, Change::Job(Event::Apply(job_with(json!({})))), "demo", "here").unwrap();
        assert_eq!(view.trouble, None);
        let error = take(&mut view, failed(403, "no"), "demo", "here").unwrap_err();
        assert_eq!(error.exit_code(), 77);
        let gone = Change::Job(Event::Delete(job_with(json!({}))));
        assert!(take(&mut view, gone, "demo", "here").unwrap_err().to_string().contains("deleted"));
        // It went while nobody looked.
        take(&mut view, Change::Job(Event::Init), "demo", "here").unwrap();
        assert!(take(&mut view, Change::Job(Event::InitDone), "demo", "here").is_err());
    }
}

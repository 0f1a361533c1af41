//! From what was observed to conditions, counts and results.

use std::time::Duration;

use fractune_crds::conditions::{
    COMPLETE, FAILED, PODS_ARE_STARTING, RECONCILING, STALLED, SUSPENDED, reason,
};
use fractune_crds::{State, TaskCounts, TuneJob, TuneJobStatus};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::Conditions;
use super::{batch, pods, results, tasks};
use crate::fetch::{Observed, task_count};
use crate::offers::GOOD_FOR;
use crate::validate::{Checked, Stalled};

/// Failed tasks that a condition tells of; the rest is counted.
const MOST_FAILURES: usize = 5;
/// How long Kubernetes may fail to create pods before that is told: it tries again by itself.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);

/// A status, and when to look again though nothing has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Derived {
    /// The status.
    pub status: TuneJobStatus,
    /// Until then; none where only a change matters.
    pub look_again: Option<Duration>,
}

/// Where a job stands: one of the states, with reason and message.
struct Standing {
    state: State,
    reason: &'static str,
    message: String,
    look_again: Option<Duration>,
}

impl Standing {
    fn new(state: State, reason: &'static str, message: impl Into<String>) -> Self {
        Self { state, reason, message: message.into(), look_again: None }
    }
}

/// Derives the status of a job that can be tuned, or of one that is stalled.
#[must_use]
pub fn derive(observed: &Observed, checked: Result<&Checked, &Stalled>) -> Derived {
    let before = observed.job.status.clone().unwrap_or_default();
    let names = checked.map(|checked| checked.tasks.as_slice()).unwrap_or_default();
    let total = task_count(&observed.job);
    let standing = match checked {
        Err(stalled) => Standing::new(State::Stalled, stalled.reason, stalled.message.clone()),
        Ok(_) => standing(observed, total),
    };
    // Tasks that were deleted after the job's end have nothing more to say: what they said before holds.
    let gone = observed.tasks.is_empty() && before.completion_time.is_some();
    let ended = matches!(standing.state, State::Complete | State::Failed);
    let counts = if gone { before.tasks.clone() } else { counts(observed, total) };
    let mut status = TuneJobStatus {
        observed_generation: observed.job.metadata.generation,
        conditions: conditions(observed, &before, &standing),
        state: Some(standing.state),
        start_time: before.start_time.clone().or_else(|| checked.is_ok().then(|| start_time(observed))),
        completion_time: None,
        max_trials: ended.then(|| i64::from(observed.job.spec.search.max_trials)),
        tasks: counts,
        digest: before.digest.clone(),
        ..before.clone()
    };
    if ended {
        // The last pod waits for its end to be confirmed, and goes.
        status.tasks.active = 0;
        status.completion_time = before.completion_time.clone().or(Some(Time(observed.now)));
    }
    if let Ok(checked) = checked {
        status.digest = Some(checked.digest.clone());
    }
    if !gone {
        status.trials = results::trials(observed);
        status.results = results::results(observed);
        status.across = results::across(observed);
        // Without the names there are no weights, and what was said before holds.
        if checked.is_ok() {
            status.totals = results::totals(observed, names);
        }
        let first = status.totals.first();
        status.speedup = first.and_then(|total| total.speedup.as_ref()).map(|speedup| format!("{speedup}x"));
    }
    Derived { status, look_again: standing.look_again }
}

/// When the first task was made: now, where no cache knows of one yet.
fn start_time(observed: &Observed) -> Time {
    let created = |task: &fractune_crds::TuneTask| task.metadata.creation_timestamp.clone();
    observed.tasks.values().filter_map(|task| created(task)).min().unwrap_or(Time(observed.now))
}

fn counts(observed: &Observed, total: usize) -> TaskCounts {
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let succeeded = tasks::complete(observed);
    let given_up = observed.own_batch().map(batch::failed_indexes).unwrap_or_default();
    let failed = given_up
        .iter()
        .filter(|index| observed.tasks.get(index).is_none_or(|task| !tasks::is_complete(task)));
    TaskCounts {
        total: number(total),
        active: observed.own_batch().map_or(0, batch::active),
        succeeded: number(succeeded),
        failed: number(failed.count()),
        summary: Some(format!("{succeeded}/{total}")),
    }
}

/// Whether a job's status says that it is at its end, as its spec stands.
#[must_use]
pub fn is_over(job: &TuneJob) -> bool {
    let max_trials = Some(i64::from(job.spec.search.max_trials));
    job.status.as_ref().is_some_and(|s| s.completion_time.is_some() && s.max_trials == max_trials)
}

/// Where a job stands that can be tuned.
fn standing(observed: &Observed, total: usize) -> Standing {
    let done = tasks::complete(observed);
    let before = observed.job.status.as_ref();
    if is_over(&observed.job) && observed.tasks.is_empty() {
        // Its children were deleted after its end.
        let state = before.and_then(|status| status.state).unwrap_or(State::Complete);
        return match state {
            State::Failed => {
                Standing::new(State::Failed, reason::TASKS_FAILED, last_message(observed, FAILED))
            }
            _ => Standing::new(State::Complete, reason::TASKS_COMPLETE, last_message(observed, COMPLETE)),
        };
    }
    if total > 0 && done == total {
        let trials = results::trials(observed);
        let message = format!("{total} of {total} tasks are done, after {trials} trials");
        return Standing::new(State::Complete, reason::TASKS_COMPLETE, message);
    }
    let Some(job) = observed.own_batch() else {
        return if observed.job.spec.suspend {
            Standing::new(State::Suspended, reason::SUSPENDED, "suspended by spec.suspend")
        } else {
            Standing::new(State::Pending, reason::STARTING, PODS_ARE_STARTING)
        };
    };
    if let Some((why, message)) = batch::failure(job).filter(|_| batch::is_current(job, observed)) {
        let silent = batch::failed_indexes(job)
            .into_iter()
            .any(|index| observed.tasks.get(&index).is_some_and(|task| tasks::failure(task).is_none()));
        let age = batch::failed(job).map_or(PATIENCE, |end| observed.now.duration_since(end));
        if silent && age < PATIENCE {
            // What the task says of its failure is on its way.
            let standing = Standing::new(State::Running, reason::TUNING, "pods have failed");
            return Standing { look_again: Some(unsigned(PATIENCE - age)), ..standing };
        }
        return failed(observed, job, why, message);
    }
    if batch::is_suspended(job) {
        return if observed.job.spec.suspend {
            let message =
                format!("suspended by spec.suspend; {done} of {total} tasks are done, and trials are kept");
            Standing::new(State::Suspended, reason::SUSPENDED, message)
        } else if observed.is_queued() {
            Standing::new(State::Suspended, reason::QUEUED, "waits for its queue to admit it")
        } else {
            // This pass has resumed it.
            Standing::new(State::Pending, reason::STARTING, PODS_ARE_STARTING)
        };
    }
    running(observed, done, total)
}

fn last_message(observed: &Observed, kind: &str) -> String {
    let conditions = observed.job.status.as_ref().map(|status| status.conditions.as_slice());
    let last = conditions.unwrap_or_default().iter().find(|condition| condition.type_ == kind);
    last.map(|condition| condition.message.clone()).unwrap_or_default()
}

fn failed(observed: &Observed, job: &Job, why: &str, message: &str) -> Standing {
    if why == "DeadlineExceeded" {
        let seconds = observed.job.spec.active_deadline_seconds.unwrap_or_default();
        let message = format!(
            "the job was not done within activeDeadlineSeconds ({seconds} s). Results of finished tasks are kept. Make \
             another TuneJob with a longer deadline or fewer trials."
        );
        return Standing::new(State::Failed, reason::DEADLINE_EXCEEDED, message);
    }
    let mut told = results::failures(observed);
    let silent = batch::failed_indexes(job).into_iter().filter_map(|index| observed.tasks.get(&index));
    let silent = silent.filter(|task| tasks::failure(task).is_none() && !tasks::is_complete(task));
    told.extend(
        silent.map(|task| format!("{}: its pods failed {} times", tasks::name(task), limit(job) + 1)),
    );
    let more = told.len().saturating_sub(MOST_FAILURES);
    told.truncate(MOST_FAILURES);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    let message = if told.is_empty() { format!("{why}: {message}") } else { told.join("; ") };
    Standing::new(State::Failed, reason::TASKS_FAILED, message)
}

fn limit(job: &Job) -> i32 {
    job.spec.as_ref().and_then(|spec| spec.backoff_limit_per_index).unwrap_or_default()
}

/// Where a job stands that has a batch Job at work.
fn running(observed: &Observed, done: usize, total: usize) -> Standing {
    if let Some(why) = &observed.pods_refused {
        let since = observed.own_batch().and_then(|batch| batch.status.as_ref()?.start_time.clone());
        let age = since.map_or(SignedDuration::ZERO, |since| observed.now.duration_since(since.0));
        let message = format!("Kubernetes creates no pods: {why}");
        return if age >= PATIENCE {
            Standing::new(State::Stalled, reason::PODS_REFUSED, message)
        } else {
            let standing = Standing::new(State::Pending, reason::STARTING, message);
            Standing { look_again: Some(unsigned(PATIENCE - age)), ..standing }
        };
    }
    if let Some((task, condition)) = tasks::stalled(observed) {
        let message = format!("{}: {}", tasks::name(task), condition.message);
        return Standing::new(State::Stalled, reason::DEVICE_UNAVAILABLE, message);
    }
    if let Some(why) = observed.pods.iter().find_map(|pod| pods::cannot_start(pod)) {
        return Standing::new(State::Stalled, reason::PODS_REFUSED, why);
    }
    let waiting = observed.pods.iter().filter_map(|pod| pods::unschedulable(pod)).min_by_key(|u| u.since);
    let trials = results::trials(observed);
    let running = if trials > 0 {
        let message = format!("{done} of {total} tasks are done, {trials} trials made");
        Standing::new(State::Running, reason::TUNING, message)
    } else {
        Standing::new(State::Pending, reason::STARTING, PODS_ARE_STARTING)
    };
    let Some(waiting) = waiting else { return running };
    let deadline = SignedDuration::from_secs(observed.job.spec.start_deadline_seconds);
    let left = deadline - observed.now.duration_since(waiting.since);
    let offers = observed.offers.as_deref().unwrap_or_default();
    let message = format!("no node can take the pods: {}; {offers}", waiting.why.trim_end_matches('.'));
    // Some pods wait for others of the same job to end: that is no reason to complain.
    let others_run = observed.pods.iter().any(|pod| pods::runs(pod));
    if others_run {
        running
    } else if left <= SignedDuration::ZERO {
        let standing = Standing::new(State::Stalled, reason::UNSCHEDULABLE, message);
        Standing { look_again: Some(GOOD_FOR), ..standing }
    } else {
        let standing = Standing::new(State::Pending, reason::STARTING, message);
        Standing { look_again: Some(unsigned(left).min(GOOD_FOR)), ..standing }
    }
}

fn unsigned(duration: SignedDuration) -> Duration {
    // At least a second: clocks differ.
    Duration::try_from(duration).unwrap_or_default().max(Duration::from_secs(1))
}

/// The conditions that go with a standing. Complete and Failed are there only when they hold, as those of a batch
/// Job; the others are there with either status.
fn conditions(
    observed: &Observed,
    before: &TuneJobStatus,
    standing: &Standing,
) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    let Standing { state, reason, message, .. } = standing;
    let mut conditions = Conditions::new(&before.conditions, observed.now, observed.job.metadata.generation);
    match state {
        State::Complete => conditions.set(COMPLETE, true, reason, message),
        State::Failed => conditions.set(FAILED, true, reason, message),
        State::Pending | State::Running | State::Suspended | State::Stalled => {}
    }
    let at_work = matches!(state, State::Pending | State::Running);
    conditions.set(RECONCILING, at_work, reason, if at_work { message } else { "" });
    // A job that failed is at an end that somebody must look at: kstatus knows no other word for it.
    let stalled = matches!(state, State::Stalled | State::Failed);
    let calm = if conditions.held(STALLED) { reason::RESOLVED } else { reason };
    conditions.set(STALLED, stalled, if stalled { reason } else { calm }, if stalled { message } else { "" });
    let suspended = *state == State::Suspended;
    let calm = if suspended { reason } else { reason::RESOLVED };
    if suspended || conditions.held(SUSPENDED) || before.conditions.iter().any(|c| c.type_ == SUSPENDED) {
        conditions.set(SUSPENDED, suspended, calm, if suspended { message } else { "" });
    }
    conditions.into_vec()
}

//! One pass over a job: fetch, validate, plan, apply, status.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fractune_crds::conditions::{RECONCILING, STALLED, reason};
use fractune_crds::{State, TuneJob, TuneJobStatus, managers};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tracing::{debug, info, warn};

use crate::apply::{ApplyError, Writer};
use crate::events::Events;
use crate::fetch::{Caches, Observed, fetch, task_count};
use crate::metrics::Metrics;
use crate::plan::{Settings, plan, plan_end_of_namespace, plan_over, plan_stalled, time_to_live};
use crate::status::{self, derive, is_over};
use crate::validate::{Stalled, validate};

/// Value of `spec.managedBy` that means this operator, as does none.
const MANAGER: &str = "fractune.dev/operator";
/// Field manager of what is said of an object that does not fit its types.
const INVALID_MANAGER: &str = "fractune.dev/operator-invalid";
/// A pass that failed is made again after this time, doubled with each further failure of the same job...
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// ...up to this.
const LAST_RETRY: Duration = Duration::from_mins(5);
/// A job that the API server refuses, or that belongs to somebody else, is looked at again after this time: what stands
/// in its way is nothing that is watched.
const REFUSED_RETRY: Duration = Duration::from_secs(30);

/// What passes share.
pub struct Context {
    /// Reads.
    pub client: Client,
    /// What watches know.
    pub caches: Caches,
    /// Writes.
    pub writer: Writer,
    /// What pods are made of.
    pub settings: Settings,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
    /// Failures in a row, by job.
    pub failures: Failures,
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step that reads.
    #[error("reading: {0}")]
    Read(#[from] kube::Error),
    /// A step that writes.
    #[error("writing: {0}")]
    Write(#[from] ApplyError),
    /// A watch ended.
    #[error("a watch has ended")]
    Cache,
    /// The check of the job ended in a panic, which is a defect.
    #[error("the check of the job failed: {0}")]
    Check(#[from] tokio::task::JoinError),
}

impl Error {
    /// Label of the metric.
    fn reason(&self) -> &'static str {
        let of = |error: &kube::Error| match error {
            kube::Error::Api(status) if status.code == 409 => "Conflict",
            kube::Error::Api(status) if status.code == 429 => "TooManyRequests",
            // With its namespace.
            kube::Error::Api(status) if status.message.contains("being terminated") => "Terminating",
            kube::Error::Api(_) => "Api",
            _ => "Connection",
        };
        match self {
            Self::Read(error) | Self::Write(ApplyError::Api(error)) => of(error),
            Self::Write(ApplyError::NotLeading(_)) => "NotLeading",
            Self::Write(ApplyError::Stalled(_)) => "Stalled",
            Self::Write(ApplyError::Leftover(_)) => "Leftover",
            Self::Cache => "Cache",
            Self::Check(_) => "Check",
        }
    }

    /// How long the API server wants to be left alone.
    fn retry_after(&self) -> Duration {
        let (Self::Read(kube::Error::Api(status)) | Self::Write(ApplyError::Api(kube::Error::Api(status)))) =
            self
        else {
            return Duration::ZERO;
        };
        let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        Duration::from_secs(u64::from(seconds))
    }

    /// Whether it is part of everyday life, and not worth a warning.
    fn is_ordinary(&self) -> bool {
        matches!(self.reason(), "Conflict" | "NotLeading" | "Leftover" | "Terminating")
    }
}

/// Makes a pass, and measures it.
///
/// # Errors
/// [`Error`]; [`on_error`] says when to try again.
pub async fn reconcile(job: Arc<DeserializeGuard<TuneJob>>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    context.metrics.reconciles.inc();
    let result = match &job.0 {
        Ok(job) => pass(Arc::new(job.clone()), &context).await,
        Err(invalid) => undecodable(invalid, &context).await,
    };
    context.metrics.reconciles.dec();
    let outcome = if result.is_ok() { "ok" } else { "error" };
    context.metrics.reconcile_seconds.with_label_values(&[outcome]).observe(started.elapsed().as_secs_f64());
    if result.is_ok() {
        context.failures.forget(&key(&job));
    }
    result
}

/// When to try again after a failure.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "the controller calls it so")]
pub fn on_error(job: Arc<DeserializeGuard<TuneJob>>, error: &Error, context: Arc<Context>) -> Action {
    context.metrics.reconcile_errors.with_label_values(&[error.reason()]).inc();
    let (name, namespace) = (job.name_any(), job.namespace().unwrap_or_default());
    let delay = context.failures.next(&key(&job)).max(error.retry_after());
    let again = delay.as_millis();
    if error.is_ordinary() {
        debug!(job = name, namespace, %error, again_ms = again, "a pass was cut short");
    } else {
        warn!(job = name, namespace, %error, again_ms = again, "a pass failed");
    }
    Action::requeue(delay)
}

fn key(job: &DeserializeGuard<TuneJob>) -> String {
    job.uid().unwrap_or_default()
}

/// Whether a job is this operator's to reconcile.
#[must_use]
pub fn is_managed_here(job: &TuneJob) -> bool {
    job.spec.managed_by.as_deref().is_none_or(|manager| manager == MANAGER)
}

async fn pass(job: Arc<TuneJob>, context: &Context) -> Result<Action, Error> {
    if job.metadata.deletion_timestamp.is_some() || !is_managed_here(&job) {
        return Ok(Action::await_change());
    }
    // Before the first lists have come a running job looks as if nothing had been made.
    if !context.caches.filled().await {
        return Err(Error::Cache);
    }
    let observed = fetch(&context.client, &context.caches, job).await?;
    if observed.namespace_ends {
        context.writer.apply(&observed, &plan_end_of_namespace()).await?;
        return Ok(Action::await_change());
    }
    if is_over(&observed.job) {
        // Whatever happens to sources and pods now, it is done.
        return over(&observed, context).await;
    }
    // A large space takes seconds to build.
    let check = tokio::task::spawn_blocking(move || {
        let checked = validate(&observed);
        (observed, checked)
    });
    let (observed, mut checked) = check.await?;

    let plan = match &checked {
        Ok(checked) => plan(&observed, checked, &context.settings),
        Err(_) => plan_stalled(&observed),
    };
    match context.writer.apply(&observed, &plan).await {
        Ok(()) => {}
        Err(ApplyError::Stalled(stalled)) => checked = Err(stalled),
        Err(error) => return Err(error.into()),
    }
    publish(&observed, context).await?;

    let derived = derive(&observed, checked.as_ref());
    write_status(&observed, &derived.status, context).await?;
    Ok(next(&observed, derived.look_again, checked.as_ref().err()))
}

/// A pass over a job that is at its end: its results are published, and what it no longer needs is deleted in time.
async fn over(observed: &Observed, context: &Context) -> Result<Action, Error> {
    let plan = plan_over(observed);
    // Of tasks that are being deleted only a part is left.
    if !plan.clean_up && observed.tasks.len() == task_count(&observed.job) {
        publish(observed, context).await?;
    }
    context.writer.apply(observed, &plan).await?;
    let job = &observed.job;
    if let Some(before) = job.status.as_ref().filter(|s| s.observed_generation != job.metadata.generation) {
        let status = TuneJobStatus { observed_generation: job.metadata.generation, ..before.clone() };
        write_status(observed, &status, context).await?;
    }
    Ok(next(observed, None, None))
}

/// Publishes the results that there are.
async fn publish(observed: &Observed, context: &Context) -> Result<(), Error> {
    match status::tuned(observed) {
        Ok(None) => Ok(()),
        Ok(Some(map)) => {
            let plan = crate::plan::Plan {
                apply: vec![crate::plan::Object::ConfigMap(map)],
                ..crate::plan::Plan::default()
            };
            match context.writer.apply(observed, &plan).await {
                // The results are in the status, too.
                Err(ApplyError::Stalled(stalled)) => {
                    warn!(job = observed.name(), %stalled, "the results cannot be published as a ConfigMap");
                    Ok(())
                }
                other => Ok(other?),
            }
        }
        Err(why) => {
            debug!(job = observed.name(), why, "no header can be made of the results");
            Ok(())
        }
    }
}

async fn write_status(observed: &Observed, status: &TuneJobStatus, context: &Context) -> Result<(), Error> {
    let job = &observed.job;
    let namespace = job.namespace().unwrap_or_default();
    let before = job.status.as_ref();
    if context.writer.status(&job.metadata, managers::OPERATOR, before, status).await? {
        let state = status.state.map(|state| format!("{state:?}")).unwrap_or_default();
        info!(
            job = observed.name(),
            namespace,
            state,
            tasks = status.tasks.summary,
            trials = status.trials,
            "status"
        );
        context.events.publish(&job.object_ref(&()), before, status).await;
    }
    Ok(())
}

/// When to look again though nothing has changed.
fn next(observed: &Observed, look_again: Option<Duration>, stalled: Option<&Stalled>) -> Action {
    let refused = stalled.filter(|stalled| [reason::NAME_TAKEN, reason::REFUSED].contains(&stalled.reason));
    let refused = refused.map(|_| REFUSED_RETRY);
    let expires = time_to_live(observed).and_then(|left| Duration::try_from(left).ok());
    let soonest = [look_again, refused, expires].into_iter().flatten().min();
    soonest.map_or_else(Action::await_change, Action::requeue)
}

/// Says of an object that does not fit its types that it does not; the others go on.
async fn undecodable(invalid: &InvalidObject, context: &Context) -> Result<Action, Error> {
    let metadata = &invalid.metadata;
    let condition = |kind: &str, status: &str| Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason::INVALID_OBJECT.to_owned(),
        message: format!(
            "the stored TuneJob does not fit its definition: {}. Mend or delete it.",
            invalid.error
        ),
        observed_generation: metadata.generation,
        // Always the same, so that saying it again changes nothing.
        last_transition_time: metadata
            .creation_timestamp
            .clone()
            .unwrap_or(Time(jiff::Timestamp::UNIX_EPOCH)),
    };
    // Nothing else of what is known about the job is taken away: hence a manager of its own.
    let status = json!({
        "observedGeneration": metadata.generation,
        "conditions": [condition(RECONCILING, "False"), condition(STALLED, "True")],
        "state": State::Stalled,
    });
    context.writer.status(metadata, INVALID_MANAGER, None, &status).await?;
    Ok(Action::await_change())
}

/// Failures in a row, by job.
#[derive(Debug, Default)]
pub struct Failures {
    counts: Mutex<HashMap<String, u32>>,
}

impl Failures {
    /// Counts a failure; the time until the next try.
    fn next(&self, key: &str) -> Duration {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.to_owned()).or_default();
        let delay = backoff(*count, RandomState::new().build_hasher().finish());
        *count = count.saturating_add(1);
        delay
    }

    fn forget(&self, key: &str) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Doubled with each failure, and spread by half, so that jobs that failed together do not come back together.
fn backoff(failures: u32, random: u64) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures)).min(LAST_RETRY);
    let spread = 0.75 + 0.5 * (random % 1000) as f64 / 1000.0;
    doubled.mul_f64(spread)
}

#[cfg(test)]
mod scenarios;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_fails_is_tried_later_and_later_up_to_a_limit() {
        assert!(backoff(0, 0) >= FIRST_RETRY.mul_f64(0.75));
        assert!(backoff(3, 500) > backoff(2, 500));
        assert!(backoff(40, 999) <= LAST_RETRY.mul_f64(1.25));
        assert_ne!(backoff(5, 1), backoff(5, 999));
    }
}

//! Measuring a run's winners again, each alone in a new worker, to see whether the reported times are true.

use fractune_tuner::measure::median;
use fractune_tuner::measure::{Finals, FinalsPolicy};
use fractune_tuner::results::{JobResult, ShareResult};
use fractune_tuner::task::Task;

use super::Target;
use super::backend::{Backend, Prepared};
use super::batch::acquire;
use super::plan::{Plan, RunError};
use super::session::Runner;
use crate::compile::{CompileFailure, Store};
use crate::gate::Need;

/// Run time of one measurement, in nanoseconds.
const BUDGET_NS: u64 = 500_000_000;

/// A winner's reported time, and what it took later.
#[derive(Clone, Debug)]
pub struct Recheck {
    /// Kernel name.
    pub kernel: String,
    /// Problem name.
    pub problem: String,
    /// The share in percent.
    pub share: u8,
    /// The reported median in nanoseconds.
    pub reported_ns: u64,
    /// The median of every later measurement, in nanoseconds.
    pub medians_ns: Vec<u64>,
}

impl Recheck {
    /// The median of the later medians, in nanoseconds.
    #[must_use]
    pub fn median_ns(&self) -> Option<u64> {
        median(&self.medians_ns)
    }

    /// How much longer the median of the later measurements is than the reported time, in percent of the
    /// latter.
    #[must_use]
    pub fn drift_percent(&self) -> Option<f64> {
        let reported = self.reported_ns as f64;
        Some((self.median_ns()? as f64 - reported) / reported * 100.0)
    }
}

/// Measures every winner of `result` `times` times, each time in a new worker.
///
/// # Errors
/// [`RunError`] if a winner does not compile, verify or run any more.
pub async fn recheck(
    plan: &Plan,
    result: &JobResult,
    target: Target,
    times: u32,
) -> Result<Vec<Recheck>, RunError> {
    let io = |error: std::io::Error| RunError::Io(format!("a temporary folder: {error}"));
    let objects = tempfile::tempdir().map_err(io)?;
    let backend = Backend::start(plan, &Store::new(objects.path(), None), target).await?;
    let rechecks = recheck_all(plan, result, &backend, times).await;
    backend.stop().await;
    rechecks
}

async fn recheck_all(
    plan: &Plan,
    result: &JobResult,
    backend: &Backend,
    times: u32,
) -> Result<Vec<Recheck>, RunError> {
    let (gate, _) = backend.gate().await;
    let mut rechecks = Vec::new();
    for task in &plan.tasks {
        let found =
            result.tasks.iter().find(|t| t.kernel == task.kernel.name && t.problem == task.problem.name);
        for share in found.into_iter().flat_map(|task| &task.shares) {
            let winner = winner(backend, &gate, task, share).await?;
            let mut medians_ns = Vec::new();
            for _ in 0..times {
                let _quiet = acquire(&gate, Need::Quiet).await?;
                let mut runner = Runner::new(backend, plan, task, share.share);
                medians_ns.push(once(&mut runner, plan, &winner, task).await?);
            }
            rechecks.push(Recheck {
                kernel: task.kernel.name.clone(),
                problem: task.problem.name.clone(),
                share: share.share,
                reported_ns: share.best.time_ns,
                medians_ns,
            });
        }
    }
    Ok(rechecks)
}

async fn winner(
    backend: &Backend,
    gate: &crate::gate::Gate,
    task: &Task,
    share: &ShareResult,
) -> Result<Prepared, RunError> {
    let index = task.space.index_of(&share.best.configuration);
    let index =
        index.ok_or_else(|| RunError::Spec(format!("{}: the winner is not in the space", task.name())))?;
    backend.prepare(gate, task, share.best.trial, index).await.map_err(|failure| match failure {
        CompileFailure::Candidate { message, .. } => RunError::Spec(format!("{}: {message}", task.name())),
        CompileFailure::Machine(message) => RunError::Machine(message),
    })
}

/// One measurement: the rounds of the finals, with a single entry.
async fn once(runner: &mut Runner<'_>, plan: &Plan, winner: &Prepared, task: &Task) -> Result<u64, RunError> {
    let limit = runner.limit(None);
    let policy = FinalsPolicy::new(f64::from(plan.measure.max_noise_percent), BUDGET_NS);
    let mut finals = Finals::new(vec![winner.trial], &[], policy);
    let mut went = runner.open(winner, limit).await.map(drop);
    while went.is_ok()
        && let Some(turn) = finals.next()
    {
        went = runner.run(winner, turn.runs, limit).await.map(|times| {
            finals.record(turn.trial, &times.times_ns, times.launches);
        });
    }
    if let Err(trouble) = went {
        let measured = runner.judge(trouble, winner, limit).await?;
        let message = measured.message.unwrap_or_default();
        return Err(RunError::Spec(format!(
            "{}: the winner fails now: {}: {message}",
            task.name(),
            measured.outcome
        )));
    }
    let standing = finals.standings().into_iter().next();
    standing.map(|s| s.summary.median_ns).ok_or_else(|| RunError::Machine("no time was taken".into()))
}

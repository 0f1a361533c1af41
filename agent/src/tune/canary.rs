//! Watching for neighbours that are not ours: they do not ask the gate.

use std::time::{Duration, Instant};

use fractune_tuner::measure::{CANARY_KINDS, Canary as Readings};
use fractune_tuner::results::CanaryResult;
use tokio::sync::{Mutex, MutexGuard};

use super::TaskRun;
use super::backend::CanaryWorker;
use super::batch::acquire;
use super::plan::RunError;
use crate::gate::Need;

/// A reading is no older than this when a task asks for one: all tasks of a run share them, and the time that they take
/// from measuring stays about one percent.
const FRESH: Duration = Duration::from_secs(1);

/// The canary of a run. It sings only where the backend has one.
#[derive(Debug, Default)]
pub(super) struct Canary(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    worker: Option<CanaryWorker>,
    readings: Readings,
    last: Option<(Instant, usize)>,
}

impl Canary {
    /// The number of a reading that is fresh, or is taken now with the whole gate held. None where there is no canary, or
    /// it died of a neighbour's fault: the next reading has a new one.
    pub(super) async fn look(&self, run: &TaskRun<'_>) -> Result<Option<usize>, RunError> {
        if !run.backend.has_canary() {
            return Ok(None);
        }
        let mut state = self.0.lock().await;
        if let Some((at, reading)) = state.last
            && at.elapsed() < FRESH
        {
            return Ok(Some(reading));
        }
        let _quiet = acquire(run.gate, Need::Quiet).await?;
        if state.worker.is_none() {
            state.worker = run.backend.start_canary(run.task).await?;
        }
        let Some(worker) = &mut state.worker else { return Ok(None) };
        let Ok(samples) = worker.read().await else {
            state.worker = None;
            return Ok(None);
        };
        let reading = state.readings.read(&samples);
        state.last = Some((Instant::now(), reading));
        Ok(Some(reading))
    }

    /// Ends its worker: even an idle client is worth a little to what is confirmed.
    pub(super) async fn rest(&self) {
        let mut state = self.0.lock().await;
        state.last = None;
        if let Some(worker) = state.worker.take() {
            worker.stop().await;
        }
    }

    /// The greatest drift between two readings, as a ratio minus one; with one of them missing, that of the other.
    pub(super) async fn drift(&self, before: Option<usize>, after: Option<usize>) -> f64 {
        match (before.or(after), after.or(before)) {
            (Some(first), Some(last)) => self.0.lock().await.readings.worst_between(first, last),
            _ => 0.0,
        }
    }

    /// What it has said so far; none where there is no canary.
    pub(super) async fn result(&self, again: u32) -> Option<CanaryResult> {
        let state: MutexGuard<'_, State> = self.0.lock().await;
        let [compute, memory] = CANARY_KINDS.map(|kind| 100.0 * state.readings.worst(kind));
        let readings = u32::try_from(state.readings.readings()).unwrap_or(u32::MAX);
        (readings > 0).then_some(CanaryResult {
            readings,
            compute_percent: compute,
            memory_percent: memory,
            again,
        })
    }
}

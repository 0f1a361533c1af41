//! Watching for neighbours that are not ours: they do not ask the gate.

use std::time::{Duration, Instant};

use fractune_tuner::measure::{CANARY_KINDS, Canary as Readings};
use fractune_tuner::results::CanaryResult;
use tokio::sync::Mutex;

use super::TaskRun;
use super::backend::CanaryWorker;
use super::batch::acquire;
use super::plan::{Event, RunError};
use crate::gate::Need;

/// A reading is no older than this when a task asks for one. All tasks of a run share them. With its warm-up one takes about
/// 40 ms, so the whole gate is held for under one percent of the time.
const FRESH: Duration = Duration::from_secs(5);
/// A canary that cannot be started is not tried again for this time.
const BACK_OFF: Duration = Duration::from_mins(1);

/// A reading, for what was measured before or after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    number: usize,
    /// Taken when it was asked for, and not a little earlier.
    is_new: bool,
}

/// The canary of a run. It sings only where the backend has one.
#[derive(Debug, Default)]
pub(super) struct Canary(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    worker: Option<CanaryWorker>,
    readings: Readings,
    last: Option<(Instant, usize)>,
    /// When the last one could not be started.
    failed: Option<Instant>,
}

impl Canary {
    /// A reading that is fresh, or is taken now with the whole gate held. None where there is no canary, it cannot be
    /// started, or it died of a neighbour's fault: the next reading has a new one.
    pub(super) async fn look(&self, run: &TaskRun<'_>) -> Result<Option<Reading>, RunError> {
        let mut state = self.0.lock().await;
        if let Some((at, number)) = state.last
            && at.elapsed() < FRESH
        {
            return Ok(Some(Reading { number, is_new: false }));
        }
        if state.failed.is_some_and(|at| at.elapsed() < BACK_OFF) {
            return Ok(None);
        }
        // Compiling and starting need no gate.
        if state.worker.is_none() {
            match run.backend.start_canary(run.task).await {
                Ok(worker) => state.worker = worker,
                Err(error) => {
                    if state.failed.replace(Instant::now()).is_none() {
                        (run.listener)(Event::Note(format!("there is no canary for now: {error}")));
                    }
                    return Ok(None);
                }
            }
        }
        let Some(worker) = &mut state.worker else { return Ok(None) };
        let quiet = acquire(run.gate, Need::Quiet).await?;
        let samples = worker.read().await;
        drop(quiet);
        let Ok(samples) = samples else {
            state.worker = None;
            return Ok(None);
        };
        let number = state.readings.read(&samples);
        state.last = Some((Instant::now(), number));
        Ok(Some(Reading { number, is_new: true }))
    }

    /// Ends its worker.
    pub(super) async fn stop(&self) {
        if let Some(worker) = self.0.lock().await.worker.take() {
            worker.stop().await;
        }
    }

    /// The greatest drift of what was measured between two readings, as a ratio minus one; with one of them missing,
    /// that of the other. A last reading that was there already says nothing of it, and the next one does.
    pub(super) async fn drift(&self, before: Option<Reading>, after: Option<Reading>) -> f64 {
        match (before.or(after), after.or(before)) {
            (Some(first), Some(last)) => {
                let number = last.number + usize::from(!last.is_new);
                self.0.lock().await.readings.worst_between(first.number, number)
            }
            _ => 0.0,
        }
    }

    /// What it has said so far; none where there is no canary.
    pub(super) async fn result(&self, again: u32) -> Option<CanaryResult> {
        let state = self.0.lock().await;
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

//! The canary's worker: known kernels, timed alone again and again.

use std::collections::BTreeMap;

use fractune_tuner::condition::Neighbours;
use fractune_tuner::measure::CANARY_KINDS;
use fractune_tuner::task::Task;

use super::Cuda;
use super::known::{ANSWER, Known, Size};
use crate::tune::plan::RunError;
use crate::worker::{Failure, Worker};

/// A launch of the computing kernel is worth about a millisecond, far from what is timed several at once; 64 MiB in and out are more than most second-level caches.
const SIZE: Size = Size { waves: 10, streamed: 4 << 20 };
/// Samples of a reading: enough for an interval of the median.
const RUNS: u32 = 10;

/// A worker that times the known kernels.
#[derive(Debug)]
pub(in crate::tune) struct CanaryWorker {
    worker: Worker,
    ids: Vec<u32>,
}

impl Cuda {
    /// Starts a canary at the largest share of the run.
    pub(in crate::tune) async fn start_canary(&self, task: &Task) -> Result<CanaryWorker, RunError> {
        let share = self.found.keys().max().copied().unwrap_or(100);
        let Known { worker, loaded, .. } = self.start_known(task, share, &CANARY_KINDS, SIZE).await?;
        Ok(CanaryWorker { worker, ids: loaded.into_iter().map(|(id, _)| id).collect() })
    }
}

impl CanaryWorker {
    /// Takes a reading: samples in nanoseconds of each kernel. The whole gate must be held.
    ///
    /// # Errors
    /// [`Failure`] where the worker is of no use any more.
    pub(in crate::tune) async fn read(&mut self) -> Result<BTreeMap<Neighbours, Vec<u64>>, Failure> {
        let mut reading = BTreeMap::new();
        for (&kind, &id) in CANARY_KINDS.iter().zip(&self.ids) {
            reading.insert(kind, self.worker.run(id, RUNS, false, ANSWER).await?.times_ns);
        }
        Ok(reading)
    }

    /// Ends its worker.
    pub(in crate::tune) async fn stop(self) {
        self.worker.stop().await;
    }
}

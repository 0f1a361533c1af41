//! What must be so before a run begins: versions that fit, shares as asked for, enough memory.

use std::time::Instant;

use fractune_tuner::settings::CacheState;
use futures::future;

use super::card::check_share;
use super::{Cuda, Environment, OPEN};
use crate::mps::PIPE_DIRECTORY;
use crate::tune::backend::worker::RETRY_AFTER;
use crate::tune::plan::{Plan, RunError};
use crate::worker::protocol::{self, Init};
use crate::worker::{Failure, Ready as WorkerReady, Worker, WorkerError};

/// The oldest driver, by the CUDA version that it supports: the first with the functions that are called.
const OLDEST_CUDA: (i32, i32) = (12, 8);
/// What a run keeps of the GPU's memory for contexts and what is measured beside it, in bytes.
const SPARED_MEMORY: u64 = 1 << 30;
/// Copies of a task's buffers that one worker keeps: the buffers, fresh contents, what the reference wrote. One worker at a time
/// has another one, of what it moves.
const COPIES: u64 = 3;

impl Cuda {
    pub(super) async fn get_ready(&mut self, plan: &Plan) -> Result<(), RunError> {
        self.check_versions()?;
        self.read_back(plan).await?;
        self.check_memory(plan)
    }

    /// A CUBIN runs on a driver of the same major version, or of a later one.
    fn check_versions(&self) -> Result<(), RunError> {
        let (driver, (major, minor), nvrtc) = (&self.card.driver, self.card.cuda, self.compiler.version());
        if (major, minor) < OLDEST_CUDA {
            return Err(RunError::Machine(format!(
                "driver {driver} is for CUDA {major}.{minor}; install one for CUDA {}.{} or later (570 or later)",
                OLDEST_CUDA.0, OLDEST_CUDA.1
            )));
        }
        if nvrtc.0 > major {
            return Err(RunError::Machine(format!(
                "driver {driver} is for CUDA {major}.{minor} and older than NVRTC {}.{} in {}; install a newer \
                 driver, or NVRTC {major} and name it with FRACTUNE_NVRTC",
                nvrtc.0,
                nvrtc.1,
                self.compiler.library()
            )));
        }
        Ok(())
    }

    /// Opens the GPU once with all of it and once at every share, and takes nothing for granted: a client that
    /// cannot reach the daemon runs without MPS and says nothing.
    async fn read_back(&mut self, plan: &Plan) -> Result<(), RunError> {
        let mut shares: Vec<u8> = plan.shares.iter().copied().chain([100]).collect();
        shares.sort_unstable();
        shares.dedup();
        let opening = shares.iter().map(|&share| self.open(share, self.environment(share)));
        let found = future::try_join_all(opening).await?;
        // A daemon of others may hold every client to less than the whole.
        let whole =
            if self.mps.as_ref().is_some_and(|mps| !mps.private()) { self.open_bare().await } else { None };
        self.units = whole.or(found.last().map(|whole| whole.units)).unwrap_or(0);
        for (&share, ready) in shares.iter().zip(&found) {
            check_share(share, ready, self.units)?;
        }
        let whole = found.last().and_then(|ready| ready.gpu.as_ref());
        self.compiler.target(whole.map_or([9, 0], |gpu| gpu.compute_capability));
        self.found = shares.into_iter().zip(found).filter(|(share, _)| plan.shares.contains(share)).collect();
        Ok(())
    }

    /// A worker that only opens the GPU.
    async fn open(&self, share: u8, environment: Environment) -> Result<WorkerReady, RunError> {
        let init = Init {
            protocol: protocol::VERSION,
            seed: 0,
            share,
            cpus: self.cpus.clone(),
            arguments: Vec::new(),
            reference: None,
            cache: CacheState::Hot,
            memory_limit_bytes: 0,
            gpu: Some(protocol::Gpu::default()),
        };
        let started = Instant::now();
        loop {
            match Worker::start(&self.worker, &init, &environment, OPEN).await {
                Ok(worker) => {
                    let ready = worker.ready().clone();
                    worker.stop().await;
                    return Ok(ready);
                }
                Err(WorkerError::Setup(Failure::Lost { .. })) if started.elapsed() < OPEN => {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(error) => return Err(RunError::Machine(format!("GPU {}: {error}", self.card.uuid))),
            }
        }
    }

    /// The GPU's SMs as a process without MPS sees them; none where there may be no such process.
    async fn open_bare(&self) -> Option<u32> {
        let nowhere = (PIPE_DIRECTORY.into(), "/nonexistent".into());
        let environment = self.bare_environment().into_iter().chain([nowhere]).collect();
        self.open(100, environment).await.ok().map(|ready| ready.units)
    }

    fn check_memory(&self, plan: &Plan) -> Result<(), RunError> {
        let free = self.found.values().filter_map(|ready| ready.gpu.as_ref());
        let free = free.map(|gpu| gpu.free_memory_bytes).min().unwrap_or(self.card.memory_bytes);
        // The slot's memory is for all of the pod's workers together, though MPS holds each one to it.
        let slot = self.slot.as_ref().and_then(|(slot, _)| slot.memory_bytes);
        let free = slot.map_or(free, |slot| slot.min(free));
        let workers = (plan.shares.len() * plan.parallelism.min(plan.tasks.len())).max(1) as u64;
        let limit = free.saturating_sub(SPARED_MEMORY) / (workers * COPIES + 1);
        let too_large =
            plan.tasks.iter().find_map(|task| task.check_memory(&format!("kernel {}", task.name()), limit));
        too_large.map_or(Ok(()), |violation| Err(RunError::Spec(violation.to_string())))
    }
}

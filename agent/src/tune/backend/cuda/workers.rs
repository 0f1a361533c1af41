//! Workers on a GPU: opening them, making sure of their share, and getting what hangs off the device.

use std::cell::Cell;
use std::time::{Duration, Instant};

use fractune_tuner::task::Task;

use super::super::worker::{self, RETRY_AFTER, Ready};
use super::card::is_the_same;
use super::{Cuda, Environment, OPEN};
use crate::slot;
use crate::tune::plan::{Plan, RunError};
use crate::worker::Worker;
use crate::worker::protocol::{self, Init, Load};

/// The MPS control daemon takes a hanging client off the GPU within this time, or never. Others may keep it from listening.
const TERMINATION: Duration = Duration::from_secs(4);

impl Cuda {
    /// Opens a worker for a task at a share: all that can be done while others measure.
    pub(in crate::tune::backend) async fn open_worker(
        &self,
        plan: &Plan,
        task: &Task,
        share: u8,
    ) -> Result<Worker, RunError> {
        let reference = self.reference(task).await?;
        self.obtain(plan, share, reference, Ready { verifies: false, task, opened: None }).await
    }

    /// Starts a worker for a task at a share, with the reference's answers ready. It may be `opened` already.
    pub(in crate::tune::backend) async fn start_worker(
        &self,
        plan: &Plan,
        task: &Task,
        share: u8,
        opened: Option<Worker>,
    ) -> Result<Worker, RunError> {
        let reference = self.reference(task).await?;
        let verifies = reference.is_some();
        self.obtain(plan, share, reference, Ready { verifies, task, opened }).await
    }

    async fn obtain(
        &self,
        plan: &Plan,
        share: u8,
        reference: Option<Load>,
        ready: Ready<'_>,
    ) -> Result<Worker, RunError> {
        let checks = self.checks().await?;
        let Ready { verifies, task, mut opened } = ready;
        let init = Init {
            protocol: protocol::VERSION,
            seed: plan.search.seed.unsigned_abs(),
            share,
            cpus: self.cpus.clone(),
            arguments: worker::arguments(task),
            reference,
            cache: plan.measure.cache,
            memory_limit_bytes: 0,
            gpu: Some(protocol::Gpu { checks: Some(checks), load: false }),
        };
        let started = Instant::now();
        loop {
            let ready = Ready { verifies, task, opened: opened.take() };
            let worker = worker::start(&self.worker, &init, &self.environment(share), ready).await?;
            // Never at a share that is not the one asked for. A client that comes while the daemon or its
            // server is gone runs without MPS, and says nothing.
            let (got, expected) = (worker.ready(), self.found.get(&share));
            if expected.is_some_and(|expected| is_the_same(got, expected)) {
                return Ok(worker);
            }
            let (got, expected) = (got.units, expected.map(|ready| ready.units));
            worker.stop().await;
            if started.elapsed() > OPEN {
                let expected = expected.unwrap_or(0);
                return Err(RunError::Machine(format!(
                    "share {share} % had {expected} SMs and has {got} now: the MPS daemon has changed or is gone"
                )));
            }
            self.revive().await;
        }
    }

    /// Starts the daemon again if it has died, and gives it a moment.
    pub(super) async fn revive(&self) {
        if let Some(mps) = &self.mps {
            // What cannot be had now may be had at the next try; the last one tells.
            let _ = mps.restart().await;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }

    /// What a worker at a share sees of the environment.
    pub(super) fn environment(&self, share: u8) -> Environment {
        let mut environment = self.bare_environment();
        if let Some(mps) = &self.mps {
            environment.extend(mps.client_environment(u32::from(share)));
        }
        let limit = self.slot.as_ref().and_then(|(slot, _)| slot.memory.clone());
        environment.extend(limit.map(|limit| (slot::MEMORY.to_owned(), limit)));
        environment
    }

    pub(super) fn bare_environment(&self) -> Environment {
        let libraries = std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH".into(), path));
        let card = ("CUDA_VISIBLE_DEVICES".into(), self.card.uuid.clone().into());
        [card].into_iter().chain(libraries).collect()
    }

    /// Takes a worker's kernels off the GPU. Killing an MPS client in the middle of a kernel can harm others.
    /// False if no server knows the worker: its server has died, and it waits in vain.
    pub(in crate::tune::backend) async fn release(&self, worker: u32) -> bool {
        let Some(mps) = &self.mps else { return true };
        let known = Cell::new(false);
        let terminate = async {
            for server in mps.servers().await.unwrap_or_default() {
                if mps.clients(server).await.unwrap_or_default().contains(&worker) {
                    known.set(true);
                    // Where it cannot be done, killing is what remains.
                    let _ = mps.terminate_client(server, worker).await;
                }
            }
        };
        // What is known counts, also where there was no time for more.
        let _ = tokio::time::timeout(TERMINATION, terminate).await;
        known.get()
    }
}

//! What a run tunes on: the machine's CPUs, a GPU, or a recording.

mod cpu;
mod cuda;
mod worker;

use std::collections::BTreeMap;
use std::time::Duration;

use fractune_tuner::condition::Neighbours;
use fractune_tuner::kernel::Configuration;
use fractune_tuner::results::Device;
use fractune_tuner::settings::Sharing;
use fractune_tuner::task::Task;
use fractune_tuner::trial::Outcome;

pub use cpu::Cpu;
pub(super) use cuda::{CanaryWorker, Neighbour};
pub use cuda::{Cuda, GpuTarget};

use super::Target;
use super::plan::{Plan, RunError};
use super::socket;
use crate::backend::replay::Recording;
use crate::compile::{CompileFailure, Store};
use crate::gate::{Gate, Need};
use crate::worker::Worker;
use crate::worker::protocol::Load;

/// The limit of one compilation is the trial's, but at least this.
const SHORTEST_COMPILE_LIMIT: Duration = Duration::from_mins(1);

/// What a run tunes on.
#[derive(Debug)]
pub enum Backend {
    /// C kernels on this machine's CPUs.
    Cpu(Cpu),
    /// CUDA kernels on a GPU.
    Cuda(Box<Cuda>),
    /// A simulation that answers from recorded spaces.
    Replay(Recording),
}

/// A trial that is ready to be loaded.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) trial: u32,
    pub(super) configuration: Configuration,
    pub(super) load: Load,
    pub(super) compile_ns: u64,
}

/// A trial that ends before anything was compiled.
fn refused(message: String) -> CompileFailure {
    CompileFailure::Candidate { outcome: Outcome::CompileError, message, compile_ns: 0 }
}

impl Backend {
    /// Gets ready what a plan's tasks need, with compiled kernels kept in `store`.
    ///
    /// # Errors
    /// [`RunError::Machine`] if something is missing on this machine, [`RunError::Spec`] if the tasks are not
    /// for this target.
    pub(super) async fn start(plan: &Plan, store: &Store, target: Target) -> Result<Self, RunError> {
        match target {
            Target::Cpu(worker) => Cpu::start(plan, store, worker).await.map(Backend::Cpu),
            Target::Cuda(gpu) => {
                Cuda::start(plan, store, &gpu).await.map(|cuda| Backend::Cuda(Box::new(cuda)))
            }
            Target::Replay(recording) => match plan.tasks.iter().find_map(|task| recording.mismatch(task)) {
                Some(mismatch) => Err(RunError::Spec(mismatch)),
                None => Ok(Backend::Replay(recording)),
            },
        }
    }

    /// Ends what the backend started beside its workers.
    pub(super) async fn stop(self) {
        if let Backend::Cuda(cuda) = self {
            cuda.stop().await;
        }
    }

    /// Where times are taken.
    #[must_use]
    pub fn device(&self, shares: &[u8]) -> Device {
        match self {
            Backend::Cpu(cpu) => cpu.device(shares),
            Backend::Cuda(cuda) => cuda.device(),
            Backend::Replay(recording) => Device {
                backend: "replay".into(),
                product: recording.product(),
                units: 0,
                units_by_share: BTreeMap::new(),
                compiler: "none".into(),
                gpu: None,
                notes: recording.notes.clone(),
            },
        }
    }

    /// The gate that this backend's measurements pass through: for CPUs the one that all runs of this user on
    /// these CPUs share, for a GPU the one of all runs under its MPS daemon. Also returns why there is only a gate of this run's own, if so.
    pub(super) async fn gate(&self) -> (Gate, Option<String>) {
        match self {
            Backend::Cpu(cpu) => socket::shared_gate(cpu.cpus()).await,
            Backend::Cuda(cuda) => cuda.gate().await,
            Backend::Replay(_) => (Gate::gpu(), None),
        }
    }

    /// How many compilations run at once.
    #[must_use]
    pub fn compile_threads(&self) -> usize {
        match self {
            Backend::Cpu(cpu) => cpu.cpus().len(),
            Backend::Cuda(cuda) => cuda.compile_threads(),
            Backend::Replay(_) => 1,
        }
    }

    /// Batches asked but not told. On CPUs one is compiled while another is measured. A GPU is so much faster
    /// than its compilers that they must never wait for the end of a batch.
    pub(super) fn batches_under_way(&self) -> usize {
        match self {
            Backend::Cuda(_) => 3,
            Backend::Cpu(_) | Backend::Replay(_) => 2,
        }
    }

    /// Whether compiling takes nothing from what else gets a task ready.
    pub(super) fn compiles_beside(&self) -> bool {
        matches!(self, Backend::Cuda(_))
    }

    /// How long a share may keep the gate for trials that are ready, one after another. On CPUs, where a
    /// measurement waits for compilers to leave its CPUs, taking turns one by one would idle them.
    pub(super) fn turn(&self) -> Duration {
        match self {
            Backend::Cpu(_) => Duration::from_secs(1),
            Backend::Cuda(_) | Backend::Replay(_) => Duration::ZERO,
        }
    }

    /// Run time in nanoseconds that the final rounds of one share may take for each finalist. A GPU's times
    /// scatter by a hundredth of a CPU's.
    pub(super) fn finalist_budget_ns(&self) -> u64 {
        match self {
            Backend::Cuda(_) => 60_000_000,
            Backend::Cpu(_) | Backend::Replay(_) => 500_000_000,
        }
    }

    /// Whether final rounds give the gate back between one and the next. On CPUs compilers would use the pause, and leave
    /// the caches and clocks to the next round as they please.
    pub(super) fn yields_between_rounds(&self) -> bool {
        matches!(self, Backend::Cuda(_))
    }

    /// Whether winners are measured once more in several places of the device's memory.
    pub(super) fn confirms(&self) -> bool {
        matches!(self, Backend::Cuda(_))
    }

    /// How measurements share the gate, where that is wanted of them. On CPUs they wait for compilers, so that waits
    /// do not tell whether measurements are in each other's way; each has its share's CPUs for itself, and held whole the
    /// gate would keep compilers from the others. A simulation is never crowded.
    pub(super) fn sharing(&self, wanted: Sharing) -> Sharing {
        match (self, wanted) {
            (Backend::Cpu(_) | Backend::Replay(_), Sharing::Auto) => Sharing::Shared,
            (_, wanted) => wanted,
        }
    }

    /// What a measurement at a share needs of the gate, where it shares that.
    pub(super) fn need(&self, share: u8) -> Need {
        match self {
            Backend::Cpu(cpu) => cpu.need(share),
            Backend::Cuda(_) | Backend::Replay(_) => Need::Units(u32::from(share)),
        }
    }

    /// Compiles one configuration (an index of the task's space), on CPUs while the gate grants one for it.
    pub(super) async fn prepare(
        &self,
        gate: &Gate,
        task: &Task,
        trial: u32,
        index: usize,
    ) -> Result<Prepared, CompileFailure> {
        match self {
            Backend::Cpu(cpu) => cpu.prepare(gate, task, trial, index).await,
            Backend::Cuda(cuda) => cuda.prepare(task, trial, index).await,
            Backend::Replay(_) => Ok(Prepared {
                trial,
                configuration: task.space.configuration(index),
                load: Load::default(),
                compile_ns: 0,
            }),
        }
    }

    /// Compiles a task's reference, so that the workers need not.
    pub(super) async fn prepare_reference(&self, gate: &Gate, task: &Task) -> Result<(), RunError> {
        match self {
            Backend::Cpu(cpu) => cpu.prepare_reference(gate, task).await,
            Backend::Cuda(cuda) => cuda.prepare_reference(task).await,
            Backend::Replay(_) => Ok(()),
        }
    }

    /// Opens a worker for a task at a share without running anything in it, while others measure; none where that would
    /// disturb them. On CPUs a process that starts does.
    pub(super) async fn open_worker(
        &self,
        plan: &Plan,
        task: &Task,
        share: u8,
    ) -> Result<Option<Worker>, RunError> {
        match self {
            Backend::Cuda(cuda) => cuda.open_worker(plan, task, share).await.map(Some),
            Backend::Cpu(_) | Backend::Replay(_) => Ok(None),
        }
    }

    /// Starts a worker for a task at a share, or takes the one that was `opened`, with the reference's answers ready; none
    /// for a recording.
    pub(super) async fn start_worker(
        &self,
        plan: &Plan,
        task: &Task,
        share: u8,
        opened: Option<Worker>,
    ) -> Result<Option<Worker>, RunError> {
        match self {
            Backend::Cpu(cpu) => cpu.start_worker(plan, task, share).await.map(Some),
            Backend::Cuda(cuda) => cuda.start_worker(plan, task, share, opened).await.map(Some),
            Backend::Replay(_) => Ok(None),
        }
    }

    /// Starts a load on what a share leaves of the GPU, while the whole gate is held; none on what is no GPU.
    pub(super) async fn start_neighbour(
        &self,
        task: &Task,
        neighbours: Neighbours,
        beside: u8,
    ) -> Result<Option<Neighbour>, RunError> {
        match self {
            Backend::Cuda(cuda) => cuda.start_neighbour(task, neighbours, beside).await,
            Backend::Cpu(_) | Backend::Replay(_) => Ok(None),
        }
    }

    /// Starts a canary; none on what is no GPU.
    pub(super) async fn start_canary(&self, task: &Task) -> Result<Option<CanaryWorker>, RunError> {
        match self {
            Backend::Cuda(cuda) => cuda.start_canary(task).await.map(Some),
            Backend::Cpu(_) | Backend::Replay(_) => Ok(None),
        }
    }

    /// Whether a worker of this run used the device until just now, so that its clocks are up.
    pub(super) fn is_warm(&self) -> bool {
        match self {
            Backend::Cuda(cuda) => cuda.is_warm(),
            Backend::Cpu(_) | Backend::Replay(_) => false,
        }
    }

    /// A worker of this run has used the device.
    pub(super) fn was_used(&self) {
        if let Backend::Cuda(cuda) = self {
            cuda.was_used();
        }
    }

    /// Whether others may measure on the device at the same time as this share.
    pub(super) fn has_neighbours(&self, share: u8) -> bool {
        matches!(self, Backend::Cuda(_)) && share < 100
    }

    /// Gets a worker's hanging candidate off the device before the worker is killed. False if it is not the
    /// candidate that hangs: the worker had lost its device.
    pub(super) async fn release(&self, worker: u32) -> bool {
        match self {
            Backend::Cuda(cuda) => cuda.release(worker).await,
            Backend::Cpu(_) | Backend::Replay(_) => true,
        }
    }
}

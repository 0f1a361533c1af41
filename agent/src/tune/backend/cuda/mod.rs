//! CUDA kernels on a GPU, at shares that MPS makes.

mod canary;
mod card;
mod known;
mod neighbour;
mod ready;
mod workers;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fractune_tuner::kernel::Language;
use fractune_tuner::results::{Device, Gpu as GpuResult};
use fractune_tuner::task::{LaunchSizes, Task, TaskArgument};
use futures::future;
use tokio::sync::OnceCell;

pub(in crate::tune) use canary::CanaryWorker;
use card::{find_card, others};
pub(in crate::tune) use neighbour::Neighbour;

use super::worker;
use super::{Prepared, SHORTEST_COMPILE_LIMIT};
use crate::backend::cuda::{CHECKS, IDLE};
use crate::compile::nvrtc::{Pool, Symbols};
use crate::compile::{Artifact, CompileFailure, Store, Unit};
use crate::gate::Gate;
use crate::lock::lock;
use crate::mps::{GuardCommand, Mps, MpsError, PIPE_DIRECTORY};
use crate::nvml::{Card, Nvml};
use crate::process::allowed_cpus;
use crate::slot::Slot;
use crate::tune::plan::{Plan, RunError};
use crate::tune::socket;
use crate::worker::protocol::{Launch, Load};
use crate::worker::{Ready as WorkerReady, WorkerCommand};

/// A worker that only opens the GPU is ready within this time, also while an MPS server recovers.
const OPEN: Duration = Duration::from_secs(30);

/// Which GPU to tune on, and the program whose hidden subcommands (`worker`, `compile`, `mps-guard`) are the
/// processes beside the run's own.
#[derive(Clone, Debug)]
pub struct GpuTarget {
    /// The program.
    pub program: PathBuf,
    /// An index or UUID as in `CUDA_VISIBLE_DEVICES`; the first visible GPU unless given.
    pub gpu: Option<String>,
}

impl GpuTarget {
    fn command(&self, subcommand: &str) -> WorkerCommand {
        WorkerCommand { program: self.program.clone(), args: vec![subcommand.into()] }
    }
}

type Environment = Vec<(String, OsString)>;

/// CUDA kernels on a GPU. A share under 100 is an MPS client's active thread percentage.
#[derive(Debug)]
pub struct Cuda {
    card: Card,
    mps: Option<Mps>,
    /// What a node's agent gave this pod, and the node's gate.
    slot: Option<(Slot, Gate)>,
    compiler: Pool,
    cpus: Vec<usize>,
    threads: usize,
    worker: WorkerCommand,
    /// The compiled kernels that compare outputs, once the first worker has needed them.
    checks: OnceCell<PathBuf>,
    /// Set once the known kernels were compiled.
    known: OnceCell<()>,
    /// What a worker of each share read back.
    found: BTreeMap<u8, WorkerReady>,
    units: u32,
    /// When a worker of this run used the GPU last.
    last_used: Mutex<Option<Instant>>,
    notes: Vec<String>,
    /// Keeps runs apart that must not measure at once.
    _claim: File,
}

impl Cuda {
    /// Finds the GPU and NVRTC, has an MPS daemon where a share needs one, and reads back what each share gets.
    ///
    /// # Errors
    /// [`RunError::Machine`] with what is missing or cannot be had, [`RunError::Spec`] if a task is not in CUDA
    /// or does not fit in the GPU's memory.
    pub(super) async fn start(plan: &Plan, store: &Store, target: &GpuTarget) -> Result<Self, RunError> {
        if let Some(task) = plan.tasks.iter().find(|task| task.kernel.language != Language::Cuda) {
            return Err(RunError::Spec(format!(
                "kernel {:?} is in C, and backend cuda runs CUDA; give the kernels of each language a job of their own",
                task.kernel.name
            )));
        }
        let kernel = plan.tasks.first().map_or("", |task| task.kernel.name.as_str());
        let cpus =
            allowed_cpus().map_err(|error| RunError::Machine(format!("cannot read the CPU set: {error}")))?;
        // What the control group grants can be less than the CPUs that may be used.
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(cpus.len().max(1));
        let slot = Slot::of_this_process().map_err(machine)?;
        if let Some(slot) = &slot {
            slot.check_shares(&plan.shares).and_then(|()| slot.check_gate()).map_err(machine)?;
        }
        let nvml = Nvml::open().map_err(|error| {
            RunError::Machine(format!(
                "kernel {kernel:?} is in CUDA, and this machine has no GPU to run it on: {error}"
            ))
        })?;
        let card = find_card(&nvml, target.gpu.as_deref())?;
        let adopts = std::env::var_os(PIPE_DIRECTORY).is_some_and(|directory| !directory.is_empty());
        let claim = socket::claim_gpu(&card.uuid, adopts)?;
        let slot = match slot {
            Some(slot) => {
                let gate = socket::node_gate(&slot).await?;
                Some((slot, gate))
            }
            None => None,
        };
        // In a slot there are others, and the gate keeps them off what is measured.
        let notes = if slot.is_some() { Vec::new() } else { others(&nvml, &card) };
        let timeout =
            Duration::from_secs(u64::from(plan.measure.timeout_seconds)).max(SHORTEST_COMPILE_LIMIT);
        let mps = async {
            if let Some((slot, _)) = &slot {
                let joined = Mps::join(&card.uuid, &slot.pipe).await;
                return joined.map(Some).map_err(|error| {
                    machine(match error {
                        // Its own way out is not a pod's.
                        MpsError::NoAnswer { reason, .. } => slot.no_daemon(reason),
                        other => slot.no_daemon(other),
                    })
                });
            }
            if plan.shares.iter().all(|&share| share == 100) && !adopts {
                return Ok(None);
            }
            let guard = GuardCommand { program: target.program.clone(), arguments: vec!["mps-guard".into()] };
            Mps::adopt_or_start(&card.uuid, &guard)
                .await
                .map(Some)
                .map_err(|error| RunError::Machine(format!("shares under 100 % need MPS, and {error}")))
        };
        let compiler = async {
            Pool::start(target.command("compile"), threads, store, timeout)
                .await
                .map_err(|failure| RunError::Machine(failure.to_string().replacen("cannot compile: ", "", 1)))
        };
        let (compiler, mps) = future::join(compiler, mps).await;
        let (compiler, mps) = match (compiler, mps) {
            (Ok(compiler), Ok(mps)) => (compiler, mps),
            (Err(error), Ok(Some(mps))) => {
                mps.stop().await;
                return Err(error);
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let mut cuda = Self {
            compiler,
            mps,
            slot,
            card,
            cpus,
            threads,
            worker: target.command("worker"),
            checks: OnceCell::new(),
            known: OnceCell::new(),
            found: BTreeMap::new(),
            units: 0,
            last_used: Mutex::default(),
            notes,
            _claim: claim,
        };
        match cuda.get_ready(plan).await {
            Ok(()) => Ok(cuda),
            Err(error) => {
                cuda.stop().await;
                Err(error)
            }
        }
    }

    /// The compiled kernels that compare outputs.
    async fn checks(&self) -> Result<PathBuf, RunError> {
        self.checks.get_or_try_init(|| self.compile_checks()).await.cloned()
    }

    async fn compile_checks(&self) -> Result<PathBuf, RunError> {
        let unit = Unit {
            name: "check",
            source: CHECKS,
            entry: "checksum",
            arguments: Vec::new(),
            options: &[],
            macros: Vec::new(),
        };
        match self.compiler.build(&unit, &[]).await {
            Ok((artifact, _)) => Ok(artifact.path),
            Err(failure) => {
                Err(RunError::Machine(format!("the checks of outputs do not compile: {failure}")))
            }
        }
    }

    pub(super) fn device(&self) -> Device {
        let (major, minor) = self.compiler.version();
        let gpu = self.found.values().find_map(|ready| ready.gpu.as_ref());
        Device {
            backend: "cuda".into(),
            product: self.card.product.clone(),
            units: self.units,
            units_by_share: self.found.iter().map(|(&share, ready)| (share, ready.units)).collect(),
            compiler: format!("NVRTC {major}.{minor}"),
            gpu: Some(GpuResult {
                uuid: self.card.uuid.clone(),
                driver: self.card.driver.clone(),
                mps: gpu.is_some_and(|gpu| gpu.mps),
                memory_bytes: self.card.memory_bytes,
            }),
            notes: self.notes.clone(),
        }
    }

    /// A private daemon serves this run alone, another one every run that it was named to.
    pub(super) async fn gate(&self) -> (Gate, Option<String>) {
        if let Some((_, gate)) = &self.slot {
            return (gate.clone(), None);
        }
        match &self.mps {
            Some(mps) if !mps.private() => socket::shared_gpu_gate(&self.card.uuid).await,
            _ => (Gate::gpu(), None),
        }
    }

    pub(super) fn compile_threads(&self) -> usize {
        self.threads
    }

    pub(super) async fn prepare(
        &self,
        task: &Task,
        trial: u32,
        index: usize,
    ) -> Result<Prepared, CompileFailure> {
        let launch = task.launch(index).transpose().map_err(super::refused)?;
        let (load, compile_ns) = self.build(task, &task.kernel.entrypoint, index, launch).await?;
        Ok(Prepared { trial, configuration: task.space.configuration(index), load, compile_ns })
    }

    async fn build(
        &self,
        task: &Task,
        entry: &str,
        index: usize,
        launch: Option<LaunchSizes>,
    ) -> Result<(Load, u64), CompileFailure> {
        let scalars = worker::scalars(task, index).map_err(super::refused)?;
        let unit = Unit {
            name: &task.kernel.name,
            source: &task.source,
            entry,
            arguments: Vec::new(),
            options: &task.kernel.compile.options,
            macros: task.macros(index),
        };
        let (Artifact { path, compile_ns }, Symbols { entry, variables }) =
            self.compiler.build(&unit, &variables(task)).await?;
        let launch =
            launch.map(|LaunchSizes { grid, block, shared_bytes }| Launch { grid, block, shared_bytes });
        Ok((Load { artifact: path, symbol: entry, scalars, variables, launch }, compile_ns))
    }

    /// What computes the right answers, compiled with the default configuration; none where nothing is verified.
    pub(super) async fn reference(&self, task: &Task) -> Result<Option<Load>, RunError> {
        let Some(entry) = task.kernel.verify.entrypoint.as_deref().filter(|_| !task.kernel.verify.none)
        else {
            return Ok(None);
        };
        let launch = task.reference_launch(task.default).transpose().map_err(RunError::Spec)?;
        match self.build(task, entry, task.default, launch).await {
            Ok((load, _)) => Ok(Some(load)),
            Err(CompileFailure::Candidate { message, .. }) => {
                Err(worker::reference_does_not_compile(task, entry, &message))
            }
            Err(machine @ CompileFailure::Machine(_)) => Err(RunError::Io(machine.to_string())),
        }
    }

    /// Compiles what every worker of a task needs, and what the first measurement waits for.
    pub(super) async fn prepare_reference(&self, task: &Task) -> Result<(), RunError> {
        let known = async {
            self.known.get_or_init(|| self.compile_known()).await;
            Ok(())
        };
        future::try_join3(self.reference(task), self.checks(), known).await.map(|_| ())
    }

    pub(super) fn is_warm(&self) -> bool {
        lock(&self.last_used).is_some_and(|at| at.elapsed() < IDLE)
    }

    pub(super) fn was_used(&self) {
        *lock(&self.last_used) = Some(Instant::now());
    }

    pub(super) async fn stop(self) {
        if let Some(mps) = self.mps {
            mps.stop().await;
        }
    }
}

fn machine(error: impl std::fmt::Display) -> RunError {
    RunError::Machine(error.to_string())
}

/// Names of the variables that stand for buffers.
fn variables(task: &Task) -> Vec<String> {
    let symbol = |argument: &TaskArgument| match argument {
        TaskArgument::Buffer { symbol, .. } => symbol.clone(),
        TaskArgument::Scalar { .. } => None,
    };
    task.arguments.iter().filter_map(symbol).collect()
}

//! What a run tunes on: the machine's CPUs, or a recording.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fractune_tuner::kernel::{Configuration, ElementType, Language};
use fractune_tuner::results::Device;
use fractune_tuner::task::{Number, Task, TaskArgument};
use fractune_tuner::trial::Outcome;

use super::batch::acquire;
use super::plan::{Plan, RunError};
use super::{memory, socket};
use crate::backend::cpu;
use crate::backend::replay::Recording;
use crate::compile::{Artifact, CompileFailure, Compiler, Unit};
use crate::gate::{Gate, Need};
use crate::process::allowed_cpus;
use crate::worker::protocol::{self, Init, Load};
use crate::worker::{Failure, Worker, WorkerCommand, WorkerError};

/// The limit of one compilation is the trial's, but at least this.
const SHORTEST_COMPILE_LIMIT: Duration = Duration::from_mins(1);
/// A worker allocates its buffers and runs the reference before it is ready.
const WORKER_START: Duration = Duration::from_mins(2);
/// What a candidate may allocate beside its buffers, in bytes.
const CANDIDATE_MEMORY: u64 = 1 << 30;

/// What a run tunes on.
#[derive(Debug)]
pub enum Backend {
    /// C kernels on this machine's CPUs.
    Cpu(Cpu),
    /// A simulation that answers from recorded spaces.
    Replay(Recording),
}

/// C kernels on this machine's CPUs. A share is that part of the CPUs that this process may use.
#[derive(Debug)]
pub struct Cpu {
    cpus: Vec<usize>,
    compiler: Compiler,
    worker: WorkerCommand,
}

/// A trial that is ready to be loaded.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) trial: u32,
    pub(super) configuration: Configuration,
    pub(super) artifact: PathBuf,
    pub(super) scalars: Vec<String>,
    pub(super) compile_ns: u64,
}

impl Backend {
    /// The CPUs that this process may use, with compiled kernels kept in `objects`. `worker` starts a worker.
    ///
    /// # Errors
    /// [`RunError::Machine`] if there is no C compiler, [`RunError::Spec`] if a task is not in C or a share is
    /// less than one CPU.
    pub(super) async fn cpu(plan: &Plan, objects: &Path, worker: WorkerCommand) -> Result<Self, RunError> {
        if let Some(task) = plan.tasks.iter().find(|task| task.kernel.language != Language::C) {
            return Err(RunError::Spec(format!(
                "kernel {:?} is in {:?}, and backend cpu runs C; use --backend replay with a recording",
                task.kernel.name, task.kernel.language
            )));
        }
        if let Some(violation) = memory::check(plan) {
            return Err(RunError::Spec(violation.to_string()));
        }
        let cpus =
            allowed_cpus().map_err(|error| RunError::Machine(format!("cannot read the CPU set: {error}")))?;
        for &share in &plan.shares {
            if cpus_of_share(&cpus, share).is_empty() {
                let smallest = 100_usize.div_ceil(cpus.len().max(1));
                return Err(RunError::Machine(format!(
                    "share {share} % of {} CPUs is less than one CPU; the smallest share here is {smallest}: \
                     choose with --shares {smallest},100",
                    cpus.len()
                )));
            }
        }
        let timeout =
            Duration::from_secs(u64::from(plan.measure.timeout_seconds)).max(SHORTEST_COMPILE_LIMIT);
        let compiler =
            Compiler::find(objects, timeout).await.map_err(|e| RunError::Machine(e.to_string()))?;
        Ok(Backend::Cpu(Cpu { cpus, compiler, worker }))
    }

    /// Where times are taken.
    #[must_use]
    pub fn device(&self, shares: &[u8]) -> Device {
        match self {
            Backend::Cpu(cpu) => Device {
                backend: "cpu".into(),
                product: cpu::product(),
                units: cpu.cpus.len() as u32,
                units_by_share: shares
                    .iter()
                    .map(|&share| (share, cpus_of_share(&cpu.cpus, share).len() as u32))
                    .collect(),
                compiler: cpu.compiler.version().into(),
                notes: Vec::new(),
            },
            Backend::Replay(recording) => Device {
                backend: "replay".into(),
                product: recording.product(),
                units: 0,
                units_by_share: BTreeMap::new(),
                compiler: "none".into(),
                notes: recording.notes.clone(),
            },
        }
    }

    /// The gate that this backend's measurements pass through: for CPUs the one that all runs of this user on
    /// these CPUs share. Also returns why there is only a gate of this run's own, if so.
    pub(super) async fn gate(&self) -> (Gate, Option<String>) {
        match self {
            Backend::Cpu(cpu) => socket::shared_gate(&cpu.cpus).await,
            Backend::Replay(_) => (Gate::gpu(), None),
        }
    }

    /// How many compilations run at once.
    #[must_use]
    pub fn compile_threads(&self) -> usize {
        match self {
            Backend::Cpu(cpu) => cpu.cpus.len(),
            Backend::Replay(_) => 1,
        }
    }

    /// How long a share may keep the gate for trials that are ready, one after another. On CPUs, where a
    /// measurement waits for compilers to leave its CPUs, taking turns one by one would idle them.
    pub(super) fn turn(&self) -> Duration {
        match self {
            Backend::Cpu(_) => Duration::from_secs(1),
            Backend::Replay(_) => Duration::ZERO,
        }
    }

    /// What a measurement at a share needs of the gate.
    pub(super) fn need(&self, share: u8) -> Need {
        match self {
            Backend::Cpu(cpu) => Need::Lanes(cpus_of_share(&cpu.cpus, share).to_vec()),
            Backend::Replay(_) => Need::Units(u32::from(share)),
        }
    }

    /// Compiles one configuration (an index of the task's space) while the gate grants a CPU for it.
    pub(super) async fn prepare(
        &self,
        gate: &Gate,
        task: &Task,
        trial: u32,
        index: usize,
    ) -> Result<Prepared, CompileFailure> {
        let configuration = task.space.configuration(index);
        let Backend::Cpu(cpu) = self else {
            let artifact = PathBuf::new();
            return Ok(Prepared { trial, configuration, artifact, scalars: Vec::new(), compile_ns: 0 });
        };
        let refused =
            |message| CompileFailure::Candidate { outcome: Outcome::CompileError, message, compile_ns: 0 };
        let scalars = scalars(task, index).map_err(refused)?;
        let permit =
            gate.acquire(Need::AnyLane, None).await.map_err(|e| CompileFailure::Machine(e.to_string()))?;
        let Artifact { path, compile_ns } =
            cpu.compiler.build(&unit(task, &task.kernel.entrypoint, index), permit.lanes()).await?;
        Ok(Prepared { trial, configuration, artifact: path, scalars, compile_ns })
    }
}

impl Backend {
    /// Compiles a task's reference, so that the workers need not.
    pub(super) async fn prepare_reference(&self, gate: &Gate, task: &Task) -> Result<(), RunError> {
        if let Backend::Cpu(cpu) = self {
            let permit = acquire(gate, Need::AnyLane).await?;
            cpu.reference(task, permit.lanes()).await?;
        }
        Ok(())
    }
}

impl Cpu {
    /// Starts a worker for a task at a share, with the reference's answers ready.
    pub(super) async fn start_worker(&self, plan: &Plan, task: &Task, share: u8) -> Result<Worker, RunError> {
        let cpus = cpus_of_share(&self.cpus, share).to_vec();
        let threads = cpus.len().to_string();
        let env = [("OMP_NUM_THREADS", threads.as_str()), ("OMP_DYNAMIC", "false")]
            .map(|(name, value)| (name.to_string(), value.to_string()));
        let reference = self.reference(task, &cpus).await?;
        let verifies = reference.is_some();
        let init = Init {
            protocol: protocol::VERSION,
            seed: plan.search.seed.unsigned_abs(),
            share,
            cpus,
            arguments: task.arguments.iter().map(|argument| protocol_argument(task, argument)).collect(),
            reference,
            cache: plan.measure.cache,
            memory_limit_bytes: CANDIDATE_MEMORY,
        };
        // What dies once may have been killed from outside; what dies twice does so by itself.
        match self.start_with(&init, &env, verifies).await {
            Err(
                StartError::Worker(WorkerError::Setup(Failure::Died { .. }))
                | StartError::Reference(Failure::Died { .. }),
            ) => self.start_with(&init, &env, verifies).await,
            started => started,
        }
        .map_err(|error| match error {
            StartError::Worker(error) => RunError::Machine(format!("{}: {error}", task.name())),
            StartError::Reference(failure) => reference_failed(task, &failure),
        })
    }

    async fn start_with(
        &self,
        init: &Init,
        env: &[(String, String)],
        verifies: bool,
    ) -> Result<Worker, StartError> {
        let mut worker =
            Worker::start(&self.worker, init, env, WORKER_START).await.map_err(StartError::Worker)?;
        if verifies {
            worker.reference(WORKER_START).await.map_err(StartError::Reference)?;
        }
        Ok(worker)
    }

    /// What computes the right answers, compiled with the default configuration; none where nothing is verified.
    async fn reference(&self, task: &Task, cpus: &[usize]) -> Result<Option<Load>, RunError> {
        let Some(entry) = task.kernel.verify.entrypoint.as_deref().filter(|_| !task.kernel.verify.none)
        else {
            return Ok(None);
        };
        let built = self.compiler.build(&unit(task, entry, task.default), cpus).await;
        let artifact = built.map_err(|failure| match failure {
            CompileFailure::Candidate { message, .. } => {
                RunError::Spec(format!("{}: the reference {entry} does not compile:\n{message}", task.name()))
            }
            machine @ CompileFailure::Machine(_) => RunError::Io(machine.to_string()),
        })?;
        let scalars = scalars(task, task.default).map_err(RunError::Spec)?;
        Ok(Some(Load {
            artifact: artifact.path,
            symbol: crate::compile::SYMBOL.into(),
            scalars,
            launch: None,
        }))
    }
}

/// What kept a worker from being ready.
enum StartError {
    Worker(WorkerError),
    Reference(Failure),
}

fn reference_failed(task: &Task, failure: &Failure) -> RunError {
    let way_out = match failure {
        Failure::TimedOut { .. } => "; make it faster, or the problem's sizes smaller",
        _ => "",
    };
    RunError::Spec(format!("{}: the reference: {failure}{way_out}", task.name()))
}

/// Values of the scalar arguments at a configuration, as the worker protocol writes them.
fn scalars(task: &Task, index: usize) -> Result<Vec<String>, String> {
    let values = task.scalar_values(index)?;
    Ok(values
        .into_iter()
        .map(|scalar| match scalar.value {
            Number::Int(value) => value.to_string(),
            Number::Float(value) => value.to_string(),
        })
        .collect())
}

fn protocol_argument(task: &Task, argument: &TaskArgument) -> protocol::Argument {
    match argument.clone() {
        TaskArgument::Buffer { name, element, length, init, output, symbol } => {
            let fractune_tuner::task::Tolerance { relative, absolute } = task.tolerance(element);
            let tolerance = Some(protocol::Tolerance { relative, absolute });
            protocol::Argument::Buffer(protocol::Buffer {
                name,
                element,
                length,
                init,
                output,
                symbol,
                tolerance,
            })
        }
        TaskArgument::Scalar { name, element, .. } => {
            protocol::Argument::Scalar(protocol::Scalar { name, element })
        }
    }
}

fn unit<'a>(task: &'a Task, entry: &'a str, index: usize) -> Unit<'a> {
    Unit {
        name: &task.kernel.name,
        source: &task.source,
        entry,
        arguments: task.arguments.iter().map(argument).collect(),
        options: &task.kernel.compile.options,
        macros: task.macros(index),
    }
}

fn argument(argument: &TaskArgument) -> (bool, ElementType) {
    match argument {
        TaskArgument::Buffer { element, .. } => (true, *element),
        TaskArgument::Scalar { element, .. } => (false, *element),
    }
}

/// The CPUs of a share: the first `share` percent, rounded down, so that every measurement of a share runs on
/// the same ones.
fn cpus_of_share(cpus: &[usize], share: u8) -> &[usize] {
    cpus.get(..cpus.len() * usize::from(share) / 100).unwrap_or(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_down_to_whole_cpus() {
        assert_eq!(cpus_of_share(&[0, 1], 50), [0]);
        assert_eq!(cpus_of_share(&[0, 1], 99), [0]);
        assert_eq!(cpus_of_share(&[4, 5, 6, 7], 75), [4, 5, 6]);
        assert!(cpus_of_share(&[0, 1], 49).is_empty());
    }
}

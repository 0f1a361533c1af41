//! C kernels on this machine's CPUs.

use std::time::Duration;

use fractune_tuner::kernel::{ElementType, Language};
use fractune_tuner::results::Device;
use fractune_tuner::task::{Task, TaskArgument};

use super::worker::{self, Ready};
use super::{Prepared, SHORTEST_COMPILE_LIMIT};
use crate::backend::cpu;
use crate::compile::{Artifact, CompileFailure, Compiler, SYMBOL, Store, Unit};
use crate::gate::{Gate, Need};
use crate::process::allowed_cpus;
use crate::tune::batch::acquire;
use crate::tune::memory;
use crate::tune::plan::{Plan, RunError};
use crate::worker::protocol::{self, Init, Load};
use crate::worker::{Worker, WorkerCommand};

/// What a candidate may allocate beside its buffers, in bytes.
const CANDIDATE_MEMORY: u64 = 1 << 30;

/// C kernels on this machine's CPUs. A share is that part of the CPUs that this process may use.
#[derive(Debug)]
pub struct Cpu {
    cpus: Vec<usize>,
    compiler: Compiler,
    worker: WorkerCommand,
}

impl Cpu {
    /// The CPUs that this process may use, with compiled kernels kept in `store`. `worker` starts a worker.
    ///
    /// # Errors
    /// [`RunError::Machine`] if there is no C compiler or a share is less than one CPU, [`RunError::Spec`] if a
    /// task is not in C or does not fit in memory.
    pub(super) async fn start(plan: &Plan, store: &Store, worker: WorkerCommand) -> Result<Self, RunError> {
        if let Some(task) = plan.tasks.iter().find(|task| task.kernel.language != Language::C) {
            return Err(RunError::Spec(format!(
                "kernel {:?} is in CUDA, and backend cpu runs C; a job of CUDA kernels alone runs on a GPU (--backend \
                 cuda), or from a recording (--backend replay)",
                task.kernel.name
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
        let compiler = Compiler::find(store, timeout).await.map_err(|e| RunError::Machine(e.to_string()))?;
        Ok(Self { cpus, compiler, worker })
    }

    pub(super) fn device(&self, shares: &[u8]) -> Device {
        Device {
            backend: "cpu".into(),
            product: cpu::product(),
            units: self.cpus.len() as u32,
            units_by_share: shares
                .iter()
                .map(|&share| (share, cpus_of_share(&self.cpus, share).len() as u32))
                .collect(),
            compiler: self.compiler.version().into(),
            gpu: None,
            notes: Vec::new(),
        }
    }

    pub(super) fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    pub(super) fn need(&self, share: u8) -> Need {
        Need::Lanes(cpus_of_share(&self.cpus, share).to_vec())
    }

    pub(super) async fn prepare(
        &self,
        gate: &Gate,
        task: &Task,
        trial: u32,
        index: usize,
    ) -> Result<Prepared, CompileFailure> {
        let scalars = worker::scalars(task, index).map_err(super::refused)?;
        let permit =
            gate.acquire(Need::AnyLane, None).await.map_err(|e| CompileFailure::Machine(e.to_string()))?;
        let Artifact { path, compile_ns } =
            self.compiler.build(&unit(task, &task.kernel.entrypoint, index), permit.lanes()).await?;
        let load =
            Load { artifact: path, symbol: SYMBOL.into(), scalars, variables: Vec::new(), launch: None };
        Ok(Prepared { trial, configuration: task.space.configuration(index), load, compile_ns })
    }

    pub(super) async fn prepare_reference(&self, gate: &Gate, task: &Task) -> Result<(), RunError> {
        let permit = acquire(gate, Need::AnyLane).await?;
        self.reference(task, permit.lanes()).await.map(|_| ())
    }

    /// Starts a worker for a task at a share, with the reference's answers ready.
    pub(super) async fn start_worker(&self, plan: &Plan, task: &Task, share: u8) -> Result<Worker, RunError> {
        let cpus = cpus_of_share(&self.cpus, share).to_vec();
        let threads = cpus.len().to_string();
        let env = [("OMP_NUM_THREADS", threads.as_str()), ("OMP_DYNAMIC", "false")]
            .map(|(name, value)| (name.to_string(), value.into()));
        let reference = self.reference(task, &cpus).await?;
        let verifies = reference.is_some();
        let init = Init {
            protocol: protocol::VERSION,
            seed: plan.search.seed.unsigned_abs(),
            share,
            cpus,
            arguments: worker::arguments(task),
            reference,
            cache: plan.measure.cache,
            memory_limit_bytes: CANDIDATE_MEMORY,
            gpu: None,
        };
        worker::start(&self.worker, &init, &env, Ready { verifies, task, opened: None }).await
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
                worker::reference_does_not_compile(task, entry, &message)
            }
            machine @ CompileFailure::Machine(_) => RunError::Io(machine.to_string()),
        })?;
        let scalars = worker::scalars(task, task.default).map_err(RunError::Spec)?;
        Ok(Some(Load {
            artifact: artifact.path,
            symbol: SYMBOL.into(),
            scalars,
            variables: Vec::new(),
            launch: None,
        }))
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

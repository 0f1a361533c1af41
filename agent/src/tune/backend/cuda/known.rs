//! Known kernels: what runs beside what is measured, and what tells whether the GPU is as fast as it was.

use std::time::Duration;

use fractune_tuner::condition::Neighbours;
use fractune_tuner::kernel::{ElementType, Init as Contents};
use fractune_tuner::settings::CacheState;
use fractune_tuner::task::Task;
use futures::future;

use super::super::worker::{self, Ready};
use super::Cuda;
use crate::backend::cuda::LOADS;
use crate::compile::Unit;
use crate::tune::plan::RunError;
use crate::worker::Worker;
use crate::worker::protocol::{self, Argument, Buffer, Init, Launch, Load, Scalar};

/// A request is answered within this time, whatever runs beside.
pub(super) const ANSWER: Duration = Duration::from_secs(20);

/// Names of the kernels.
const COMPUTE: &str = "fractune_compute";
const MEMORY: &str = "fractune_memory";

const THREADS: u32 = 256;
/// Blocks of the computing kernel that an SM holds, by its registers.
const BLOCKS_PER_UNIT: u32 = 2;
/// Rounds of each of its threads, and operations of a round: a block is over within about 100 us on an H100.
const ROUNDS: u32 = 64;
const OPERATIONS: u32 = 1024;
/// Elements of its two matrices.
const MATRICES: u64 = 2 * 2048 * 2048;
const FLOAT4: u32 = 16;
/// `float4`s of a thread of the streaming kernel.
const PER_THREAD: u32 = 4;

/// How much one launch does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// How often the computing kernel fills its SMs.
    pub(super) waves: u32,
    /// The `float4`s that the streaming kernel reads; it writes as many.
    pub(super) streamed: u32,
}

/// A known kernel on so many SMs.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    entry: &'static str,
    /// Elements that the output and the input must have.
    lengths: [u64; 2],
    count: u32,
    blocks: u32,
    /// Operations or bytes of a launch.
    work: f64,
}

impl Kernel {
    fn of(kind: Neighbours, units: u32, size: Size) -> Option<Self> {
        match kind {
            Neighbours::Quiet => None,
            Neighbours::Compute => {
                let blocks = units.max(1) * BLOCKS_PER_UNIT * size.waves;
                let threads = f64::from(blocks) * f64::from(THREADS);
                let work = threads * f64::from(ROUNDS) * f64::from(OPERATIONS);
                Some(Self {
                    entry: COMPUTE,
                    lengths: [THREADS.into(), MATRICES],
                    count: ROUNDS,
                    blocks,
                    work,
                })
            }
            Neighbours::Memory => Some(Self {
                entry: MEMORY,
                lengths: [u64::from(size.streamed) * 4; 2],
                count: size.streamed,
                blocks: size.streamed.div_ceil(THREADS * PER_THREAD),
                work: f64::from(size.streamed) * f64::from(FLOAT4) * 2.0,
            }),
        }
    }
}

/// A worker with known kernels loaded.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) worker: Worker,
    /// SMs that it has.
    pub(super) units: u32,
    /// Number of each candidate, and operations or bytes of its launch.
    pub(super) loaded: Vec<(u32, f64)>,
}

impl Cuda {
    /// Starts a worker at a share with kernels of these kinds; `task` is for messages.
    pub(super) async fn start_known(
        &self,
        task: &Task,
        share: u8,
        kinds: &[Neighbours],
        size: Size,
    ) -> Result<Known, RunError> {
        let kernels: Vec<Kernel> =
            kinds.iter().filter_map(|&kind| Kernel::of(kind, self.units, size)).collect();
        let lengths = [0, 1].map(|of| kernels.iter().map(|kernel| kernel.lengths[of]).max().unwrap_or(1));
        let init = Init {
            protocol: protocol::VERSION,
            seed: 0,
            share,
            cpus: self.cpus.clone(),
            arguments: arguments(lengths),
            reference: None,
            cache: CacheState::Hot,
            memory_limit_bytes: 0,
            gpu: Some(protocol::Gpu { checks: Some(self.checks().await?), load: true }),
        };
        let ready = Ready { verifies: false, task, opened: None };
        let mut worker = worker::start(&self.worker, &init, &self.environment(share), ready).await?;
        let units = worker.ready().units;
        let failed = |why: &dyn std::fmt::Display| {
            RunError::Machine(format!("a known kernel at {share} % ({units} SMs): {why}"))
        };
        // A client that comes while the daemon is gone runs without MPS, and says nothing.
        if self.mps.is_some() && !worker.ready().gpu.as_ref().is_some_and(|gpu| gpu.mps) {
            worker.stop().await;
            self.revive().await;
            return Err(failed(&"its worker runs without MPS, whose daemon has changed or is gone"));
        }
        let mut loaded = Vec::new();
        for &kind in kinds {
            let Some(kernel) = Kernel::of(kind, units, size) else { continue };
            let id = loaded.len() as u32;
            let load = self.known_kernel(kernel).await?;
            worker.load(id, &load, ANSWER).await.map_err(|failure| failed(&failure))?;
            loaded.push((id, kernel.work));
        }
        Ok(Known { worker, units, loaded })
    }

    /// Compiles every known kernel, so that nobody who needs one stands in line at the compilers behind a batch. What does not
    /// compile is told when it is needed.
    pub(super) async fn compile_known(&self) {
        let units = [COMPUTE, MEMORY].map(unit);
        future::join_all(units.iter().map(|unit| self.compiler.build(unit, &[]))).await;
    }

    async fn known_kernel(&self, kernel: Kernel) -> Result<Load, RunError> {
        let Kernel { entry, count, blocks, .. } = kernel;
        let (artifact, symbols) = self
            .compiler
            .build(&unit(entry), &[])
            .await
            .map_err(|failure| RunError::Machine(format!("{entry} does not compile: {failure}")))?;
        Ok(Load {
            artifact: artifact.path,
            symbol: symbols.entry,
            scalars: vec![count.to_string()],
            variables: Vec::new(),
            launch: Some(Launch { grid: [blocks, 1, 1], block: [THREADS, 1, 1], shared_bytes: 0 }),
        })
    }
}

fn unit(entry: &str) -> Unit<'_> {
    Unit { name: "load", source: LOADS, entry, arguments: Vec::new(), options: &[], macros: Vec::new() }
}

/// What all known kernels take: (out, in, count).
fn arguments([out, input]: [u64; 2]) -> Vec<Argument> {
    let buffer = |name: &str, length, init, scratch| {
        Argument::Buffer(Buffer {
            name: name.to_owned(),
            element: ElementType::F32,
            length,
            init: Some(init),
            output: false,
            scratch,
            symbol: None,
            tolerance: None,
        })
    };
    vec![
        buffer("out", out, Contents::Zeros, true),
        buffer("in", input, Contents::Uniform, false),
        Argument::Scalar(Scalar { name: "count".to_owned(), element: ElementType::I32 }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_launched_covers_the_buffers_and_the_sms() {
        let size = Size { waves: 8, streamed: 12 << 20 };
        let memory = Kernel::of(Neighbours::Memory, 99, size).unwrap();
        assert_eq!(u64::from(memory.blocks * THREADS * PER_THREAD) * 4, memory.lengths[0]);
        assert!((memory.work - f64::from(384 << 20)).abs() < 1.0, "192 MiB in and 192 MiB out");
        let compute = Kernel::of(Neighbours::Compute, 99, size).unwrap();
        assert_eq!(compute.blocks, 99 * 2 * 8);
        assert!(Kernel::of(Neighbours::Quiet, 99, size).is_none());
    }
}

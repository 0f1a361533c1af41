//! The messages between agent and worker: JSON, one message a line, one reply to every request.
//!
//! `docs/worker-protocol.md` is the language-neutral description of the same.

use std::path::PathBuf;

use fractune_tuner::kernel::{ElementType, Init as Contents};
use fractune_tuner::results::Footprint;
use fractune_tuner::settings::CacheState;
use fractune_tuner::trial::Outcome;
use serde::{Deserialize, Serialize};

/// Version of the protocol. Parent and worker must agree on it exactly.
pub const VERSION: u32 = 4;

/// Longest line that either side accepts, in bytes.
pub const MAX_LINE: usize = 64 << 20;

/// Most timed runs of one `run` request; their times fit in a line.
pub const MAX_RUNS: u32 = 1_000_000;

/// What the parent asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "camelCase")]
pub enum Request {
    /// The first request: what to set up. Answered by [`Reply::Ready`].
    Init(Box<Init>),
    /// Run the reference and keep its outputs, unless that is done already.
    Reference,
    /// Put the buffers elsewhere in a GPU's memory, and unload every candidate.
    Relocate,
    /// Load a candidate under a number of the parent's choice. Answered by [`Reply::Loaded`].
    Load {
        /// Number of the candidate, not in use by another loaded one.
        id: u32,
        /// What to load.
        #[serde(flatten)]
        load: Load,
    },
    /// Run a candidate once on fresh buffers and compare its outputs with the reference's. Runs the
    /// reference first if that has not been done. Without a reference, only crashes and writes outside of
    /// the buffers are found.
    Verify {
        /// Number of the candidate.
        id: u32,
    },
    /// Time a candidate. Answered by [`Reply::Times`].
    Run {
        /// Number of the candidate.
        id: u32,
        /// How many timed runs, from 1 to [`MAX_RUNS`].
        runs: u32,
        /// Others used the device until just now: its clocks are up.
        #[serde(default)]
        warm: bool,
    },
    /// Unload a candidate.
    Unload {
        /// Number of the candidate.
        id: u32,
    },
    /// End. The worker answers and exits with 0.
    Exit,
}

/// What a worker is set up with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Init {
    /// Version of the protocol: [`VERSION`].
    pub protocol: u32,
    /// Seed of the buffers' contents.
    pub seed: u64,
    /// The share in percent that this worker stands for; for its information only.
    pub share: u8,
    /// The CPUs that the worker and its threads may run on, by number; at least one.
    pub cpus: Vec<usize>,
    /// Arguments of the entry point, in order.
    pub arguments: Vec<Argument>,
    /// What computes the right answer; null where the job does not verify.
    pub reference: Option<Load>,
    /// State of the caches when a timed run starts.
    pub cache: CacheState,
    /// Memory in bytes that candidates may allocate beside the buffers.
    pub memory_limit_bytes: u64,
    /// For CUDA: candidates run on the first GPU that the worker may see. Null: they run on its CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
}

/// How a worker uses its GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// The compiled kernels that compare outputs. Null: only open the GPU and say what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<PathBuf>,
    /// This worker is the load beside what is measured: its times only say how much it does, so the GPU's clocks are not
    /// watched, and nothing is timed again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub load: bool,
}

/// One argument of the entry point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Argument {
    /// A pointer to memory.
    Buffer(Buffer),
    /// A number; its value comes with each [`Load`].
    Scalar(Scalar),
}

/// A buffer argument, its length known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Buffer {
    /// Name, for messages.
    pub name: String,
    /// Type of an element.
    #[serde(rename = "type")]
    pub element: ElementType,
    /// Number of elements.
    pub length: u64,
    /// First contents. None: `Uniform` for an input, poison for an output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Contents>,
    /// Whether candidates write it, and verification compares it.
    #[serde(default)]
    pub output: bool,
    /// Whether candidates write it although it is not compared.
    #[serde(default)]
    pub scratch: bool,
    /// The variable of the artifact that receives the contents, where the buffer is no argument; GPUs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Tolerance of verification; by the type of the elements unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Tolerance>,
}

/// How far an output may be from the reference's: `absolute + relative * |reference|`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tolerance {
    /// Relative error allowed.
    pub relative: f64,
    /// Absolute error allowed. None: `relative` times the root mean square of the reference's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute: Option<f64>,
}

/// A scalar argument.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scalar {
    /// Name, for messages.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub element: ElementType,
}

/// Something compiled that can be loaded and called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Path of the compiled artifact: for C a shared object, for CUDA a CUBIN.
    pub artifact: PathBuf,
    /// Symbol to call: for C a `void symbol(void **args)`, for CUDA the kernel.
    pub symbol: String,
    /// Values of the scalar arguments, in their order, as decimal numbers.
    #[serde(default)]
    pub scalars: Vec<String>,
    /// Symbols of the variables that receive buffers, in the buffers' order; none for C.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<String>,
    /// Launch sizes; null for C.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch: Option<Launch>,
}

/// Launch sizes of a GPU kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
}

/// What the worker answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "camelCase")]
pub enum Reply {
    /// The worker is set up and confined.
    Ready(Ready),
    /// Done.
    Ok,
    /// The candidate is loaded.
    Loaded {
        /// What its launch asks of the device; null where the device does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        footprint: Option<Footprint>,
    },
    /// The runs were made.
    Times(Times),
    /// The candidate failed; the worker lives on.
    Failed {
        /// How the trial ends.
        outcome: Outcome,
        /// What went wrong, as a sentence without a full stop.
        message: String,
    },
    /// The device is of no use to the worker any more: through the candidate, or under MPS through any other
    /// client's. Or it is not ready yet, in answer to `init`. The worker exits.
    Lost {
        /// What the device said.
        message: String,
    },
    /// This worker cannot serve the request, whatever the candidate: the reference is bad, a buffer does
    /// not fit in memory, the request makes no sense.
    Fatal {
        /// What went wrong, as a sentence without a full stop.
        message: String,
    },
}

/// The times of a candidate's runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// Nanoseconds of each run, in the order in which they were made.
    pub times_ns: Vec<u64>,
    /// Launches that each time is the mean of.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub launches: u32,
    /// Why the GPU's clocks were held down although the runs were repeated; null where they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<String>,
}

impl Times {
    /// Times of one launch each.
    #[must_use]
    pub fn of_single(times_ns: Vec<u64>) -> Self {
        Self { times_ns, launches: one(), throttled: None }
    }
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_one(launches: &u32) -> bool {
    *launches == one()
}

/// What a worker says of itself once it is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// Version of the protocol that the worker speaks.
    pub protocol: u32,
    /// Product name of the device.
    pub product: String,
    /// Compute units that candidates have: CPUs or SMs.
    pub units: u32,
    /// What is known of the GPU; null for CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuReady>,
    /// What the system could not give, in sentences: a part of the confinement, say.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What a worker reads back from its GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuReady {
    /// As `nvidia-smi -L` writes it.
    pub uuid: String,
    /// Whether the worker is a client of an MPS server.
    pub mps: bool,
    /// Major and minor compute capability.
    pub compute_capability: [u32; 2],
    /// Free memory in bytes.
    pub free_memory_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_documented_shape() {
        let load = Request::Load {
            id: 7,
            load: Load {
                artifact: "/tmp/a.so".into(),
                symbol: "fractune_call".into(),
                scalars: vec!["64".into()],
                variables: vec![],
                launch: None,
            },
        };
        assert_eq!(
            serde_json::to_string(&load).unwrap(),
            r#"{"request":"load","id":7,"artifact":"/tmp/a.so","symbol":"fractune_call","scalars":["64"]}"#
        );
        assert_eq!(serde_json::to_string(&Request::Exit).unwrap(), r#"{"request":"exit"}"#);
        assert_eq!(
            serde_json::to_string(&Reply::Times(Times::of_single(vec![1, 2]))).unwrap(),
            r#"{"reply":"times","timesNs":[1,2]}"#
        );
        assert_eq!(
            serde_json::to_string(&Reply::Failed { outcome: Outcome::WrongAnswer, message: "m".into() })
                .unwrap(),
            r#"{"reply":"failed","outcome":"WrongAnswer","message":"m"}"#
        );
    }

    #[test]
    fn every_json_example_of_the_document_is_a_message() {
        let document = include_str!("../../../docs/worker-protocol.md");
        let mut seen = 0;
        for line in document.lines().filter(|l| l.starts_with('{')) {
            if line.contains(r#""request""#) {
                serde_json::from_str::<Request>(line).expect(line);
            } else {
                serde_json::from_str::<Reply>(line).expect(line);
            }
            seen += 1;
        }
        assert!(seen >= 12, "{seen} examples");
    }
}

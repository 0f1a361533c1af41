//! The winners of a job, for use by programs: a C and CUDA header, and JSON.

mod header;
mod json;
mod text;

use std::collections::BTreeMap;

pub use header::{HeaderError, header};
pub use json::json;

use crate::condition::{Condition, Neighbours};
use crate::kernel::Configuration;
use crate::results::{Device, JobResult, LoadedResult, ShareResult, TaskResult};

/// The winners of a job, and what a reader must know of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuned {
    /// Name of the job.
    pub job: String,
    /// Where and how times were taken, as sentences of one line each.
    pub device: Vec<String>,
    /// What else a reader must know, one line each.
    pub notes: Vec<String>,
    /// One entry per kernel and problem, in the job's order.
    pub tasks: Vec<TunedTask>,
}

/// The winners of one kernel and problem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TunedTask {
    /// Kernel name.
    pub kernel: String,
    /// Problem name.
    pub problem: String,
    /// Whether outputs were verified.
    pub verified: bool,
    /// Sizes that reach the source as macros; none where they only are arguments.
    pub size_macros: BTreeMap<String, i64>,
    /// One entry per share, then per share and load beside it; empty where no trial was `Ok`.
    pub winners: Vec<Winner>,
}

/// The fastest configuration of one kernel and problem under one condition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Winner {
    /// Share in percent.
    pub share: u8,
    /// What ran on the rest of the GPU.
    pub neighbours: Neighbours,
    /// Its parameter values.
    pub configuration: Configuration,
    /// Its median time in nanoseconds.
    pub time_ns: u64,
    /// Median time of the default configuration in nanoseconds; none where that is not `Ok`.
    pub default_ns: Option<u64>,
    /// The job's metrics of this configuration, by name.
    pub metrics: BTreeMap<String, f64>,
}

impl Winner {
    /// Under which condition it won.
    #[must_use]
    pub fn condition(&self) -> Condition {
        Condition { share: self.share, neighbours: self.neighbours }
    }

    /// Time of the default configuration over that of the winner.
    #[must_use]
    pub fn speedup(&self) -> Option<f64> {
        Some(self.default_ns? as f64 / self.time_ns as f64)
    }
}

impl From<&JobResult> for Tuned {
    fn from(result: &JobResult) -> Self {
        Tuned {
            job: result.job.clone(),
            device: device_lines(&result.device),
            notes: result.device.notes.clone(),
            tasks: result.tasks.iter().map(TunedTask::from).collect(),
        }
    }
}

impl From<&TaskResult> for TunedTask {
    fn from(task: &TaskResult) -> Self {
        TunedTask {
            kernel: task.kernel.clone(),
            problem: task.problem.clone(),
            verified: task.verified,
            size_macros: task.size_macros.clone(),
            winners: task
                .shares
                .iter()
                .map(Winner::from)
                .chain(task.loaded.iter().map(Winner::from))
                .collect(),
        }
    }
}

impl From<&ShareResult> for Winner {
    fn from(share: &ShareResult) -> Self {
        Winner {
            share: share.share,
            neighbours: Neighbours::Quiet,
            configuration: share.best.configuration.clone(),
            time_ns: share.best.time_ns,
            default_ns: share.baseline.as_ref().map(|baseline| baseline.time_ns),
            metrics: share.metrics.clone(),
        }
    }
}

impl From<&LoadedResult> for Winner {
    fn from(loaded: &LoadedResult) -> Self {
        Winner { neighbours: loaded.neighbours, ..Winner::from(&loaded.result) }
    }
}

/// A device in sentences, its notes left out.
fn device_lines(device: &Device) -> Vec<String> {
    let mut lines = Vec::new();
    if device.backend == "replay" {
        lines.push("SIMULATION: times come from a recording, nothing was measured.".to_owned());
    }
    lines.push(format!(
        "Device: {} (backend {}, {} compute units).",
        device.product, device.backend, device.units
    ));
    lines.push(format!("Compiler: {}.", device.compiler));
    if let Some(gpu) = &device.gpu {
        let mps = if gpu.mps { "through MPS" } else { "without MPS" };
        lines.push(format!("GPU: {}, driver {}, {mps}.", gpu.uuid, gpu.driver));
    }
    for (share, units) in &device.units_by_share {
        lines.push(format!("Share {share} %: {units} compute units."));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Value;
    use crate::results::{Ended, Gpu, Timed};

    /// Two winners of one kernel and problem; the default is not `Ok` at the second share.
    pub(super) fn sample() -> Tuned {
        let winner = |share: u8, block_m: i64, default_ns| {
            let values = [("block_m", Value::Int(block_m)), ("element", Value::Text("unsigned long".into()))];
            Winner {
                share,
                neighbours: Neighbours::Quiet,
                configuration: Configuration(values.map(|(name, value)| (name.to_owned(), value)).into()),
                time_ns: 1000 * u64::from(share),
                default_ns,
                metrics: BTreeMap::from([("gflops".to_owned(), 2.5)]),
            }
        };
        Tuned {
            job: "blas".to_owned(),
            device: vec!["Device: A CPU (backend cpu, 8 compute units).".to_owned()],
            notes: vec!["odd */ note /* with\nlines".to_owned()],
            tasks: vec![TunedTask {
                kernel: "sgemm".to_owned(),
                problem: "square".to_owned(),
                verified: true,
                size_macros: BTreeMap::from([("SIZE_M".to_owned(), 512)]),
                winners: vec![winner(50, 64, Some(75_000)), winner(100, 128, None)],
            }],
        }
    }

    fn results() -> JobResult {
        let timed = |trial, time_ns| Timed {
            trial,
            configuration: Configuration(BTreeMap::from([("block_m".to_owned(), Value::Int(64))])),
            time_ns,
            noise_percent: None,
            samples: 9,
        };
        let share = ShareResult {
            share: 50,
            best: timed(3, 1000),
            baseline: Some(timed(0, 1500)),
            served: Vec::new(),
            finalists: Vec::new(),
            metrics: BTreeMap::from([("gflops".to_owned(), 2.5)]),
            footprint: None,
        };
        let task = TaskResult {
            kernel: "sgemm".to_owned(),
            problem: "square".to_owned(),
            weight: 1,
            size_macros: BTreeMap::from([("SIZE_M".to_owned(), 512)]),
            folder: "sgemm.square".to_owned(),
            raw: 2,
            valid: 2,
            trials: 2,
            outcomes: BTreeMap::new(),
            failures: BTreeMap::new(),
            verified: false,
            ended: Ended::MaxTrials,
            search_ms: 1,
            finals_ms: 1,
            default: Configuration::default(),
            shares: vec![share],
            loaded: Vec::new(),
            canary: None,
        };
        let device = Device {
            backend: "cuda".to_owned(),
            product: "NVIDIA H200".to_owned(),
            units: 132,
            units_by_share: BTreeMap::from([(50, 66)]),
            compiler: "NVRTC 13.0".to_owned(),
            gpu: Some(Gpu {
                uuid: "GPU-1".to_owned(),
                driver: "580.65".to_owned(),
                mps: true,
                memory_bytes: 1 << 37,
            }),
            notes: vec!["no Landlock".to_owned()],
        };
        JobResult {
            version: 1,
            job: "blas".to_owned(),
            device,
            shares: vec![50],
            search: crate::settings::SearchSettings::default(),
            measure: crate::settings::MeasureSettings::default(),
            tasks: vec![task],
        }
    }

    #[test]
    fn a_run_s_winners_come_with_their_conditions() {
        let tuned = Tuned::from(&results());
        assert_eq!(
            tuned.device,
            [
                "Device: NVIDIA H200 (backend cuda, 132 compute units).",
                "Compiler: NVRTC 13.0.",
                "GPU: GPU-1, driver 580.65, through MPS.",
                "Share 50 %: 66 compute units.",
            ]
        );
        assert_eq!(tuned.notes, ["no Landlock"]);
        let task = &tuned.tasks[0];
        assert_eq!((task.verified, task.size_macros["SIZE_M"]), (false, 512));
        let winner = &task.winners[0];
        assert_eq!((winner.share, winner.time_ns, winner.default_ns), (50, 1000, Some(1500)));
        assert_eq!(winner.speedup(), Some(1.5));
        assert_eq!(winner.configuration.0["block_m"], Value::Int(64));
    }

    #[test]
    fn a_simulation_is_called_one_before_all_else() {
        let mut results = results();
        results.device.backend = "replay".to_owned();
        assert!(Tuned::from(&results).device[0].starts_with("SIMULATION"));
    }
}

//! What a run is asked to do, what it tells while it runs, and how it can fail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fractune_crds::{TuneJob, TuneJobSpec};
use fractune_tuner::condition::{Condition, Neighbours};
use fractune_tuner::log::LogError;
use fractune_tuner::results::{Device, Gpu, TaskResult};
use fractune_tuner::settings::{MeasureSettings, SearchSettings};
use fractune_tuner::task::Task;
use fractune_tuner::trial::Trial;

/// A validated job.
#[derive(Debug)]
pub struct Plan {
    /// Name of the job.
    pub job: String,
    /// Shares in percent, in the job's order.
    pub shares: Vec<u8>,
    /// What runs beside shares when the kernels are served; Quiet always.
    pub neighbours: Vec<Neighbours>,
    /// How configurations are chosen.
    pub search: SearchSettings,
    /// How times are taken.
    pub measure: MeasureSettings,
    /// Tasks that are tuned at once.
    pub parallelism: usize,
    /// One per kernel and problem.
    pub tasks: Vec<Task>,
}

impl Plan {
    /// The plan of a job whose tasks have been checked.
    #[must_use]
    pub fn new(job: TuneJob, tasks: Vec<Task>) -> Self {
        let TuneJobSpec { shares, neighbours, search, measure, parallelism, .. } = job.spec;
        let job = job.metadata.name.unwrap_or_default();
        Self { job, shares, neighbours, search, measure, parallelism: parallelism as usize, tasks }
    }

    /// Everything that must be equal for trials of two runs of a task to be comparable, by name.
    ///
    /// Whether trials share the device is not among it: by [`Sharing::Auto`](fractune_tuner::settings::Sharing::Auto)
    /// those of one run differ in that already, and their times only choose the finalists, which are measured again
    /// alone. So a run that was begun alone may go on faster.
    #[must_use]
    pub fn identity(&self, task: &Task, device: &Device) -> BTreeMap<String, String> {
        let shares: Vec<_> = self.shares.iter().map(ToString::to_string).collect();
        let MeasureSettings {
            min_time_ms,
            max_noise_percent,
            timeout_seconds,
            cache,
            sharing: _,
            finalists: _,
            knee_percent: _,
        } = &self.measure;
        let first: Vec<_> = self.search.start.iter().map(ToString::to_string).collect();
        [
            ("kernel and problem", task.digest()),
            ("shares", shares.join(",")),
            ("strategy", format!("{:?}", self.search.strategy)),
            ("options", serde_json::to_string(&self.search.options).unwrap_or_default()),
            ("start", first.join("; ")),
            ("seed", self.search.seed.to_string()),
            ("measure", format!("{min_time_ms} ms, {max_noise_percent} %, {timeout_seconds} s, {cache:?}")),
            ("device", format!("{} {} ({} units)", device.backend, device.product, device.units)),
            ("driver and SMs", device.gpu.as_ref().map_or_else(String::new, |gpu| driver(gpu, device))),
            ("compiler", device.compiler.clone()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_string(), value))
        .collect()
    }
}

/// The driver, and what it made of the shares.
fn driver(gpu: &Gpu, device: &Device) -> String {
    let units: Vec<_> =
        device.units_by_share.iter().map(|(share, units)| format!("{share} %: {units}")).collect();
    format!("{}{} ({})", gpu.driver, if gpu.mps { ", MPS" } else { "" }, units.join(", "))
}

/// Where a run writes.
#[derive(Clone, Debug)]
pub struct Output {
    /// The folder.
    pub folder: PathBuf,
    /// Whether to go on with what is there.
    pub resume: bool,
    /// The job as it was read, kept beside the results as `job.yaml`.
    pub manifest: Vec<u8>,
    /// A folder of compiled kernels that this run shares with others.
    pub cache: Option<PathBuf>,
}

/// What a run tells while it runs. Tasks are numbered as in the plan.
#[derive(Clone, Debug)]
pub enum Event {
    /// A task's search begins.
    TaskStarted {
        /// The task.
        task: usize,
        /// `kernel/problem`.
        name: String,
        /// Raw combinations.
        raw: u64,
        /// Valid combinations.
        valid: u64,
        /// Trials that this task will make at most.
        budget: u32,
        /// Trials that an earlier run made.
        resumed: u32,
    },
    /// A trial is complete and in the log, from this run or an earlier one.
    Trial {
        /// The task.
        task: usize,
        /// The trial.
        trial: Trial,
    },
    /// The search is over; the finalists are measured under a condition.
    Finals {
        /// The task.
        task: usize,
        /// The share, and what runs beside it.
        condition: Condition,
        /// How many configurations are measured.
        entries: usize,
    },
    /// A task is done.
    TaskFinished {
        /// The task.
        task: usize,
        /// What was found.
        result: Box<TaskResult>,
    },
    /// Something that a reader should know.
    Note(String),
}

/// Receives a run's events.
pub type Listener<'a> = &'a dyn Fn(Event);

/// Why a run ended without results.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The specification cannot be tuned as it stands.
    #[error("{0}")]
    Spec(String),
    /// The machine cannot do it: no compiler, no memory, no CPUs for a share.
    #[error("{0}")]
    Machine(String),
    /// The output folder cannot be used: another job's, or in use.
    #[error("{0}")]
    Folder(String),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(String),
}

impl RunError {
    /// A failure of reading or writing at `path`.
    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        RunError::Io(format!("{}: {error}", path.display()))
    }

    /// The exit code of a process that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::Spec(_) | RunError::Folder(_) => exit::SPEC,
            RunError::Machine(_) => exit::UNAVAILABLE,
            RunError::Io(_) => exit::IO,
        }
    }
}

impl From<LogError> for RunError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Io { .. } => RunError::Io(error.to_string()),
            LogError::Exists(_) | LogError::Foreign { .. } | LogError::Other { .. } => RunError::Folder(
                format!("{error}; give the same job and options again, or another folder with --out"),
            ),
        }
    }
}

/// Exit codes, after sysexits.h. On a cluster the Job's pod failure policy goes by them.
pub mod exit {
    /// Done: there is a result for every task.
    pub const DONE: u8 = 0;
    /// Done, but at least one task has no configuration that compiled, verified and ran.
    pub const NO_RESULT: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// The specification, or the output folder it names, is wrong: the same input fails again.
    pub const SPEC: u8 = 65;
    /// What tuning needs is not there: a compiler, a device.
    pub const UNAVAILABLE: u8 = 69;
    /// Reading or writing failed, for example on a full disk.
    pub const IO: u8 = 74;
    /// Interrupted: run again with `--resume`.
    pub const INTERRUPTED: u8 = 75;
}

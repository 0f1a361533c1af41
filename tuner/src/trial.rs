//! Trials: one configuration, compiled once, verified, timed at every share of the job.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kernel::Configuration;

/// How a trial, or its measurement at one share, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Verified and timed.
    Ok,
    /// The compiler refused it.
    CompileError,
    /// The compiler did not end in time.
    CompileTimeout,
    /// It needs more of a resource than the device has.
    ResourceExceeded,
    /// It crashed, exited or was refused by the device.
    RuntimeError,
    /// It did not end in time.
    RunTimeout,
    /// Its outputs differ from the reference's.
    WrongAnswer,
    /// Not measured at this share: hopeless or failed at another. Of a whole trial: a replay of what was not
    /// recorded.
    Skipped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One configuration's way through compiler, verification and measurement. A line of the trial log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// Number of the trial in its task, from 0, in the order in which the search asked. Trial 0 is the
    /// default configuration.
    pub trial: u32,
    /// Its parameter values.
    pub configuration: Configuration,
    /// How it ended: `WrongAnswer` if it was wrong at any share, else `Ok` if it was verified and timed at
    /// one share at least.
    pub outcome: Outcome,
    /// What went wrong, in the words of the compiler, the worker or the verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Compile time in nanoseconds; 0 when the cache had it.
    pub compile_ns: u64,
    /// One entry per share of the job, in the job's order; empty where the trial never ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measurement>,
    /// When it was complete, in milliseconds of search time since the task began (over all its runs).
    pub elapsed_ms: u64,
}

/// A trial's times at one share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// The share in percent.
    pub share: u8,
    /// How the measurement ended.
    pub outcome: Outcome,
    /// The median of the samples in nanoseconds, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ns: Option<u64>,
    /// Every sample in nanoseconds, in the order in which they were taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples_ns: Vec<u64>,
}

impl Trial {
    /// The time at a share (percent) in nanoseconds, if the trial is `Ok` and was timed there.
    #[must_use]
    pub fn time_ns(&self, share: u8) -> Option<u64> {
        if self.outcome != Outcome::Ok {
            return None;
        }
        self.measurements.iter().find(|m| m.share == share && m.outcome == Outcome::Ok)?.time_ns
    }
}

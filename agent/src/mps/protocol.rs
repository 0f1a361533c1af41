//! What a run and the guardian of its daemon say to each other: JSON, one message a line, over the guardian's
//! standard input and output. Both are the same program, so the messages carry no version.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How the guardian of a private daemon is started: this program's own hidden subcommand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, such as `mps-guard`.
    pub arguments: Vec<OsString>,
}

/// The one message to the guardian. What follows is silence, until the end of the input: then the parent has
/// ended, in whatever way, and the daemon has to end as well.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    /// UUID of the GPU that the daemon is for.
    pub(super) gpu: String,
    /// Where the daemon lives; in a folder made for it unless given.
    pub(super) home: Option<Home>,
}

/// A place that a daemon is started at again and again, because others have its folder mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Home {
    /// The folder, which is made if it is not there. The pipe directory is `pipe` in it, that of logs `log`.
    pub folder: PathBuf,
}

/// What the guardian tells.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "camelCase")]
pub(super) enum Report {
    /// The daemon answers.
    Ready(Place),
    /// There is no daemon, and there will be none.
    Failed {
        /// Why, and the way out.
        message: String,
    },
    /// The daemon has ended by itself. The guardian clears up after it and ends.
    Died {
        /// How.
        message: String,
    },
}

/// Where a private daemon lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    /// The folder that holds everything of the daemon's.
    pub(super) folder: PathBuf,
    /// Whether the folder goes with the daemon.
    pub(super) temporary: bool,
    /// `CUDA_MPS_PIPE_DIRECTORY`.
    pub(super) pipe: PathBuf,
    /// `CUDA_MPS_LOG_DIRECTORY`.
    pub(super) log: PathBuf,
    /// The control program.
    pub(super) program: PathBuf,
}

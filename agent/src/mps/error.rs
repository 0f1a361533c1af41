//! Why MPS cannot be used.

use std::io;
use std::path::PathBuf;

use super::control::{ControlError, ProgramMissing};

/// Why MPS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MpsError {
    /// The control program is not there.
    #[error(transparent)]
    ProgramMissing(#[from] ProgramMissing),
    /// The guardian of a private daemon could not be started, or was lost while it got ready.
    #[error("{program}: the MPS daemon's guardian cannot be started: {source}", program = program.display())]
    Guard {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The private daemon did not start.
    #[error("the MPS control daemon does not start: {0}")]
    Start(String),
    /// The daemon that the environment names does not answer.
    #[error(
        "CUDA_MPS_PIPE_DIRECTORY={directory}: no MPS control daemon answers there ({reason}); start it, or \
         unset the variable to have one started for this run",
        directory = directory.display()
    )]
    NoAnswer {
        /// The directory.
        directory: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// A question to the daemon was not answered.
    #[error("the MPS control daemon did not do {command:?}: {source}")]
    Control {
        /// The command.
        command: String,
        /// What went wrong.
        source: ControlError,
    },
}

//! Why a device did not do what it was asked.

use fractune_tuner::trial::Outcome;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The candidate is to blame.
    #[error("{outcome}: {message}")]
    Candidate {
        /// How the trial ends.
        outcome: Outcome,
        /// What went wrong.
        message: String,
    },
    /// The device is of no use to this process any more: a candidate's fault, or under MPS a neighbour's.
    #[error("{message}")]
    Lost {
        /// What the device said.
        message: String,
    },
    /// No candidate could pass.
    #[error("{message}")]
    Fatal {
        /// What went wrong.
        message: String,
    },
}

impl Fault {
    pub(crate) fn fatal(message: impl Into<String>) -> Self {
        Self::Fatal { message: message.into() }
    }

    pub(crate) fn lost(message: impl Into<String>) -> Self {
        Self::Lost { message: message.into() }
    }

    pub(crate) fn candidate(outcome: Outcome, message: impl Into<String>) -> Self {
        Self::Candidate { outcome, message: message.into() }
    }
}

//! CPUs: candidates are shared objects, called in the worker's own process.
//!
//! This is one of the two places where `unsafe` is allowed; it is kept to `memory`, `library`,
//! `evict` and `float_control`.

mod compare;
mod contents;
mod device;
mod element;
mod evict;
mod float_control;
mod library;
mod memory;
mod product;
mod scalar;

use fractune_tuner::trial::Outcome;

pub use device::Device;
pub use product::product;

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

    pub(crate) fn candidate(outcome: Outcome, message: impl Into<String>) -> Self {
        Self::Candidate { outcome, message: message.into() }
    }
}

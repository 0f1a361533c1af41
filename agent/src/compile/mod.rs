//! Compiling candidates: C by the system's compiler, CUDA by NVRTC in processes of its own.

mod cc;
pub mod nvrtc;
mod serve;

pub use cc::{Compiler, SYMBOL};
pub use serve::serve;

use std::path::PathBuf;

use fractune_tuner::kernel::ElementType;
use fractune_tuner::trial::Outcome;

/// What a compilation is made from. Equal units have equal artifacts.
#[derive(Clone, Debug)]
pub struct Unit<'a> {
    /// Name of the kernel, which messages show as the file's name.
    pub name: &'a str,
    /// The source text.
    pub source: &'a str,
    /// The function to call.
    pub entry: &'a str,
    /// The function's arguments: whether a buffer, and the type of an element.
    pub arguments: Vec<(bool, ElementType)>,
    /// Options, one a string.
    pub options: &'a [String],
    /// Macros by name.
    pub macros: Vec<(String, String)>,
}

/// A compiled unit.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The shared object.
    pub path: PathBuf,
    /// Time that compiling took in nanoseconds; 0 when it had been compiled before.
    pub compile_ns: u64,
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
pub enum CompileFailure {
    /// The candidate is to blame.
    #[error("{message}")]
    Candidate {
        /// `CompileError` or `CompileTimeout`.
        outcome: Outcome,
        /// The compiler's words.
        message: String,
        /// Time spent in nanoseconds.
        compile_ns: u64,
    },
    /// The machine is: no candidate could be compiled.
    #[error("cannot compile: {0}")]
    Machine(String),
}

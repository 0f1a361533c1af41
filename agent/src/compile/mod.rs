//! Compiling candidates: C by the system's compiler, CUDA by NVRTC in processes of its own.

mod cache;
mod cc;
mod headers;
pub mod nvrtc;
mod serve;
mod store;
mod toolchain;

pub use cache::Cache;
pub use cc::{Compiler, SYMBOL};
pub use serve::serve;
pub use store::Store;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use fractune_tuner::kernel::ElementType;
use fractune_tuner::trial::Outcome;
use sha2::{Digest as _, Sha256};

/// Characters of a compiler's message that are kept.
const MESSAGE_CHARS: usize = 2000;

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
    /// The shared object, or the CUBIN.
    pub path: PathBuf,
    /// Time that compiling took in nanoseconds; 0 when it had been compiled before, by this run or one that shares.
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

/// What has been hashed, as a name of a file can have it.
fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Hashes some bytes so that no others after or before them could stand for the same.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// The key under which runs share what has the key `own` in one run, and depends on `environment`, too. What this program
/// adds to a unit may be different in another version of it.
fn shared_key(own: &str, environment: &str) -> String {
    let mut hash = Sha256::new();
    for bytes in ["fractune", env!("CARGO_PKG_VERSION"), own, environment] {
        part(&mut hash, bytes.as_bytes());
    }
    hex(hash)
}

/// A compiler's message from its first error on.
fn from_first_error(message: &str) -> String {
    let start = message
        .find("error:")
        .and_then(|at| message.get(..at))
        .map_or(0, |head| head.rfind('\n').map_or(0, |newline| newline + 1));
    let text: String =
        message.get(start..).unwrap_or(message).trim_end().chars().take(MESSAGE_CHARS).collect();
    if text.is_empty() { "the compiler failed and said nothing".into() } else { text }
}

/// The message of a `CompileTimeout`.
fn too_late(limit: Duration) -> String {
    format!("the compiler did not end within {} s", limit.as_secs())
}

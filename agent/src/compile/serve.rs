//! The compiler's side: a process that compiles CUDA C++ for its parent until its input ends.
//!
//! A source may crash the compiler, keep it busy for ever or eat all memory. It does so here, confined.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use serde::{Deserialize, Serialize};

use super::toolchain::stamp;
use crate::backend::cuda::nvrtc::{Nvrtc, Program};
use crate::worker::confine::{self, Readable};
use crate::worker::limits::lifelines;

/// Below everything that measures: a compiler takes what CPUs are left.
const NICENESS: i32 = 10;
/// Address space of a compiler: one source may not eat the machine's memory.
const LARGEST_MEMORY: u64 = 16 << 30;

/// What is to be compiled; one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// The file's name in messages.
    pub(super) name: String,
    pub(super) source: String,
    /// The kernel, as C++ names it.
    pub(super) entry: String,
    /// Variables whose symbols are wanted.
    pub(super) variables: Vec<String>,
    pub(super) options: Vec<String>,
}

/// One line of JSON; behind `Compiled` come the bytes of the CUBIN.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// First of all: which compiler this is.
    Ready {
        version: (i32, i32),
        library: String,
        /// Sizes and times of the files that it was loaded from.
        files: Vec<String>,
        /// The folders whose headers may be included.
        includes: Vec<PathBuf>,
    },
    /// In place of `Ready`: why there is none.
    Unusable(String),
    Compiled {
        bytes: usize,
        entry: String,
        variables: Vec<String>,
    },
    /// The compiler's words.
    Refused(String),
}

/// Runs this process as a compiler: one reply on standard output for every request on standard input, until
/// that ends. To be called first thing in a process of its own with one thread.
#[must_use]
pub fn serve() -> ExitCode {
    match session() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn session() -> io::Result<()> {
    // Each of these only makes a bad source or a dead parent cheaper: without them it works all the same.
    let _ = nice(NICENESS);
    lifelines();
    for (resource, most) in [(Resource::Fsize, 0), (Resource::As, LARGEST_MEMORY)] {
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    }
    let mut replies = io::stdout().lock();
    let nvrtc = match Nvrtc::load() {
        Ok(nvrtc) => nvrtc,
        Err(error) => return write(&mut replies, &Reply::Unusable(error.to_string()), &[]),
    };
    let ready = Reply::Ready {
        version: nvrtc.version(),
        library: nvrtc.library().to_string(),
        files: files(),
        includes: nvrtc.includes().to_vec(),
    };
    // A source can include any file, and the compiler quotes it in its messages: headers are all it may see.
    confine::confine(Readable::Only(nvrtc.includes()));
    write(&mut replies, &ready, &[])?;
    for line in io::stdin().lock().lines() {
        let Request { name, source, entry, variables, options } = serde_json::from_str(&line?)?;
        let program =
            Program { name: &name, source: &source, entry: &entry, variables: &variables, options: &options };
        match nvrtc.compile(&program) {
            Ok(compiled) => {
                let (entry, variables) = (compiled.entry, compiled.variables);
                let reply = Reply::Compiled { bytes: compiled.image.len(), entry, variables };
                write(&mut replies, &reply, &compiled.image)?;
            }
            Err(message) => write(&mut replies, &Reply::Refused(message), &[])?,
        }
    }
    Ok(())
}

/// The files of NVRTC that this process has loaded: two releases may have the same version number.
fn files() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let paths: BTreeSet<&str> = maps.lines().filter_map(|line| line.get(line.find('/')?..)).collect();
    paths.into_iter().map(Path::new).filter(|path| is_nvrtc(path)).map(stamp).collect()
}

fn is_nvrtc(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libnvrtc"))
}

fn write(replies: &mut impl io::Write, reply: &Reply, image: &[u8]) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    replies.write_all(&line)?;
    replies.write_all(image)?;
    replies.flush()
}

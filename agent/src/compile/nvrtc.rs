//! A pool of compiler processes for CUDA C++: as many as there are CPUs, each compiling one source at a time.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fractune_tuner::trial::Outcome;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::cache::Entry;
use super::headers::{Headers, names_a_file};
use super::serve::{Reply, Request};
use super::store::Store;
use super::{Artifact, CompileFailure, Unit, from_first_error, too_late};
use crate::lock::lock;
use crate::process::{Group, spawn_group};
use crate::worker::WorkerCommand;

/// Longest reply line, and largest CUBIN, in bytes.
const LARGEST_REPLY: usize = 256 << 20;
/// A compiler loads its library within this time, also on a busy machine.
const START: Duration = Duration::from_mins(1);

/// The compiler processes, and what they have made.
#[derive(Debug)]
pub struct Pool {
    command: WorkerCommand,
    store: Store,
    timeout: Duration,
    identity: Identity,
    headers: Headers,
    architecture: String,
    /// One for each source that may be compiled at once, first come first served.
    places: Semaphore,
    idle: Mutex<Vec<Process>>,
    /// Symbols of every artifact, by its key.
    made: Mutex<HashMap<String, Symbols>>,
}

/// Which NVRTC it is.
#[derive(Debug)]
struct Identity {
    version: (i32, i32),
    library: String,
    /// Sizes and times of its files.
    files: Vec<String>,
    /// The folders whose headers may be included.
    includes: Vec<PathBuf>,
}

/// What a CUBIN calls the things that a job names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbols {
    /// The kernel.
    pub entry: String,
    /// Variables, in the order in which they were asked for.
    pub variables: Vec<String>,
}

impl Pool {
    /// Starts a first compiler with `command`; `places` may be at work at once. Artifacts will be kept in `store`.
    ///
    /// # Errors
    /// [`CompileFailure::Machine`] if there is no NVRTC, with where it was looked for and what to install.
    pub async fn start(
        command: WorkerCommand,
        places: usize,
        store: &Store,
        timeout: Duration,
    ) -> Result<Self, CompileFailure> {
        let (process, identity) = Process::start(&command).await.map_err(CompileFailure::Machine)?;
        Ok(Self {
            command,
            store: store.clone(),
            timeout,
            headers: Headers::new(identity.includes.clone()),
            identity,
            architecture: String::new(),
            places: Semaphore::new(places.max(1)),
            idle: Mutex::new(vec![process]),
            made: Mutex::default(),
        })
    }

    /// Compiles for GPUs of this compute capability from now on.
    pub fn target(&mut self, [major, minor]: [u32; 2]) {
        self.architecture = format!("sm_{major}{minor}");
    }

    /// Major and minor version of NVRTC.
    #[must_use]
    pub fn version(&self) -> (i32, i32) {
        self.identity.version
    }

    /// NVRTC's library.
    #[must_use]
    pub fn library(&self) -> &str {
        &self.identity.library
    }

    /// Compiles `unit` and finds the symbols of its entry point and of `variables`, unless that is done already.
    ///
    /// # Errors
    /// [`CompileFailure`], either the candidate's or the machine's.
    pub async fn build(
        &self,
        unit: &Unit<'_>,
        variables: &[String],
    ) -> Result<(Artifact, Symbols), CompileFailure> {
        let request = self.request(unit, variables);
        let key = self.key(&request);
        let path = self.store.objects().join(format!("{key}.cubin"));
        let failed = |error| CompileFailure::Machine(format!("{}: {error}", path.display()));
        let made = lock(&self.made).get(&key).cloned();
        if let Some(symbols) = made.filter(|_| path.exists()) {
            return Ok((Artifact { path, compile_ns: 0 }, symbols));
        }
        let shared = self.shared_key(&key, unit);
        if let Some((image, symbols)) = self.borrow(shared.as_deref(), variables.len()).await {
            self.store.keep(&path, &image).map_err(failed)?;
            lock(&self.made).insert(key, symbols.clone());
            return Ok((Artifact { path, compile_ns: 0 }, symbols));
        }
        let ended = |_| CompileFailure::Machine("the compilers have ended".into());
        let _place = self.places.acquire().await.map_err(ended)?;
        let started = Instant::now();
        let idle = lock(&self.idle).pop();
        let mut result = self.compile(&request, idle).await;
        if matches!(result, Err(Broken::Died(_))) {
            // What kills a compiler may have come from outside, and have killed the others that wait: the second
            // time, in a new process, tells.
            result = self.compile(&request, None).await;
        }
        let compile_ns = started.elapsed().as_nanos() as u64;
        let candidate = |outcome, message| CompileFailure::Candidate { outcome, message, compile_ns };
        let (image, symbols) = match result {
            Ok(done) => done,
            Err(Broken::Refused(message)) => {
                return Err(candidate(Outcome::CompileError, explain(&message)));
            }
            Err(Broken::Died(how)) => {
                return Err(candidate(Outcome::CompileError, format!("the compiler crashed: {how}")));
            }
            Err(Broken::TimedOut) => {
                return Err(candidate(Outcome::CompileTimeout, too_late(self.timeout)));
            }
            Err(Broken::Machine(why)) => return Err(CompileFailure::Machine(why)),
        };
        self.store.keep(&path, &image).map_err(failed)?;
        lock(&self.made).insert(key, symbols.clone());
        if let Some(shared) = &shared {
            self.store.lend(shared, Entry { image, symbols: symbols.to_list() }).await;
        }
        Ok((Artifact { path, compile_ns }, symbols))
    }

    /// What another run has compiled.
    async fn borrow(&self, shared: Option<&str>, variables: usize) -> Option<(Vec<u8>, Symbols)> {
        let Entry { image, symbols } = self.store.borrow(shared?).await?;
        let symbols = Symbols::of_list(symbols).filter(|symbols| symbols.variables.len() == variables)?;
        Some((image, symbols))
    }

    /// Compiles in a process that waits, or in a new one.
    async fn compile(&self, request: &Request, idle: Option<Process>) -> Result<(Vec<u8>, Symbols), Broken> {
        let mut process = match idle {
            Some(process) => process,
            None => Process::start(&self.command).await.map_err(Broken::Machine)?.0,
        };
        let Ok(result) = timeout(self.timeout, process.compile(request)).await else {
            process.group.kill().await;
            return Err(Broken::TimedOut);
        };
        if matches!(result, Ok(_) | Err(Broken::Refused(_))) {
            lock(&self.idle).push(process);
        }
        result
    }

    fn request(&self, unit: &Unit<'_>, variables: &[String]) -> Request {
        let names_architecture =
            |option: &String| option.contains("-arch") || option.contains("gpu-architecture");
        let architecture = (!unit.options.iter().any(names_architecture))
            .then(|| format!("--gpu-architecture={}", self.architecture));
        let macros = unit.macros.iter().map(|(name, value)| format!("--define-macro={name}={value}"));
        Request {
            name: format!("{}.cu", unit.name),
            source: unit.source.into(),
            entry: unit.entry.into(),
            variables: variables.to_vec(),
            options: architecture.into_iter().chain(unit.options.iter().cloned()).chain(macros).collect(),
        }
    }

    fn key(&self, request: &Request) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", self.identity.version));
        // Plain strings, so that this does not fail.
        hash.update(serde_json::to_vec(request).unwrap_or_default());
        super::hex(hash)
    }

    /// The key under which other runs, on other machines, find what has `key` in this one. None if it is not shared, or
    /// may depend on what cannot be told.
    fn shared_key(&self, key: &str, unit: &Unit<'_>) -> Option<String> {
        let told = !self.identity.files.is_empty() && !unit.options.iter().any(|option| names_a_file(option));
        if !self.store.is_shared() || !told {
            return None;
        }
        let headers = self.headers.digest(unit.source)?;
        let mut hash = Sha256::new();
        for text in self.identity.files.iter().chain([&headers]) {
            super::part(&mut hash, text.as_bytes());
        }
        Some(super::shared_key(key, &super::hex(hash)))
    }
}

impl Symbols {
    fn to_list(&self) -> Vec<String> {
        std::iter::once(&self.entry).chain(&self.variables).cloned().collect()
    }

    fn of_list(list: Vec<String>) -> Option<Self> {
        let mut list = list.into_iter();
        Some(Self { entry: list.next()?, variables: list.collect() })
    }
}

/// Why a request has no CUBIN.
enum Broken {
    Refused(String),
    Died(String),
    TimedOut,
    Machine(String),
}

/// One compiler process; killed when dropped.
#[derive(Debug)]
struct Process {
    group: Group,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a compiler: also which one it is.
    async fn start(command: &WorkerCommand) -> Result<(Self, Identity), String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", command.program.display());
        let mut child = Command::new(&command.program);
        child.args(&command.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut group = spawn_group(&mut child).map_err(|error| failed(&error))?;
        let (Some(requests), Some(replies)) = (group.child.stdin.take(), group.child.stdout.take()) else {
            return Err(failed(&"the compiler has no pipes"));
        };
        let mut process = Self { group, requests, replies: BufReader::new(replies) };
        match timeout(START, process.reply()).await {
            Ok(Ok(Reply::Ready { version, library, files, includes })) => {
                Ok((process, Identity { version, library, files, includes }))
            }
            Ok(Ok(Reply::Unusable(why))) => Err(why),
            Ok(Ok(_)) => Err(failed(&"the compiler speaks out of protocol")),
            Ok(Err(error)) => Err(failed(&format!("the compiler process does not start: {error}"))),
            Err(_) => {
                Err(failed(&format!("the compiler process was not ready within {} s", START.as_secs())))
            }
        }
    }

    async fn compile(&mut self, request: &Request) -> Result<(Vec<u8>, Symbols), Broken> {
        match self.exchange(request).await {
            Ok((Reply::Compiled { bytes: _, entry, variables }, image)) => {
                Ok((image, Symbols { entry, variables }))
            }
            Ok((Reply::Refused(message), _)) => Err(Broken::Refused(message)),
            Ok(_) => Err(Broken::Died("it spoke out of protocol".into())),
            Err(error) => {
                let ended = timeout(Duration::from_secs(2), self.group.child.wait()).await;
                let how = match ended {
                    Ok(Ok(status)) => crate::worker::status::in_words(status),
                    _ => error.to_string(),
                };
                Err(Broken::Died(how))
            }
        }
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<(Reply, Vec<u8>)> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.requests.write_all(&line).await?;
        let reply = self.reply().await?;
        let bytes = if let Reply::Compiled { bytes, .. } = reply { bytes } else { 0 };
        if bytes > LARGEST_REPLY {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut image = vec![0; bytes];
        self.replies.read_exact(&mut image).await?;
        Ok((reply, image))
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        let mut line = Vec::new();
        (&mut self.replies).take(LARGEST_REPLY as u64).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

/// The compiler's message from its first error on, with a hint where its own headers are what breaks.
fn explain(message: &str) -> String {
    let text = from_first_error(message.trim());
    // Parameters are macros, and macros reach into the compiler's own headers.
    if message.contains("__nv_nvrtc_builtin_header.h") {
        return format!(
            "a parameter or size has the name of something in CUDA's headers, as a macro: rename it\n{text}"
        );
    }
    text
}

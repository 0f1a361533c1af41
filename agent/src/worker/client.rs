//! The parent's side: starts a worker, asks it, and sees how it died.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use fractune_tuner::results::Footprint;
use fractune_tuner::trial::Outcome;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::protocol::{Init, Load, MAX_LINE, Ready, Reply, Request, Times, VERSION};
use super::status;

/// How long a worker that closed its pipe may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// Variables of the parent that workers keep.
const KEPT_VARIABLES: [&str; 3] = ["PATH", "HOME", "LANG"];

/// How a worker is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The program, such as the agent itself.
    pub program: PathBuf,
    /// Its arguments, such as `worker`.
    pub args: Vec<OsString>,
}

/// A running worker. Killed, with its whole process group, when dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    ready: Ready,
    state: State,
}

/// What the next request meets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// A reply is due. Still so when the next request comes: the caller gave up on the last one.
    Asked,
    Dead(String),
}

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The program could not be started.
    #[error("{program}: the worker cannot be started: {source}", program = program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It speaks another version of the protocol.
    #[error("the worker speaks protocol {theirs}, the agent {VERSION}: use a worker of the same release")]
    Version {
        /// The version that it speaks.
        theirs: u32,
    },
    /// It could not set itself up, died or took too long.
    #[error("the worker could not be set up: {0}")]
    Setup(#[from] Failure),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The candidate failed; the worker lives on.
    #[error("{message}")]
    Refused {
        /// How the trial ends.
        outcome: Outcome,
        /// What went wrong.
        message: String,
    },
    /// The worker is dead. Says how, such as `killed by signal 11 (SIGSEGV)` or `called exit(3)`.
    #[error("the worker {message}")]
    Died {
        /// How it died.
        message: String,
    },
    /// The worker's device is of no use to it any more, or not ready yet; the worker is dead.
    #[error("{message}")]
    Lost {
        /// What the device said.
        message: String,
    },
    /// No reply in time. The worker still runs, and is of no use: drop it, which kills it.
    #[error("no reply within {} s", limit.as_secs_f64())]
    TimedOut {
        /// The time that it had.
        limit: Duration,
    },
    /// No candidate could pass, such as with a reference that writes NaN; the worker lives on.
    #[error("{message}")]
    Fatal {
        /// What went wrong.
        message: String,
    },
}

impl Failure {
    /// How the trial ends; none where the candidate is not to blame.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Refused { outcome, .. } => Some(*outcome),
            Self::Died { .. } | Self::Lost { .. } => Some(Outcome::RuntimeError),
            Self::TimedOut { .. } => Some(Outcome::RunTimeout),
            Self::Fatal { .. } => None,
        }
    }
}

impl Worker {
    /// Starts a worker and sets it up. It sees `PATH`, `HOME`, `LANG` and `env`, and nothing else of the
    /// environment. It dies with the thread that calls this: call it from one that lasts.
    ///
    /// # Errors
    /// [`WorkerError`] when the program does not start, or is not ready within `limit`.
    pub async fn start(
        command: &WorkerCommand,
        init: &Init,
        env: &[(String, OsString)],
        limit: Duration,
    ) -> Result<Self, WorkerError> {
        let failed = |source| WorkerError::Spawn { program: command.program.clone(), source };
        let mut child = Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .envs(KEPT_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        let nothing_yet = Ready { protocol: 0, product: String::new(), units: 0, gpu: None, notes: vec![] };
        let replies = BufReader::new(replies);
        let mut worker = Self { child, requests, replies, ready: nothing_yet, state: State::Idle };
        match worker.ask(&Request::Init(Box::new(init.clone())), limit).await? {
            Reply::Ready(ready) if ready.protocol == VERSION => worker.ready = ready,
            Reply::Ready(ready) => return Err(WorkerError::Version { theirs: ready.protocol }),
            other => return Err(worker.out_of_protocol(&other).await.into()),
        }
        Ok(worker)
    }

    /// What the worker said of itself.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Its process, and its process group; none once it is known to be dead.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Runs the reference, unless that is done. [`Worker::verify`] does so by itself; asking first tells a
    /// reference that crashes or hangs from a candidate that does.
    ///
    /// # Errors
    /// [`Failure::Fatal`] when the reference is of no use.
    pub async fn reference(&mut self, limit: Duration) -> Result<(), Failure> {
        self.done(&Request::Reference, limit).await
    }

    /// Loads a candidate as number `id`, and returns what its launch asks of the device where that says so.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be loaded.
    pub async fn load(
        &mut self,
        id: u32,
        load: &Load,
        limit: Duration,
    ) -> Result<Option<Footprint>, Failure> {
        match self.ask(&Request::Load { id, load: load.clone() }, limit).await? {
            Reply::Loaded { footprint } => Ok(footprint),
            other => Err(self.out_of_protocol(&other).await),
        }
    }

    /// Has the buffers put elsewhere in the GPU's memory, where no candidate is loaded any more.
    ///
    /// # Errors
    /// [`Failure`] where there is no room for that.
    pub async fn relocate(&mut self, limit: Duration) -> Result<(), Failure> {
        self.done(&Request::Relocate, limit).await
    }

    /// Runs candidate `id` once and compares its outputs with the reference's.
    ///
    /// # Errors
    /// [`Failure::Refused`] with `WrongAnswer` when they differ.
    pub async fn verify(&mut self, id: u32, limit: Duration) -> Result<(), Failure> {
        self.done(&Request::Verify { id }, limit).await
    }

    /// Times `runs` runs of candidate `id`: as many times. The device `is_warm` if others used it until just now.
    ///
    /// # Errors
    /// [`Failure`] when it fails.
    pub async fn run(
        &mut self,
        id: u32,
        runs: u32,
        is_warm: bool,
        limit: Duration,
    ) -> Result<Times, Failure> {
        match self.ask(&Request::Run { id, runs, warm: is_warm }, limit).await? {
            Reply::Times(times) if times.times_ns.len() == runs as usize => Ok(times),
            other => Err(self.out_of_protocol(&other).await),
        }
    }

    /// Unloads candidate `id`.
    ///
    /// # Errors
    /// [`Failure`] when it is not loaded, or its finalisers end the worker.
    pub async fn unload(&mut self, id: u32, limit: Duration) -> Result<(), Failure> {
        self.done(&Request::Unload { id }, limit).await
    }

    /// Ends the worker: asks it to, and kills it when it takes its time.
    pub async fn stop(mut self) {
        let _ = self.ask(&Request::Exit, GRACE).await;
        if timeout(GRACE, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// The worker if its process runs, as far as can be told without asking it anything.
    #[must_use]
    pub fn if_alive(mut self) -> Option<Self> {
        matches!(self.child.try_wait(), Ok(None)).then_some(self)
    }

    /// Kills the worker and waits, briefly, until it is gone.
    pub async fn end(mut self) {
        let _ = timeout(GRACE, self.kill()).await;
    }

    async fn done(&mut self, request: &Request, limit: Duration) -> Result<(), Failure> {
        match self.ask(request, limit).await? {
            Reply::Ok => Ok(()),
            other => Err(self.out_of_protocol(&other).await),
        }
    }

    /// Sends a request and waits for its reply; `failed` and `fatal` are errors.
    async fn ask(&mut self, request: &Request, limit: Duration) -> Result<Reply, Failure> {
        match &self.state {
            State::Idle => {}
            State::Dead(message) => return Err(Failure::Died { message: message.clone() }),
            State::Asked => return Err(self.bury("was given up in the middle of a request").await),
        }
        self.state = State::Asked;
        let line = match timeout(limit, self.exchange(request)).await {
            Ok(Ok(line)) => line,
            Ok(Err(Broken::Closed)) => return Err(self.autopsy().await),
            Ok(Err(Broken::TooLong)) => {
                return Err(self.bury("spoke out of protocol: a reply of more than 64 MiB").await);
            }
            // Not killed here: on a GPU, what hangs is taken off the device first.
            Err(_) => return Err(Failure::TimedOut { limit }),
        };
        let Ok(reply) = serde_json::from_slice(&line) else {
            return Err(self.bury("spoke out of protocol: its reply is no message").await);
        };
        self.state = State::Idle;
        match reply {
            Reply::Failed { outcome, message } => Err(Failure::Refused { outcome, message }),
            Reply::Fatal { message } => Err(Failure::Fatal { message }),
            Reply::Lost { message } => {
                self.bury(&message).await;
                Err(Failure::Lost { message })
            }
            reply => Ok(reply),
        }
    }

    async fn exchange(&mut self, request: &Request) -> Result<Vec<u8>, Broken> {
        let mut line = serde_json::to_vec(request).map_err(|_| Broken::Closed)?;
        line.push(b'\n');
        self.requests.write_all(&line).await.map_err(|_| Broken::Closed)?;
        self.read_line().await
    }

    /// The next line, without ever holding more than [`MAX_LINE`] bytes of it.
    async fn read_line(&mut self) -> Result<Vec<u8>, Broken> {
        let mut line = Vec::new();
        loop {
            let available = self.replies.fill_buf().await.map_err(|_| Broken::Closed)?;
            if available.is_empty() {
                return Err(Broken::Closed);
            }
            let end = available.iter().position(|&b| b == b'\n');
            let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            if line.len() + part.len() > MAX_LINE {
                return Err(Broken::TooLong);
            }
            line.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.replies.consume(used);
            if end.is_some() {
                return Ok(line);
            }
        }
    }

    async fn out_of_protocol(&mut self, reply: &Reply) -> Failure {
        let kind = match reply {
            Reply::Ready(_) => "ready",
            Reply::Ok => "ok",
            Reply::Loaded { .. } => "loaded",
            Reply::Times(_) => "times of another number of runs",
            Reply::Failed { .. } => "failed",
            Reply::Fatal { .. } => "fatal",
            Reply::Lost { .. } => "lost",
        };
        self.bury(&format!("spoke out of protocol: answered {kind:?}")).await
    }

    /// Finds out how a worker died that closed its pipe.
    async fn autopsy(&mut self) -> Failure {
        match timeout(GRACE, self.child.wait()).await {
            Ok(Ok(status)) => self.bury(&status::in_words(status)).await,
            Ok(Err(_)) | Err(_) => self.bury("closed its pipe").await,
        }
    }

    /// Kills what is left and remembers why.
    async fn bury(&mut self, message: &str) -> Failure {
        self.state = State::Dead(message.to_owned());
        self.kill().await;
        Failure::Died { message: message.to_owned() }
    }

    async fn kill(&mut self) {
        self.kill_group();
        let _ = self.child.wait().await;
    }

    /// Kills the worker and whatever it may have started, if it has not been reaped: after that its number
    /// may be another's.
    fn kill_group(&self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Why no reply was read.
enum Broken {
    Closed,
    TooLong,
}

//! The reporter: a pod's sidecar that writes what the tuning container finds to the status of its `TuneTask`.
//!
//! It alone holds a credential. It reads the other container's files as what they are, the word of a stranger, and
//! never stops it: while the API server is away, tuning goes on, and everything is written later.

mod backoff;
mod checkpoint;
mod conditions;
mod follow;
mod progress;
mod reporter;
mod server;
mod sight;
mod status;

use std::path::PathBuf;
use std::time::Duration;

use kube::{Client, Config};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::error;

use crate::link::{self, Link, Start};
use crate::tune::exit;

/// The command line of `fractune-agent report`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Exit with 0 if the tuning container may start, and with 1 if not: for the startup probe.
    #[arg(long)]
    pub ready: bool,
    /// Namespace of the `TuneTask`.
    #[arg(long, env = "FRACTUNE_NAMESPACE")]
    pub namespace: String,
    /// Name of the `TuneTask`.
    #[arg(long, env = "FRACTUNE_TASK")]
    pub task: String,
    /// Name of this node, for the status.
    #[arg(long, env = "FRACTUNE_NODE", default_value = "")]
    pub node: String,
    /// The folder that is shared with the tuning container.
    #[arg(long, env = "FRACTUNE_LINK")]
    pub link: PathBuf,
    /// The tuning container's output folder.
    #[arg(long, env = "FRACTUNE_OUT")]
    pub out: PathBuf,
}

/// How often the reporter does what.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Looks at the other container's files.
    pub look: Duration,
    /// Writes progress, at most.
    pub progress: Duration,
    /// Makes a checkpoint, at most.
    pub checkpoint: Duration,
    /// Waits for an answer of the server.
    pub answer: Duration,
    /// Waits after a first refusal.
    pub first_retry: Duration,
    /// Waits after many, at most.
    pub longest_retry: Duration,
    /// Goes on writing after it was told to stop.
    pub grace: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_millis(500),
            progress: Duration::from_secs(5),
            checkpoint: Duration::from_secs(30),
            answer: Duration::from_secs(10),
            first_retry: Duration::from_secs(1),
            longest_retry: Duration::from_secs(30),
            grace: Duration::from_secs(20),
        }
    }
}

/// `fractune-agent report`; the exit code.
#[must_use]
pub fn main(arguments: &Arguments) -> u8 {
    if arguments.ready {
        let start = Link::new(arguments.link.clone()).read::<Start>(link::START);
        return if matches!(start, Ok(Some(_))) { exit::DONE } else { exit::NO_RESULT };
    }
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(report(arguments)),
        Err(failure) => {
            error!("cannot start: {failure}");
            exit::UNAVAILABLE
        }
    }
}

async fn report(arguments: &Arguments) -> u8 {
    // From here on a signal is not lost, however early it comes.
    let signals =
        signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
    let (terminate, interrupt) = match signals {
        Ok(signals) => signals,
        Err(failure) => {
            error!("cannot start: {failure}");
            return exit::UNAVAILABLE;
        }
    };
    match client().await {
        Ok(client) => run(client, arguments, Pace::default(), told(terminate, interrupt)).await,
        Err(message) => {
            error!("no way to the API server: {message}");
            exit::UNAVAILABLE
        }
    }
}

async fn told(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// A client with this pod's own credential; outside of one, with that of `KUBECONFIG`. An error is a sentence.
async fn client() -> Result<Client, String> {
    let mut config = Config::infer().await.map_err(|error| error.to_string())?;
    // This program has its own way to try again, which knows what is worth writing by then.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| error.to_string())
}

/// Reports until `stop`; the exit code.
///
/// Refusals, timeouts and a server that is away only delay what is written. Once the task is gone, nothing is
/// written any more.
pub async fn run(client: Client, arguments: &Arguments, pace: Pace, stop: impl Future<Output = ()>) -> u8 {
    reporter::run(client, arguments, pace, stop).await
}

//! Keeping a GPU's MPS control daemon: started, watched, and started again when it has died.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::board::{Board, Cause};
use super::gpu::Gpu;
use super::grant::daemon_home;
use super::metrics::Metrics;
use super::owner::{daemons, owner};
use crate::mps::{GuardCommand, Home, Mps, ServerStatus};

/// How long to wait before a daemon is started again, at first and at most.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// A daemon that has lived so long has not died of how it was started.
const SETTLED: Duration = Duration::from_mins(1);
/// How often its server is asked how it is.
const ASK: Duration = Duration::from_secs(10);
/// How long a daemon that does not answer is taken for busy.
const SILENCE: Duration = Duration::from_secs(30);

/// A daemon's keeper.
pub struct Keeper<'a> {
    /// The GPU.
    pub gpu: &'a Gpu,
    /// The folder below which the daemon lives.
    pub run: &'a Path,
    /// How its guardian is started.
    pub guard: &'a GuardCommand,
    /// Where it is told when there is none.
    pub board: &'a Board,
    /// What is counted.
    pub metrics: &'a Metrics,
}

impl Keeper<'_> {
    /// Keeps the daemon until `stop` says true, and then ends it.
    pub async fn keep(&self, mut stop: watch::Receiver<bool>) {
        let gpu = self.gpu.uuid.as_str();
        let mut retry = FIRST_RETRY;
        let mut before = false;
        self.board.trouble(gpu, Cause::Daemon, "the MPS control daemon is being started");
        while !*stop.borrow() {
            self.metrics.server(gpu, "Absent");
            let started = Instant::now();
            let words = match self.start().await {
                Ok(mps) => {
                    info!(gpu, pipe = %mps.pipe_directory().display(), "the MPS control daemon answers");
                    if before {
                        self.metrics.restarts.with_label_values(&[gpu]).inc();
                    }
                    before = true;
                    self.board.settled(gpu, Cause::Daemon);
                    let death = tokio::select! {
                        death = mps.died() => Some(death),
                        death = self.ask(&mps) => Some(death),
                        _ = stop.wait_for(|stop| *stop) => None,
                    };
                    // Also after its death: servers that it has left behind hold the GPU.
                    mps.stop().await;
                    let Some(death) = death else { return };
                    format!("the MPS control daemon has died: {death}")
                }
                Err(words) => words,
            };
            self.board.trouble(gpu, Cause::Daemon, &words);
            if started.elapsed() > SETTLED {
                retry = FIRST_RETRY;
            }
            let _ = timeout(retry, stop.wait_for(|stop| *stop)).await;
            retry = (retry * 2).min(LONGEST_RETRY);
        }
    }

    async fn start(&self) -> Result<Mps, String> {
        if let Some(owner) = owner(&daemons(), self.gpu) {
            return Err(owner);
        }
        let home = Home { folder: daemon_home(self.run, &self.gpu.uuid) };
        Mps::start_at(&self.gpu.uuid, self.guard, Some(home)).await.map_err(|error| error.to_string())
    }

    /// Asks the daemon's server how it is, for the metrics. Resolves when the daemon has not answered for long.
    async fn ask(&self, mps: &Mps) -> String {
        let gpu = self.gpu.uuid.as_str();
        let mut answered = Instant::now();
        loop {
            match state(mps).await {
                Ok(state) => {
                    answered = Instant::now();
                    self.metrics.server(gpu, state);
                }
                Err(error) if answered.elapsed() > SILENCE => return format!("it does not answer: {error}"),
                Err(error) => warn!(gpu, "the MPS control daemon does not answer: {error}"),
            }
            sleep(ASK).await;
        }
    }
}

/// The state of the daemon's server, as a label.
async fn state(mps: &Mps) -> Result<&'static str, String> {
    let servers = mps.servers().await.map_err(|error| error.to_string())?;
    let Some(&server) = servers.first() else { return Ok("Absent") };
    Ok(match mps.server_status(server).await {
        Ok(ServerStatus::Active) => "Active",
        Ok(ServerStatus::Initializing) => "Initializing",
        Ok(ServerStatus::Fault) => "Fault",
        Ok(ServerStatus::Other(_)) => "Other",
        // It has ended since it was listed.
        Err(_) => "Absent",
    })
}

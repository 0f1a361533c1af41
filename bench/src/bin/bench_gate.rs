//! The gate of a GPU under agents that measure: how long requests wait, and what one costs when nobody else asks.
//!
//! The server, its socket and the agents' processes are real, each with one thread as they have it where they run; what an
//! agent does is simulated: it sleeps where a real one compiles and measures.
#![expect(clippy::print_stdout, reason = "a table is what it makes")]

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::{Parser, Subcommand};
use fractune_agent::gate::{Capacity, Gate, GateError, Need, NeedKind, Service};
use tokio::sync::oneshot;

const GPU: Capacity = Capacity::Units(100);
/// A trial is measured for about this time.
const MEASURE: Duration = Duration::from_millis(20);
/// From one trial's end until the next is compiled, on average.
const COMPILE: Duration = Duration::from_millis(60);
/// Trials between two final phases.
const TRIALS: u32 = 60;
/// Holds of the whole gate in a final phase: rounds between finalists, then a place in memory for each.
const ROUNDS: u32 = 12;
const ROUND: Duration = Duration::from_millis(40);
/// Requests that are timed while nobody else asks.
const FREE: usize = 5000;

/// The gate under simulated agents.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    /// Agents that share the GPU.
    #[arg(long, default_value_t = 8)]
    agents: u32,
    /// The share that each measures at, in percent.
    #[arg(long, default_value_t = 25)]
    share: u32,
    /// How long they do so.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// One simulated agent, as a process of its own; started by this program.
    #[command(hide = true)]
    Agent { socket: PathBuf, share: u32, seconds: u64, seed: u64 },
}

type Waits = Arc<Mutex<Vec<(NeedKind, Duration)>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    match args.role {
        Some(Role::Agent { socket, share, seconds, seed }) => agent(&socket, share, seconds, seed).await,
        None => bench(&args).await,
    }
}

async fn bench(args: &Args) -> Result<()> {
    let folder = tempfile::tempdir().context("a folder for the socket")?;
    let socket = folder.path().join("gate.sock");
    let heard: Waits = Arc::default();
    let ear = Arc::clone(&heard);
    let (end, ended) = oneshot::channel::<()>();
    let (bound, is_bound) = oneshot::channel();
    let path = socket.clone();
    let server = thread::spawn(move || serve(&path, ear, bound, ended));
    is_bound.await.context("the server")??;

    let echo = echo()?;
    let free = free(&socket).await?;
    heard.lock().unwrap_or_else(PoisonError::into_inner).clear();

    let program = std::env::current_exe()?;
    let start = |seed: u32| -> Result<Child> {
        let mut agent = Command::new(&program);
        agent.arg("agent").arg(&socket).args([
            args.share.to_string(),
            args.seconds.to_string(),
            seed.to_string(),
        ]);
        agent.spawn().context("an agent")
    };
    let agents = (0..args.agents).map(start).collect::<Result<Vec<_>>>()?;
    for agent in agents {
        let ended = tokio::task::spawn_blocking(move || agent.wait_with_output()).await??;
        ensure!(ended.status.success(), "an agent failed");
    }
    let waits = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
    drop(end);
    server.join().map_err(|_| anyhow!("the server panicked"))??;

    println!("{} simulated agents at {} % for {} s", args.agents, args.share, args.seconds);
    println!(
        "a request while nobody else asks, granted and given back: median {:.1?}, p99 {:.1?}",
        at(&free, 0.5),
        at(&free, 0.99)
    );
    println!(
        "  a byte there and back between two threads, which is what waking costs here: median {:.1?}, p99 {:.1?}",
        at(&echo, 0.5),
        at(&echo, 0.99)
    );
    for (kind, name) in [(NeedKind::Units, "share"), (NeedKind::Quiet, "quiet")] {
        let mut of: Vec<Duration> = waits.iter().filter(|(k, _)| *k == kind).map(|(_, wait)| *wait).collect();
        of.sort_unstable();
        let (median, late, worst) = (at(&of, 0.5), at(&of, 0.99), at(&of, 1.0));
        println!(
            "{} {name} requests waited: median {median:.1?}, p99 {late:.1?}, longest {worst:.1?}",
            of.len()
        );
    }
    Ok(())
}

/// Serves the gate on a thread of its own until `ended`.
fn serve(
    socket: &Path,
    heard: Waits,
    bound: oneshot::Sender<Result<(), GateError>>,
    ended: oneshot::Receiver<()>,
) -> Result<()> {
    let granted = move |kind, wait| heard.lock().unwrap_or_else(PoisonError::into_inner).push((kind, wait));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(async move {
            let service = match Service::bind(socket, None) {
                Ok(service) => service,
                Err(error) => return bound.send(Err(error)),
            };
            bound.send(Ok(()))?;
            tokio::select! {
                () = service.serve(GPU, granted) => {}
                _ = ended => {}
            }
            Ok(())
        })
        .map_err(|_| anyhow!("nobody waits for the server"))
}

/// How long a byte takes over a Unix socket to another thread and back, in order: what waking threads costs here.
fn echo() -> Result<Vec<Duration>> {
    let (mut here, mut there) = UnixStream::pair()?;
    let other = thread::spawn(move || -> io::Result<()> {
        let mut byte = [0];
        while there.read(&mut byte)? == 1 {
            there.write_all(&byte)?;
        }
        Ok(())
    });
    let mut times = Vec::with_capacity(FREE);
    for _ in 0..FREE {
        let started = Instant::now();
        here.write_all(&[1])?;
        here.read_exact(&mut [0])?;
        times.push(started.elapsed());
    }
    drop(here);
    other.join().map_err(|_| anyhow!("the echo panicked"))??;
    times.sort_unstable();
    Ok(times)
}

/// How long requests take from asking to giving back while nobody else asks, in order.
async fn free(socket: &Path) -> Result<Vec<Duration>> {
    let gate = Gate::joined(socket, GPU).await?;
    let mut times = Vec::with_capacity(FREE);
    for _ in 0..FREE {
        let started = Instant::now();
        drop(gate.acquire(Need::Units(25), None).await?);
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// The value below which this part of them lies.
fn at(sorted: &[Duration], part: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
}

async fn agent(socket: &Path, share: u32, seconds: u64, seed: u64) -> Result<()> {
    let gate = Gate::joined(socket, GPU).await?;
    let started = Instant::now();
    let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    // An agent begins somewhere in its search.
    let mut trial = (seed as u32 * 7) % TRIALS;
    while started.elapsed().as_secs() < seconds {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        tokio::time::sleep(COMPILE.mul_f64((dice % 1000) as f64 / 500.0)).await;
        {
            let _measuring = gate.acquire(Need::Units(share), None).await?;
            tokio::time::sleep(MEASURE).await;
        }
        trial += 1;
        if trial.is_multiple_of(TRIALS) {
            for _ in 0..ROUNDS {
                let _quiet = gate.acquire(Need::Quiet, None).await?;
                tokio::time::sleep(ROUND).await;
            }
        }
    }
    Ok(())
}

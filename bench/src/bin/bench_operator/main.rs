//! The operator under load, on a real API server and etcd, without nodes: what pods would report is written by a
//! simulated runner. `make bench-operator` runs it; docs/operator.md says what the figures mean.

mod counters;
mod fleet;
mod process;
mod runner;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use fractune_tests::{Availability, Cluster, availability, until};

use counters::Requests;
use fleet::Fleet;
use process::Operator;
use runner::SimulatedRunner;
use watch::Latencies;

/// Measures the operator against a real API server with simulated pods.
#[derive(Debug, Parser)]
struct Arguments {
    /// The operator's program.
    #[arg(long)]
    operator: PathBuf,
    /// `TuneJobs` to create.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    jobs: u32,
    /// Tasks of each.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=128))]
    tasks: u32,
    /// Tasks that report, each of another job as far as there are jobs.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    reporting: u32,
    /// Seconds between two reports of a task.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
    /// Seconds for which they report.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,
    /// Seconds for which the operator is watched at rest.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    rest: u64,
    /// The operator's --qps; its default unless set.
    #[arg(long)]
    qps: Option<u32>,
}

/// Figures that the operator must reach, by DESIGN: units are in the table.
struct Figure {
    what: String,
    here: String,
    target: &'static str,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Availability::Unavailable(why) = availability()? {
        anyhow::bail!("no cluster can run here: {why}");
    }
    let cluster = Cluster::start(1, &[]).await?;
    // Nobody but the operator makes anything of what is stored.
    for name in ["controller-manager", "scheduler", "kubelet", "containerd"] {
        cluster.tool("stop", &[name])?;
    }
    let fleet = Fleet::prepare(&cluster, arguments.jobs, arguments.tasks)?;
    let mut figures = Vec::new();

    let requests = Requests::new(&cluster);
    let alone = rest(&requests, arguments.rest).await?;

    let mut operator = Operator::start(&arguments.operator, &cluster, arguments.qps)?;
    operator.leads().await?;
    figures.extend(create(&fleet, &operator, &requests).await?);
    figures.extend(report(&arguments, &cluster, &fleet, &operator, &requests).await?);

    quiet(&operator).await?;
    let before = operator.writes().await?;
    let together = rest(&requests, arguments.rest).await?;
    ensure!(operator.writes().await? == before, "the operator wrote though nothing had changed");
    let minutes = arguments.rest as f64 / 60.0;
    figures.push(Figure {
        what: "requests per minute at rest: the operator's, lease and watches".into(),
        here: format!("{:.0}", together.since(alone).requests / minutes),
        target: "leases and watches only",
    });
    let memory = operator.memory()?;
    figures.push(Figure {
        what: "operator's memory: at most, now (MiB)".into(),
        here: format!("{}, {}", memory.most_mib, memory.now_mib),
        target: "150",
    });

    operator.stop()?;
    let started = Instant::now();
    operator = Operator::start(&arguments.operator, &cluster, arguments.qps)?;
    let first = operator.passes_reach(started, 1).await?;
    let all = operator.passes_reach(started, arguments.jobs).await?;
    figures.push(Figure {
        what: "start to first pass, to a pass over every job, with everything in the store (s)".into(),
        here: format!("{:.2}, {:.2}", first.as_secs_f64(), all.as_secs_f64()),
        target: "2",
    });
    let rewritten = operator.writes().await?;
    figures.push(Figure {
        what: "writes after that start".into(),
        here: format!("{:.0}", rewritten.total()),
        target: "0",
    });
    operator.stop()?;
    print(&arguments, &figures);
    Ok(())
}

/// Creates all jobs, and waits for their batch Jobs.
async fn create(fleet: &Fleet, operator: &Operator, requests: &Requests) -> Result<Vec<Figure>> {
    let (before, cpu_before) = (requests.read().await?, operator.cpu_seconds()?);
    let started = Instant::now();
    let (created, made) = tokio::join!(fleet.create(), fleet.batch_jobs(started));
    created?;
    let made = made?;
    until("every job's first status", 300, async || {
        Ok((operator.metric("fractune_jobs_waiting").await? == Some(0.0)).then_some(()))
    })
    .await?;
    let settled = started.elapsed();
    let writes = operator.writes().await?;
    let used = requests.read().await?.since(before);
    let tasks = f64::from(fleet.tasks());
    let asked = used.requests - f64::from(fleet.jobs());
    Ok(vec![
        Figure {
            what: format!("{} TuneJobs, {} TuneTasks: all batch Jobs after (s)", fleet.jobs(), fleet.tasks()),
            here: format!("{:.1}", made.as_secs_f64()),
            target: "120",
        },
        Figure {
            what: "  and every job's status (s)".into(),
            here: format!("{:.1}", settled.as_secs_f64()),
            target: "",
        },
        Figure {
            what: "writes per task to create".into(),
            here: format!("{:.2} ({writes})", writes.total() / tasks),
            target: "3",
        },
        Figure {
            what: "requests per task to create, reads and events too".into(),
            here: format!("{:.2}", asked / tasks),
            target: "",
        },
        cpu(used.cpu_seconds, operator.cpu_seconds()? - cpu_before),
    ])
}

/// Lets the simulated runner report, and measures when the jobs tell of it.
async fn report(
    arguments: &Arguments,
    cluster: &Cluster,
    fleet: &Fleet,
    operator: &Operator,
    requests: &Requests,
) -> Result<Vec<Figure>> {
    let (counted, cpu_before) = (requests.read().await?, operator.cpu_seconds()?);
    let latencies = Latencies::watch(cluster.client()).await?;
    let before = operator.writes().await?;
    let runner = SimulatedRunner::new(cluster.client(), fleet, arguments.reporting, latencies.sent());
    let reports =
        runner.run(Duration::from_secs(arguments.every), Duration::from_secs(arguments.seconds)).await?;
    let seen = latencies.end(Duration::from_secs(30)).await?;
    let writes = operator.writes().await?.total() - before.total();
    let at = |quantile: f64| seen.at(quantile).map_or_else(|| "none".to_owned(), |time| format!("{time:.2}"));
    Ok(vec![
        Figure {
            what: format!(
                "{} tasks report every {} s ({reports} reports): seen in the TuneJob after (s), median, 99th percentile, \
                 worst",
                arguments.reporting, arguments.every
            ),
            here: format!("{}, {}, {}", at(0.5), at(0.99), at(1.0)),
            target: "2 at the 99th",
        },
        Figure { what: "reports never seen".into(), here: seen.missing.to_string(), target: "0" },
        Figure {
            what: "writes per report".into(),
            here: format!("{:.2}", writes / f64::from(reports)),
            target: "1",
        },
        cpu(requests.read().await?.since(counted).cpu_seconds, operator.cpu_seconds()? - cpu_before),
    ])
}

fn cpu(api_server: f64, operator: f64) -> Figure {
    Figure {
        what: "  CPU seconds of the API server, of the operator".into(),
        here: format!("{api_server:.1}, {operator:.1}"),
        target: "",
    }
}

/// Waits until nothing is left to be done.
async fn quiet(operator: &Operator) -> Result<()> {
    let mut before = operator.writes().await?;
    until("an end of the writes", 120, async || {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = operator.writes().await?;
        let same = now == before;
        before = now;
        Ok(same.then_some(()))
    })
    .await
}

/// Requests that the API server gets in so many seconds.
async fn rest(requests: &Requests, seconds: u64) -> Result<counters::Total> {
    let before = requests.read().await?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(requests.read().await?.since(before))
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn print(arguments: &Arguments, figures: &[Figure]) {
    let qps = arguments.qps.map_or_else(|| "its default".to_owned(), |qps| qps.to_string());
    println!("| figure (--qps {qps}; pods are simulated) | here | target |\n|---|---|---|");
    for Figure { what, here, target } in figures {
        println!("| {what} | {here} | {target} |");
    }
}

//! The agent: tunes in a pod or on any machine, and runs candidates as its own worker.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use fractune_agent::mps;
use fractune_agent::tune::{self, Event, GpuTarget, Output, Plan, RunError, Target, exit};
use fractune_agent::worker::{self, WorkerCommand};
use fractune_tuner::kernel::Language;
use tracing::{error, info};

#[derive(Parser)]
#[command(version, about = "Measures kernels at the share they will be served at")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tune a job's kernels, CUDA on the GPU and C on the CPUs of this container; goes on with what the output folder holds.
    Tune {
        /// The job: a `TuneJob`.
        job: PathBuf,
        /// Where trials and results go.
        #[arg(long)]
        out: PathBuf,
        /// Tune only this task: kernels and problems in the job's order, from 0.
        #[arg(long, env = "JOB_COMPLETION_INDEX")]
        task: Option<usize>,
    },
    /// Run candidates for a parent process; requests on standard input (docs/worker-protocol.md).
    Worker,
    /// Compile CUDA C++ for a parent process.
    #[command(hide = true)]
    Compile,
    /// Keep a private MPS control daemon for a parent process, and end it with the parent.
    #[command(hide = true)]
    MpsGuard,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Worker => worker::serve(),
        Command::Compile => fractune_agent::compile::serve(),
        Command::MpsGuard => mps::guard(),
        Command::Tune { job, out, task } => {
            let filter = tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
            match tune(&job, out, task) {
                Ok(code) => ExitCode::from(code),
                Err(failure) => {
                    error!("{failure:#}");
                    ExitCode::from(failure.downcast_ref::<RunError>().map_or(exit::SPEC, RunError::exit_code))
                }
            }
        }
    }
}

fn tune(job: &std::path::Path, folder: PathBuf, task: Option<usize>) -> anyhow::Result<u8> {
    let manifest = std::fs::read(job).with_context(|| job.display().to_string())?;
    let (loaded, mut tasks) = fractune_crds::load(&manifest, |_| ())?;
    if let Some(task) = task {
        let count = tasks.len();
        tasks = tasks.into_iter().skip(task).take(1).collect();
        anyhow::ensure!(!tasks.is_empty(), "--task {task}: the job has {count} tasks, numbered from 0");
    }
    let plan = Plan::new(loaded.job, tasks);
    let program = std::env::current_exe().context("this program's own file")?;
    let target = match plan.tasks.first().map(|task| task.kernel.language) {
        Some(Language::Cuda) => Target::Cuda(GpuTarget { program, gpu: None }),
        _ => Target::Cpu(WorkerCommand { program, args: vec!["worker".into()] }),
    };
    let output = Output { folder, resume: true, manifest };
    let done = tune::until_interrupted(tune::run(&plan, &output, target, &log_event))?;
    let Some(result) = done else {
        info!("interrupted; every finished trial is kept");
        return Ok(exit::INTERRUPTED);
    };
    Ok(if result?.is_complete() { exit::DONE } else { exit::NO_RESULT })
}

fn log_event(event: Event) {
    match event {
        Event::TaskStarted { name, valid, budget, resumed, .. } => {
            info!(task = name, valid, budget, resumed, "search started");
        }
        Event::Trial { trial, .. } => {
            let times: Vec<_> =
                trial.measurements.iter().filter_map(|m| Some((m.share, m.time_ns?))).collect();
            info!(trial = trial.trial, outcome = %trial.outcome, ?times, "trial");
        }
        Event::Finals { share, entries, .. } => info!(share, entries, "measuring finalists quietly"),
        Event::TaskFinished { result, .. } => {
            info!(
                task = format!("{}/{}", result.kernel, result.problem),
                trials = result.trials,
                "task done"
            );
        }
        Event::Note(note) => info!("{note}"),
    }
}

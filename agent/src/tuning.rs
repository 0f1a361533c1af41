//! `fractune-agent tune`: from the command line to an exit code.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use fractune_agent::link::{Link, Start};
use fractune_agent::pod::{self, Ending, NoteBook, Patience};
use fractune_agent::tune::{self, Event, GpuTarget, Output, Plan, RunError, Target, exit};
use fractune_agent::worker::WorkerCommand;
use fractune_tuner::kernel::Language;
use fractune_tuner::results::{JobResult, TaskResult};
use tracing::{error, info};

/// What to tune, and where the results go.
pub(crate) struct Request {
    pub(crate) job: PathBuf,
    pub(crate) out: PathBuf,
    pub(crate) task: Option<usize>,
    pub(crate) cache: Option<PathBuf>,
}

/// Tunes; the exit code.
pub(crate) fn tune(request: &Request) -> u8 {
    let done = tune::until_interrupted(run(request, None, &log_event));
    let failure = match done.map_err(anyhow::Error::from) {
        Ok(Some(Ok(result))) => return code_of(&result),
        Ok(None) => {
            info!("interrupted; every finished trial is kept");
            return exit::INTERRUPTED;
        }
        Ok(Some(Err(failure))) | Err(failure) => failure,
    };
    error!("{failure:#}");
    code_of_failure(&failure)
}

/// Tunes in a pod, with the reporter behind the link; the exit code.
pub(crate) fn tune_in_pod(request: &Request, link: PathBuf, start_seconds: u64, confirm_seconds: u64) -> u8 {
    let link = Link::new(link);
    let patience = Patience {
        start: Duration::from_secs(start_seconds),
        confirmation: Duration::from_secs(confirm_seconds),
    };
    let notes = NoteBook::new(&link);
    let listener = |event: Event| {
        if let Event::Note(note) = &event {
            notes.add(note);
        }
        log_event(event);
    };
    let work = async |start: Start| match run(request, Some((&link, &start)), &listener).await {
        Ok(result) => Ending { exit_code: code_of(&result), message: shortcomings(&result) },
        Err(failure) => Ending { exit_code: code_of_failure(&failure), message: format!("{failure:#}") },
    };
    match tune::until_interrupted(pod::run(&link, patience, work)) {
        Ok(Some(code)) => code,
        Ok(None) => pod::interrupted(&link),
        Err(failure) => {
            error!("{failure}");
            failure.exit_code()
        }
    }
}

fn code_of(result: &JobResult) -> u8 {
    if result.is_complete() { exit::DONE } else { exit::NO_RESULT }
}

/// What is no failure of a run is one of the specification.
fn code_of_failure(failure: &anyhow::Error) -> u8 {
    failure.downcast_ref::<RunError>().map_or(exit::SPEC, RunError::exit_code)
}

/// What a result lacks; empty if nothing.
fn shortcomings(result: &JobResult) -> String {
    let lacks = |task: &&TaskResult| task.shares.len() < result.shares.len();
    let tasks: Vec<_> =
        result.tasks.iter().filter(lacks).map(|task| shortcoming(task, &result.shares)).collect();
    tasks.join("\n")
}

fn shortcoming(task: &TaskResult, shares: &[u8]) -> String {
    let missing = shares.iter().filter(|share| task.shares.iter().all(|found| found.share != **share));
    let missing: Vec<_> = missing.map(|share| format!("{share} %")).collect();
    let outcomes: Vec<_> =
        task.outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let failures = task.failures.iter().map(|(outcome, failure)| {
        format!(
            "\ntrial {}, {outcome}: {}",
            failure.trial,
            failure.message.lines().next().unwrap_or_default()
        )
    });
    format!(
        "{}/{}: no configuration compiled, verified and ran at {} ({} trials: {}){}",
        task.kernel,
        task.problem,
        missing.join(", "),
        task.trials,
        outcomes.join(", "),
        failures.collect::<String>()
    )
}

async fn run(
    request: &Request,
    linked: Option<(&Link, &Start)>,
    listener: tune::Listener<'_>,
) -> anyhow::Result<JobResult> {
    let manifest = read(&request.job)?;
    let (loaded, mut tasks) = fractune_crds::load(&manifest, |job| {
        if let Some((_, start)) = linked {
            job.spec.search.max_trials = start.max_trials;
        }
    })?;
    if let Some(task) = request.task {
        let count = tasks.len();
        tasks = tasks.into_iter().skip(task).take(1).collect();
        anyhow::ensure!(!tasks.is_empty(), "--task {task}: the job has {count} tasks, numbered from 0");
    }
    let plan = Plan::new(loaded.job, tasks);
    let program = std::env::current_exe()
        .map_err(|error| RunError::Machine(format!("cannot find this program's own file: {error}")))?;
    let target = match plan.tasks.first().map(|task| task.kernel.language) {
        Some(Language::Cuda) => Target::Cuda(GpuTarget { program, gpu: None }),
        _ => Target::Cpu(WorkerCommand { program, args: vec!["worker".into()] }),
    };
    let cache = request.cache.clone();
    let output = Output { folder: request.out.clone(), resume: true, manifest, cache };
    Ok(tune::run_linked(&plan, &output, target, linked.map(|(link, _)| link), listener).await?)
}

fn read(job: &Path) -> anyhow::Result<Vec<u8>> {
    let io = |error: std::io::Error| RunError::Io(format!("{}: {error}", job.display()));
    std::fs::read(job).map_err(io).context("the job cannot be read")
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
        Event::Finals { condition, entries, .. } => info!(%condition, entries, "measuring finalists"),
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

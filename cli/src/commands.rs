//! What each command does.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use fractune_agent::backend::replay::{Recording, RecordingFile};
use fractune_agent::tune::folder::{MANIFEST, write_whole};
use fractune_agent::tune::recheck::{self, Recheck};
use fractune_agent::tune::{self, GpuTarget, Output, Plan, RunError, exit, until_interrupted};
use fractune_agent::worker::WorkerCommand;
use fractune_tuner::formats::{write_cachefile, write_t4};
use fractune_tuner::kernel::Language;
use fractune_tuner::results::JobResult;

use crate::args::{BackendName, Export, Format, Run, Target};
use crate::error::CliError;
use crate::found::{self, Found, Source};
use crate::job::{self, Job, Overrides, Searched};
use crate::progress::Progress;
use crate::report::{ReportInput, page};
use crate::{export, export_trials, outcome, table};

/// Tunes a job; the exit code of a run that did not fail.
///
/// # Errors
/// [`CliError`].
pub fn run(args: &Run) -> Result<u8, CliError> {
    let Job { manifest, plan, ignored } = job::read(&args.file, &Overrides::from(args))?;
    let progress = Progress::new(args.quiet);
    for document in ignored {
        progress.show(tune::Event::Note(format!("{document} in the job's file is not used")));
    }
    if args.backend != BackendName::Replay && !args.recording.is_empty() {
        let message = "--recording is for --backend replay; without it, this run would measure";
        return Err(CliError::Usage(message.into()));
    }
    let target = match args.backend {
        BackendName::Auto if is_cuda(&plan) => tune::Target::Cuda(gpu_target(args.gpu.clone())?),
        BackendName::Auto | BackendName::Cpu => tune::Target::Cpu(worker_command()?),
        BackendName::Cuda => tune::Target::Cuda(gpu_target(args.gpu.clone())?),
        BackendName::Replay => {
            tune::Target::Replay(Recording::read(&recordings(&args.recording)?, &plan.shares)?)
        }
    };
    if args.gpu.is_some() && !matches!(target, tune::Target::Cuda(_)) {
        return Err(CliError::Usage(
            "--gpu is for CUDA kernels, and this run uses no GPU; leave it out".into(),
        ));
    }
    if args.cache.is_some() && matches!(target, tune::Target::Replay(_)) {
        let message = "--cache is for what is compiled, and a recording is only read; leave it out";
        return Err(CliError::Usage(message.into()));
    }
    let folder = args.out.clone().unwrap_or_else(|| Path::new("fractune-out").join(&plan.job));
    let cache = args.cache.clone();
    let output = Output { folder: folder.clone(), resume: args.resume, manifest, cache };
    let listener = |event| progress.show(event);
    let result = until_interrupted(tune::run(&plan, &output, target, &listener))?;
    progress.clear();
    let Some(result) = result else {
        print_error(&format!(
            "interrupted; every finished trial is kept: go on with --resume (output folder {})",
            folder.display()
        ));
        return Ok(exit::INTERRUPTED);
    };
    let result = result?;
    let report = write_report(&folder, &result, None)?;
    if args.json {
        print(&(to_json(&result)? + "\n"))?;
    } else {
        print(&table::summary(&result, terminal_width()))?;
        print(&format!("\nreport: {}\n", report.display()))?;
    }
    let complete = result.is_complete();
    Ok(if complete { exit::DONE } else { exit::NO_RESULT })
}

/// Writes a report, of a run's folder or of a job on a cluster.
///
/// # Errors
/// [`CliError`].
pub fn report(target: &Target, output: Option<&Path>) -> Result<u8, CliError> {
    let path = match found::source(target)? {
        Source::Folder(dir) => {
            let result = outcome::results(dir)?;
            write_report(dir, &result, output)?
        }
        #[cfg(feature = "cluster")]
        Source::Job(job) => {
            let Some(kept) = found::kept(target, job)? else { return Ok(exit::INTERRUPTED) };
            let path = output.map_or_else(|| PathBuf::from(format!("{job}-report.html")), Path::to_path_buf);
            let input = ReportInput {
                job: &kept.result,
                trials: kept.trials.iter().map(Vec::as_slice).collect(),
                settings: [settings(&kept.result), crate::cluster::gaps()].concat(),
                notices: kept.notices.clone(),
                generated: generated(),
            };
            write_page(&path, &input)?;
            path
        }
    };
    if path != Path::new("-") {
        print(&format!("{}\n", path.display()))?;
    }
    Ok(exit::DONE)
}

fn write_report(dir: &Path, result: &JobResult, output: Option<&Path>) -> Result<PathBuf, CliError> {
    let trials = outcome::trials(dir, result)?;
    let input = ReportInput {
        job: result,
        trials: trials.iter().map(Vec::as_slice).collect(),
        settings: settings(result),
        notices: Vec::new(),
        generated: generated(),
    };
    let path = output.map_or_else(|| dir.join("report.html"), Path::to_path_buf);
    write_page(&path, &input)?;
    Ok(path)
}

fn write_page(path: &Path, input: &ReportInput<'_>) -> Result<(), CliError> {
    let html = page(input).map_err(|error| CliError::Render(error.to_string()))?;
    write(path, &html)
}

fn generated() -> String {
    format!("kubectl-fractune {}", env!("CARGO_PKG_VERSION"))
}

/// The conditions of measurement that are the job's choice.
fn settings(result: &JobResult) -> Vec<(String, String)> {
    let (search, measure) = (&result.search, &result.measure);
    [
        ("Strategy", format!("{:?}, seed {}", search.strategy, search.seed)),
        ("Caches before a run", format!("{:?}", measure.cache)),
        (
            "Sharing while searching",
            format!(
                "{:?}; what is reported was measured again with no other trial beside it",
                measure.sharing
            ),
        ),
        ("Noise target", format!("{} % of the median", measure.max_noise_percent)),
        ("Time limit of a trial", format!("{} s", measure.timeout_seconds)),
        ("Finalists of each share", measure.finalists.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_string(), value))
    .collect()
}

/// Writes the winners, or every trial, of a run or of a job on a cluster.
///
/// # Errors
/// [`CliError`].
pub fn export(args: &Export) -> Result<u8, CliError> {
    let winners = matches!(args.format, Format::Header | Format::Json);
    if winners && (args.share.is_some() || args.kernel.is_some() || args.problem.is_some()) {
        let message = "--share, --kernel and --problem choose among trials, for --format kernel-tuner and t4; \
                       the header and the JSON have every winner";
        return Err(CliError::Render(message.to_owned()));
    }
    let trials = match args.format {
        Format::KernelTuner => write_cachefile,
        Format::Header | Format::Json | Format::T4 => write_t4,
    };
    match found::source(&args.target)? {
        Source::Folder(dir) if winners => {
            let result = outcome::results(dir)?;
            outcome::require_winners(dir, &result)?;
            let text = if args.format == Format::Header {
                export::header(&result).map_err(|error| CliError::Render(error.to_string()))?
            } else {
                export::json(&result) + "\n"
            };
            write(&args.output, &text)?;
        }
        Source::Folder(dir) => export_trials::export(args, &Found::of_folder(dir)?, trials)?,
        #[cfg(feature = "cluster")]
        Source::Job(job) if winners => {
            let Some(text) = found::published(&args.target, job, args.format)? else {
                return Ok(exit::INTERRUPTED);
            };
            write(&args.output, &text)?;
        }
        #[cfg(feature = "cluster")]
        Source::Job(job) => {
            let Some(kept) = found::kept(&args.target, job)? else { return Ok(exit::INTERRUPTED) };
            for notice in &kept.notices {
                print_error(&format!("note: {notice}"));
            }
            export_trials::export(args, &Found::of_job(job, kept), trials)?;
        }
    }
    Ok(exit::DONE)
}

/// Writes to a file, or to standard output where it is named `-`.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), CliError> {
    if path == Path::new("-") {
        return print(text);
    }
    write_whole(path, text.as_bytes())
        .map_err(|source| CliError::Io { path: path.display().to_string(), source })
}

/// Measures a run's winners again.
///
/// # Errors
/// [`CliError`].
pub fn recheck(
    dir: &Path,
    times: u32,
    within: Option<f64>,
    gpu: Option<String>,
    json: bool,
) -> Result<u8, CliError> {
    let result = outcome::results(dir)?;
    outcome::require_winners(dir, &result)?;
    let target = match (result.device.backend.as_str(), &result.device.gpu) {
        ("cpu", _) => tune::Target::Cpu(worker_command()?),
        ("cuda", Some(used)) => tune::Target::Cuda(gpu_target(gpu.or(Some(used.uuid.clone())))?),
        (backend, _) => {
            let message = format!("a run on {backend} is a simulation: there is nothing to measure again");
            return Err(CliError::Folder { dir: dir.into(), message });
        }
    };
    // The command line may have changed the job.
    let shares = result.shares.clone();
    let overrides = Overrides { shares, search: Searched::As(&result.search), parallelism: Some(1) };
    let plan = job::read(&dir.join(MANIFEST), &overrides)?.plan;
    let Some(rechecks) = until_interrupted(recheck::recheck(&plan, &result, target, times))? else {
        return Ok(exit::INTERRUPTED);
    };
    let rechecks = rechecks?;
    print(&if json { to_json(&rechecks_json(&rechecks))? + "\n" } else { table::rechecks(&rechecks) })?;
    let drifted = |recheck: &Recheck| {
        within.is_some_and(|within| recheck.drift_percent().is_none_or(|drift| drift.abs() > within))
    };
    Ok(if rechecks.iter().any(drifted) { exit::NO_RESULT } else { exit::DONE })
}

fn rechecks_json(rechecks: &[Recheck]) -> serde_json::Value {
    let winner = |recheck: &Recheck| {
        serde_json::json!({
            "kernel": recheck.kernel,
            "problem": recheck.problem,
            "share": recheck.share,
            "reportedNs": recheck.reported_ns,
            "medianNs": recheck.median_ns(),
            "mediansNs": recheck.medians_ns,
            "driftPercent": recheck.drift_percent(),
        })
    };
    serde_json::json!({ "winners": rechecks.iter().map(winner).collect::<Vec<_>>() })
}

/// This program again, as a worker.
fn worker_command() -> Result<WorkerCommand, RunError> {
    let program = std::env::current_exe()
        .map_err(|error| RunError::Machine(format!("cannot find this program's own file: {error}")))?;
    Ok(WorkerCommand { program, args: vec!["worker".into()] })
}

/// Whether any kernel of the plan is in CUDA.
pub(crate) fn is_cuda(plan: &Plan) -> bool {
    plan.tasks.iter().any(|task| task.kernel.language == Language::Cuda)
}

/// A GPU, with this program again for the processes beside the run's own.
fn gpu_target(gpu: Option<String>) -> Result<GpuTarget, RunError> {
    Ok(GpuTarget { program: worker_command()?.program, gpu })
}

fn recordings(arguments: &[String]) -> Result<Vec<RecordingFile>, CliError> {
    let parse = |argument: &String| match argument.split_once('=') {
        Some((share, path)) if share.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number = share.parse().ok().filter(|share| (1..=100).contains(share));
            let share = number.ok_or_else(|| {
                CliError::Usage(format!("--recording {argument}: {share:?} is no share; shares are 1 to 100"))
            })?;
            Ok(RecordingFile { share: Some(share), path: path.into() })
        }
        _ => Ok(RecordingFile { share: None, path: argument.into() }),
    };
    arguments.iter().map(parse).collect()
}

/// Columns of the terminal; none if standard output is no terminal.
pub(crate) fn terminal_width() -> Option<u16> {
    use std::io::IsTerminal as _;
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (std::io::stdout().is_terminal() && size.ws_col > 0).then_some(size.ws_col)
}

fn to_json(value: &impl serde::Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(value).map_err(|error| CliError::Render(error.to_string()))
}

/// Prints to standard output. A reader that has gone away, such as `head`, is no error.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    match std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::Io { path: "standard output".into(), source })
        }
        _ => Ok(()),
    }
}

#[expect(clippy::print_stderr, reason = "the message is for the person at the terminal")]
pub(crate) fn print_error(message: &str) {
    eprintln!("{message}");
}

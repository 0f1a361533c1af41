//! Every trial of a run, in the formats of Kernel Tuner.

use std::path::Path;
use std::time::{Duration, SystemTime};

use fractune_agent::tune::exit;
use fractune_agent::tune::folder::{MANIFEST, TRIALS};
use fractune_tuner::formats::{Recording, Written};
use fractune_tuner::results::{JobResult, TaskResult};
use fractune_tuner::task::Task;
use fractune_tuner::trial::Trial;
use jiff::Timestamp;

use crate::args::Export;
use crate::commands::{print_error, write};
use crate::error::CliError;
use crate::job::{self, Overrides};
use crate::outcome;

/// Writes the trials of the run's tasks at one share: of one task to a file or standard output, of several
/// to a file each.
///
/// # Errors
/// [`CliError`].
pub fn export(
    args: &Export,
    result: &JobResult,
    format: fn(&Recording<'_>) -> Written,
) -> Result<u8, CliError> {
    let dir = &args.dir;
    let share = share(args, result)?;
    let overrides = Overrides { shares: result.shares.clone(), ..Overrides::default() };
    let plan = job::read(&dir.join(MANIFEST), &overrides)?.plan;
    let trials = outcome::trials(dir, result)?;
    let chosen: Vec<(&TaskResult, Vec<Trial>)> = result
        .tasks
        .iter()
        .zip(trials)
        .filter(|(task, _)| args.kernel.as_ref().is_none_or(|kernel| *kernel == task.kernel))
        .filter(|(task, _)| args.problem.as_ref().is_none_or(|problem| *problem == task.problem))
        .collect();
    let names = || {
        let named = result.tasks.iter().map(|task| format!("{} / {}", task.kernel, task.problem));
        named.collect::<Vec<_>>().join(", ")
    };
    let folder = match chosen.as_slice() {
        [] => return Err(fail(dir, format!("no such kernel and problem; the run has {}", names()))),
        [_] => args.output.is_dir(),
        _ if args.output == Path::new("-") || args.output.is_file() => {
            let message = format!(
                "the run has {}: name a folder with --output, or choose with --kernel and --problem",
                names()
            );
            return Err(fail(dir, message));
        }
        _ => true,
    };
    if folder {
        std::fs::create_dir_all(&args.output)
            .map_err(|source| CliError::Io { path: args.output.display().to_string(), source })?;
    }
    for (task, trials) in chosen {
        let planned = plan
            .tasks
            .iter()
            .find(|planned| planned.kernel.name == task.kernel && planned.problem.name == task.problem)
            .ok_or_else(|| {
                fail(dir, format!("{MANIFEST} has no {} / {}; do not edit it", task.kernel, task.problem))
            })?;
        let ended = std::fs::metadata(dir.join(&task.folder).join(TRIALS)).and_then(|m| m.modified()).ok();
        let trials = with_timestamps(trials, ended);
        let device = if result.device.backend == "replay" {
            format!("simulation of {}", result.device.product)
        } else {
            result.device.product.clone()
        };
        let written = format(&Recording {
            device: &device,
            share,
            kernel: &planned.kernel.entrypoint,
            problem_size: &problem_size(planned),
            parameters: planned.space.parameters(),
            trials: &trials,
        });
        if written.entries == 0 {
            let message = format!("{} / {} has no trial at share {share}", task.kernel, task.problem);
            return Err(fail(dir, message));
        }
        if written.left_out > 0 {
            print_error(&format!(
                "note: {} / {}: {} of {} trials are left out, because they were not measured at share {share}",
                task.kernel,
                task.problem,
                written.left_out,
                trials.len()
            ));
        }
        let path =
            if folder { args.output.join(format!("{}.json", task.folder)) } else { args.output.clone() };
        write(&path, &written.text)?;
    }
    Ok(exit::DONE)
}

fn fail(dir: &Path, message: String) -> CliError {
    CliError::Folder { dir: dir.into(), message }
}

fn share(args: &Export, result: &JobResult) -> Result<u8, CliError> {
    let shares = &result.shares;
    let listed = || shares.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let chosen = match (args.share, shares.as_slice()) {
        (Some(share), _) => share,
        (None, [only]) => *only,
        (None, _) => 100,
    };
    if shares.contains(&chosen) {
        return Ok(chosen);
    }
    let message = format!("the run has no share {chosen}; choose one of {} with --share", listed());
    Err(fail(&args.dir, message))
}

/// The problem's sizes by name, which is the order of the dimensions in an imported job. Kernel Tuner knows
/// three at most.
fn problem_size(task: &Task) -> Vec<i64> {
    let sizes: Vec<i64> = task.problem.sizes.values().take(3).copied().collect();
    if sizes.is_empty() { vec![1] } else { sizes }
}

/// When each trial was complete. The log has times since the task began; its file was last written when the
/// last one was.
fn with_timestamps(trials: Vec<Trial>, ended: Option<SystemTime>) -> Vec<(Trial, String)> {
    let last = trials.iter().map(|trial| trial.elapsed_ms).max().unwrap_or(0);
    let at = |trial: &Trial| {
        let before_the_end = Duration::from_millis(last.saturating_sub(trial.elapsed_ms));
        let time = ended?.checked_sub(before_the_end)?;
        Timestamp::try_from(time).ok().map(|time| time.to_string())
    };
    trials
        .into_iter()
        .map(|trial| {
            let time = at(&trial).unwrap_or_default();
            (trial, time)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fractune_tuner::kernel::Configuration;
    use fractune_tuner::trial::Outcome;

    use super::*;

    #[test]
    fn timestamps_count_back_from_the_last_trial() {
        let trial = |number, elapsed_ms| Trial {
            trial: number,
            configuration: Configuration(BTreeMap::new()),
            outcome: Outcome::Ok,
            message: None,
            compile_ns: 0,
            measurements: Vec::new(),
            elapsed_ms,
        };
        let ended = SystemTime::UNIX_EPOCH + Duration::from_hours(24);
        let stamped = with_timestamps(vec![trial(0, 500), trial(1, 2000)], Some(ended));
        let times: Vec<&str> = stamped.iter().map(|(_, time)| time.as_str()).collect();
        assert_eq!(times, ["1970-01-01T23:59:58.5Z", "1970-01-02T00:00:00Z"]);
        assert_eq!(with_timestamps(vec![trial(0, 500)], None)[0].1, "");
    }
}

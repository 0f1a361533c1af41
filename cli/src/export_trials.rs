//! Every trial of a run or a job, in the formats of Kernel Tuner.

use std::path::Path;
use std::time::{Duration, SystemTime};

use fractune_agent::tune::folder::MANIFEST;
use fractune_tuner::formats::{Recording, Written};
use fractune_tuner::task::Task;
use fractune_tuner::trial::Trial;
use jiff::Timestamp;

use crate::args::Export;
use crate::commands::{print_error, write};
use crate::error::CliError;
use crate::found::Found;

/// Writes the trials of the tasks at one share: of one task to a file or standard output, of several to a file
/// each.
///
/// # Errors
/// [`CliError`].
pub(crate) fn export(
    args: &Export,
    found: &Found,
    format: fn(&Recording<'_>) -> Written,
) -> Result<(), CliError> {
    let result = &found.result;
    let share = share(args, found)?;
    let chosen: Vec<usize> = result
        .tasks
        .iter()
        .enumerate()
        .filter(|(_, task)| args.kernel.as_ref().is_none_or(|kernel| *kernel == task.kernel))
        .filter(|(_, task)| args.problem.as_ref().is_none_or(|problem| *problem == task.problem))
        .map(|(position, _)| position)
        .collect();
    let names = || {
        let named = result.tasks.iter().map(|task| format!("{} / {}", task.kernel, task.problem));
        named.collect::<Vec<_>>().join(", ")
    };
    let folder = match chosen.as_slice() {
        [] => return Err(found.lacks(format!("no such kernel and problem; there is {}", names()))),
        [_] => args.output.is_dir(),
        _ if args.output == Path::new("-") || args.output.is_file() => {
            let message = format!(
                "there is {}: name a folder with --output, or choose with --kernel and --problem",
                names()
            );
            return Err(found.lacks(message));
        }
        _ => true,
    };
    if folder {
        std::fs::create_dir_all(&args.output)
            .map_err(|source| CliError::Io { path: args.output.display().to_string(), source })?;
    }
    for position in chosen {
        let (Some(task), Some(trials)) = (result.tasks.get(position), found.trials.get(position)) else {
            continue;
        };
        let of_the_task =
            |planned: &&Task| planned.kernel.name == task.kernel && planned.problem.name == task.problem;
        let planned = found.planned.iter().find(of_the_task).ok_or_else(|| {
            found.lacks(format!("{MANIFEST} has no {} / {}; do not edit it", task.kernel, task.problem))
        })?;
        let trials = with_timestamps(trials.clone(), found.ended.get(position).copied().flatten());
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
            return Err(found.lacks(message));
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
    Ok(())
}

fn share(args: &Export, found: &Found) -> Result<u8, CliError> {
    let shares = &found.result.shares;
    let listed = || shares.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let chosen = match (args.share, shares.as_slice()) {
        (Some(share), _) => share,
        (None, [only]) => *only,
        (None, _) => 100,
    };
    if shares.contains(&chosen) {
        return Ok(chosen);
    }
    Err(found.lacks(format!("the run has no share {chosen}; choose one of {} with --share", listed())))
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

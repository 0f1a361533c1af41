//! The final table of a run, for a terminal.

use std::fmt::Write as _;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use fractune_agent::tune::recheck::Recheck;
use fractune_tuner::condition::Condition;
use fractune_tuner::results::{DISTURBED_PERCENT, JobResult, ShareResult, TaskResult, Timed};

use crate::across;

/// Characters shown of a failure's message; the report has all of it.
const FAILURE_CHARS: usize = 160;

/// What a run found, as plain text: one line per kernel, problem and share, then the totals by weight,
/// the outcomes of every task and what the device has to say. `width` is the terminal's, in columns; without
/// it nothing is wrapped.
#[must_use]
pub fn summary(job: &JobResult, width: Option<u16>) -> String {
    let mut text = String::new();
    if job.device.backend == "replay" {
        text.push_str("SIMULATION: times come from a recording, nothing was measured here\n\n");
    }
    push_table(&mut text, results_table(job), width);
    if job.tasks.iter().flat_map(|task| &task.shares).any(within_noise) {
        text.push_str("~ within the noise: the default may be as good\n");
    }
    if job.tasks.iter().any(|task| !task.shares.is_empty()) {
        text.push_str("\nTotals by weight\n");
        push_table(&mut text, totals_table(job), width);
    }
    push_across(&mut text, job);
    text.push_str("\nOutcomes\n");
    for task in &job.tasks {
        let _ = writeln!(text, "  {} / {}: {}", task.kernel, task.problem, outcomes(task));
        for (outcome, failure) in &task.failures {
            let message: String = one_line(&failure.message).chars().take(FAILURE_CHARS).collect();
            let _ = writeln!(text, "    {outcome}, first in trial {}: {message}", failure.trial);
        }
        if !task.verified {
            text.push_str("    outputs were not verified\n");
        }
    }
    let disturbed = disturbed(job);
    if !job.device.notes.is_empty() || !disturbed.is_empty() {
        text.push('\n');
    }
    for note in disturbed {
        let _ = writeln!(text, "note: {note}");
    }
    for note in &job.device.notes {
        let _ = writeln!(text, "note: {}", one_line(note));
    }
    text
}

/// How much of the device is enough for each task, and what serves every share.
fn push_across(text: &mut String, job: &JobResult) {
    let told: Vec<(&TaskResult, Vec<String>)> = job
        .tasks
        .iter()
        .map(|task| {
            (task, [across::sentences(job, task), across::causes(job, task), across::loads(task)].concat())
        })
        .collect();
    if told.iter().all(|(_, sentences)| sentences.is_empty()) {
        return;
    }
    text.push_str("\nAcross shares\n");
    for (task, sentences) in told {
        for sentence in sentences {
            let _ = writeln!(text, "  {} / {}: {sentence}", task.kernel, task.problem);
        }
    }
}

/// One sentence for every winner whose time is not known well, though it was measured alone.
pub(crate) fn disturbed(job: &JobResult) -> Vec<String> {
    let of_task = |task: &TaskResult| {
        let noisy =
            task.shares.iter().filter(|s| s.best.noise_percent.is_some_and(|n| n > DISTURBED_PERCENT));
        let sentence = |share: &ShareResult| {
            format!(
                "{} / {} at {} %: noise of {}: something else used the device; check with recheck, or run again",
                task.kernel,
                task.problem,
                share.share,
                noise(&share.best)
            )
        };
        noisy.map(sentence).collect::<Vec<_>>()
    };
    job.tasks.iter().flat_map(of_task).collect()
}

/// A time in nanoseconds with three significant digits: `812 ns`, `12.3 µs`, `1.24 ms`, `2.10 s`.
#[must_use]
pub fn duration(ns: u64) -> String {
    if ns < 1000 {
        return format!("{ns} ns");
    }
    let mut value = ns as f64 / 1e3;
    let mut unit = "µs";
    for larger in ["ms", "s"] {
        // 999.5 would be rounded to 1000 of the smaller unit.
        if value < 999.5 {
            break;
        }
        value /= 1e3;
        unit = larger;
    }
    format!("{} {unit}", three_digits(value))
}

/// A figure with three significant digits, or all those before the point.
pub(crate) fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// A difference in percent, with its sign: `+31 %`, `+4.2 %`, `0.0 %`.
pub(crate) fn signed_percent(percent: f64) -> String {
    let decimals = usize::from(percent.abs() < 9.95);
    let text = format!("{percent:+.decimals$} %");
    if percent.abs() < 0.05 { "0.0 %".to_owned() } else { text }
}

/// A ratio with two decimals, or none where it is large: `2.31x`, `140x`.
pub(crate) fn times(ratio: f64) -> String {
    let decimals = if ratio < 99.5 { 2 } else { 0 };
    format!("{ratio:.decimals$}x")
}

/// Whether best and baseline cannot be told apart: their confidence intervals overlap.
pub(crate) fn within_noise(share: &ShareResult) -> bool {
    share.baseline.as_ref().is_some_and(|baseline| {
        let (Some(best_noise), Some(baseline_noise)) = (share.best.noise_percent, baseline.noise_percent)
        else {
            return true;
        };
        let upper = share.best.time_ns as f64 * (1.0 + best_noise / 100.0);
        let lower = baseline.time_ns as f64 * (1.0 - baseline_noise / 100.0);
        upper >= lower
    })
}

/// How well a time is known: `1.2 %`, or `?` where there are too few samples to tell.
pub(crate) fn noise(timed: &Timed) -> String {
    timed.noise_percent.map_or("?".to_owned(), |noise| format!("{noise:.1} %"))
}

/// What was found under each condition: the shares quietly, then those beside loads.
pub(crate) fn conditions(task: &TaskResult) -> Vec<(Condition, &ShareResult)> {
    let quiet = task.shares.iter().map(|result| (Condition::quiet(result.share), result));
    let beside = task.loaded.iter().map(|loaded| (loaded.condition(), &loaded.result));
    quiet.chain(beside).collect()
}

/// What the quiet choice of each other share costs under this condition (beside a load, that of its own share, too):
/// the share it was tuned at, and the loss or why there is none.
pub(crate) fn losses(job: &JobResult, condition: Condition, result: &ShareResult) -> Vec<(u8, String)> {
    let others = job.shares.iter().copied().filter(|&other| Condition::quiet(other) != condition);
    others.map(|other| (other, loss(result, Condition::quiet(other)))).collect()
}

/// The loss with the choice of one condition, as text.
pub(crate) fn loss(result: &ShareResult, tuned: Condition) -> String {
    match (result.loss_with_choice_under(tuned), result.served_choice(tuned)) {
        (Some(loss), _) => signed_percent(loss * 100.0),
        (None, Some(_)) => "failed".to_owned(),
        // Nothing won there, or it is not kept.
        (None, None) => "-".to_owned(),
    }
}

/// Winners measured again: what was reported, the median of the later medians, their range, and the drift.
#[must_use]
pub fn rechecks(rechecks: &[Recheck]) -> String {
    let mut table = new_table(&["Task", "Share", "Reported", "Later", "Range", "Drift"], 1);
    for recheck in rechecks {
        let of = |ns: Option<u64>| ns.map_or("-".to_owned(), duration);
        let later = &recheck.medians_ns;
        table.add_row(vec![
            format!("{} / {}", recheck.kernel, recheck.problem),
            format!("{} %", recheck.share),
            duration(recheck.reported_ns),
            of(recheck.median_ns()),
            format!("{} to {}", of(later.iter().min().copied()), of(later.iter().max().copied())),
            recheck.drift_percent().map_or("-".to_owned(), signed_percent),
        ]);
    }
    let mut text = String::new();
    push_table(&mut text, table, None);
    text
}

fn results_table(job: &JobResult) -> Table {
    let several = job.shares.len() > 1 || job.tasks.iter().any(|task| !task.loaded.is_empty());
    let mut header = vec!["Kernel", "Problem", "Share", "Baseline", "Best", "Speedup", "Noise"];
    if several {
        header.push("Loss with choice of");
    }
    let mut table = new_table(&header, 2);
    for task in &job.tasks {
        let (kernel, problem) = (task.kernel.as_str(), task.problem.as_str());
        if task.shares.is_empty() {
            table.add_row(vec![kernel, problem, "no trial was Ok"]);
        }
        for (i, (condition, result)) in conditions(task).into_iter().enumerate() {
            let names = if i == 0 { (kernel, problem) } else { ("", "") };
            let mut row = vec![
                Cell::new(names.0),
                Cell::new(names.1),
                Cell::new(condition),
                Cell::new(result.baseline.as_ref().map_or("failed".to_owned(), |b| duration(b.time_ns))),
                Cell::new(duration(result.best.time_ns)),
                Cell::new(speedup(result)),
                Cell::new(noise(&result.best)),
            ];
            if several {
                let lines = losses(job, condition, result);
                let lines = lines.into_iter().map(|(at, loss)| format!("{at} %: {loss}"));
                row.push(Cell::new(lines.collect::<Vec<_>>().join("\n")));
            }
            table.add_row(row);
        }
    }
    table
}

/// Baseline over best; with a tilde where the two cannot be told apart.
fn speedup(share: &ShareResult) -> String {
    let mark = if within_noise(share) { "~" } else { "" };
    share.speedup().map_or("-".to_owned(), |ratio| format!("{mark}{}", times(ratio)))
}

fn totals_table(job: &JobResult) -> Table {
    let mut table = new_table(&["Share", "Default", "Tuned", "Speedup", "Left out"], 0);
    for total in job.totals() {
        let timed = total.best_ns > 0;
        let time = |ns| if timed { duration(ns) } else { "-".to_owned() };
        table.add_row(vec![
            format!("{} %", total.share),
            time(total.default_ns),
            time(total.best_ns),
            if timed { times(total.default_ns as f64 / total.best_ns as f64) } else { "-".to_owned() },
            format!("{} of {}", total.left_out, job.tasks.len()),
        ]);
    }
    table
}

/// A table whose columns from `numbers_from` on are aligned to the right.
pub(crate) fn new_table(header: &[&str], numbers_from: usize) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(header.to_vec());
    for column in table.column_iter_mut().skip(numbers_from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Adds a table that is at most `width` columns wide; without a width nothing is wrapped.
pub(crate) fn push_table(text: &mut String, mut table: Table, width: Option<u16>) {
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
    }
    text.push_str(&table.trim_fmt());
    text.push('\n');
}

/// `Ok 150, CompileError 3`, or why there is nothing to list.
fn outcomes(task: &TaskResult) -> String {
    let counts: Vec<String> = (task.outcomes.iter().filter(|(_, count)| **count > 0))
        .map(|(outcome, count)| format!("{outcome} {count}"))
        .collect();
    if counts.is_empty() { "no trials".to_owned() } else { counts.join(", ") }
}

/// Text from outside on one line of a terminal, without anything that would steer it.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn durations_have_three_digits_and_the_fitting_unit() {
        let cases = [
            (0, "0 ns"),
            (812, "812 ns"),
            (1_000, "1.00 µs"),
            (12_340, "12.3 µs"),
            (999_499, "999 µs"),
            (999_950, "1.00 ms"),
            (1_240_000, "1.24 ms"),
            (99_960_000, "100 ms"),
            (2_100_000_000, "2.10 s"),
            (7_200_000_000_000, "7200 s"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text);
        }
    }

    #[test]
    fn signs_and_small_differences() {
        assert_eq!(signed_percent(31.2), "+31 %");
        assert_eq!(signed_percent(4.21), "+4.2 %");
        assert_eq!(signed_percent(-0.01), "0.0 %");
    }

    #[test]
    fn a_gain_within_the_noise_is_marked() {
        let (mut job, _) = sample::job();
        assert!(!summary(&job, None).contains('~'));
        let share = &mut job.tasks[0].shares[0];
        share.baseline = Some(Timed { noise_percent: Some(90.0), ..share.best.clone() });
        let text = summary(&job, None);
        assert!(text.contains("~1.00x") && text.contains("~ within the noise"), "{text}");
    }

    #[test]
    fn every_line_fits_80_columns() {
        let (mut job, _) = sample::job();
        job.tasks[0].kernel = "a-kernel-with-a-name-that-is-as-long-as-they-come-in-a-cluster".to_owned();
        let text = summary(&job, Some(80));
        for line in text.lines().filter(|l| !l.starts_with("note") && !l.starts_with("  ")) {
            assert!(line.chars().count() <= 80, "{line}\n{text}");
        }
    }

    #[test]
    fn the_table_says_what_was_found() {
        let (job, _) = sample::job();
        let text = summary(&job, Some(80));
        let best = &job.tasks[0].shares[0];
        for expected in [
            "sgemm",
            "Totals by weight",
            "Ok ",
            "CompileError ",
            "note: ",
            duration(best.best.time_ns).as_str(),
            times(best.speedup().unwrap()).as_str(),
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert!(!text.contains("SIMULATION"), "{text}");
    }

    #[test]
    fn winners_beside_a_load_have_rows_of_their_own() {
        let (job, _) = sample::loaded();
        let text = summary(&job, Some(120));
        for expected in ["25 % beside Compute", "25 %: +28 %", "one for all conditions", "TFLOP/s alone"] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn a_replay_is_called_a_simulation() {
        let (mut job, _) = sample::job();
        job.device.backend = "replay".to_owned();
        assert!(summary(&job, None).starts_with("SIMULATION"));
    }

    #[test]
    fn a_task_without_results_is_listed() {
        let (mut job, _) = sample::job();
        job.tasks.truncate(1);
        job.tasks[0].shares.clear();
        let text = summary(&job, None);
        assert!(text.contains("no trial was Ok"), "{text}");
        assert!(!text.contains("Totals"), "{text}");
    }
}

//! A job that is watched, in lines of text.

use std::fmt::Write as _;

use fractune_crds::{BestAtShare, Neighbours, State, TuneTask};
use kube::ResourceExt as _;

use super::pace::Pace;
use super::view::{View, made, state};
use crate::cluster::results;
use crate::cluster::text::{cut, one_line, wait, wrap};
use crate::table::{duration, times};

/// Space between columns.
const GAP: usize = 2;

/// The columns and lines that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// The job in one line: `demo: Running, 1 of 2 tasks, 61 of at most 80 trials, 3.2 trials/s, at most 6 s left`.
pub(super) fn summary(view: &View, pace: &Pace) -> String {
    let status = view.job.status.clone().unwrap_or_default();
    let mut text = format!("{}: {}", view.job.name_any(), results::state(&view.job));
    if !results::is_current(&view.job) && status.state.is_some() {
        text.push_str(" (before its last change)");
    }
    if status.tasks.total > 0 {
        let _ = write!(text, ", {} of {} tasks done", status.tasks.succeeded, status.tasks.total);
    }
    if status.tasks.failed > 0 {
        let _ = write!(text, ", {} failed", status.tasks.failed);
    }
    let made = view.trials();
    match view.trials_left() {
        Some(left) if left > 0 => {
            let _ = write!(text, ", {made} of at most {} trials", made + left);
        }
        Some(_) if made > 0 && matches!(status.state, Some(State::Running)) => {
            let _ = write!(text, ", all {made} trials made, quiet rounds under way");
        }
        _ if made > 0 => {
            let _ = write!(text, ", {made} trials");
        }
        _ => {}
    }
    if let (Some(rate), Some(left)) = (pace.per_second(), view.trials_left())
        && left > 0
    {
        let _ = write!(text, ", {rate:.1} trials/s");
        if let Some(time) = pace.time_for(left) {
            let _ = write!(text, ", at most {} left", wait(time));
        }
    }
    text
}

/// Why the job stands as it does, where somebody has to know.
pub(super) fn trouble(view: &View) -> Option<String> {
    if let Some(why) = &view.trouble {
        return Some(one_line(why));
    }
    let status = view.job.status.as_ref()?;
    let Some(condition) = results::reason(status) else {
        return results::waiting(status).map(one_line);
    };
    let waits = if condition.type_ == fractune_crds::conditions::STALLED {
        "; it goes on by itself once that is mended"
    } else {
        ""
    };
    Some(format!("{} ({}): {}{waits}", condition.type_, condition.reason, one_line(&condition.message)))
}

/// The job as a screen of lines, none of which is wider than the terminal.
pub(super) fn frame(view: &View, pace: &Pace, size: Size) -> Vec<String> {
    let mut lines = wrap(&summary(view, pace), size.columns);
    if let Some(why) = trouble(view) {
        lines.extend(wrap(&why, size.columns));
    }
    // A line for the cursor, one that is empty, the header, and one that tells of the tasks that are not shown.
    let room = size.lines.saturating_sub(lines.len() + 4);
    let tasks = shown(view, room);
    if !tasks.is_empty() {
        lines.push(String::new());
        lines.extend(table(view, &tasks, size.columns));
        let hidden = view.tasks.len() - tasks.len();
        if hidden > 0 {
            lines.push(cut(&format!("and {hidden} more, of which less is to be told"), size.columns));
        }
    }
    lines
}

/// The tasks that there is room for: those that run first, then those that fail, wait, and are done.
fn shown(view: &View, room: usize) -> Vec<&TuneTask> {
    use State::{Complete, Failed, Pending, Running, Stalled, Suspended};
    let mut tasks: Vec<&TuneTask> = view.tasks.values().collect();
    if tasks.len() > room {
        tasks.sort_by_key(|task| match state(task) {
            Running => 0,
            Stalled | Failed => 1,
            Suspended => 2,
            Pending if made(task) > 0 => 2,
            Pending => 3,
            Complete => 4,
        });
        tasks.truncate(room);
        tasks.sort_by_key(|task| task.spec.index);
    }
    tasks
}

/// A header and a line for each task.
fn table(view: &View, tasks: &[&TuneTask], columns: usize) -> Vec<String> {
    let mut rows = vec![["TASK", "KERNEL", "PROBLEM", "STATE", "TRIALS"].map(str::to_owned).to_vec()];
    for task in tasks {
        let word = if state(task) == State::Running && made(task) >= task.spec.max_trials {
            // The search is over, the rounds that decide are under way.
            "Quiet rounds".to_owned()
        } else {
            format!("{:?}", state(task))
        };
        rows.push(vec![
            task.spec.index.to_string(),
            task.spec.kernel.clone(),
            task.spec.problem.clone(),
            word,
            format!("{} of {}", made(task), task.spec.max_trials),
        ]);
    }
    // As many shares as fit, in the job's order.
    let mut width = width_of(&rows);
    for &share in &view.job.spec.shares {
        let cells: Vec<String> = std::iter::once(format!("AT {share} %"))
            .chain(tasks.iter().map(|task| best(task, share)))
            .collect();
        let wider = width + GAP + cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        if wider > columns {
            break;
        }
        width = wider;
        for (row, cell) in rows.iter_mut().zip(cells) {
            row.push(cell);
        }
    }
    aligned(&rows).into_iter().map(|line| cut(&line, columns)).collect()
}

/// The fastest of a task at a share, and how much faster than the default it is: `3.57 ms (2.31x)`.
fn best(task: &TuneTask, share: u8) -> String {
    let quiet = |best: &&BestAtShare| best.share == share && best.neighbours == Neighbours::Quiet;
    let Some(best) = task.status.as_ref().and_then(|status| status.best.iter().find(quiet)) else {
        return "-".to_owned();
    };
    let time = duration(best.time_ns.unsigned_abs());
    match best.default_ns {
        Some(default) if best.time_ns > 0 => {
            format!("{time} ({})", times(default as f64 / best.time_ns as f64))
        }
        _ => time,
    }
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    (0..columns).map(width).collect()
}

fn width_of(rows: &[Vec<String>]) -> usize {
    let widths = widths(rows);
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let widths = widths(rows);
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}{:GAP$}", "");
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::sample::{job_with, task};

    const SIZE: Size = Size { columns: 100, lines: 30 };

    fn status(state: &str, trials: i64) -> Value {
        let best = |share: u8, time_ns: i64| {
            json!({"share": share, "neighbours": "Quiet", "trial": 1,
            "configuration": {}, "timeNs": time_ns, "defaultNs": 8_250_000})
        };
        json!({"observedGeneration": 1, "state": state, "trials": {"total": trials},
            "best": [best(50, 3_570_000), best(100, 1_940_000)]})
    }

    fn job(state: &str) -> Value {
        json!({"observedGeneration": 1, "state": state, "tasks": {"total": 2, "succeeded": 1}})
    }

    fn pace() -> Pace {
        let mut pace = Pace::default();
        pace.note(Duration::ZERO, 45);
        pace.note(Duration::from_secs(5), 61);
        pace
    }

    #[test]
    fn a_running_job_on_a_screen() {
        let tasks = vec![task(0, "small", &status("Complete", 40)), task(1, "large", &status("Running", 21))];
        let view = View::new(job_with(job("Running")), tasks);
        assert_eq!(
            frame(&view, &pace(), SIZE),
            [
                "demo: Running, 1 of 2 tasks done, 61 of at most 80 trials, 3.2 trials/s, at most 6 s left",
                "",
                "TASK  KERNEL  PROBLEM  STATE     TRIALS    AT 50 %          AT 100 %",
                "0     k       small    Complete  40 of 40  3.57 ms (2.31x)  1.94 ms (4.25x)",
                "1     k       large    Running   21 of 40  3.57 ms (2.31x)  1.94 ms (4.25x)",
            ]
        );
    }

    #[test]
    fn a_stalled_job_says_what_to_mend_and_that_it_goes_on_then() {
        let mut status = job("Stalled");
        status["conditions"] = json!([{"type": "Stalled", "status": "True", "reason": "Unschedulable",
            "message": "no node offers fractune.dev/mps-50;\n1 node offers fractune.dev/mps-25 and nothing else of it",
            "lastTransitionTime": "2026-11-22T10:00:00Z"}]);
        let mut view = View::new(job_with(status), Vec::new());
        let lines = frame(&view, &Pace::default(), SIZE);
        assert_eq!(lines[0], "demo: Stalled, 1 of 2 tasks done");
        assert_eq!(
            lines[1..].join(" "),
            "Stalled (Unschedulable): no node offers fractune.dev/mps-50; 1 node offers fractune.dev/mps-25 and \
             nothing else of it; it goes on by itself once that is mended"
        );
        view.away("connection refused".to_owned());
        assert_eq!(frame(&view, &Pace::default(), SIZE)[1], "connection refused");
    }

    #[test]
    fn a_job_whose_pods_no_node_takes_says_so_before_it_is_stalled() {
        let mut status = job("Pending");
        status["conditions"] = json!([{"type": "Reconciling", "status": "True", "reason": "Starting",
            "message": "no node can take the pods: Insufficient cpu", "lastTransitionTime": "2026-11-22T10:00:00Z"}]);
        let view = View::new(job_with(status.clone()), Vec::new());
        assert_eq!(frame(&view, &Pace::default(), SIZE)[1], "no node can take the pods: Insufficient cpu");
        status["state"] = json!("Running");
        let view = View::new(job_with(status), Vec::new());
        assert_eq!(trouble(&view), None, "what it says of a job that runs is in the line above");
    }

    #[test]
    fn no_line_is_wider_and_no_frame_longer_than_the_terminal() {
        let name = "a-problem-whose-name-is-as-long-as-names-of-problems-may-ever-be";
        let tasks = (0..500).map(|n| {
            let state = if n % 100 == 7 { "Running" } else { "Complete" };
            task(n, if n == 7 { name } else { "p" }, &status(state, 40))
        });
        let mut view = View::new(job_with(job("Running")), tasks.collect());
        view.job.spec.shares = vec![10, 25, 50, 75, 100];
        for columns in [20, 80, 100, 200] {
            let lines = frame(&view, &pace(), Size { columns, lines: 24 });
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{lines:#?}");
            assert!(lines.len() < 24, "{}", lines.len());
        }
        let text = frame(&view, &pace(), Size { columns: 200, lines: 24 }).join("\n");
        for running in ["\n7  ", "\n107  ", "\n407  ", "and 48"] {
            assert!(text.contains(running), "{running:?} is not in {text}");
        }
    }

    #[test]
    fn a_task_whose_trials_are_made_is_in_its_quiet_rounds() {
        let view = View::new(job_with(job("Running")), vec![task(0, "small", &status("Running", 40))]);
        assert!(frame(&view, &pace(), SIZE).join("\n").contains("Quiet rounds"));
    }

    #[test]
    fn a_job_that_nobody_has_looked_at_says_so() {
        let (mut job, _) = crate::cluster::sample::job(&["small"]);
        job.status = None;
        let view = View::new(job, Vec::new());
        assert_eq!(frame(&view, &Pace::default(), SIZE), ["demo: not seen by the operator yet"]);
    }
}

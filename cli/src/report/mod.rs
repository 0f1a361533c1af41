//! The report: one HTML page that says what a run found, and under which conditions.
//!
//! The page needs no network and no scripts. Charts are inline SVG whose text takes the page's colour, so
//! that they read in light and dark.

mod axis;
mod conditions;
mod curve;
mod distribution;
mod effects;
mod failures;
mod fill;
mod progress;
#[cfg(test)]
#[path = "../../examples/synthetic/mod.rs"]
pub(crate) mod sample;
mod svg;
mod task;
mod verdict;

use fractune_tuner::condition::Condition;
use fractune_tuner::results::JobResult;
use fractune_tuner::trial::Trial;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// What a report is made of.
#[derive(Clone, Debug)]
pub struct ReportInput<'a> {
    /// What was found.
    pub job: &'a JobResult,
    /// The trials of each task, in the order of the job's tasks.
    pub trials: Vec<&'a [Trial]>,
    /// Further conditions of measurement, each a name and a value: seed, strategy, cache state, version.
    pub settings: Vec<(String, String)>,
    /// What must be known before any number is read, each a sentence.
    pub notices: Vec<String>,
    /// When and by what the page was made, in words.
    pub generated: String,
}

/// Why a report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Trial logs and tasks do not belong together.
    #[error("the results have {tasks} tasks but there are {logs} trial logs: give one log per task")]
    Logs {
        /// Tasks in the results.
        tasks: usize,
        /// Trial logs given.
        logs: usize,
    },
    /// A chart cannot be drawn.
    #[error("cannot draw the chart \"{chart}\": {message}")]
    Chart {
        /// What the chart shows.
        chart: String,
        /// The plotting library's words.
        message: String,
    },
}

/// The report as one self-contained HTML page.
///
/// # Errors
/// A number of trial logs other than that of the tasks, and charts that cannot be drawn.
pub fn page(input: &ReportInput) -> Result<String, ReportError> {
    let job = input.job;
    if job.tasks.len() != input.trials.len() {
        return Err(ReportError::Logs { tasks: job.tasks.len(), logs: input.trials.len() });
    }
    let mut sections = Vec::new();
    for (i, (task, trials)) in job.tasks.iter().zip(&input.trials).enumerate() {
        sections.push(task::section(job, task, trials, i)?);
    }
    let title = format!("Tuning report: {}", job.job);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header {
                    h1 { (title) }
                    (banners(job))
                    @for notice in &input.notices { p.banner role="note" { strong { "Note:" } " " (notice) "." } }
                    (verdict::sentences(job))
                }
                main {
                    (verdict::totals(job))
                    @if job.tasks.len() > 1 { (contents(job)) }
                    @for section in &sections { (section) }
                    (conditions::section(input))
                }
                footer { (input.generated) }
            }
        }
    };
    Ok(markup.into_string())
}

/// What must be known before any number is read.
fn banners(job: &JobResult) -> Markup {
    let unverified = job.tasks.iter().filter(|task| !task.verified).count();
    html! {
        @if job.device.backend == "replay" {
            p.banner role="note" {
                strong { "Simulation:" } " times come from a recording, nothing was measured here."
            }
        }
        @if unverified > 0 {
            p.banner role="note" {
                strong { "Not verified:" } " outputs of " (unverified) " of " (count(job.tasks.len(), "task"))
                " were not checked, so a winner there may be wrong."
            }
        }
        @for note in crate::table::disturbed(job) {
            p.banner role="note" { strong { "Disturbed:" } " " (note) "." }
        }
    }
}

fn contents(job: &JobResult) -> Markup {
    html! {
        nav aria-label="Tasks" {
            ul {
                @for (i, task) in job.tasks.iter().enumerate() {
                    li { a href=(format!("#task-{i}")) { (task.kernel) " / " (task.problem) } }
                }
            }
        }
    }
}

/// `25 %`, or `25 % beside Compute`, kept on one line as far as a share is.
fn condition_label(condition: Condition) -> String {
    condition.to_string().replace(" %", "\u{a0}%")
}

fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A share in words, with a space that does not break.
fn share_label(share: u8) -> String {
    format!("{share}\u{a0}%")
}

/// A number of things, in the plural where it is one.
fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// At most `most` characters of a text.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fractune_tuner::kernel::{Configuration, Value};
    use fractune_tuner::trial::Outcome;

    use super::*;

    fn page_of(job: &JobResult, logs: &[Vec<Trial>]) -> String {
        let trials = logs.iter().map(Vec::as_slice).collect();
        let settings = vec![("Seed".to_owned(), "42".to_owned())];
        let notices = vec!["1 of 2 <tasks> is not done".to_owned()];
        page(&ReportInput { job, trials, settings, notices, generated: "by a test".to_owned() }).unwrap()
    }

    #[test]
    fn the_page_is_self_contained_and_says_what_was_found() {
        let (job, logs) = sample::job();
        let page = page_of(&job, &logs);
        for forbidden in ["http:", "https:", "<script", "<link", "@import"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        for expected in
            ["as fast as the default", "mlp-up", "Totals", "role=\"img\"", "Landlock", "Seed", "2 &lt;tasks"]
        {
            assert!(page.contains(expected), "{expected}");
        }
        assert!(!page.contains("Simulation"));
    }

    #[test]
    fn winners_beside_a_load_are_among_the_winning_configurations() {
        let (job, logs) = sample::loaded();
        let page = page_of(&job, &logs);
        let (_, rest) = page.split_once("Winning configurations").unwrap();
        let (winners, _) = rest.split_once("</table>").unwrap();
        assert!(winners.contains("25\u{a0}% beside Compute"), "{winners}");
    }

    #[test]
    fn svg_text_takes_the_colour_of_the_page() {
        let (job, logs) = sample::job();
        let page = page_of(&job, &logs);
        assert!(page.contains("currentColor"));
        assert!(!page.contains("#000000"));
    }

    #[test]
    fn a_replay_is_called_a_simulation() {
        let (mut job, logs) = sample::job();
        job.device.backend = "replay".to_owned();
        assert!(page_of(&job, &logs).contains("nothing was measured here"));
    }

    #[test]
    fn a_time_that_was_disturbed_is_told_before_any_number() {
        let (mut job, logs) = sample::job();
        assert!(!page_of(&job, &logs).contains("Disturbed:"));
        job.tasks[0].shares[0].best.noise_percent = Some(76.8);
        let page = page_of(&job, &logs);
        let at = page.find("noise of 76.8 %: something else used the device").unwrap();
        assert!(page.find("Totals by weight").is_some_and(|totals| at < totals));
    }

    #[test]
    fn everything_from_outside_is_escaped() {
        let (mut job, mut logs) = sample::job();
        job.job = "<script>a</script>".to_owned();
        job.device.notes = vec!["<script>b</script>".to_owned()];
        for (i, trial) in logs[0].iter_mut().enumerate() {
            let text = if i % 2 == 0 { "<script>" } else { "&x" };
            trial.configuration.0.insert("<i>".to_owned(), Value::Text(text.to_owned()));
            trial.message = trial.message.as_ref().map(|_| "<script>d</script>".to_owned());
        }
        job.tasks[0].shares[0]
            .best
            .configuration
            .0
            .insert("<i>".to_owned(), Value::Text("<script>".to_owned()));
        let page = page_of(&job, &logs);
        assert!(!page.contains("<script"));
        assert!(!page.contains("<i>"));
        assert!(page.contains("&lt;script&gt;b"));
    }

    #[test]
    fn a_task_without_ok_trials_shows_its_failures_and_no_charts() {
        let (mut job, mut logs) = sample::job();
        job.tasks.truncate(1);
        logs.truncate(1);
        job.tasks[0].shares.clear();
        for trial in &mut logs[0] {
            trial.outcome = Outcome::CompileError;
            trial.measurements.clear();
            trial.message = Some("no such header".to_owned());
        }
        job.tasks[0].outcomes = BTreeMap::from([(Outcome::CompileError, 220)]);
        let page = page_of(&job, &logs);
        assert!(page.contains("no such header"));
        assert!(page.contains("No trial was Ok"));
        assert!(!page.contains("<svg"));
    }

    #[test]
    fn extreme_jobs_have_a_page() {
        let (job, logs) = sample::job();

        let (mut one, mut log) = (job.clone(), vec![logs[0][..1].to_vec()]);
        one.shares = vec![50];
        one.tasks.truncate(1);
        one.tasks[0].shares.retain(|s| s.share == 50);
        log[0][0].measurements.retain(|m| m.share == 50);
        let page = page_of(&one, &log);
        assert!(!page.contains("served at"), "a matrix of one share says nothing");

        log[0][0].measurements[0].time_ns = Some(0);
        one.tasks[0].shares[0].best.time_ns = 0;
        one.tasks[0].shares[0].baseline.as_mut().unwrap().time_ns = u64::MAX;
        one.tasks[0].weight = 1;
        page_of(&one, &log);

        let (mut none, empty) = (job.clone(), vec![Vec::new(); job.tasks.len()]);
        page_of(&none, &empty);
        none.tasks.clear();
        page_of(&none, &[]);

        let mut wide = logs.clone();
        for trial in &mut wide[0] {
            let values =
                (0..30).map(|i| (format!("p{i}"), Value::Int(i64::from(trial.trial) * 7919 % (i + 1))));
            trial.configuration = Configuration(values.collect());
        }
        assert!(page_of(&job, &wide).contains("p29"));
    }

    #[test]
    fn thousands_of_trials_do_not_make_the_page_grow_without_bound() {
        let (mut job, mut logs) = sample::job();
        job.tasks.truncate(1);
        logs.truncate(1);
        let few = page_of(&job, &logs).len();
        let log = logs[0].clone();
        logs[0] =
            (0..40_000_u32).map(|i| Trial { trial: i, ..log[i as usize % log.len()].clone() }).collect();
        let many = page_of(&job, &logs).len();
        assert!(many < few * 4, "{few} bytes became {many}");
    }

    #[test]
    fn logs_and_tasks_must_match() {
        let (job, _) = sample::job();
        let input = ReportInput {
            job: &job,
            trials: Vec::new(),
            settings: Vec::new(),
            notices: Vec::new(),
            generated: String::new(),
        };
        assert!(matches!(page(&input), Err(ReportError::Logs { tasks: 3, logs: 0 })));
    }
}

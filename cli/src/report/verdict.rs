//! The answer in one sentence per share, and the totals behind it.

use std::fmt::Write as _;

use fractune_tuner::results::{JobResult, ShareResult, Total};
use maud::{Markup, html};

use super::{count, share_label};
use crate::table::{duration, signed_percent, times, within_noise};

/// One sentence for each share.
pub(super) fn sentences(job: &JobResult) -> Markup {
    html! {
        ul.verdict {
            @for total in job.totals() { li { (sentence(job, &total)) } }
            @if job.tasks.is_empty() { li { "The job has no tasks." } }
        }
    }
}

/// The sums over all tasks, weight times time.
pub(super) fn totals(job: &JobResult) -> Markup {
    let totals = job.totals();
    let left_out = totals.iter().any(|total| total.left_out > 0);
    html! {
        h2 { "Totals by weight" }
        div.scroll { table {
            caption { "Weight times time, summed over all tasks: the time of one inference in these kernels." }
            thead { tr {
                th scope="col" { "Share" }
                th.number scope="col" { "Default" }
                th.number scope="col" { "Tuned" }
                th.number scope="col" { "Speedup" }
                @for &tuned_at in other_shares(job) {
                    th.number scope="col" { "Loss with choice of " (share_label(tuned_at)) }
                }
                @if left_out { th.number scope="col" { "Tasks left out" } }
            } }
            tbody { @for total in &totals {
                tr {
                    th scope="row" { (share_label(total.share)) }
                    td.number { (time(total, total.default_ns)) }
                    td.number { (time(total, total.best_ns)) }
                    td.number { (speedup(total).map_or_else(|| "–".to_owned(), times)) }
                    @for &tuned_at in other_shares(job) {
                        td.number { (total_loss_text(job, total.share, tuned_at)) }
                    }
                    @if left_out { td.number { (total.left_out) " of " (job.tasks.len()) } }
                }
            } }
        } }
        @if left_out {
            p.soft { "A task is left out where its default or its winner has no time at that share." }
        }
    }
}

fn sentence(job: &JobResult, total: &Total) -> String {
    let share = share_label(total.share);
    let Some(ratio) = speedup(total) else {
        let tuned = at_share(job, total.share).next().is_some();
        let why = if tuned {
            "the default configuration did not run, so there is no speedup to tell"
        } else {
            "no configuration ran"
        };
        return format!("At {share} {why}.");
    };
    let mut text = if at_share(job, total.share).filter(|s| s.baseline.is_some()).all(within_noise) {
        format!("At {share} nothing is faster than the default beyond the noise")
    } else if ratio < 1.0 {
        format!("At {share} tuned is slower than the default ({})", times(ratio))
    } else {
        format!("At {share} tuned runs {} as fast as the default", times(ratio))
    };
    if let Some((tuned_at, loss)) = worst_choice(job, total.share) {
        let loss = signed_percent(loss * 100.0).trim_start_matches('+').replace(' ', "\u{a0}");
        let _ = write!(text, "; with what is best at {} it would take {loss} longer", share_label(tuned_at));
    }
    if total.left_out > 0 {
        let _ = write!(
            text,
            " ({} left out: the default or the winner has no time)",
            count(total.left_out as usize, "task")
        );
    }
    text.push('.');
    text
}

fn at_share(job: &JobResult, share: u8) -> impl Iterator<Item = &ShareResult> {
    job.tasks.iter().flat_map(|task| &task.shares).filter(move |s| s.share == share)
}

fn speedup(total: &Total) -> Option<f64> {
    (total.best_ns > 0).then(|| total.default_ns as f64 / total.best_ns as f64)
}

fn time(total: &Total, ns: u64) -> String {
    if total.best_ns > 0 { duration(ns) } else { "–".to_owned() }
}

/// The shares whose choice can be compared with another's: none where there is one share only.
fn other_shares(job: &JobResult) -> &[u8] {
    if job.shares.len() > 1 { &job.shares } else { &[] }
}

fn total_loss_text(job: &JobResult, share: u8, tuned_at: u8) -> String {
    if share == tuned_at {
        return "–".to_owned();
    }
    let known = at_share(job, share).all(|timed| timed.served.iter().any(|s| s.tuned_at == tuned_at));
    let none = if known { "failed" } else { "–" };
    total_loss(job, share, tuned_at).map_or_else(|| none.to_owned(), |l| signed_percent(l * 100.0))
}

/// How much longer all tasks together take at a share with the winners of another; none where one of them
/// has no time.
fn total_loss(job: &JobResult, share: u8, tuned_at: u8) -> Option<f64> {
    let (mut own, mut other) = (0.0, 0.0);
    for task in &job.tasks {
        for timed in task.shares.iter().filter(|s| s.share == share) {
            let served = timed.served.iter().find(|s| s.tuned_at == tuned_at)?;
            own += task.weight as f64 * timed.best.time_ns as f64;
            other += task.weight as f64 * served.time_ns? as f64;
        }
    }
    (own > 0.0).then_some(other / own - 1.0)
}

/// The other share whose choice costs most here, if that is worth a word.
fn worst_choice(job: &JobResult, share: u8) -> Option<(u8, f64)> {
    (job.shares.iter().filter(|&&other| other != share))
        .filter_map(|&other| Some((other, total_loss(job, share, other)?)))
        .filter(|(_, loss)| *loss >= 0.01)
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn first_sentence(job: &JobResult) -> String {
        sentence(job, &job.totals()[0])
    }

    #[test]
    fn the_sentence_names_share_speedup_and_the_cost_of_another_choice() {
        let (mut job, _) = sample::job();
        job.tasks.truncate(1);
        let share = &mut job.tasks[0].shares[0];
        share.best.time_ns = 1_000_000;
        share.baseline.as_mut().unwrap().time_ns = 2_310_000;
        for served in &mut share.served {
            served.time_ns = Some(if served.tuned_at == 100 { 1_310_000 } else { 1_000_000 });
        }
        let expected = "At 25\u{a0}% tuned runs 2.31x as fast as the default; \
                        with what is best at 100\u{a0}% it would take 31\u{a0}% longer.";
        assert_eq!(first_sentence(&job), expected);
    }

    #[test]
    fn a_gain_within_the_noise_is_no_gain() {
        let (mut job, _) = sample::job();
        for task in &mut job.tasks {
            let share = &mut task.shares[0];
            let baseline = share.baseline.as_mut().unwrap();
            baseline.time_ns = share.best.time_ns + share.best.time_ns / 500;
            baseline.noise_percent = Some(1.0);
        }
        assert!(first_sentence(&job).contains("nothing is faster than the default beyond the noise"));
    }

    #[test]
    fn a_default_that_did_not_run_has_no_speedup() {
        let (mut job, _) = sample::job();
        for task in &mut job.tasks {
            task.shares[0].baseline = None;
        }
        assert!(first_sentence(&job).contains("the default configuration did not run"));
        for task in &mut job.tasks {
            task.shares.clear();
        }
        assert!(first_sentence(&job).contains("no configuration ran"));
    }

    #[test]
    fn tasks_left_out_are_counted() {
        let (mut job, _) = sample::job();
        job.tasks[0].shares[0].baseline = None;
        assert!(first_sentence(&job).contains("1 task left out"), "{}", first_sentence(&job));
    }
}

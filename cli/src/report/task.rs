//! What was found for one kernel and problem.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fractune_tuner::kernel::{Configuration, Value};
use fractune_tuner::results::{Ended, JobResult, ShareResult, TaskResult};
use fractune_tuner::space::{MAX_CONFIGURATIONS, count_in_words};
use fractune_tuner::trial::Trial;
use maud::{Markup, html};

use super::{
    ReportError, capitalised, condition_label, count, curve, distribution, effects, failures, fill, progress,
    share_label, svg,
};
use crate::across;
use crate::table::{conditions, duration, loss, losses, noise, three_digits, times, within_noise};

/// The section of one task; `index` makes its anchor unique.
pub(super) fn section(
    job: &JobResult,
    task: &TaskResult,
    trials: &[Trial],
    index: usize,
) -> Result<Markup, ReportError> {
    let timed = trials.iter().any(|trial| job.shares.iter().any(|&share| trial.time_ns(share).is_some()));
    let charts = if timed { Some(charts(job, task, trials)?) } else { None };
    Ok(html! {
        section id=(format!("task-{index}")) {
            h2 { (task.kernel) " / " (task.problem) }
            p.soft { (search_in_words(task)) }
            @if task.shares.is_empty() {
                p { strong { "No trial was Ok:" } " there is nothing to compare. The failures below say why." }
            } @else {
                (summary(job, task))
                (winners(task))
                @if let Some(fill) = fill::section(job, task) { (fill) }
                @if conditions(task).len() > 1 { (matrix(task)) }
                @if let Some(curve) = curve::figure(task)? {
                    h3 { "Across shares" }
                    @for sentence in across::sentences(job, task) { p { (capitalised(&sentence)) "." } }
                    (curve)
                }
            }
            @if let Some(charts) = charts { (charts) }
            (failures::section(task, trials))
        }
    })
}

fn charts(job: &JobResult, task: &TaskResult, trials: &[Trial]) -> Result<Markup, ReportError> {
    let shares = &job.shares;
    Ok(html! {
        h3 { "Best so far" }
        (svg::legend(shares))
        div.charts { (progress::over_trials(shares, trials)?) (progress::over_time(shares, trials)?) }
        h3 { "Distribution of times" }
        p.soft {
            "Times of the search, which may be disturbed; best and default as timed in the quiet rounds at its end."
        }
        div.charts { (distribution::charts(shares, task, trials)?) }
        (effects::section(shares, trials)?)
    })
}

fn search_in_words(task: &TaskResult) -> String {
    let why = match task.ended {
        Ended::MaxTrials => "until the limit of trials",
        Ended::SpaceExhausted if task.valid > MAX_CONFIGURATIONS as u64 => {
            "after which no other one was found"
        }
        Ended::SpaceExhausted => "which is every valid configuration",
        Ended::Stale => "until nothing better came for long enough",
        Ended::Target => "until every share had reached its target",
    };
    let seconds = |ms: u64| duration(ms.saturating_mul(1_000_000));
    let mut text = format!(
        "Weight {}. {} in {}, {why}. {} of {} combinations are valid.",
        task.weight,
        count(task.trials as usize, "trial"),
        seconds(task.search_ms),
        count_in_words(task.valid),
        task.raw,
    );
    // A cluster does not keep it.
    if task.finals_ms > 0 {
        let _ = write!(text, " Quiet rounds took {}.", seconds(task.finals_ms));
    }
    text
}

/// Samples behind the best time, where they are known.
fn samples(share: &ShareResult) -> String {
    if share.best.samples > 0 { share.best.samples.to_string() } else { "–".to_owned() }
}

fn summary(job: &JobResult, task: &TaskResult) -> Markup {
    let rows = conditions(task);
    let several = job.shares.len() > 1 || rows.len() > task.shares.len();
    let metrics: BTreeSet<&str> =
        task.shares.iter().flat_map(|s| s.metrics.keys()).map(String::as_str).collect();
    html! {
        div.scroll { table {
            caption { "Medians of the quiet rounds. Noise: half the width of the 95\u{a0}% confidence interval." }
            thead { tr {
                th scope="col" { "Share" }
                th.number scope="col" { "Baseline" }
                th.number scope="col" { "Best" }
                th.number scope="col" { "Speedup" }
                th.number scope="col" { "Noise" }
                th.number scope="col" { "Samples" }
                @for metric in &metrics { th.number scope="col" { (metric) } }
                @if several { th scope="col" { "Loss with the choice of" } }
            } }
            tbody { @for &(condition, share) in &rows {
                tr {
                    th scope="row" { (condition_label(condition)) }
                    td.number { (share.baseline.as_ref().map_or_else(|| "failed".to_owned(), |b| duration(b.time_ns))) }
                    td.number { (duration(share.best.time_ns)) }
                    td.number { (speedup(share)) }
                    td.number { "±" (noise(&share.best)) }
                    td.number { (samples(share)) }
                    @for metric in &metrics {
                        td.number { (share.metrics.get(*metric).map_or_else(|| "–".to_owned(), |v| three_digits(*v))) }
                    }
                    @if several {
                        td { (losses(job, condition, share).iter()
                            .map(|(at, loss)| format!("{}: {}", share_label(*at), loss.replace(' ', "\u{a0}")))
                            .collect::<Vec<_>>().join(", ")) }
                    }
                }
            } }
        } }
    }
}

fn speedup(share: &ShareResult) -> Markup {
    html! {
        @match share.speedup() {
            Some(ratio) if ratio.is_finite() => (times(ratio)),
            _ => "–",
        }
        @if within_noise(share) { br; span.soft { "within noise" } }
    }
}

fn winners(task: &TaskResult) -> Markup {
    let of = conditions(task);
    let best = of.iter().map(|(_, result)| &result.best.configuration);
    let names: BTreeSet<&String> = best.chain([&task.default]).flat_map(|c| c.0.keys()).collect();
    html! {
        h3 { "Winning configurations" }
        div.scroll { table {
            caption { mark { "Marked" } " values differ from the default." }
            thead { tr {
                th scope="col" { "Parameter" }
                th.number scope="col" { "Default" }
                @for (condition, _) in &of { th.number scope="col" { (condition_label(*condition)) } }
            } }
            tbody { @for name in names {
                tr {
                    th scope="row" { (name) }
                    td.number { (value(&task.default, name)) }
                    @for (_, result) in &of {
                        td.number {
                            @if result.best.configuration.0.get(name) == task.default.0.get(name) {
                                (value(&result.best.configuration, name))
                            } @else {
                                mark { (value(&result.best.configuration, name)) }
                            }
                        }
                    }
                }
            } }
        } }
    }
}

fn value(configuration: &Configuration, name: &str) -> String {
    configuration.0.get(name).map_or_else(|| "–".to_owned(), Value::to_string)
}

/// The share matrix: what it costs to serve under one condition what was tuned under another.
fn matrix(task: &TaskResult) -> Markup {
    let rows = conditions(task);
    html! {
        h3 { "Share matrix" }
        div.scroll { table.matrix {
            caption { "How much longer it takes, served as in the row, with the choice tuned as in the column." }
            thead { tr {
                td {}
                @for (tuned, _) in &rows { th scope="col" { "tuned at " (condition_label(*tuned)) } }
            } }
            tbody { @for (condition, served) in &rows {
                tr {
                    th scope="row" { "served at " (condition_label(*condition)) }
                    @for (tuned, _) in &rows {
                        @let loss_percent = served.loss_with_choice_under(*tuned).map(|loss| loss * 100.0);
                        td.number style=[loss_percent.map(heat)] { (loss(served, *tuned)) }
                    }
                }
            } }
        } }
        @for load in across::loads(task) { p.soft { (capitalised(&load)) "." } }
    }
}

/// The ground of a cell: nothing at no loss, the full colour from 50 % on. Half transparent at most, so that
/// text in the page's colour stays readable on it in light and dark.
fn heat(loss_percent: f64) -> String {
    let strength = (loss_percent / 50.0).clamp(0.0, 1.0);
    format!("background:rgba(214,88,60,{:.3})", 0.05 + 0.5 * strength)
}

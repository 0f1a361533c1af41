//! What a job's status says across shares, and how well its times are known, in sentences.

use std::collections::BTreeMap;

use fractune_crds::{AcrossSharesOf, TuneJob, TuneJobStatus, TunedResult};
use fractune_tuner::condition::Condition as Served;
use fractune_tuner::results::{DISTURBED_PERCENT, TimeAt, disturbance};

use super::text::one_line;

/// What has to be done about times that were disturbed. A job's spec is fixed once it runs.
const AGAIN: &str = "run it again as a new job";
/// Times that are named; the others are counted.
const NAMED: usize = 5;

/// What the status says across shares, in sentences: what is enough, what serves all, and why winners differ.
pub(super) fn sentences(job: &TuneJob, status: &TuneJobStatus) -> Vec<String> {
    let mut told = Vec::new();
    for AcrossSharesOf { kernel, problem, knee, one_for_all, one_for_conditions } in &status.across {
        let of = format!("{kernel} / {problem}");
        told.extend(knee.iter().map(|knee| {
            format!("{of}: {} % is enough: {}x the time of the largest share", knee.share, knee.slowdown)
        }));
        told.extend(one_for_all.iter().map(|choice| {
            format!(
                "{of}: one for all shares: {} ({}x the best time at {} %, where it loses most)",
                choice.configuration, choice.worst_slowdown, choice.worst_share
            )
        }));
        told.extend(one_for_conditions.iter().map(|choice| {
            let at = Served { share: choice.worst_share, neighbours: choice.worst_neighbours };
            format!(
                "{of}: one for all conditions: {} ({}x the best time at {at}, where it loses most; over all {}x)",
                choice.configuration, choice.worst_slowdown, choice.mean_slowdown
            )
        }));
        let here =
            status.results.iter().filter(|result| (&result.kernel, &result.problem) == (kernel, problem));
        told.extend(here.filter_map(|result| Some(format!("{of}: {}", result.cause.as_ref()?))));
    }
    told.extend(left_open(job, &status.results));
    told.iter().map(|sentence| one_line(sentence)).collect()
}

/// Why nothing is said of how much is enough, for each kernel and problem of which that is so.
fn left_open(job: &TuneJob, results: &[TunedResult]) -> Vec<String> {
    let mut times: BTreeMap<(&str, &str), Vec<TimeAt>> = BTreeMap::new();
    for result in results.iter().filter(|result| result.neighbours.is_quiet()) {
        let at = TimeAt {
            share: result.share,
            time_ns: result.time_ns.unsigned_abs(),
            noise_percent: noise(result),
        };
        times.entry((&result.kernel, &result.problem)).or_default().push(at);
    }
    let percent = f64::from(job.spec.measure.knee_percent);
    let why = |((kernel, problem), times): (&(&str, &str), &Vec<TimeAt>)| {
        Some(format!("{kernel} / {problem}: {}; {AGAIN}", disturbance(times, percent)?))
    };
    times.iter().filter_map(why).collect()
}

fn noise(result: &TunedResult) -> Option<f64> {
    result.noise_percent.as_ref()?.parse().ok()
}

/// The quiet winners whose times are not known well, in a sentence.
pub(super) fn disturbed(status: &TuneJobStatus) -> Option<String> {
    let quiet = status.results.iter().filter(|result| result.neighbours.is_quiet());
    let of = |result: &TunedResult| {
        let noise = noise(result).filter(|noise| *noise > DISTURBED_PERCENT)?;
        Some(format!("{noise:.1} % ({} / {} at {} %)", result.kernel, result.problem, result.share))
    };
    let mut noisy: Vec<String> = quiet.filter_map(of).collect();
    if noisy.is_empty() {
        return None;
    }
    let more = noisy.len().saturating_sub(NAMED);
    noisy.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let noisy = one_line(&noisy.join(", "));
    Some(format!("note: noise of {noisy}{more}: something else used the device; {AGAIN}"))
}

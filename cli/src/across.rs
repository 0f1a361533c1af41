//! What times at all shares say, in words: for the terminal and for the report.

use fractune_tuner::condition::Neighbours;
use fractune_tuner::results::{JobResult, Load, LoadedResult, TaskResult};

use crate::table::{signed_percent, three_digits};

/// One sentence on how much of the device is enough, and one on the configuration that serves every share. None where
/// the job has one share.
pub(crate) fn sentences(job: &JobResult, task: &TaskResult) -> Vec<String> {
    [knee(job, task), one_for_all(task), one_for_conditions(task)].into_iter().flatten().collect()
}

/// How much the loads did that finalists were measured beside, one sentence for each.
pub(crate) fn loads(task: &TaskResult) -> Vec<String> {
    let sentence = |loaded: &LoadedResult| {
        let Load { share, units, alone_per_second, beside_per_second } = loaded.load;
        let rate = |per_second: f64| rate(loaded.neighbours, per_second);
        format!(
            "the {} load at {share} % ({units} SMs) did {} alone and {} beside {} %",
            loaded.neighbours,
            rate(alone_per_second),
            rate(beside_per_second),
            loaded.result.share
        )
    };
    task.loaded.iter().map(sentence).collect()
}

/// `45.1 TFLOP/s`, or `2.07 TB/s`.
fn rate(neighbours: Neighbours, per_second: f64) -> String {
    let unit = if neighbours == Neighbours::Memory { "B/s" } else { "FLOP/s" };
    let (scaled, prefix) =
        if per_second >= 1e12 { (per_second / 1e12, "T") } else { (per_second / 1e9, "G") };
    format!("{} {prefix}{unit}", three_digits(scaled))
}

/// Why a share has another winner than the largest, one sentence for each share of which the device told enough.
pub(crate) fn causes(job: &JobResult, task: &TaskResult) -> Vec<String> {
    task.shares
        .iter()
        .filter_map(|share| task.cause(share.share, &job.device))
        .map(|cause| cause.sentence)
        .collect()
}

fn knee(job: &JobResult, task: &TaskResult) -> Option<String> {
    let percent = job.measure.knee_percent;
    if let Some(why) = task.disturbance(f64::from(percent)) {
        return Some(format!("{why}; recheck"));
    }
    let knee = task.knee(f64::from(percent))?;
    let largest = task.shares.iter().map(|share| share.share).max()?;
    Some(if knee.share == largest {
        format!("every share up to {largest} % buys {percent} % or more")
    } else {
        let loss = longer(knee.loss);
        format!(
            "{} % is enough: {loss} than at {largest} %, and less than {percent} % counts as nothing",
            knee.share
        )
    })
}

fn one_for_all(task: &TaskResult) -> Option<String> {
    let choice = task.one_for_all()?;
    let which = if choice.configuration == task.default { "the default, " } else { "" };
    let worst = if choice.worst_loss < 0.0005 {
        "the best at each".to_owned()
    } else {
        format!("{} than the best at {} %, where it loses most", longer(choice.worst_loss), choice.worst_at)
    };
    Some(format!("one for all shares: {which}{} ({worst})", choice.configuration))
}

fn one_for_conditions(task: &TaskResult) -> Option<String> {
    let choice = task.one_for_conditions()?;
    Some(format!(
        "one for all conditions: {} ({} than the best at {}, where it loses most; over all, {} than each condition's own)",
        choice.configuration,
        longer(choice.worst_loss),
        choice.worst_at,
        longer(choice.mean_loss)
    ))
}

fn longer(loss: f64) -> String {
    let percent = signed_percent(loss * 100.0);
    match percent.strip_prefix('-') {
        Some(gain) => format!("{gain} shorter"),
        None => format!("{} longer", percent.trim_start_matches('+')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn what_is_enough_and_what_serves_all_is_told() {
        let (mut job, _) = sample::job();
        let mut task = job.tasks[0].clone();
        let (first, rest) = task.shares.split_first_mut().unwrap();
        first.best.time_ns = 1040;
        for share in &mut *rest {
            share.best.time_ns = 1000;
        }
        rest.last_mut().unwrap().share = 100;
        let told = sentences(&job, &task);
        assert!(told[0].contains("is enough: 4.0 % longer than at 100 %"), "{told:?}");
        task.shares.last_mut().unwrap().best.time_ns = 2000;
        let told = sentences(&job, &task);
        assert!(told[0].ends_with(" % was faster than 100 %: the times were disturbed; recheck"), "{told:?}");
        job.measure.knee_percent = 1;
        task.shares.truncate(1);
        assert!(sentences(&job, &task).is_empty(), "one share says nothing");
    }

    #[test]
    fn a_default_that_serves_all_is_called_so() {
        let (job, _) = sample::job();
        let mut task = job.tasks[0].clone();
        for share in &mut task.shares {
            share.best.configuration = task.default.clone();
            share.best.trial = 0;
            for served in &mut share.served {
                served.time_ns = Some(share.best.time_ns);
            }
        }
        let told = sentences(&job, &task);
        assert!(told[1].starts_with("one for all shares: the default, "), "{told:?}");
        assert!(told[1].ends_with("(the best at each)"), "{told:?}");
    }

    #[test]
    fn loads_are_told_in_the_unit_of_what_they_do() {
        assert_eq!(rate(Neighbours::Compute, 4.512e13), "45.1 TFLOP/s");
        assert_eq!(rate(Neighbours::Memory, 8.5e11), "850 GB/s");
        let (job, _) = sample::loaded();
        let told = loads(&job.tasks[0]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("the Compute load at 75 % (48 SMs) did "), "{told:?}");
        let all = sentences(&job, &job.tasks[0]);
        assert!(all.iter().any(|said| said.starts_with("one for all conditions: ")), "{all:?}");
    }
}

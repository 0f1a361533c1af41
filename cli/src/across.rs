//! What times at all shares say, in words: for the terminal and for the report.

use fractune_tuner::results::{JobResult, TaskResult};

use crate::table::signed_percent;

/// One sentence on how much of the device is enough, and one on the configuration that serves every share. None where
/// the job has one share.
pub(crate) fn sentences(job: &JobResult, task: &TaskResult) -> Vec<String> {
    [knee(job, task), one_for_all(task)].into_iter().flatten().collect()
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
}

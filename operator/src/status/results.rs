//! Results and totals of a job, from its tasks.

use std::collections::BTreeMap;

use fractune_crds::{AcrossShares, AcrossSharesOf, BestAtShare, JobTotal, Neighbours, TuneTask, TunedResult};

use super::tasks;
use crate::fetch::Observed;
use crate::validate::TaskName;

/// With more results the object would come near the API server's limit of its size, so they are without causes.
const MAX_CAUSES: usize = 512;

/// The winners of every task that is done: those of earlier trials, where a task was made to go on.
pub(super) fn results(observed: &Observed) -> Vec<TunedResult> {
    let quiet = |task: &TuneTask| {
        let status = task.status.clone().unwrap_or_default();
        let product = status.gpu.map(|gpu| gpu.product).filter(|product| !product.is_empty());
        let best = status.best.into_iter().filter(|best| best.quiet);
        best.map(|best| result(task, best, product.clone())).collect::<Vec<_>>()
    };
    let mut results: Vec<TunedResult> = observed.tasks.values().flat_map(|task| quiet(task)).collect();
    if results.len() > MAX_CAUSES {
        for result in &mut results {
            result.cause = None;
        }
    }
    results
}

/// What tasks that are done say across shares.
pub(super) fn across(observed: &Observed) -> Vec<AcrossSharesOf> {
    let of = |task: &TuneTask| {
        let AcrossShares { knee, one_for_all, one_for_conditions } = task.status.as_ref()?.across.clone()?;
        let (kernel, problem) = (task.spec.kernel.clone(), task.spec.problem.clone());
        Some(AcrossSharesOf { kernel, problem, knee, one_for_all, one_for_conditions })
    };
    observed.tasks.values().filter_map(|task| of(task)).collect()
}

fn result(task: &TuneTask, best: BestAtShare, gpu: Option<String>) -> TunedResult {
    TunedResult {
        kernel: task.spec.kernel.clone(),
        problem: task.spec.problem.clone(),
        share: best.share,
        neighbours: best.neighbours,
        speedup_over_default: ratio(best.default_ns, best.time_ns),
        speedup_over_full_gpu_choice: ratio(best.full_choice_ns, best.time_ns),
        speedup_over_quiet_choice: ratio(best.quiet_choice_ns, best.time_ns),
        configuration: best.configuration,
        time_ns: best.time_ns,
        noise_percent: best.noise_percent,
        metrics: best.metrics,
        cause: best.cause,
        gpu,
    }
}

/// `1.52`; none where either time is missing.
fn ratio(over: Option<i64>, under: i64) -> Option<String> {
    let over = over.filter(|over| *over > 0 && under > 0)?;
    Some(format!("{:.2}", over as f64 / under as f64))
}

/// The sum of weight times time of every task, for each share and neighbours, in the job's order.
pub(super) fn totals(observed: &Observed, names: &[TaskName]) -> Vec<JobTotal> {
    let spec = &observed.job.spec;
    let mut totals: BTreeMap<(Neighbours, usize), JobTotal> = BTreeMap::new();
    for (at, &share) in spec.shares.iter().enumerate() {
        for &neighbours in &spec.neighbours {
            let of =
                |task: &TuneTask| {
                    let best =
                        task.status.as_ref()?.best.iter().find(|best| {
                            best.share == share && best.neighbours == neighbours && best.quiet
                        })?;
                    Some((best.default_ns?, best.time_ns))
                };
            let mut total =
                JobTotal { share, neighbours, default_ns: 0, best_ns: 0, speedup: None, left_out: 0 };
            let mut any = false;
            for (index, name) in names.iter().enumerate() {
                match observed.tasks.get(&index).and_then(|task| of(task)) {
                    Some((default, best)) => {
                        any = true;
                        total.default_ns =
                            total.default_ns.saturating_add(name.weight.saturating_mul(default));
                        total.best_ns = total.best_ns.saturating_add(name.weight.saturating_mul(best));
                    }
                    None => total.left_out += 1,
                }
            }
            total.speedup = ratio(Some(total.default_ns), total.best_ns);
            if any {
                totals.insert((neighbours, at), total);
            }
        }
    }
    totals.into_values().collect()
}

/// Trials of all tasks.
pub(super) fn trials(observed: &Observed) -> i64 {
    let of = |task: &TuneTask| task.status.as_ref().map_or(0, |status| status.trials.total);
    observed.tasks.values().map(|task| of(task)).sum()
}

/// Tasks that say they failed, each with what it says.
pub(super) fn failures(observed: &Observed) -> Vec<String> {
    let failure = |task: &TuneTask| {
        let name = tasks::name(task);
        // Most messages begin with it.
        tasks::failure(task).map(|condition| {
            format!("{name}: {}", condition.message.trim_start_matches(&format!("{name}: ")))
        })
    };
    observed.tasks.values().filter_map(|task| failure(task)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_well_a_time_is_known_is_told_with_it() {
        let task = json!({"apiVersion": "fractune.dev/v1alpha1", "kind": "TuneTask", "metadata": {"name": "demo-0"},
            "spec": {"jobName": "demo", "kernel": "k", "problem": "p", "shares": [50], "index": 0, "maxTrials": 40,
                "digest": "d"}});
        let best = json!({"share": 50, "neighbours": "Quiet", "trial": 1, "configuration": {}, "timeNs": 700,
            "noisePercent": "11.31", "quiet": true});
        let task = serde_json::from_value(task).unwrap();
        let found = result(&task, serde_json::from_value(best).unwrap(), None);
        assert_eq!(found.noise_percent.as_deref(), Some("11.31"));
    }
}

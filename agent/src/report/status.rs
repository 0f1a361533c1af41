//! From what `tune` wrote to a task's status, within the bounds of the API.

use std::collections::BTreeMap;

use fractune_crds::{
    AcrossShares, BestAtShare, Footprint, Gpu, Knee, Neighbours, OneForAll, OneForConditions, TuneTaskStatus,
    UnitsAtShare,
};
use fractune_tuner::condition::Condition as Served;
use fractune_tuner::results::{Device, JobResult, LoadedResult, ShareResult, TaskResult};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::checkpoint::Checkpoint;
use super::conditions::{Phase, conditions};
use super::progress::{Progress, counts, shorten};

/// Bounds of the definition of `TuneTask`.
const MAX_BEST: usize = 48;
const MAX_NOTES: usize = 16;
const MAX_NOTE: usize = 1024;
const MAX_CAUSE: usize = 384;
const MAX_ENTRIES: usize = 16;

/// Everything that a status is made of.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) generation: i64,
    pub(super) node: &'a str,
    pub(super) kernel: &'a str,
    pub(super) problem: &'a str,
    pub(super) phase: &'a Phase,
    /// When the phase began.
    pub(super) since: &'a Time,
    pub(super) now: &'a Time,
    /// When the first trial began.
    pub(super) started: Option<&'a Time>,
    pub(super) progress: &'a Progress,
    pub(super) device: Option<&'a Device>,
    /// Where the phase has some.
    pub(super) results: Option<&'a JobResult>,
    pub(super) notes: &'a [String],
    /// With the digest that it was made under.
    pub(super) checkpoint: Option<(&'a Checkpoint, &'a str)>,
    pub(super) earlier: &'a [Condition],
    /// What an earlier pod wrote of the same digest: its quiet winners hold until there are others.
    pub(super) before: Option<&'a TuneTaskStatus>,
}

/// The status that says all of that.
pub(super) fn status(facts: &Facts<'_>) -> TuneTaskStatus {
    let result = facts.results.filter(|_| facts.phase.has_results()).and_then(|job| {
        let task = job.tasks.iter().find(|t| t.kernel == facts.kernel && t.problem == facts.problem)?;
        Some((job, task))
    });
    let device = result.map(|(job, _)| &job.device).or(facts.device);
    let checkpoint = facts.checkpoint;
    let before = facts.before;
    let has_winners = before.is_some_and(|before| before.best.iter().any(|best| best.quiet));
    TuneTaskStatus {
        observed_generation: Some(facts.generation),
        conditions: conditions(facts.phase, facts.generation, facts.earlier, facts.now),
        state: Some(facts.phase.state()),
        start_time: facts.started.cloned(),
        completion_time: facts.phase.is_complete().then(|| facts.since.clone()),
        trials: result.map_or_else(|| facts.progress.counts(), |(_, task)| counts(&task.outcomes)),
        best: match result {
            Some((job, task)) => quiet_best(job, task),
            None if has_winners => before.map(|before| before.best.clone()).unwrap_or_default(),
            None => best_so_far(facts.progress),
        },
        across: match result {
            Some((job, task)) => across(job, task),
            None => before.and_then(|before| before.across.clone()),
        },
        gpu: device.map(gpu),
        node: (!facts.node.is_empty()).then(|| cut(facts.node, 253)),
        size_macros: match result {
            Some((_, task)) => task.size_macros.clone().into_iter().take(MAX_ENTRIES).collect(),
            None => before.map(|before| before.size_macros.clone()).unwrap_or_default(),
        },
        notes: notes(facts.notes, device),
        noise: result.and_then(|(_, task)| percent(task.canary?.worst_percent())),
        checkpoint: checkpoint.map(|(checkpoint, _)| checkpoint.encoded.clone()),
        checkpoint_trials: checkpoint.map_or(0, |(checkpoint, _)| i64::from(checkpoint.trials)),
        checkpoint_digest: checkpoint.map(|(_, digest)| cut(digest, 64)),
    }
}

/// The fastest of the search, which the quiet rounds may still correct.
fn best_so_far(progress: &Progress) -> Vec<BestAtShare> {
    let best = progress.best().iter().filter(|(share, _)| (1..=100).contains(*share)).take(MAX_BEST);
    best.map(|(&share, best)| BestAtShare {
        share,
        neighbours: Neighbours::Quiet,
        trial: i64::from(best.trial),
        configuration: best.configuration.clone(),
        time_ns: signed(best.time_ns),
        noise_percent: None,
        default_ns: progress.default_ns(share).map(signed),
        full_choice_ns: None,
        metrics: BTreeMap::new(),
        quiet_choice_ns: None,
        load: None,
        footprint: None,
        cause: None,
        quiet: false,
    })
    .collect()
}

/// The winners of the rounds at the end.
fn quiet_best(job: &JobResult, task: &TaskResult) -> Vec<BestAtShare> {
    let full = job.shares.iter().max();
    let choice_of = |result: &ShareResult, share: u8| result.served_choice(Served::quiet(share))?.time_ns;
    let best = |result: &ShareResult| BestAtShare {
        share: result.share,
        neighbours: Neighbours::Quiet,
        trial: i64::from(result.best.trial),
        configuration: result.best.configuration.clone(),
        time_ns: signed(result.best.time_ns),
        noise_percent: result.best.noise_percent.and_then(percent),
        default_ns: result.baseline.as_ref().map(|baseline| signed(baseline.time_ns)),
        full_choice_ns: full.and_then(|full| choice_of(result, *full)).map(signed),
        metrics: metrics(&result.metrics),
        quiet_choice_ns: None,
        load: None,
        footprint: result.footprint.map(Footprint::from),
        cause: task.cause(result.share, &job.device).map(|cause| cut(&cause.sentence, MAX_CAUSE)),
        quiet: true,
    };
    let beside = |loaded: &LoadedResult| BestAtShare {
        neighbours: loaded.neighbours,
        quiet_choice_ns: choice_of(&loaded.result, loaded.result.share).map(signed),
        load: Some(loaded.load.into()),
        cause: None,
        ..best(&loaded.result)
    };
    task.shares.iter().map(best).chain(task.loaded.iter().map(beside)).take(MAX_BEST).collect()
}

/// What is said of one share is nothing across shares.
fn across(job: &JobResult, task: &TaskResult) -> Option<AcrossShares> {
    let slowdown = |loss: f64| format!("{:.2}", 1.0 + loss);
    let knee = task
        .knee(f64::from(job.measure.knee_percent))
        .map(|knee| Knee { share: knee.share, slowdown: slowdown(knee.loss) });
    let one_for_all = task.one_for_all().map(|choice| OneForAll {
        trial: i64::from(choice.trial),
        configuration: choice.configuration,
        worst_share: choice.worst_at,
        worst_slowdown: slowdown(choice.worst_loss),
    });
    let one_for_conditions = task.one_for_conditions().map(|choice| OneForConditions {
        trial: i64::from(choice.trial),
        configuration: choice.configuration,
        worst_share: choice.worst_at.share,
        worst_neighbours: choice.worst_at.neighbours,
        worst_slowdown: slowdown(choice.worst_loss),
        mean_slowdown: slowdown(choice.mean_loss),
    });
    let across = AcrossShares { knee, one_for_all, one_for_conditions };
    (across != AcrossShares::default()).then_some(across)
}

fn metrics(metrics: &BTreeMap<String, f64>) -> BTreeMap<String, String> {
    let finite = metrics.iter().filter_map(|(name, value)| Some((name.clone(), number(*value)?)));
    finite.take(MAX_ENTRIES).collect()
}

/// A number with six significant digits; none for what is none.
fn number(value: f64) -> Option<String> {
    let rounded: f64 = format!("{value:.5e}").parse().ok().filter(|value: &f64| value.is_finite())?;
    let plain = rounded == 0.0 || (1e-6..1e15).contains(&rounded.abs());
    Some(if plain { rounded.to_string() } else { format!("{rounded:e}") })
}

/// Percent with two digits after the point at most.
fn percent(value: f64) -> Option<String> {
    let rounded: f64 = format!("{value:.2}").parse().ok()?;
    number(rounded)
}

fn gpu(device: &Device) -> Gpu {
    let units = device.units_by_share.iter().filter(|(share, _)| (1..=100).contains(*share));
    let units =
        units.map(|(&share, &units)| UnitsAtShare { share, units: i32::try_from(units).unwrap_or(i32::MAX) });
    let gpu = device.gpu.as_ref();
    Gpu {
        product: cut(&device.product, 128),
        driver: gpu.map(|gpu| cut(&gpu.driver, 64)).unwrap_or_default(),
        uuid: gpu.map(|gpu| cut(&gpu.uuid, 64)).unwrap_or_default(),
        compiler: cut(&device.compiler, 128),
        mps: gpu.is_some_and(|gpu| gpu.mps),
        units: units.take(MAX_ENTRIES).collect(),
    }
}

/// Every note once; the last one says so where there is no room for all.
fn notes(notes: &[String], device: Option<&Device>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for note in notes.iter().chain(device.into_iter().flat_map(|device| &device.notes)) {
        let note = cut(note, MAX_NOTE);
        if !all.contains(&note) {
            all.push(note);
        }
    }
    if all.len() > MAX_NOTES {
        let more = all.len() - (MAX_NOTES - 1);
        all.truncate(MAX_NOTES - 1);
        all.push(format!("and {more} more notes, in the pod's log"));
    }
    all
}

fn cut(text: &str, characters: usize) -> String {
    let mut text = text.to_string();
    shorten(&mut text, characters);
    text
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use fractune_crds::State;
    use serde_json::json;

    use super::super::progress::tests::{line, log};
    use super::*;
    use crate::link::End;

    fn results() -> JobResult {
        let timed = |trial: u32, time_ns: u64| json!({"trial": trial, "configuration": {"x": trial}, "timeNs": time_ns, "noisePercent": 0.8312, "samples": 9});
        let share = |share: u8, best: u32, time_ns: u64, of_full: u64| {
            json!({"share": share, "best": timed(best, time_ns), "baseline": timed(0, 900), "finalists": [],
                "served": [{"tunedAt": 50, "timeNs": time_ns}, {"tunedAt": 100, "timeNs": of_full}],
                "metrics": {"gflops": 1.234_567_89}, "footprint": {"blocks": 64 * u32::from(share) / 50,
                    "threads": 256, "blocksPerUnit": 2, "unitThreads": 2048, "registers": 96, "sharedBytes": 0, "localBytes": 0}})
        };
        serde_json::from_value(json!({
            "version": 1, "job": "j", "shares": [50, 100], "search": {}, "measure": {},
            "device": {"backend": "cuda", "product": "NVIDIA H200", "units": 132,
                "unitsByShare": {"50": 66, "100": 132}, "compiler": "nvrtc 13.0", "notes": ["no lock"],
                "gpu": {"uuid": "GPU-1", "driver": "580.1", "mps": true, "memoryBytes": 1}},
            "tasks": [{"kernel": "k", "problem": "p", "weight": 1, "sizeMacros": {"M": 64}, "folder": "k.p",
                "raw": 9, "valid": 9, "trials": 4, "outcomes": {"Ok": 3, "CompileError": 1}, "verified": true,
                "ended": "MaxTrials", "searchMs": 1, "finalsMs": 1, "default": {"x": 0},
                "shares": [share(50, 3, 800, 880), share(100, 2, 400, 400)],
                "loaded": [{"neighbours": "Compute", "share": 50, "best": timed(1, 1000), "finalists": [],
                    "served": [{"tunedAt": 50, "timeNs": 1300}, {"tunedAt": 100, "timeNs": 1100},
                        {"tunedAt": 50, "neighbours": "Compute", "timeNs": 1000}],
                    "load": {"share": 50, "units": 66, "alonePerSecond": 4e13, "besidePerSecond": 3e13}}]}]
        }))
        .unwrap()
    }

    fn facts<'a>(phase: &'a Phase, progress: &'a Progress, time: &'a Time) -> Facts<'a> {
        Facts {
            generation: 7,
            node: "node-1",
            kernel: "k",
            problem: "p",
            phase,
            since: time,
            now: time,
            started: Some(time),
            progress,
            device: None,
            results: None,
            notes: &[],
            checkpoint: None,
            earlier: &[],
            before: None,
        }
    }

    fn progress() -> Progress {
        Progress::of(log(&[line(0, Some((900, 500))), line(1, Some((700, 600)))]).as_bytes()).unwrap()
    }

    #[test]
    fn while_it_runs_the_search_speaks() {
        let (progress, time) = (progress(), Time(jiff::Timestamp::UNIX_EPOCH));
        let device = results().device;
        let facts = Facts { device: Some(&device), ..facts(&Phase::Tuning, &progress, &time) };
        let status = status(&facts);
        assert_eq!((status.state, status.observed_generation), (Some(State::Running), Some(7)));
        assert_eq!(status.trials.total, 2);
        let half = &status.best[0];
        assert_eq!((half.share, half.trial, half.time_ns, half.default_ns), (50, 1, 700, Some(900)));
        assert!(!half.quiet && half.full_choice_ns.is_none() && status.completion_time.is_none());
        let gpu = status.gpu.unwrap();
        assert_eq!((gpu.product.as_str(), gpu.mps, gpu.units[0].units), ("NVIDIA H200", true, 66));
        assert_eq!(status.notes, ["no lock"]);
    }

    #[test]
    fn at_the_end_the_quiet_rounds_do() {
        let (progress, time) = (progress(), Time(jiff::Timestamp::UNIX_EPOCH));
        let results = results();
        let end = |exit_code| Phase::Ended(End { version: 1, exit_code, message: "m".into() });
        let done = end(0);
        let complete = status(&Facts { results: Some(&results), ..facts(&done, &progress, &time) });
        let half = &complete.best[0];
        assert!(half.quiet);
        assert_eq!((half.trial, half.time_ns), (3, 800));
        assert_eq!((half.default_ns, half.full_choice_ns), (Some(900), Some(880)));
        assert_eq!(half.noise_percent.as_deref(), Some("0.83"));
        assert_eq!(half.metrics["gflops"], "1.23457");
        assert_eq!(half.footprint.map(|footprint| (footprint.blocks, footprint.registers)), Some((64, 96)));
        let cause = half.cause.as_deref().unwrap();
        assert!(cause.starts_with("at 50 % (66 SMs) the choice of 100 % takes 10.0 % longer: "), "{cause}");
        let beside = complete.best.last().unwrap();
        assert_eq!((beside.share, beside.neighbours, beside.quiet), (50, Neighbours::Compute, true));
        assert_eq!(
            (beside.quiet_choice_ns, beside.time_ns, beside.full_choice_ns),
            (Some(1300), 1000, Some(1100))
        );
        assert_eq!(
            beside.load.map(|load| (load.units, load.alone_per_second)),
            Some((66, 40_000_000_000_000))
        );
        assert_eq!((complete.trials.total, complete.size_macros["M"]), (4, 64));
        let across = complete.across.unwrap();
        assert_eq!(across.knee, Some(Knee { share: 100, slowdown: "1.00".into() }));
        let choice = across.one_for_all.unwrap();
        assert_eq!((choice.trial, choice.worst_slowdown.as_str()), (3, "1.00"));
        assert_eq!((complete.completion_time, complete.state), (Some(time.clone()), Some(State::Complete)));
        let failed = end(65);
        let failed = status(&Facts { results: Some(&results), ..facts(&failed, &progress, &time) });
        assert!(
            failed.completion_time.is_none() && !failed.best[0].quiet,
            "older results are not this run's"
        );
    }

    #[test]
    fn winners_of_an_earlier_pod_hold_until_there_are_others() {
        let (progress, time) = (progress(), Time(jiff::Timestamp::UNIX_EPOCH));
        let results = results();
        let done = Phase::Ended(End { version: 1, exit_code: 0, message: String::new() });
        let before = status(&Facts { results: Some(&results), ..facts(&done, &progress, &time) });
        let again = status(&Facts { before: Some(&before), ..facts(&Phase::Tuning, &progress, &time) });
        assert_eq!((again.best, again.size_macros), (before.best, before.size_macros));
        assert!(again.across.is_some() && again.across == before.across);
    }

    #[test]
    fn every_text_and_list_keeps_to_the_definitions_bounds() {
        let (progress, time) = (progress(), Time(jiff::Timestamp::UNIX_EPOCH));
        let mut device = results().device;
        device.product = "x".repeat(1000);
        device.units_by_share = (0..=255).map(|share| (share, u32::MAX)).collect();
        device.notes = (0..100).map(|n| format!("{n}{}", "ü".repeat(2000))).collect();
        let facts = Facts { device: Some(&device), ..facts(&Phase::Tuning, &progress, &time) };
        let status = status(&facts);
        assert_eq!(status.notes.len(), 16);
        assert!(status.notes.iter().all(|note| note.chars().count() <= 1024));
        assert!(status.notes[15].contains("85 more"), "{}", status.notes[15]);
        let gpu = status.gpu.unwrap();
        assert_eq!((gpu.product.chars().count(), gpu.units.len()), (128, 16));
        assert!(gpu.units.iter().all(|at| (1..=100).contains(&at.share)));
    }

    #[test]
    fn numbers_are_short_and_what_is_none_is_left_out() {
        assert_eq!(number(1_234.567_891).as_deref(), Some("1234.57"));
        assert_eq!(number(1e300).as_deref(), Some("1e300"));
        assert_eq!(number(-0.000_000_123).as_deref(), Some("-1.23e-7"));
        assert_eq!(number(0.0).as_deref(), Some("0"));
        assert_eq!((number(f64::NAN), number(f64::INFINITY)), (None, None));
        assert_eq!((percent(0.8).as_deref(), percent(f64::NAN)), (Some("0.8"), None));
        assert_eq!(signed(u64::MAX), i64::MAX);
    }
}

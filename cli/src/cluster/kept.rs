//! What a cluster keeps of a job, in the form of a local run's results.

use std::collections::BTreeMap;
use std::time::SystemTime;

use fractune_crds::{BestAtShare, Neighbours, State, TrialCounts, TuneJob, TuneTask, names};
use fractune_tuner::kernel::Language;
use fractune_tuner::results::{
    Device, Ended, FirstFailure, Gpu, JobResult, LoadedResult, Served, ShareResult, TaskResult, Timed,
};
use fractune_tuner::task::Task;
use fractune_tuner::trial::{Outcome, Trial};
use kube::ResourceExt as _;

use super::checkpoint::{self, Checkpoint};
use super::error::ClusterError;
use super::{Session, find};

/// A job's tasks that are over.
#[derive(Debug)]
pub(crate) struct Kept {
    /// What was found, as far as the cluster keeps it.
    pub(crate) result: JobResult,
    /// The trials of each task.
    pub(crate) trials: Vec<Vec<Trial>>,
    /// The checked kernel and problem of each task.
    pub(crate) planned: Vec<Task>,
    /// When each task was over.
    pub(crate) ended: Vec<Option<SystemTime>>,
    /// What a reader must know first.
    pub(crate) notices: Vec<String>,
}

/// Reads all that is known of a job.
pub(crate) async fn read(session: &Session, name: &str) -> Result<Kept, ClusterError> {
    let job = find::job(session, name).await?;
    let tasks = find::tasks(session, &job).await?;
    if tasks.is_empty() {
        return Err(ClusterError::NotFound(no_tasks(&job)));
    }
    let manifest = names::manifest(&names::base(name));
    let text = find::entry(session, &manifest, names::MANIFEST_KEY).await?.ok_or_else(|| {
        ClusterError::NotFound(format!(
            "ConfigMap {manifest}, in which the operator keeps the job's sources, is gone"
        ))
    })?;
    let (_, planned) = fractune_crds::load(text.as_bytes(), |_| {}).map_err(|error| {
        ClusterError::Unreadable(format!(
            "ConfigMap {manifest} holds a job that this program, version {}, cannot read: {error}",
            env!("CARGO_PKG_VERSION")
        ))
    })?;
    kept(&job, &tasks, &planned)
}

fn no_tasks(job: &TuneJob) -> String {
    let name = job.name_any();
    if job.status.as_ref().is_some_and(|status| status.completion_time.is_some()) {
        format!(
            "the tasks of {name}, which held its trials, were deleted after its end (ttlSecondsAfterFinished); \
             its winners are kept: kubectl fractune results {name}"
        )
    } else {
        format!("{name} has no tasks yet: kubectl fractune watch {name}")
    }
}

/// Puts a job's results together from its tasks that are over.
pub(crate) fn kept(job: &TuneJob, tasks: &[TuneTask], planned: &[Task]) -> Result<Kept, ClusterError> {
    let name = job.name_any();
    let mut kept = Kept {
        result: JobResult {
            version: 1,
            job: name.clone(),
            device: Device::default(),
            shares: job.spec.shares.clone(),
            search: job.spec.search.clone(),
            measure: job.spec.measure.clone(),
            tasks: Vec::new(),
        },
        trials: Vec::new(),
        planned: Vec::new(),
        ended: Vec::new(),
        notices: Vec::new(),
    };
    let mut devices: Vec<(String, Device)> = Vec::new();
    let mut unfinished = Vec::new();
    for task in tasks {
        let title = format!("{} / {}", task.spec.kernel, task.spec.problem);
        if !is_over(task) {
            unfinished.push(title);
            continue;
        }
        let of_the_task = |planned: &&Task| {
            planned.kernel.name == task.spec.kernel && planned.problem.name == task.spec.problem
        };
        let planned = planned.iter().find(of_the_task).ok_or_else(|| {
            ClusterError::Unreadable(format!(
                "TuneTask {} is of {title}, which {name} does not have",
                task.name_any()
            ))
        })?;
        let status = task.status.clone().unwrap_or_default();
        let checkpoint = match status.checkpoint.as_deref().map(checkpoint::read) {
            None => Checkpoint::default(),
            Some(Ok(checkpoint)) => checkpoint,
            Some(Err(why)) => {
                kept.notices.push(format!("the trials of {title} cannot be read: {why}"));
                Checkpoint::default()
            }
        };
        if checkpoint.dropped > 0 {
            kept.notices.push(format!(
                "{} of {} trials of {title} had no room in the cluster: charts are without them",
                checkpoint.dropped, status.trials.total
            ));
        }
        devices.push((title, device(task, planned, &checkpoint)));
        kept.result.tasks.push(task_result(job, task, planned, &checkpoint));
        let ended = status.completion_time.map(|time| SystemTime::from(time.0));
        kept.ended.push(ended);
        kept.trials.push(checkpoint.trials);
        kept.planned.push(planned.clone());
    }
    if kept.result.tasks.is_empty() {
        return Err(ClusterError::NotFound(format!(
            "no task of {name} is done yet: kubectl fractune watch {name}"
        )));
    }
    if !unfinished.is_empty() {
        kept.notices.push(format!(
            "{} of {} tasks are not done and left out: {}",
            unfinished.len(),
            tasks.len(),
            unfinished.join(", ")
        ));
    }
    kept.result.device = common_device(devices);
    Ok(kept)
}

/// Whether a task is done or given up, of its spec as it stands.
fn is_over(task: &TuneTask) -> bool {
    let status = task.status.as_ref();
    let current = status.and_then(|status| status.observed_generation) == task.metadata.generation;
    current && matches!(status.and_then(|status| status.state), Some(State::Complete | State::Failed))
}

fn task_result(job: &TuneJob, task: &TuneTask, planned: &Task, checkpoint: &Checkpoint) -> TaskResult {
    let status = task.status.clone().unwrap_or_default();
    let full = job.spec.shares.iter().max().copied();
    let winner = |share: u8| {
        status
            .best
            .iter()
            .find(|best| best.share == share && best.quiet && best.neighbours == Neighbours::Quiet)
    };
    let shares =
        job.spec.shares.iter().filter_map(|&share| Some(share_result(winner(share)?, planned, full)));
    let loaded = status.best.iter().filter(|best| best.quiet && !best.neighbours.is_quiet());
    let loaded = loaded.filter_map(|best| {
        let mut result = share_result(best, planned, full);
        let time_ns = best.quiet_choice_ns.map(i64::unsigned_abs);
        result.served.push(Served { tuned_at: best.share, neighbours: Neighbours::Quiet, time_ns });
        Some(LoadedResult { neighbours: best.neighbours, result, load: best.load?.into() })
    });
    let trials = u32::try_from(status.trials.total).unwrap_or(u32::MAX);
    TaskResult {
        kernel: task.spec.kernel.clone(),
        problem: task.spec.problem.clone(),
        weight: planned.problem.weight,
        size_macros: status.size_macros.clone(),
        folder: format!("{}.{}", task.spec.kernel, task.spec.problem),
        raw: planned.space.raw(),
        valid: planned.space.len() as u64,
        trials,
        outcomes: outcomes(&status.trials),
        failures: failures(&checkpoint.trials),
        verified: !planned.kernel.verify.none,
        ended: ended(job, trials, planned.space.len()),
        search_ms: checkpoint.trials.iter().map(|trial| trial.elapsed_ms).max().unwrap_or(0),
        // Not kept.
        finals_ms: 0,
        default: planned.space.configuration(planned.default),
        shares: shares.collect(),
        loaded: loaded.collect(),
        // Its notes say what a reader must know.
        canary: None,
    }
}

fn share_result(best: &BestAtShare, planned: &Task, full: Option<u8>) -> ShareResult {
    let noise_percent = best.noise_percent.as_ref().and_then(|noise| noise.parse().ok());
    let time_ns = best.time_ns.unsigned_abs();
    let timed = |trial: i64, configuration, time_ns| Timed {
        trial: u32::try_from(trial).unwrap_or(u32::MAX),
        configuration,
        time_ns,
        // The default's own is not kept. The same rounds timed both.
        noise_percent,
        samples: 0,
    };
    let winner = timed(best.trial, best.configuration.clone(), time_ns);
    let default = planned.space.configuration(planned.default);
    let neighbours = best.neighbours;
    let mut served = vec![Served { tuned_at: best.share, neighbours, time_ns: Some(time_ns) }];
    if let Some((full, time)) = full.zip(best.full_choice_ns).filter(|(full, _)| *full != best.share) {
        let time_ns = Some(time.unsigned_abs());
        served.push(Served { tuned_at: full, neighbours: Neighbours::Quiet, time_ns });
    }
    ShareResult {
        share: best.share,
        baseline: best.default_ns.map(|default_ns| timed(0, default, default_ns.unsigned_abs())),
        finalists: vec![winner.clone()],
        best: winner,
        served,
        metrics: best.metrics.iter().filter_map(|(name, v)| Some((name.clone(), v.parse().ok()?))).collect(),
        footprint: best.footprint.map(Into::into),
    }
}

/// Why the search ended, as far as numbers tell.
fn ended(job: &TuneJob, trials: u32, valid: usize) -> Ended {
    let search = &job.spec.search;
    if trials as usize >= valid {
        Ended::SpaceExhausted
    } else if trials >= search.max_trials {
        Ended::MaxTrials
    } else if search.target.is_some() {
        Ended::Target
    } else {
        Ended::Stale
    }
}

fn outcomes(counts: &TrialCounts) -> BTreeMap<Outcome, u32> {
    let TrialCounts {
        total: _,
        ok,
        compile_error,
        compile_timeout,
        resource_exceeded,
        runtime_error,
        run_timeout,
        wrong_answer,
    } = *counts;
    let all = [
        (Outcome::Ok, ok),
        (Outcome::CompileError, compile_error),
        (Outcome::CompileTimeout, compile_timeout),
        (Outcome::ResourceExceeded, resource_exceeded),
        (Outcome::RuntimeError, runtime_error),
        (Outcome::RunTimeout, run_timeout),
        (Outcome::WrongAnswer, wrong_answer),
    ];
    all.into_iter().filter(|(_, n)| *n > 0).map(|(o, n)| (o, u32::try_from(n).unwrap_or(u32::MAX))).collect()
}

fn failures(trials: &[Trial]) -> BTreeMap<Outcome, FirstFailure> {
    let mut first = BTreeMap::new();
    for trial in trials.iter().filter(|trial| !matches!(trial.outcome, Outcome::Ok | Outcome::Skipped)) {
        let failure =
            || FirstFailure { trial: trial.trial, message: trial.message.clone().unwrap_or_default() };
        first.entry(trial.outcome).or_insert_with(failure);
    }
    first
}

/// Where a task was measured: its status says it, and its trial log's identity what the status has no field for.
fn device(task: &TuneTask, planned: &Task, checkpoint: &Checkpoint) -> Device {
    let status = task.status.clone().unwrap_or_default();
    let gpu = status.gpu.unwrap_or_default();
    let identity = checkpoint.identity.get("device").map_or("", String::as_str);
    let by_language = if planned.kernel.language == Language::Cuda { "cuda" } else { "cpu" };
    let backend = identity.split_whitespace().next().unwrap_or(by_language);
    let in_words = identity.rsplit_once('(').and_then(|(_, end)| end.split_whitespace().next()?.parse().ok());
    let units_by_share: BTreeMap<u8, u32> =
        gpu.units.iter().map(|at| (at.share, at.units.unsigned_abs())).collect();
    Device {
        backend: backend.to_owned(),
        units: in_words.or_else(|| units_by_share.values().max().copied()).unwrap_or(0),
        product: gpu.product,
        units_by_share,
        compiler: gpu.compiler,
        gpu: (!gpu.uuid.is_empty()).then_some(Gpu {
            uuid: gpu.uuid,
            driver: gpu.driver,
            mps: gpu.mps,
            memory_bytes: 0,
        }),
        notes: status.notes,
    }
}

/// The first task's device, with the notes of all; tasks that were measured elsewhere are named.
fn common_device(devices: Vec<(String, Device)>) -> Device {
    let mut devices = devices.into_iter();
    let Some((_, mut common)) = devices.next() else { return Device::default() };
    let words = |device: &Device| format!("{} ({}, {} units)", device.product, device.compiler, device.units);
    let first = words(&common);
    for (title, device) in devices {
        let other = words(&device);
        if other != first {
            common.notes.push(format!("{title} was measured on {other}"));
        }
        for note in device.notes {
            if !common.notes.contains(&note) {
                common.notes.push(note);
            }
        }
    }
    common
}

/// What a cluster does not keep of the conditions, as rows of a report.
pub(crate) fn gaps() -> Vec<(String, String)> {
    let row = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        row("Share matrix", "a cluster keeps the cost of the largest share's choice only"),
        row("Noise of the default", "not kept; taken to be the winner's, which the same rounds timed"),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::checkpoint::tests::{HEADER, encode, line};
    use super::*;
    use crate::cluster::sample;

    fn task(index: i32, problem: &str, status: &Value) -> TuneTask {
        sample::task(index, problem, status)
    }

    fn done() -> Value {
        let log = [HEADER, &line(0, 900), &line(1, 700)].join("\n");
        json!({
            "observedGeneration": 1, "state": "Complete", "completionTime": "2026-11-22T10:00:00Z",
            "trials": {"total": 3, "ok": 2, "wrongAnswer": 1},
            "best": [
                {"share": 50, "neighbours": "Quiet", "trial": 1, "configuration": {"x": 1}, "timeNs": 700,
                 "noisePercent": "0.8", "defaultNs": 900, "fullChoiceNs": 750, "quiet": true,
                 "metrics": {"gflops": "1.5"}},
                {"share": 100, "neighbours": "Quiet", "trial": 1, "configuration": {"x": 1}, "timeNs": 400,
                 "noisePercent": "0.5", "defaultNs": 500, "fullChoiceNs": 400, "quiet": true},
            ],
            "gpu": {"product": "EPYC", "compiler": "cc 12", "units": [{"share": 50, "units": 4}]},
            "notes": ["no lock"], "checkpoint": encode(&log),
        })
    }

    #[test]
    fn a_job_becomes_what_a_local_run_leaves() {
        let (job, planned) = sample::job(&["small"]);
        let kept = kept(&job, &[task(0, "small", &done())], &planned).unwrap();
        let result = &kept.result;
        assert_eq!((result.job.as_str(), result.shares.as_slice()), ("demo", &[50, 100][..]));
        let device = &result.device;
        assert_eq!((device.backend.as_str(), device.product.as_str(), device.units), ("cpu", "EPYC", 8));
        let found = &result.tasks[0];
        assert_eq!((found.trials, found.outcomes[&Outcome::WrongAnswer], found.verified), (3, 1, true));
        assert_eq!(found.raw, 8);
        let half = &found.shares[0];
        assert_eq!(half.speedup(), Some(900.0 / 700.0));
        assert_eq!(half.loss_with_choice_of(100), Some(750.0 / 700.0 - 1.0));
        assert!((half.metrics["gflops"] - 1.5).abs() < 1e-9);
        assert_eq!(kept.trials[0].len(), 2);
        assert!(kept.notices.is_empty(), "{:?}", kept.notices);
        assert!(kept.ended[0].is_some());
    }

    #[test]
    fn what_is_not_done_is_left_out_and_said() {
        let (job, planned) = sample::job(&["small", "large"]);
        let mut running = done();
        running["state"] = json!("Running");
        let tasks = [task(0, "small", &done()), task(1, "large", &running)];
        let kept = super::kept(&job, &tasks, &planned).unwrap();
        assert_eq!(kept.result.tasks.len(), 1);
        assert_eq!(kept.notices, ["1 of 2 tasks are not done and left out: k / large"]);
        let error = super::kept(&job, &[task(0, "small", &running)], &planned).unwrap_err();
        assert!(error.to_string().contains("no task of demo is done yet"), "{error}");
    }

    #[test]
    fn a_damaged_checkpoint_and_another_device_are_told_of() {
        let (job, planned) = sample::job(&["small", "large"]);
        let mut damaged = done();
        damaged["checkpoint"] = json!("!");
        damaged["gpu"]["product"] = json!("Xeon");
        let tasks = [task(0, "small", &done()), task(1, "large", &damaged)];
        let kept = super::kept(&job, &tasks, &planned).unwrap();
        assert!(kept.notices[0].contains("k / large cannot be read"), "{:?}", kept.notices);
        let notes = &kept.result.device.notes;
        assert!(notes.iter().any(|note| note.starts_with("k / large was measured on Xeon")), "{notes:?}");
        assert_eq!(notes.iter().filter(|note| *note == "no lock").count(), 1);
    }
}

//! The loop: every task of a job is searched, its finalists measured again, and the results written.

mod asked;
mod backend;
mod batch;
mod canary;
pub(crate) mod checkpoint;
mod confirm;
mod finals;
#[cfg(test)]
mod fixture;
pub mod folder;
mod interrupt;
mod loaded;
mod memory;
mod plan;
pub mod recheck;
mod rounds;
mod search;
mod session;
mod socket;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use fractune_tuner::kernel::SizesAs;
use fractune_tuner::log::{Header, TrialLog};
use fractune_tuner::results::{CanaryResult, Device, FirstFailure, JobResult, TaskResult};
use fractune_tuner::task::Task;
use fractune_tuner::trial::{Outcome, Trial};
use futures::{StreamExt as _, TryStreamExt as _, future, stream};

pub use backend::{Backend, Cpu, Cuda, GpuTarget};
pub use interrupt::until_interrupted;
pub use plan::{Event, Listener, Output, Plan, RunError, exit};

use crate::backend::replay::Recording;
use crate::compile::{Cache, Store};
use crate::gate::{Access, Gate};
use crate::link::{self, Link};
use crate::worker::WorkerCommand;
use canary::Canary;
use folder::Folder;
use search::Earlier;
use session::Runner;

/// What to tune on.
#[derive(Debug)]
pub enum Target {
    /// This machine's CPUs, with workers started by this command.
    Cpu(WorkerCommand),
    /// A GPU.
    Cuda(GpuTarget),
    /// A recording: a simulation.
    Replay(Recording),
}

/// One task's run: what its phases share.
struct TaskRun<'a> {
    number: usize,
    plan: &'a Plan,
    task: &'a Task,
    backend: &'a Backend,
    gate: &'a Gate,
    /// What every task's search measures through.
    access: &'a Access<'a>,
    canary: &'a Canary,
    listener: Listener<'a>,
}

/// Tunes every task of the plan, writes the results to the output folder and returns them.
///
/// The future may be dropped at any point: its processes are killed, the trials so far are in the logs, and a
/// later call with `resume` goes on from there.
///
/// # Errors
/// [`RunError`]; what was measured before stays in the output folder.
pub async fn run(
    plan: &Plan,
    output: &Output,
    target: Target,
    listener: Listener<'_>,
) -> Result<JobResult, RunError> {
    run_linked(plan, output, target, None, listener).await
}

/// As [`run`], in a pod: goes on with the checkpoint in the `link`, if it was made under the same conditions, and
/// says there what is measured.
///
/// # Errors
/// As [`run`].
pub async fn run_linked(
    plan: &Plan,
    output: &Output,
    target: Target,
    link: Option<&Link>,
    listener: Listener<'_>,
) -> Result<JobResult, RunError> {
    let cache = output.cache.as_deref().map(|folder| Arc::new(Cache::open(folder)));
    let tell = || cache.iter().filter_map(|cache| cache.take_note()).map(Event::Note).for_each(listener);
    tell();
    let store = Store::new(&output.folder.join(folder::OBJECTS), cache.clone());
    let backend = Backend::start(plan, &store, target).await?;
    let result = tune_all(plan, output, &backend, link, listener).await;
    backend.stop().await;
    tell();
    result
}

/// Tunes every task of the plan on a backend.
async fn tune_all(
    plan: &Plan,
    output: &Output,
    backend: &Backend,
    link: Option<&Link>,
    listener: Listener<'_>,
) -> Result<JobResult, RunError> {
    let mut device = backend.device(&plan.shares);
    let folder = Folder::open(output, &plan.job)?;
    if let (Some(link), [task]) = (link, &plan.tasks[..]) {
        let path = link.path(link::DEVICE);
        link.write(link::DEVICE, &device).map_err(|error| RunError::io(&path, &error))?;
        let header = header(plan, task, &device);
        let note = checkpoint::adopt(&link.path(link::CHECKPOINT), &folder.trials(task), &header)?;
        if let Some(note) = note {
            listener(Event::Note(note));
        }
    }
    for task in &plan.tasks {
        TrialLog::check(&folder.trials(task), &header(plan, task, &device))?;
    }
    folder.keep(&output.manifest)?;
    let (gate, alone) = backend.gate().await;
    device.notes.extend(alone);
    device.notes.iter().for_each(|note| listener(Event::Note(note.clone())));
    let access = Access::new(&gate, backend.sharing(plan.measure.sharing));
    let canary = Canary::default();
    let runs = plan.tasks.iter().enumerate().map(|(number, task)| {
        let (gate, access, canary) = (&gate, &access, &canary);
        let run = TaskRun { number, plan, task, backend, gate, access, canary, listener };
        let (device, folder) = (&device, &folder);
        async move { tune(&run, device, folder).await }
    });
    let done: Vec<(TaskResult, Vec<String>)> =
        stream::iter(runs).buffered(plan.parallelism.max(1)).try_collect().await?;
    canary.stop().await;
    let mut tasks = Vec::new();
    for (task, notes) in done {
        let new: Vec<_> = notes.into_iter().filter(|note| !device.notes.contains(note)).collect();
        device.notes.extend(new);
        tasks.push(task);
    }
    let again = tasks.iter().filter_map(|task| Some(task.canary?.again)).sum();
    device.notes.extend(canary.result(again).await.and_then(disturbed));
    let result = JobResult {
        version: 1,
        job: plan.job.clone(),
        device,
        shares: plan.shares.clone(),
        search: plan.search.clone(),
        measure: plan.measure.clone(),
        tasks,
    };
    folder.finish(&result)?;
    Ok(result)
}

/// Tunes one task; also returns what its workers had to say of the system.
async fn tune(
    run: &TaskRun<'_>,
    device: &Device,
    folder: &Folder,
) -> Result<(TaskResult, Vec<String>), RunError> {
    let Task { kernel, problem, space, .. } = run.task;
    let path = folder.trials(run.task);
    let (mut log, known) = open_log(run, device, &path)?;
    let dropped = checkpoint::dropped(&path);
    (run.listener)(Event::TaskStarted {
        task: run.number,
        name: run.task.name(),
        raw: space.raw(),
        valid: space.len() as u64,
        budget: u64::from(run.plan.search.max_trials).min(space.len() as u64) as u32,
        resumed: known.len() as u32 + dropped.values().sum::<u32>(),
    });
    let mut runners = runners(run);
    let found = search::search(run, &mut log, Earlier { known, dropped }, &mut runners).await?;
    let finals_started = Instant::now();
    let (shares, loaded, again) = finals::finals(run, &found, &mut runners).await?;
    let finals_ms = finals_started.elapsed().as_millis() as u64;
    run.canary.look(run).await?;
    // Others may wait for what they hold of the device.
    future::join_all(runners.iter_mut().map(Runner::stop)).await;
    let result = TaskResult {
        kernel: kernel.name.clone(),
        problem: problem.name.clone(),
        weight: problem.weight,
        size_macros: match kernel.compile.sizes {
            SizesAs::Macros => problem.sizes.clone(),
            SizesAs::Arguments => BTreeMap::new(),
        },
        folder: folder::folder_of(run.task),
        raw: space.raw(),
        valid: space.len() as u64,
        trials: found.outcomes.values().sum(),
        outcomes: found.outcomes,
        failures: first_failures(&found.trials),
        verified: !kernel.verify.none,
        ended: found.ended,
        search_ms: found.search_ms,
        finals_ms,
        default: space.configuration(run.task.default),
        canary: run.canary.result(again).await,
        shares,
        loaded,
    };
    (run.listener)(Event::TaskFinished { task: run.number, result: Box::new(result.clone()) });
    let notes = runners.iter().flat_map(Runner::notes).collect();
    Ok((result, notes))
}

/// What the canary says, in a sentence; none where all was well.
fn disturbed(canary: CanaryResult) -> Option<String> {
    let CanaryResult { readings, compute_percent, memory_percent, again } = canary;
    (canary.worst_percent() > 0.0).then(|| {
        format!(
            "the GPU was slower at times, as when something that is not this run's uses it, or heat and power hold its clocks \
             down: known kernels, timed alone {readings} times, took up to {compute_percent:.1} % (computing) and \
             {memory_percent:.1} % (memory) longer than at best; {again} trials were measured again with the finalists"
        )
    })
}

fn open_log(run: &TaskRun<'_>, device: &Device, path: &Path) -> Result<(TrialLog, Vec<Trial>), RunError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| RunError::io(folder, &error))?;
    }
    let (log, contents) = TrialLog::resume(path, &header(run.plan, run.task, device))?;
    if contents.damaged > 0 {
        let note = format!("{}: {} damaged lines are passed over", path.display(), contents.damaged);
        (run.listener)(Event::Note(note));
    }
    Ok((log, contents.trials))
}

fn header(plan: &Plan, task: &Task, device: &Device) -> Header {
    Header::new(task.name(), plan.identity(task, device))
}

/// One runner per share, the largest share first: it is the quickest to tell whether a trial is worth more.
fn runners<'a>(run: &TaskRun<'a>) -> Vec<Runner<'a>> {
    let mut shares = run.plan.shares.clone();
    shares.sort_unstable_by(|a, b| b.cmp(a));
    shares.into_iter().map(|share| Runner::new(run.backend, run.plan, run.task, share)).collect()
}

fn first_failures(trials: &[Trial]) -> BTreeMap<Outcome, FirstFailure> {
    let mut failures = BTreeMap::new();
    for trial in trials.iter().filter(|trial| trial.outcome != Outcome::Ok) {
        let message = trial.message.clone().unwrap_or_default();
        failures.entry(trial.outcome).or_insert(FirstFailure { trial: trial.trial, message });
    }
    failures
}

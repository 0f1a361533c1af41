//! One worker at one share, or its stand-in: what measures a trial.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fractune_tuner::measure::{Race, RacePolicy, Step, Verdict};
use fractune_tuner::results::Footprint;
use fractune_tuner::trial::Outcome;

use super::backend::{Backend, Prepared};
use super::batch::enter;
use super::plan::{Plan, RunError};
use crate::gate::Access;
use crate::worker::{Failure, Times, Worker};
use fractune_tuner::task::Task;

/// Time within which a worker must answer anything that runs no candidate.
const ANSWER: Duration = Duration::from_secs(10);
/// A trial that takes this many times the best is given up as a `RunTimeout`...
const HOPELESS_FACTOR: u32 = 200;
/// ...but never before this time has passed.
const HOPELESS_AFTER: Duration = Duration::from_secs(1);

/// Runs asked for in one request are worth about this much time.
const REQUEST: Duration = Duration::from_millis(20);
/// A race with enough samples ends after this many times the least measuring time. The search only has to
/// find the finalists: their times are taken again.
const PATIENCE: u32 = 2;
/// Samples that a finalist should have at least.
const ENOUGH_FINAL_SAMPLES: u64 = 12;
/// Samples after which a race may be ended by the wall clock.
const ENOUGH_SAMPLES: usize = 6;

/// What became of a trial at one share.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) outcome: Outcome,
    pub(super) message: Option<String>,
    pub(super) samples_ns: Vec<u64>,
    /// So slow that other shares need not be tried.
    pub(super) hopeless: bool,
    /// The device or the worker broke, rather than the candidate answering wrongly.
    pub(super) device_error: bool,
}

impl Measured {
    /// Not measured at this share.
    pub(super) fn skipped() -> Self {
        Self {
            outcome: Outcome::Skipped,
            message: None,
            samples_ns: Vec::new(),
            hopeless: false,
            device_error: false,
        }
    }

    fn failed(outcome: Outcome, message: String, device_error: bool) -> Self {
        Self { outcome, message: Some(message), samples_ns: Vec::new(), hopeless: false, device_error }
    }
}

/// Why a worker did not do what it was asked.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The candidate or the worker failed: a trial may be to blame.
    Failure(Failure),
    /// No trial is: the run cannot go on.
    Run(RunError),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Failure(failure)
    }
}

impl From<RunError> for Trouble {
    fn from(error: RunError) -> Self {
        Trouble::Run(error)
    }
}

/// Measures trials of one task at one share. Starts its worker when it is needed, and again after it died.
pub(super) struct Runner<'a> {
    backend: &'a Backend,
    plan: &'a Plan,
    task: &'a Task,
    pub(super) share: u8,
    worker: Option<Worker>,
    /// Its next worker, without the reference's answers.
    opened: Option<Worker>,
    /// Whether what it measures is known to be right.
    trusts: bool,
    /// Whether its worker has the reference's answers.
    is_ready: bool,
    notes: BTreeSet<String>,
    fastest_ns: Option<u64>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(backend: &'a Backend, plan: &'a Plan, task: &'a Task, share: u8) -> Self {
        Self {
            backend,
            plan,
            task,
            share,
            worker: None,
            opened: None,
            trusts: false,
            is_ready: false,
            notes: BTreeSet::new(),
            fastest_ns: None,
        }
    }

    /// Expects runs of about this time in nanoseconds, before there was any.
    pub(super) fn expect(&mut self, time_ns: u64) {
        self.fastest_ns = Some(self.fastest_ns.map_or(time_ns, |fastest| fastest.min(time_ns)));
    }

    /// Opens its worker if it has none, as far as that can be done while others measure: what is opened before the gate is
    /// asked for keeps nobody waiting.
    pub(super) async fn open_ahead(&mut self) -> Result<(), RunError> {
        // A neighbour's fault may have ended either.
        self.worker = self.worker.take().and_then(Worker::if_alive);
        self.opened = self.opened.take().and_then(Worker::if_alive);
        if self.worker.is_none() && self.opened.is_none() {
            self.opened = self.backend.open_worker(self.plan, self.task, self.share).await?;
        }
        Ok(())
    }

    /// Starts the worker and has the reference run, before there is a trial to measure.
    pub(super) async fn warm_up(&mut self, access: &Access<'_>) -> Result<(), RunError> {
        self.open_ahead().await?;
        let _held = enter(access, self.backend.need(self.share)).await?;
        self.worker().await.map(|_| ())
    }

    /// Verifies and races one trial against the best time (nanoseconds) at this share so far. Whoever holds the whole
    /// gate `is_alone`.
    pub(super) async fn measure(
        &mut self,
        prepared: &Prepared,
        best_ns: Option<u64>,
        is_alone: bool,
    ) -> Result<Measured, RunError> {
        // Starting a worker and running the reference are not the trial's time.
        self.worker().await?;
        let limit = self.limit(best_ns);
        let started = Instant::now();
        let policy = RacePolicy {
            min_time_ns: u64::from(self.plan.measure.min_time_ms) * 1_000_000,
            max_samples: 10_000,
            max_noise_percent: f64::from(self.plan.measure.max_noise_percent),
            timeout_ns: limit.as_nanos() as u64,
        };
        let mut race = Race::new(policy, best_ns);
        let result = match (self.open(prepared, limit).await, self.backend) {
            (Ok(_), Backend::Replay(recording)) => {
                race.record(recording.at(self.share, &prepared.configuration).1, 1);
                Ok(())
            }
            (Ok(_), Backend::Cpu(_) | Backend::Cuda(_)) => {
                self.race(&mut race, prepared, limit, started).await
            }
            (Err(failure), _) => Err(failure),
        };
        match result {
            Ok(()) => {
                self.close(prepared).await;
                let hopeless = matches!(race.next(), Step::Stop(Verdict::Hopeless));
                Ok(Measured {
                    outcome: Outcome::Ok,
                    message: None,
                    samples_ns: race.into_samples(),
                    hopeless,
                    device_error: false,
                })
            }
            Err(trouble) => {
                let has_neighbours = !is_alone && self.backend.has_neighbours(self.share);
                self.judge_beside(has_neighbours, trouble, prepared, limit).await
            }
        }
    }

    /// Runs until the race is decided. The caches are emptied before every run, which can take longer than
    /// the run itself: so the wall clock bounds a request, and the whole race once there are enough samples.
    async fn race(
        &mut self,
        race: &mut Race,
        prepared: &Prepared,
        limit: Duration,
        started: Instant,
    ) -> Result<(), Trouble> {
        let min_time = Duration::from_millis(u64::from(self.plan.measure.min_time_ms));
        let mut wall_per_run = Duration::ZERO;
        while let Step::Run(runs) = race.next() {
            if race.samples().len() >= ENOUGH_SAMPLES && started.elapsed() > min_time * PATIENCE {
                break;
            }
            let affordable = REQUEST.as_nanos() / wall_per_run.as_nanos().max(1);
            let runs = if wall_per_run.is_zero() { 1 } else { runs.min(affordable.clamp(1, 10_000) as u32) };
            let request = Instant::now();
            let times = self.run(prepared, runs, limit.saturating_sub(started.elapsed())).await?;
            wall_per_run = request.elapsed() / runs;
            race.record(&times.times_ns, times.launches);
        }
        Ok(())
    }

    /// Loads and verifies a trial; returns what it asks of the device, where that says so.
    pub(super) async fn open(
        &mut self,
        prepared: &Prepared,
        limit: Duration,
    ) -> Result<Option<Footprint>, Trouble> {
        if let Backend::Replay(recording) = self.backend {
            let outcome = recording.outcome(self.share, &prepared.configuration);
            outcome.map_err(|(outcome, why)| Failure::Refused { outcome, message: why.into() })?;
            return Ok(None);
        }
        let verify = !self.trusts && !self.task.kernel.verify.none;
        let Some(worker) = self.worker().await? else { return Ok(None) };
        let footprint = worker.load(prepared.trial, &prepared.load, ANSWER).await?;
        if verify {
            worker.verify(prepared.trial, limit).await?;
        }
        Ok(footprint)
    }

    /// Runs a loaded trial.
    pub(super) async fn run(
        &mut self,
        prepared: &Prepared,
        runs: u32,
        limit: Duration,
    ) -> Result<Times, Trouble> {
        if let Backend::Replay(recording) = self.backend {
            let samples = recording.at(self.share, &prepared.configuration).1;
            return Ok(Times::of_single(samples.iter().copied().cycle().take(runs as usize).collect()));
        }
        let is_warm = self.backend.is_warm();
        let Some(worker) = self.worker().await? else { return Ok(Times::of_single(Vec::new())) };
        let times = worker.run(prepared.trial, runs, is_warm, limit).await?;
        self.backend.was_used();
        self.fastest_ns = times.times_ns.iter().copied().chain(self.fastest_ns).min();
        self.notes.extend(times.throttled.iter().map(|why| {
            format!(
                "the GPU's clocks were held down for some times, and stayed so when they were repeated: {why}"
            )
        }));
        Ok(times)
    }

    /// Unloads a trial. A worker that cannot do even that is ended; one that refused to load it has nothing to
    /// unload, and says so.
    pub(super) async fn close(&mut self, prepared: &Prepared) {
        if let Some(worker) = &mut self.worker
            && let Err(failure) = worker.unload(prepared.trial, ANSWER).await
            && !matches!(failure, Failure::Fatal { .. })
        {
            self.end().await;
        }
    }

    /// Ends its worker and waits until it is gone: what it held of the device is free then.
    async fn end(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.end().await;
        }
    }

    /// What a failure means for the trial; the worker is unloaded or, if it died, forgotten.
    pub(super) async fn judge(
        &mut self,
        trouble: Trouble,
        prepared: &Prepared,
        limit: Duration,
    ) -> Result<Measured, RunError> {
        self.judge_beside(self.backend.has_neighbours(self.share), trouble, prepared, limit).await
    }

    /// As [`Self::judge`], where it is known whether others may have measured at the same time.
    async fn judge_beside(
        &mut self,
        has_neighbours: bool,
        trouble: Trouble,
        prepared: &Prepared,
        limit: Duration,
    ) -> Result<Measured, RunError> {
        let failure = match trouble {
            Trouble::Failure(failure) => failure,
            Trouble::Run(error) => return Err(error),
        };
        match failure {
            Failure::Refused { outcome, message } => {
                self.close(prepared).await;
                // Memory may be short because of a neighbour.
                let device_error = outcome == Outcome::RuntimeError
                    || outcome == Outcome::ResourceExceeded && has_neighbours;
                Ok(Measured::failed(outcome, message, device_error))
            }
            Failure::Died { message } | Failure::Lost { message } => {
                self.end().await;
                Ok(Measured::failed(Outcome::RuntimeError, message, true))
            }
            Failure::TimedOut { .. } => {
                let released = match self.worker.as_ref().and_then(Worker::pid) {
                    Some(pid) => self.backend.release(pid).await,
                    None => true,
                };
                self.end().await;
                let message = format!("did not end within {:.1} s at {} %", limit.as_secs_f64(), self.share);
                // A neighbour that hangs holds this one up as well.
                let held_up = !released || has_neighbours;
                Ok(Measured::failed(Outcome::RunTimeout, message, held_up))
            }
            Failure::Fatal { message } => {
                self.worker = None;
                Err(RunError::Spec(format!("{}: {message}", self.task.name())))
            }
        }
    }

    /// Time that one trial may take at this share: the job's limit, less where the best is far below it.
    pub(super) fn limit(&self, best_ns: Option<u64>) -> Duration {
        let limit = Duration::from_secs(u64::from(self.plan.measure.timeout_seconds));
        best_ns.map_or(limit, |best| {
            (Duration::from_nanos(best) * HOPELESS_FACTOR).max(HOPELESS_AFTER).min(limit)
        })
    }

    /// Whether its worker lives; a recording always does.
    pub(super) fn is_running(&self) -> bool {
        self.worker.is_some() || matches!(self.backend, Backend::Replay(_))
    }

    /// What its workers said of the system: what it cannot do for them, and when it was slower than it can be.
    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.iter().cloned().collect()
    }

    /// Takes over what another one's workers said.
    pub(super) fn hear(&mut self, other: &Runner<'_>) {
        self.notes.extend(other.notes.iter().cloned());
    }

    /// Run time in nanoseconds that the final rounds may take for each finalist: what the backend says, or
    /// enough for a median where a run is long.
    pub(super) fn finalist_budget_ns(&self) -> u64 {
        let enough = self.fastest_ns.unwrap_or(0).saturating_mul(ENOUGH_FINAL_SAMPLES);
        self.backend.finalist_budget_ns().max(enough)
    }

    /// Ends its worker, if it has one.
    pub(super) async fn stop(&mut self) {
        for worker in self.worker.take().into_iter().chain(self.opened.take()) {
            worker.stop().await;
        }
    }

    /// Whether it measures without a look at the answers, which were found right at this share before.
    pub(super) fn trust(&mut self, trusts: bool) {
        self.trusts = trusts;
    }

    /// Puts its worker's buffers elsewhere in memory; where that cannot be done, another worker has them elsewhere.
    pub(super) async fn relocate(&mut self) -> Result<(), RunError> {
        // One that is new lies elsewhere already.
        let Some(worker) = &mut self.worker else { return self.open_ahead().await };
        if worker.relocate(ANSWER).await.is_ok() {
            return Ok(());
        }
        self.stop().await;
        self.open_ahead().await
    }

    /// The worker, started if there is none; none for a recording.
    async fn worker(&mut self) -> Result<Option<&mut Worker>, RunError> {
        if !self.trusts && !self.is_ready && self.worker.is_some() {
            self.opened = self.worker.take();
        }
        if self.worker.is_none() {
            if self.trusts {
                self.open_ahead().await?;
            }
            self.is_ready = !self.trusts;
            self.worker = match self.opened.take() {
                Some(opened) if self.trusts => Some(opened),
                opened => self.backend.start_worker(self.plan, self.task, self.share, opened).await?,
            };
            self.notes.extend(self.worker.iter().flat_map(|worker| worker.ready().notes.clone()));
        }
        Ok(self.worker.as_mut())
    }
}

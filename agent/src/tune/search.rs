//! The search phase of one task: ask, compile, verify, race, tell.
//!
//! Several batches are under way at any time: while one is measured the next are compiled. Batches are told in the
//! order in which they were asked, whole, and a batch is raced against the best times known when it began, so
//! the same measurements give the same trials however long each step takes.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::time::Instant;

use fractune_tuner::kernel::Configuration;
use fractune_tuner::log::TrialLog;
use fractune_tuner::results::Ended;
use fractune_tuner::search::{self, Observation, Search, Stale, Start};
use fractune_tuner::trial::{Outcome, Trial};
use futures::StreamExt as _;
use futures::channel::{mpsc, oneshot};
use futures::future::{self, Either};

use super::TaskRun;
use super::asked::{Answer, Asked};
use super::batch;
use super::plan::{Event, RunError};
use super::session::Runner;

/// A source none of whose first trials compiles is wrong, and the search ends.
const NEVER_COMPILES_AFTER: usize = 8;

/// What earlier runs of the task did.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// Trials that are not made again.
    pub(super) known: Vec<Trial>,
    /// Trials that count as made, but of which nothing else is known, by outcome.
    pub(super) dropped: BTreeMap<Outcome, u32>,
}

/// What a search found.
#[derive(Debug)]
pub(super) struct Found {
    /// Every trial that is known, by number and without samples. The first is the default configuration.
    pub(super) trials: Vec<Trial>,
    /// All of them by outcome, with those that earlier runs made and did not keep.
    pub(super) outcomes: BTreeMap<Outcome, u32>,
    pub(super) ended: Ended,
    /// Search time over all runs of the task.
    pub(super) search_ms: u64,
    /// Trials of this run that were measured while the canary was slow: its drift, as a ratio minus one, by trial.
    pub(super) disturbed: BTreeMap<u32, f64>,
}

/// A configuration to compile, and where the answer goes.
struct CompileRequest {
    trial: u32,
    index: usize,
    answer: oneshot::Sender<Answer>,
}

/// Searches until the budget, the space or the patience ends. Known trials are not measured again.
pub(super) async fn search(
    run: &TaskRun<'_>,
    log: &mut TrialLog,
    earlier: Earlier,
    runners: &mut [Runner<'_>],
) -> Result<Found, RunError> {
    let (requests, incoming) = mpsc::unbounded::<CompileRequest>();
    let compiling = incoming.for_each_concurrent(run.backend.compile_threads(), |request| async move {
        let prepared = run.backend.prepare(run.gate, run.task, request.trial, request.index).await;
        // The search may have ended, and nobody waits for the answer any more.
        let _ = request.answer.send(prepared);
    });
    let searching = Searching::new(run, log, earlier, requests).finish(runners);
    match future::select(pin!(searching), pin!(compiling)).await {
        Either::Left((found, _)) => found,
        // The compilers only end once the search has dropped its side of the channel.
        Either::Right(((), searching)) => searching.await,
    }
}

struct Searching<'a> {
    run: &'a TaskRun<'a>,
    log: &'a mut TrialLog,
    /// Trials of earlier runs that have not been asked for yet.
    known: HashMap<Configuration, Trial>,
    /// Numbers of all trials of earlier runs.
    taken: HashSet<u32>,
    /// No trial of this run has this number or a higher one.
    next_number: u32,
    dropped: BTreeMap<Outcome, u32>,
    requests: mpsc::UnboundedSender<CompileRequest>,
    /// None while it thinks.
    search: Option<Box<dyn Search>>,
    under_way: VecDeque<Vec<Asked>>,
    /// Trials that count against the budget: asked for, made by earlier runs or under way.
    spent: u32,
    exhausted: bool,
    stale: Stale,
    best: BTreeMap<u8, u64>,
    trials: Vec<Trial>,
    started: Instant,
    earlier_ms: u64,
}

impl<'a> Searching<'a> {
    fn new(
        run: &'a TaskRun<'a>,
        log: &'a mut TrialLog,
        earlier: Earlier,
        requests: mpsc::UnboundedSender<CompileRequest>,
    ) -> Self {
        let settings = &run.plan.search;
        let space = run.task.space.clone();
        let mut first = vec![run.task.default];
        for (i, configuration) in settings.start.iter().enumerate() {
            match space.index_of(configuration) {
                Some(index) => first.push(index),
                None => (run.listener)(Event::Note(format!(
                    "{}: search.start[{i}] ({configuration}) is skipped: it is not among the valid configurations",
                    run.task.name()
                ))),
            }
        }
        let start = Start {
            strategy: settings.strategy,
            options: &settings.options,
            first: &first,
            shares: run.plan.shares.len(),
            seed: settings.seed.unsigned_abs(),
        };
        let search = search::start(space, &start);
        let Earlier { known, dropped } = earlier;
        Self {
            run,
            log,
            earlier_ms: known.iter().map(|trial| trial.elapsed_ms).max().unwrap_or(0),
            taken: known.iter().map(|trial| trial.trial).collect(),
            next_number: 0,
            spent: dropped.values().sum(),
            dropped,
            known: known.into_iter().map(|trial| (trial.configuration.clone(), trial)).collect(),
            requests,
            search: Some(search),
            under_way: VecDeque::new(),
            exhausted: false,
            stale: Stale::new(),
            best: BTreeMap::new(),
            trials: Vec::new(),
            started: Instant::now(),
        }
    }

    async fn finish(mut self, runners: &mut [Runner<'_>]) -> Result<Found, RunError> {
        // The default configuration comes first, and alone: it tells soonest whether anything works at all.
        self.ask_batch(1).await?;
        if self.under_way.iter().flatten().any(|asked| matches!(asked, Asked::New { .. })) {
            // First in line at the compilers: nothing can be measured without it.
            let run = self.run;
            let reference = run.backend.prepare_reference(run.gate, run.task);
            if run.backend.compiles_beside() {
                future::try_join(reference, self.ask()).await?;
            } else {
                reference.await?;
            }
            if let Some((leader, others)) = runners.split_first_mut() {
                // On a GPU that many share, each client's turn to be let in takes a tenth of a second.
                let others = future::try_join_all(others.iter_mut().map(Runner::open_ahead));
                future::try_join(leader.warm_up(self.run.access), others).await?;
            }
        }
        let mut ended = None;
        // Trials, and the canary's readings before and after them.
        let mut watched = Vec::new();
        let mut before = self.run.canary.look(self.run).await?;
        while ended.is_none() {
            self.ask().await?;
            let Some(batch) = self.under_way.pop_front() else { break };
            let measured =
                batch::measure(self.run, batch, runners, &self.best, self.elapsed(), self.log).await?;
            let numbers = measured.iter().map(|(_, trial)| trial.trial);
            // What earlier runs measured was not measured now.
            let numbers: Vec<u32> = numbers.filter(|number| !self.taken.contains(number)).collect();
            self.tell(measured);
            let after = self.run.canary.look(self.run).await?;
            watched.push((numbers, before, after));
            before = after;
            self.check_that_something_compiles()?;
            let patience = self.run.plan.search.stop_after_stale;
            ended = patience.filter(|&patience| self.stale.trials() >= patience).map(|_| Ended::Stale);
            if self.run.plan.search.target.as_ref().is_some_and(|target| target.is_reached(&self.bests())) {
                ended = Some(Ended::Target);
            }
        }
        let at_the_end = if self.exhausted { Ended::SpaceExhausted } else { Ended::MaxTrials };
        let search_ms = self.elapsed().now_ms();
        // Whatever ended the search, what earlier runs found is not lost.
        self.recall();
        self.trials.sort_by_key(|trial| trial.trial);
        let mut outcomes = self.dropped;
        for trial in &self.trials {
            *outcomes.entry(trial.outcome).or_default() += 1;
        }
        // Only now is the fastest reading known, which the others are held against.
        let mut disturbed = BTreeMap::new();
        for (numbers, before, after) in watched {
            let drift = self.run.canary.drift(before, after).await;
            let slow = numbers.into_iter().filter(|_| drift > 0.0);
            disturbed.extend(slow.map(|number| (number, drift)));
        }
        let ended = ended.unwrap_or(at_the_end);
        Ok(Found { trials: self.trials, outcomes, ended, search_ms, disturbed })
    }

    /// The best time of each share, in the job's order.
    fn bests(&self) -> Vec<Option<u64>> {
        self.run.plan.shares.iter().map(|share| self.best.get(share).copied()).collect()
    }

    fn elapsed(&self) -> Elapsed {
        Elapsed { started: self.started, earlier_ms: self.earlier_ms }
    }

    /// Keeps batches under way. Each is as large as keeps every compiler busy while the other is measured.
    async fn ask(&mut self) -> Result<(), RunError> {
        let batch_size = (2 * self.run.backend.compile_threads()).max(8) as u32;
        while self.under_way.len() < self.run.backend.batches_under_way()
            && self.ask_batch(batch_size).await?
        {}
        Ok(())
    }

    /// Asks for a batch and has it compiled; whether there was anything to ask for.
    async fn ask_batch(&mut self, size: u32) -> Result<bool, RunError> {
        let wanted = size.min(self.left());
        if wanted == 0 || self.exhausted {
            return Ok(false);
        }
        let indices = self.think(wanted as usize).await?;
        self.exhausted = indices.len() < wanted as usize;
        let mut batch = Vec::new();
        let mut new = Vec::new();
        for index in indices {
            let configuration = self.run.task.space.configuration(index);
            match self.known.remove(&configuration) {
                Some(trial) => batch.push(Asked::Known { index, trial: Box::new(trial) }),
                None => new.push((index, configuration)),
            }
        }
        self.spent += batch.len() as u32;
        // Where the log was cut within a batch, the search still asks as it did then.
        let is_another_way = batch.is_empty() || !self.dropped.is_empty();
        if !new.is_empty() && is_another_way {
            self.recall();
        }
        let room = (self.left() as usize).saturating_sub(self.known.len());
        for (index, configuration) in new.into_iter().take(room) {
            batch.push(self.compile(index, configuration)?);
        }
        let any = !batch.is_empty();
        if any {
            self.under_way.push_back(batch);
        }
        Ok(any)
    }

    /// Trials that the budget still allows.
    fn left(&self) -> u32 {
        self.run.plan.search.max_trials.saturating_sub(self.spent)
    }

    /// Tells the search all that is left of earlier runs' trials. As long as it asks as it did then, they answer it one
    /// by one, and it comes to the same state; once it goes another way, it may never ask for them.
    fn recall(&mut self) {
        let mut left: Vec<Trial> = self.known.drain().map(|(_, trial)| trial).collect();
        left.sort_by_key(|trial| trial.trial);
        let index_of = |trial: &Trial| self.run.task.space.index_of(&trial.configuration);
        let told: Vec<_> = left.into_iter().filter_map(|trial| Some((index_of(&trial)?, trial))).collect();
        self.spent = self.spent.saturating_add(told.len() as u32);
        for (_, trial) in &told {
            (self.run.listener)(Event::Trial { task: self.run.number, trial: trial.clone() });
        }
        self.tell(told);
    }

    /// Has the search think, on a thread of its own: compilers are not kept waiting for their next source.
    async fn think(&mut self, count: usize) -> Result<Vec<usize>, RunError> {
        let ended = || RunError::Machine("the search has ended".into());
        let mut search = self.search.take().ok_or_else(ended)?;
        let thought = tokio::task::spawn_blocking(move || {
            let indices = search.ask(count);
            (search, indices)
        });
        let (search, indices) = thought.await.map_err(|_| ended())?;
        self.search = Some(search);
        Ok(indices)
    }

    /// Has a configuration compiled that no earlier run has tried.
    fn compile(&mut self, index: usize, configuration: Configuration) -> Result<Asked, RunError> {
        let trial = self.number();
        self.spent += 1;
        let (told, answer) = oneshot::channel();
        self.requests
            .unbounded_send(CompileRequest { trial, index, answer: told })
            .map_err(|_| RunError::Machine("the compile pool has ended".into()))?;
        Ok(Asked::New { index, trial, configuration, answer })
    }

    /// A number that no other trial has: the first that is free, which without an earlier run is the number of asks.
    fn number(&mut self) -> u32 {
        while self.taken.contains(&self.next_number) {
            self.next_number += 1;
        }
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    fn tell(&mut self, measured: Vec<(usize, Trial)>) {
        for (index, mut trial) in measured {
            let times_ns: Vec<_> = self.run.plan.shares.iter().map(|&share| trial.time_ns(share)).collect();
            let observation = Observation { times_ns };
            self.stale.record(&observation);
            for (&share, time) in self.run.plan.shares.iter().zip(&observation.times_ns) {
                if let Some(time) = *time {
                    let best = self.best.entry(share).or_insert(time);
                    *best = time.min(*best);
                }
            }
            if let Some(search) = &mut self.search {
                search.tell(index, &observation);
            }
            trial.measurements.iter_mut().for_each(|measurement| measurement.samples_ns = Vec::new());
            self.trials.push(trial);
        }
    }

    fn check_that_something_compiles(&self) -> Result<(), RunError> {
        let all_tried = self.under_way.is_empty();
        let failed = |trial: &Trial| matches!(trial.outcome, Outcome::CompileError | Outcome::CompileTimeout);
        if (self.trials.len() >= NEVER_COMPILES_AFTER || all_tried) && self.trials.iter().all(failed) {
            let default = self.trials.iter().min_by_key(|trial| trial.trial);
            let message = default.and_then(|trial| trial.message.as_deref()).unwrap_or_default();
            return Err(RunError::Spec(format!(
                "{}: none of the first {} configurations compiles; of the default the compiler says:\n{message}",
                self.run.task.name(),
                self.trials.len(),
            )));
        }
        Ok(())
    }
}

/// Search time of a task over all its runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elapsed {
    started: Instant,
    earlier_ms: u64,
}

impl Elapsed {
    pub(super) fn now_ms(&self) -> u64 {
        self.earlier_ms + self.started.elapsed().as_millis() as u64
    }
}

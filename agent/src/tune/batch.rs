//! Measuring one batch: every share works through it on its own, the first share ahead of the others.
//!
//! The first share decides whether a trial is worth the others' time: what fails or is hopeless there is
//! recorded as skipped elsewhere.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fractune_tuner::kernel::Configuration;
use fractune_tuner::log::TrialLog;
use fractune_tuner::measure::median;
use fractune_tuner::trial::{Measurement, Outcome, Trial};
use futures::future;
use tokio::sync::mpsc::{self, error::TryRecvError};

use super::TaskRun;
use super::asked::{Asked, Compiled, Compiling};
use super::backend::Prepared;
use super::plan::{Event, RunError};
use super::search::Elapsed;
use super::session::{Measured, Runner};
use crate::compile::CompileFailure;
use crate::gate::{Access, Admission, Gate, GateError, Need, Permit};

/// Measures a batch, appends every new trial to the log as soon as it is complete, and returns all of them in
/// the batch's order, each with its index in the space.
pub(super) async fn measure(
    run: &TaskRun<'_>,
    batch: Vec<Asked>,
    runners: &mut [Runner<'_>],
    best: &BTreeMap<u8, u64>,
    elapsed: Elapsed,
    log: &mut TrialLog,
) -> Result<Vec<(usize, Trial)>, RunError> {
    let Some((first, others)) = runners.split_first_mut() else { return Ok(Vec::new()) };
    let desk =
        Desk { run, shares: 1 + others.len(), elapsed, log: RefCell::new(log), done: RefCell::default() };
    let mut queues = Vec::new();
    let mut following = Vec::new();
    for runner in others {
        let (queue, passed_on) = mpsc::unbounded_channel::<Rc<Draft>>();
        queues.push((runner.share, queue));
        following.push(follow(&desk, runner, passed_on, best));
    }
    let leading = lead(&desk, batch, first, queues, best);
    future::try_join(leading, future::try_join_all(following)).await?;
    let mut done = desk.done.into_inner();
    done.sort_by_key(|(_, trial)| trial.trial);
    Ok(done)
}

/// A trial that is being measured.
struct Draft {
    index: usize,
    prepared: Prepared,
    measured: RefCell<Vec<(u8, Measured)>>,
}

/// Where complete trials are handed in.
struct Desk<'a> {
    run: &'a TaskRun<'a>,
    shares: usize,
    elapsed: Elapsed,
    log: RefCell<&'a mut TrialLog>,
    done: RefCell<Vec<(usize, Trial)>>,
}

/// The first share's way through the batch.
async fn lead(
    desk: &Desk<'_>,
    batch: Vec<Asked>,
    runner: &mut Runner<'_>,
    queues: Vec<(u8, mpsc::UnboundedSender<Rc<Draft>>)>,
    best: &BTreeMap<u8, u64>,
) -> Result<(), RunError> {
    let mut turn = Turn::new(desk.run, runner.share);
    let mut compiling = Compiling::new(batch, |index, trial| desk.tell(index, trial));
    // Where compilers and measurements take turns on the same CPUs, one turn does for the whole batch: each
    // change of hands idles a CPU until the last compiler has left.
    if !turn.length.is_zero() {
        compiling.finish().await?;
    }
    loop {
        let mut next = compiling.ready()?;
        if next.is_none() {
            turn.end();
            next = compiling.next().await?;
        }
        let Some((trial, Compiled { index, configuration, answer })) = next else { return Ok(()) };
        let prepared = match answer {
            Ok(prepared) => prepared,
            Err(CompileFailure::Candidate { outcome, message, compile_ns }) => {
                desk.uncompiled(index, trial, configuration, outcome, message, compile_ns)?;
                continue;
            }
            Err(failure @ CompileFailure::Machine(_)) => return Err(RunError::Io(failure.to_string())),
        };
        let draft = Rc::new(Draft { index, prepared, measured: RefCell::default() });
        let measured = turn.measure(runner, &draft.prepared, best).await?;
        let worth_more = measured.outcome == Outcome::Ok && !measured.hopeless;
        desk.hand_in(&draft, runner.share, measured)?;
        for (share, queue) in &queues {
            if worth_more {
                // A closed queue means that its share failed, and its error is on the way.
                let _ = queue.send(draft.clone());
            } else {
                desk.hand_in(&draft, *share, Measured::skipped())?;
            }
        }
    }
}

/// Another share's way through what the first one passes on.
async fn follow(
    desk: &Desk<'_>,
    runner: &mut Runner<'_>,
    mut queue: mpsc::UnboundedReceiver<Rc<Draft>>,
    best: &BTreeMap<u8, u64>,
) -> Result<(), RunError> {
    let mut turn = Turn::new(desk.run, runner.share);
    loop {
        let draft = match queue.try_recv() {
            Ok(draft) => draft,
            Err(TryRecvError::Disconnected) => return Ok(()),
            Err(TryRecvError::Empty) => {
                turn.end();
                match queue.recv().await {
                    Some(draft) => draft,
                    None => return Ok(()),
                }
            }
        };
        let measured = turn.measure(runner, &draft.prepared, best).await?;
        desk.hand_in(&draft, runner.share, measured)?;
    }
}

/// A share's hold on the gate, kept for a while if there is more to measure.
struct Turn<'a> {
    run: &'a TaskRun<'a>,
    need: Need,
    length: Duration,
    held: Option<(Admission<'a>, Instant)>,
}

impl<'a> Turn<'a> {
    fn new(run: &'a TaskRun<'a>, share: u8) -> Self {
        Self { run, need: run.backend.need(share), length: run.backend.turn(), held: None }
    }

    fn end(&mut self) {
        self.held = None;
    }

    /// Measures a trial once; if the device or the worker broke, a second time, alone on the device: what
    /// fails again is the trial's own fault, what passes was a neighbour's.
    async fn measure(
        &mut self,
        runner: &mut Runner<'_>,
        prepared: &Prepared,
        best: &BTreeMap<u8, u64>,
    ) -> Result<Measured, RunError> {
        if self.held.as_ref().is_some_and(|(_, since)| since.elapsed() >= self.length) {
            self.end();
        }
        let is_alone = if let Some((held, _)) = &self.held {
            held.is_alone()
        } else {
            runner.open_ahead().await?;
            let entered = enter(self.run.access, self.need.clone()).await?;
            self.held.insert((entered, Instant::now())).0.is_alone()
        };
        let best = best.get(&runner.share).copied();
        let measured = runner.measure(prepared, best, is_alone).await?;
        if !measured.device_error {
            return Ok(measured);
        }
        self.end();
        let _alone = acquire(self.run.gate, Need::Quiet).await?;
        runner.measure(prepared, best, true).await
    }
}

pub(super) async fn acquire(gate: &Gate, need: Need) -> Result<Permit, RunError> {
    gate.acquire(need, None).await.map_err(|error| broken(&error))
}

/// Waits until a search's measurement may begin.
pub(super) async fn enter<'a>(access: &'a Access<'a>, need: Need) -> Result<Admission<'a>, RunError> {
    access.enter(need).await.map_err(|error| broken(&error))
}

fn broken(error: &GateError) -> RunError {
    RunError::Machine(format!("the gate: {error}"))
}

impl Desk<'_> {
    fn uncompiled(
        &self,
        index: usize,
        trial: u32,
        configuration: Configuration,
        outcome: Outcome,
        message: String,
        compile_ns: u64,
    ) -> Result<(), RunError> {
        let message = Some(message);
        let elapsed_ms = self.elapsed.now_ms();
        let measurements = Vec::new();
        self.complete(
            index,
            Trial { trial, configuration, outcome, message, compile_ns, measurements, elapsed_ms },
        )
    }

    /// Takes one share's measurement; the last one completes the trial.
    fn hand_in(&self, draft: &Draft, share: u8, measured: Measured) -> Result<(), RunError> {
        draft.measured.borrow_mut().push((share, measured));
        if draft.measured.borrow().len() < self.shares {
            return Ok(());
        }
        let mut by_share = draft.measured.take();
        let order = |share: u8| self.run.plan.shares.iter().position(|&s| s == share);
        by_share.sort_by_key(|(share, _)| order(*share));
        let trial = Trial {
            trial: draft.prepared.trial,
            configuration: draft.prepared.configuration.clone(),
            outcome: overall(&by_share),
            message: by_share.iter_mut().find_map(|(_, measured)| measured.message.take()),
            compile_ns: draft.prepared.compile_ns,
            measurements: by_share.into_iter().map(measurement).collect(),
            elapsed_ms: self.elapsed.now_ms(),
        };
        self.complete(draft.index, trial)
    }

    fn complete(&self, index: usize, trial: Trial) -> Result<(), RunError> {
        self.log.borrow_mut().append(&trial)?;
        self.tell(index, trial);
        Ok(())
    }

    fn tell(&self, index: usize, trial: Trial) {
        (self.run.listener)(Event::Trial { task: self.run.number, trial: trial.clone() });
        self.done.borrow_mut().push((index, trial));
    }
}

/// A wrong answer at any share condemns the trial; otherwise one good share makes it `Ok`.
fn overall(by_share: &[(u8, Measured)]) -> Outcome {
    let outcomes = || by_share.iter().map(|(_, measured)| measured.outcome);
    [Outcome::WrongAnswer, Outcome::Ok]
        .into_iter()
        .find(|&decisive| outcomes().any(|outcome| outcome == decisive))
        .or_else(|| outcomes().find(|&outcome| outcome != Outcome::Skipped))
        .unwrap_or(Outcome::Skipped)
}

fn measurement((share, measured): (u8, Measured)) -> Measurement {
    let Measured { outcome, message: _, samples_ns, hopeless: _, device_error: _ } = measured;
    Measurement { share, outcome, time_ns: median(&samples_ns), samples_ns }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use fractune_tuner::settings::Sharing;

    use super::*;
    use crate::backend::replay::Recording;
    use crate::tune::Backend;
    use crate::tune::canary::Canary;
    use crate::tune::fixture;
    use crate::worker::protocol::Load;

    /// Whether a trial at 25 % is measured while another run measures on a quarter of the GPU.
    fn is_measured_beside_another(sharing: Sharing) -> bool {
        let plan = fixture::plan("[25]", "[1, 2]");
        let (gate, backend) = (Gate::gpu(), Backend::Replay(Recording::default()));
        let access = Access::new(&gate, sharing);
        let (task, listener) = (&plan.tasks[0], &|_| ());
        let run = TaskRun {
            number: 0,
            plan: &plan,
            task,
            backend: &backend,
            gate: &gate,
            access: &access,
            canary: &Canary::default(),
            listener,
        };
        let configuration = task.space.configuration(0);
        let prepared = Prepared { trial: 0, configuration, load: Load::default(), compile_ns: 0 };
        let mut runner = Runner::new(&backend, &plan, task, 25);
        let mut turn = Turn::new(&run, 25);
        let best = BTreeMap::new();
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(another) = pin!(gate.acquire(Need::Units(25), None)).poll(&mut context) else {
            panic!("the gate is free");
        };
        let mut measuring = pin!(turn.measure(&mut runner, &prepared, &best));
        let beside = measuring.as_mut().poll(&mut context).is_ready();
        drop(another.unwrap());
        assert!(beside || measuring.poll(&mut context).is_ready(), "it is measured once it is alone");
        beside
    }

    #[test]
    fn a_trial_is_measured_beside_another_run_s_where_it_may_share() {
        assert!(is_measured_beside_another(Sharing::Shared));
        assert!(!is_measured_beside_another(Sharing::Exclusive));
        assert!(!is_measured_beside_another(Sharing::Auto), "until the gate is seen to be crowded");
    }
}

//! A GPU as a device: buffers, the reference's outputs, and the loaded candidates.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use fractune_tuner::results::Footprint;
use fractune_tuner::trial::Outcome;

use super::buffers::{Buffer, PAGE};
use super::check::{Checks, Rule};
use super::driver::{Context, DriverError, Memory, code};
use super::open::Found;
use super::resources::Limits;
use super::slots::{Expected, Slot, refresh_scratch, restore};
use super::timing::{Launchable, Timer};
use super::watch::Watch;
use crate::backend::Fault;
use crate::backend::data::compare;
use crate::worker::protocol::{Argument, Init, Load, MAX_RUNS, Times};

/// How long the card may cool down before times are taken again, and again.
const COOL_DOWN: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(60)];

/// Workers place their buffers after so many pages at most.
const SHIFTS: u64 = 64;

/// Buffers and loaded candidates of one worker.
#[derive(Debug)]
pub struct Device {
    /// Takes up memory, so that the buffers lie where no earlier worker had them.
    shift: Option<Memory>,
    pub(super) context: Rc<Context>,
    pub(super) limits: Limits,
    checks: Checks,
    timer: Timer,
    watch: Option<Watch>,
    seed: u64,
    pub(super) slots: Vec<Slot>,
    reference: Option<Load>,
    candidates: BTreeMap<u32, Loaded>,
}

/// What is fresh before a verified run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fresh {
    /// Every buffer that candidates write.
    All,
    /// Outputs, and not what is scratch.
    Outputs,
}

/// A loaded candidate.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) launchable: Launchable,
    /// Whether its untimed run was made.
    pub(super) warm: bool,
    pub(super) footprint: Footprint,
}

impl Device {
    /// Makes and fills the buffers on an open device.
    ///
    /// # Errors
    /// [`Fault::Fatal`] when a buffer does not fit in the GPU's memory, or the checks cannot be loaded.
    pub fn new(found: Found, init: &Init, checks: &Path) -> Result<Self, Fault> {
        let Found { context, limits, l2_bytes, ready, .. } = found;
        let unusable =
            |error: DriverError| fatal(&context, &error, format!("the checks of outputs: {error}"));
        let checks = Checks::load(&context, &read(checks).map_err(Fault::fatal)?).map_err(unusable)?;
        let shift = shift(&context);
        let timer =
            Timer::new(&context, init.cache, l2_bytes).map_err(|error| no_memory(&context, &error))?;
        let mut slots = Vec::new();
        for (index, argument) in init.arguments.iter().enumerate() {
            slots.push(match argument {
                Argument::Buffer(buffer) => Slot::buffer(&context, &checks, buffer, init.seed, index)
                    .map_err(|error| {
                        let (name, length) = (&buffer.name, buffer.length);
                        let message = format!("buffer {name} of {length} elements: {}", words(&error));
                        fatal(&context, &error, message)
                    })?,
                Argument::Scalar(s) => Slot::Scalar { name: s.name.clone(), element: s.element },
            });
        }
        let reference = init.reference.clone();
        let is_load = init.gpu.as_ref().is_some_and(|gpu| gpu.load);
        let watch = if is_load { None } else { Watch::open(&ready.uuid) };
        let (seed, candidates) = (init.seed, BTreeMap::new());
        Ok(Self { shift, context, limits, checks, timer, watch, seed, slots, reference, candidates })
    }

    /// Whether the device still works for this process.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.context.is_alive()
    }

    /// Runs the reference on fresh buffers and keeps its outputs, unless that is done or there is none.
    ///
    /// # Errors
    /// [`Fault::Fatal`] when it cannot be loaded or its outputs are of no use.
    pub fn run_reference(&mut self) -> Result<(), Fault> {
        let Some(load) = self.reference.take() else { return Ok(()) };
        let result = self.reference_outputs(&load);
        if result.is_err() {
            self.reference = Some(load);
        }
        result
    }

    fn reference_outputs(&mut self, load: &Load) -> Result<(), Fault> {
        let mut reference = self.prepare(load).map_err(|fault| match fault {
            Fault::Candidate { message, .. } => Fault::fatal(format!("the reference {message}")),
            other => other,
        })?;
        self.mend_inputs()?;
        if let Err(error) = self.run_fresh(&mut reference.launchable, Fresh::All) {
            // Its own fault or a neighbour's: in a fresh worker the reference shows which.
            return Err(fatal(&self.context, &error, format!("the reference fails: {error}")));
        }
        for slot in &mut self.slots {
            let Slot::Output(output) = slot else { continue };
            let broken = output.buffer.broken_seal().map_err(|error| gone(&error))?;
            if let Some(side) = broken {
                return Err(Fault::fatal(format!("the reference writes {side} of {}", output.name)));
            }
            if !output.compared {
                continue;
            }
            let host = output.buffer.download().map_err(|error| gone(&error))?;
            if let Some(fault) = compare::reference_fault(&output.described(), &host) {
                return Err(Fault::fatal(fault));
            }
            let absolute = compare::absolute(&output.described(), output.tolerance, &host);
            let buffer =
                Buffer::holding(&self.context, &host).map_err(|error| no_memory(&self.context, &error))?;
            let sum = self.checks.sum(&buffer).map_err(|error| gone(&error))?;
            output.expected = Some(Expected { buffer, host, sum, absolute });
        }
        Ok(())
    }

    /// Makes inputs again that timed runs have written to since they were last looked at.
    fn mend_inputs(&self) -> Result<(), Fault> {
        for slot in &self.slots {
            if let Slot::Input(input) = slot {
                input.mend(&self.checks, self.seed).map_err(|error| gone(&error))?;
            }
        }
        Ok(())
    }

    /// Puts the buffers that candidates see elsewhere in the GPU's memory, as another worker would have them. Candidates
    /// know the old places, and are unloaded.
    ///
    /// # Errors
    /// [`Fault::Fatal`] where there is no room beside them, and they stay where they are; [`Fault::Lost`] when the device is.
    pub fn relocate(&mut self) -> Result<(), Fault> {
        self.candidates.clear();
        self.mend_inputs()?;
        let context = &self.context;
        let shift = shift(context);
        let buffers = self.slots.iter().filter_map(Slot::seen);
        let moved: Result<Vec<Buffer>, _> = buffers.map(|buffer| buffer.elsewhere(context)).collect();
        let moved = moved.map_err(|error| no_memory(context, &error))?;
        // What the copies are made from goes now.
        context.wait().map_err(|error| gone(&error))?;
        for (buffer, moved) in self.slots.iter_mut().filter_map(Slot::seen_mut).zip(moved) {
            *buffer = moved;
        }
        for slot in &mut self.slots {
            if let Slot::Input(input) = slot {
                // Of its zones, too, which are of another length now.
                input.sum = self.checks.sum(&input.buffer).map_err(|error| gone(&error))?;
            }
        }
        drop(std::mem::replace(&mut self.shift, shift));
        Ok(())
    }

    /// Loads a candidate as number `id`, if its launch is possible, and returns what that asks of the GPU.
    ///
    /// # Errors
    /// [`Fault::Candidate`] when it cannot be loaded or launched; [`Fault::Fatal`] when `id` is in use.
    pub fn load(&mut self, id: u32, load: &Load) -> Result<Footprint, Fault> {
        if self.candidates.contains_key(&id) {
            return Err(Fault::fatal(format!("candidate {id} is loaded already")));
        }
        let loaded = self.prepare(load)?;
        let footprint = loaded.footprint;
        self.candidates.insert(id, loaded);
        Ok(footprint)
    }

    /// Unloads candidate `id`.
    ///
    /// # Errors
    /// [`Fault::Fatal`] when it is not loaded.
    pub fn unload(&mut self, id: u32) -> Result<(), Fault> {
        self.candidates.remove(&id).map(drop).ok_or_else(|| not_loaded(id))
    }

    /// Runs candidate `id` on fresh buffers, compares its outputs with the reference's, and looks for what it
    /// wrote elsewhere. Runs it twice: a timed run finds scratch, and variables of the candidate's own, as the
    /// run before left them, and must be right nevertheless.
    ///
    /// # Errors
    /// [`Fault::Candidate`] when it is wrong; [`Fault::Lost`] when the device is.
    pub fn verify(&mut self, id: u32) -> Result<(), Fault> {
        self.run_reference()?;
        let mut loaded = self.candidates.remove(&id).ok_or_else(|| not_loaded(id))?;
        let first = self.run_fresh(&mut loaded.launchable, Fresh::All).and_then(|()| self.wrong());
        let run = match first {
            Ok(None) => self.run_fresh(&mut loaded.launchable, Fresh::Outputs).map(|()| None),
            wrong => wrong,
        };
        loaded.warm = true;
        self.candidates.insert(id, loaded);
        let first = run.map_err(|error| self.blame(&error))?;
        // What was spoilt is made again before anything is said.
        let spoilt = self.spoilt().map_err(|error| self.blame(&error))?;
        let again = || self.wrong().map(|wrong| wrong.map(|what| format!("{what}, when it is run again")));
        let wrong = first.map_or_else(again, |wrong| Ok(Some(wrong))).map_err(|error| self.blame(&error))?;
        match (spoilt, wrong) {
            (Some(message), _) => Err(Fault::candidate(Outcome::RuntimeError, message)),
            (None, Some(message)) => Err(Fault::candidate(Outcome::WrongAnswer, message)),
            (None, None) => Ok(()),
        }
    }

    /// Where something was written that no candidate may write.
    fn spoilt(&mut self) -> Result<Option<String>, DriverError> {
        let mut found = None;
        for slot in &mut self.slots {
            match slot {
                Slot::Input(input) => {
                    if input.mend(&self.checks, self.seed)? {
                        found.get_or_insert(format!("writes to the input {}, or just beside it", input.name));
                    }
                }
                Slot::Output(output) => {
                    if let Some(side) = output.buffer.broken_seal()? {
                        found.get_or_insert(format!("writes {side} of {}", output.name));
                    }
                    let elsewhere = || "writes outside of its buffers".to_string();
                    if self.checks.sum(&output.fresh)? != output.fresh_sum {
                        found.get_or_insert_with(elsewhere);
                        output.refill(self.seed)?;
                    }
                    if let Some(expected) = &output.expected
                        && self.checks.sum(&expected.buffer)? != expected.sum
                    {
                        found.get_or_insert_with(elsewhere);
                        expected.buffer.upload(&expected.host)?;
                        expected.buffer.seal()?;
                    }
                }
                Slot::Scalar { .. } => {}
            }
        }
        Ok(found)
    }

    /// How the first wrong output differs from the reference's.
    fn wrong(&self) -> Result<Option<String>, DriverError> {
        for slot in &self.slots {
            let Slot::Output(output) = slot else { continue };
            let Some(expected) = &output.expected else { continue };
            let rule = Rule {
                element: output.element,
                absolute: expected.absolute,
                relative: output.tolerance.relative,
                poisoned: output.contents.is_none(),
            };
            if self.checks.differing(&output.buffer, &expected.buffer, rule)? == 0 {
                continue;
            }
            let got = output.buffer.download()?;
            let difference = compare::difference(&output.described(), output.tolerance, &got, &expected.host);
            return Ok(Some(difference.unwrap_or_else(|| {
                // A rounding of the tolerance itself.
                format!("{} differs from the reference's by just more than the tolerance", output.name)
            })));
        }
        Ok(None)
    }

    /// Times `runs` runs of candidate `id`, in nanoseconds. Where it was not verified, its first ever is
    /// preceded by an untimed one. Times that were taken while the card held its clocks down are dropped and
    /// taken again; if that does not help, they come with the reason. The card `is_warm` if others used it until just now.
    ///
    /// # Errors
    /// [`Fault::Fatal`] when it is not loaded or `runs` is out of range; else as for `verify`.
    pub fn run(&mut self, id: u32, runs: u32, is_warm: bool) -> Result<Times, Fault> {
        if !(1..=MAX_RUNS).contains(&runs) {
            return Err(Fault::fatal(format!("runs is {runs}: it must be from 1 to {MAX_RUNS}")));
        }
        let Self { candidates, slots, timer, watch, context, .. } = self;
        let loaded = candidates.get_mut(&id).ok_or_else(|| not_loaded(id))?;
        let restores = slots.iter().any(|slot| matches!(slot, Slot::Output(output) if output.is_restored()));
        let restore = || restore(slots);
        let mut times = |is_warm| {
            // The last candidate left scratch as it pleased.
            refresh_scratch(slots)?;
            if !loaded.warm {
                restore()?;
                loaded.launchable.queue(context)?;
                context.wait()?;
                loaded.warm = true;
            }
            timer.times(&mut loaded.launchable, runs, is_warm, restores.then_some(&restore as _))
        };
        let mut taken = times(is_warm);
        let mut throttled = None;
        for pause in COOL_DOWN.into_iter().map(Some).chain([None]) {
            let Some(watch) = watch.as_ref().filter(|_| taken.is_ok()) else { break };
            throttled = watch.throttled();
            if throttled.is_none() || !watch.is_worth_waiting() {
                break;
            }
            let Some(pause) = pause else {
                watch.give_up();
                break;
            };
            std::thread::sleep(pause);
            taken = times(false);
        }
        let (times_ns, launches) = taken.map_err(|error| self.blame(&error))?;
        Ok(Times { times_ns, launches, throttled })
    }

    /// Runs a candidate once and waits for it.
    fn run_fresh(&self, launchable: &mut Launchable, fresh: Fresh) -> Result<(), DriverError> {
        for slot in &self.slots {
            if let Slot::Output(output) = slot {
                output.buffer.seal()?;
                if output.compared || fresh == Fresh::All {
                    output.buffer.copy(&output.fresh)?;
                }
            }
        }
        launchable.queue(&self.context)?;
        self.context.wait()
    }

    /// What an error means: the end of this process's device, or a candidate that could not be launched.
    pub(super) fn blame(&self, error: &DriverError) -> Fault {
        if !self.context.is_alive() {
            return Fault::lost(error.to_string());
        }
        let outcome = match error.code {
            code::OUT_OF_MEMORY | code::LAUNCH_OUT_OF_RESOURCES => Outcome::ResourceExceeded,
            _ => Outcome::RuntimeError,
        };
        Fault::candidate(outcome, error.to_string())
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn words(error: &DriverError) -> String {
    match error.code {
        code::OUT_OF_MEMORY => "does not fit in the GPU's free memory".into(),
        _ => error.to_string(),
    }
}

fn no_memory(context: &Context, error: &DriverError) -> Fault {
    fatal(context, error, format!("GPU memory: {}", words(error)))
}

/// Some pages, a random number of them. Where buffers lie in a GPU's memory is worth a few percent to a kernel
/// that waits for it, and worker after worker is given the same place: so the times of several workers would
/// agree with each other, and with no later run.
fn shift(context: &Rc<Context>) -> Option<Memory> {
    let pages = RandomState::new().build_hasher().finish() % SHIFTS;
    // Where memory is short the buffers come first.
    context.allocate((pages as usize).max(1) * PAGE).ok()
}

/// A message that is for good, unless the device itself is lost.
fn fatal(context: &Context, error: &DriverError, message: String) -> Fault {
    if context.is_alive() { Fault::fatal(message) } else { Fault::lost(error.to_string()) }
}

fn gone(error: &DriverError) -> Fault {
    Fault::lost(error.to_string())
}

fn not_loaded(id: u32) -> Fault {
    Fault::fatal(format!("candidate {id} is not loaded"))
}

//! The CPU as a device: buffers, the reference's outputs, and the loaded candidates.

use std::collections::BTreeMap;
use std::ffi::c_void;

use fractune_tuner::kernel::{ElementType, Init as Contents};
use fractune_tuner::settings::CacheState;
use fractune_tuner::trial::Outcome;
use rustix::time::{ClockId, clock_gettime};

use super::evict::evict;
use super::library::Candidate;
use super::memory::{Guarded, ReadOnly};
use crate::backend::Fault;
use crate::backend::data::{compare, contents, scalar};
use crate::worker::protocol::{Argument, Buffer, Init, Load, MAX_RUNS, Tolerance};

/// Buffers and loaded candidates of one worker.
#[derive(Debug)]
pub struct Device {
    slots: Vec<Slot>,
    cache: CacheState,
    reference: Option<Load>,
    candidates: BTreeMap<u32, Loaded>,
}

/// One argument of the entry point.
#[derive(Debug)]
enum Slot {
    Input(ReadOnly),
    Output(Output),
    Scalar { name: String, element: ElementType },
}

/// A buffer that candidates write.
#[derive(Debug)]
struct Output {
    name: String,
    element: ElementType,
    tolerance: Tolerance,
    memory: Guarded,
    /// First contents; none: poison.
    first: Option<ReadOnly>,
    /// Whether it is compared with what the reference wrote; else it is scratch.
    compared: bool,
    /// What the reference wrote, once it has run.
    expected: Option<ReadOnly>,
}

/// A loaded candidate and the values of its scalars.
#[derive(Debug)]
struct Loaded {
    candidate: Candidate,
    scalars: Vec<[u8; 8]>,
    /// Whether its untimed run was made.
    warm: bool,
}

impl Device {
    /// Makes and fills the buffers.
    ///
    /// # Errors
    /// [`Fault::Fatal`] when a buffer does not fit in memory.
    pub fn new(init: &Init) -> Result<Self, Fault> {
        let slots = init.arguments.iter().enumerate().map(|(index, argument)| match argument {
            Argument::Buffer(buffer) => Slot::for_buffer(buffer, init.seed, index),
            Argument::Scalar(s) => Ok(Slot::Scalar { name: s.name.clone(), element: s.element }),
        });
        Ok(Self {
            slots: slots.collect::<Result<_, _>>()?,
            cache: init.cache,
            reference: init.reference.clone(),
            candidates: BTreeMap::new(),
        })
    }

    /// Bytes of all outputs together: what keeping the reference's outputs will take.
    #[must_use]
    pub fn outputs_bytes(&self) -> u64 {
        self.outputs().map(|o| o.memory.bytes().len() as u64).sum()
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
        let reference = self.prepare(load).map_err(|fault| match fault {
            Fault::Candidate { message, .. } => Fault::fatal(format!("the reference {message}")),
            fault @ (Fault::Fatal { .. } | Fault::Lost { .. }) => fault,
        })?;
        self.freshen();
        self.call(&reference);
        for output in self.outputs_mut() {
            if let Some(side) = output.memory.broken_seal() {
                return Err(Fault::fatal(format!("the reference writes {side} of {}", output.name)));
            }
            if !output.compared {
                continue;
            }
            if let Some(fault) = compare::reference_fault(&output.described(), output.memory.bytes()) {
                return Err(Fault::fatal(fault));
            }
            output.expected = Some(copy(output.memory.bytes(), &output.name)?);
        }
        Ok(())
    }

    /// Loads a candidate as number `id`.
    ///
    /// # Errors
    /// [`Fault::Candidate`] when it cannot be loaded; [`Fault::Fatal`] when `id` is in use.
    pub fn load(&mut self, id: u32, load: &Load) -> Result<(), Fault> {
        if self.candidates.contains_key(&id) {
            return Err(Fault::fatal(format!("candidate {id} is loaded already")));
        }
        let loaded = self.prepare(load)?;
        self.candidates.insert(id, loaded);
        Ok(())
    }

    /// Unloads candidate `id`.
    ///
    /// # Errors
    /// [`Fault::Fatal`] when it is not loaded.
    pub fn unload(&mut self, id: u32) -> Result<(), Fault> {
        self.candidates.remove(&id).map(drop).ok_or_else(|| not_loaded(id))
    }

    /// Runs candidate `id` on fresh buffers and compares its outputs with the reference's. Where there is
    /// scratch, it runs twice: a timed run finds scratch as the run before left it.
    ///
    /// # Errors
    /// [`Fault::Candidate`] when they differ, or when it wrote just outside of an output.
    pub fn verify(&mut self, id: u32) -> Result<(), Fault> {
        self.run_reference()?;
        self.freshen();
        self.verify_once(id)?;
        if self.outputs().all(|output| output.compared) {
            return Ok(());
        }
        self.outputs_mut().filter(|output| output.compared).for_each(Output::freshen);
        self.verify_once(id).map_err(|fault| match fault {
            Fault::Candidate { outcome, message } => {
                Fault::candidate(outcome, format!("{message}, when it is run again"))
            }
            other => other,
        })
    }

    fn verify_once(&mut self, id: u32) -> Result<(), Fault> {
        let loaded = self.candidates.get(&id).ok_or_else(|| not_loaded(id))?;
        self.call(loaded);
        if let Some(loaded) = self.candidates.get_mut(&id) {
            loaded.warm = true;
        }
        for output in self.outputs() {
            if let Some(side) = output.memory.broken_seal() {
                let message = format!("writes {side} of {}", output.name);
                return Err(Fault::candidate(Outcome::RuntimeError, message));
            }
        }
        for output in self.outputs() {
            let Some(expected) = &output.expected else { continue };
            let (got, expected) = (output.memory.bytes(), expected.bytes());
            if let Some(message) = compare::difference(&output.described(), output.tolerance, got, expected) {
                return Err(Fault::candidate(Outcome::WrongAnswer, message));
            }
        }
        Ok(())
    }

    /// Times `runs` runs of candidate `id`, in nanoseconds. Where it was not verified, its first ever is
    /// preceded by an untimed one.
    ///
    /// # Errors
    /// [`Fault::Fatal`] when it is not loaded or `runs` is out of range.
    pub fn run(&mut self, id: u32, runs: u32) -> Result<Vec<u64>, Fault> {
        if !(1..=MAX_RUNS).contains(&runs) {
            return Err(Fault::fatal(format!("runs is {runs}: it must be from 1 to {MAX_RUNS}")));
        }
        // Taken out for the time of the call, so that the buffers can be restored between runs.
        let mut loaded = self.candidates.remove(&id).ok_or_else(|| not_loaded(id))?;
        if !loaded.warm {
            self.restore();
            self.call(&loaded);
            loaded.warm = true;
        }
        let times = (0..runs).map(|_| self.timed(&loaded)).collect();
        self.candidates.insert(id, loaded);
        Ok(times)
    }

    /// One run from the state that the job asks for.
    fn timed(&mut self, loaded: &Loaded) -> u64 {
        self.restore();
        if self.cache == CacheState::Cold {
            self.buffers().for_each(|(address, len)| evict(address, len));
        }
        let start = clock_gettime(ClockId::MonotonicRaw);
        self.call(loaded);
        let end = clock_gettime(ClockId::MonotonicRaw);
        let nanoseconds = (end.tv_sec - start.tv_sec) * 1_000_000_000 + (end.tv_nsec - start.tv_nsec);
        u64::try_from(nanoseconds).unwrap_or(0)
    }

    fn prepare(&self, load: &Load) -> Result<Loaded, Fault> {
        if load.launch.is_some() {
            return Err(Fault::fatal("launch is for GPUs: leave it out for C"));
        }
        let slots = self.slots.iter().filter_map(|slot| match slot {
            Slot::Scalar { name, element } => Some((name, *element)),
            Slot::Input(_) | Slot::Output(_) => None,
        });
        let slots: Vec<_> = slots.collect();
        if slots.len() != load.scalars.len() {
            let (wanted, given) = (slots.len(), load.scalars.len());
            return Err(Fault::fatal(format!("scalars has {given} values for {wanted} scalar arguments")));
        }
        let scalars = slots.iter().zip(&load.scalars).map(|((name, element), text)| {
            scalar::parse(text, *element).map_err(|e| Fault::fatal(format!("scalar {name}: {e}")))
        });
        let scalars = scalars.collect::<Result<_, _>>()?;
        let candidate = Candidate::load(&load.artifact, &load.symbol)?;
        Ok(Loaded { candidate, scalars, warm: false })
    }

    fn call(&self, loaded: &Loaded) {
        // Made for each call: a candidate may write the cells, too.
        let mut scalars = loaded.scalars.iter();
        let mut cells: Vec<u64> = self
            .slots
            .iter()
            .map(|slot| match slot {
                Slot::Input(memory) => memory.address().expose_provenance() as u64,
                Slot::Output(output) => output.memory.address().expose_provenance() as u64,
                Slot::Scalar { .. } => scalars.next().map_or(0, |bytes| u64::from_ne_bytes(*bytes)),
            })
            .collect();
        let mut arguments: Vec<*mut c_void> = cells.iter_mut().map(|c| (&raw mut *c).cast()).collect();
        loaded.candidate.call(&mut arguments);
    }

    /// Every output as it is before a run that is verified.
    fn freshen(&mut self) {
        self.slots.iter_mut().for_each(Slot::freshen);
    }

    /// Outputs that are also read get their first contents back, so that every timed run does the same.
    fn restore(&mut self) {
        for output in self.outputs_mut() {
            if let Some(first) = output.first.as_ref().filter(|_| output.compared) {
                output.memory.bytes_mut().copy_from_slice(first.bytes());
            }
        }
    }

    fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Output(output) => Some(output),
            Slot::Input(_) | Slot::Scalar { .. } => None,
        })
    }

    fn outputs_mut(&mut self) -> impl Iterator<Item = &mut Output> {
        self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Output(output) => Some(output),
            Slot::Input(_) | Slot::Scalar { .. } => None,
        })
    }

    /// Address and length in bytes of every buffer.
    fn buffers(&self) -> impl Iterator<Item = (*const u8, usize)> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Input(memory) => Some((memory.address().cast_const(), memory.bytes().len())),
            Slot::Output(o) => Some((o.memory.address().cast_const(), o.memory.bytes().len())),
            Slot::Scalar { .. } => None,
        })
    }
}

impl Slot {
    fn for_buffer(buffer: &Buffer, seed: u64, argument: usize) -> Result<Self, Fault> {
        let Buffer { name, element, length, init, output, scratch, symbol: _, tolerance } = buffer;
        let too_large = |e: &dyn std::fmt::Display| {
            Fault::fatal(format!("buffer {name} of {length} elements does not fit in memory: {e}"))
        };
        let len = usize::try_from(*length)
            .ok()
            .and_then(|n| n.checked_mul(element.bytes()))
            .ok_or_else(|| too_large(&"its size has more than 64 bits"))?;
        let filled = |contents| {
            let mut memory = Guarded::new(len).map_err(|e| too_large(&e))?;
            contents::fill(memory.bytes_mut(), *element, contents, seed, argument);
            memory.protect().map_err(|e| too_large(&e))
        };
        if !output && !scratch {
            return Ok(Self::Input(filled(init.unwrap_or(Contents::Uniform))?));
        }
        let by_type = Tolerance { relative: element.default_tolerance(), absolute: None };
        let mut output = Self::Output(Output {
            name: name.clone(),
            element: *element,
            tolerance: tolerance.unwrap_or(by_type),
            memory: Guarded::new(len).map_err(|e| too_large(&e))?,
            first: init.map(filled).transpose()?,
            compared: *output,
            expected: None,
        });
        // Written now, so that no page is touched for the first time while the clock runs.
        output.freshen();
        Ok(output)
    }

    fn freshen(&mut self) {
        if let Self::Output(output) = self {
            output.freshen();
        }
    }
}

impl Output {
    fn freshen(&mut self) {
        self.memory.seal();
        match &self.first {
            Some(first) => self.memory.bytes_mut().copy_from_slice(first.bytes()),
            None => contents::poison(self.memory.bytes_mut(), self.element),
        }
    }

    fn described(&self) -> compare::Output<'_> {
        compare::Output { name: &self.name, element: self.element, poisoned: self.first.is_none() }
    }
}

/// A copy that no candidate can write.
fn copy(bytes: &[u8], name: &str) -> Result<ReadOnly, Fault> {
    let no_memory = |e| Fault::fatal(format!("no memory for the reference's {name}: {e}"));
    let mut memory = Guarded::new(bytes.len()).map_err(no_memory)?;
    memory.bytes_mut().copy_from_slice(bytes);
    memory.protect().map_err(no_memory)
}

fn not_loaded(id: u32) -> Fault {
    Fault::fatal(format!("candidate {id} is not loaded"))
}

//! A GPU as a device: buffers, the reference's outputs, and the loaded candidates.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use cudarc::driver::sys::CUfunction_attribute as Attribute;
use fractune_tuner::trial::Outcome;

use super::buffers::Buffer;
use super::check::{Checks, Rule};
use super::driver::{Context, DriverError, Function, MAX_PARAMETERS, code};
use super::open::Found;
use super::resources::{self, Limits, Usage};
use super::slots::{Expected, Input, Output, Slot, refresh_scratch, restore};
use super::timing::{Launchable, Timer};
use super::watch::Watch;
use crate::backend::Fault;
use crate::backend::data::{compare, scalar};
use crate::worker::protocol::{Argument, Init, Load, MAX_RUNS};

/// How long the card may cool down before times are taken again, and again.
const COOL_DOWN: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(60)];

/// Buffers and loaded candidates of one worker.
#[derive(Debug)]
pub struct Device {
    context: Rc<Context>,
    limits: Limits,
    checks: Checks,
    timer: Timer,
    watch: Option<Watch>,
    seed: u64,
    slots: Vec<Slot>,
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

#[derive(Debug)]
struct Loaded {
    launchable: Launchable,
    /// Whether its untimed run was made.
    warm: bool,
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
        let watch = Watch::open(&ready.uuid);
        let (seed, candidates) = (init.seed, BTreeMap::new());
        Ok(Self { context, limits, checks, timer, watch, seed, slots, reference, candidates })
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

    /// Loads a candidate as number `id`, if its launch is possible.
    ///
    /// # Errors
    /// [`Fault::Candidate`] when it cannot be loaded or launched; [`Fault::Fatal`] when `id` is in use.
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
                    if self.checks.sum(&input.buffer)? != input.sum {
                        found.get_or_insert(format!("writes to the input {}, or just beside it", input.name));
                        input.refill(self.seed)?;
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
    /// taken again; if that does not help, they come with the reason.
    ///
    /// # Errors
    /// [`Fault::Fatal`] when it is not loaded or `runs` is out of range; else as for `verify`.
    pub fn run(&mut self, id: u32, runs: u32) -> Result<(Vec<u64>, Option<String>), Fault> {
        if !(1..=MAX_RUNS).contains(&runs) {
            return Err(Fault::fatal(format!("runs is {runs}: it must be from 1 to {MAX_RUNS}")));
        }
        let Self { candidates, slots, timer, watch, context, .. } = self;
        let loaded = candidates.get_mut(&id).ok_or_else(|| not_loaded(id))?;
        let restores = slots.iter().any(|slot| matches!(slot, Slot::Output(output) if output.is_restored()));
        let restore = || restore(slots);
        let mut times = || {
            // The last candidate left scratch as it pleased.
            refresh_scratch(slots)?;
            if !loaded.warm {
                restore()?;
                loaded.launchable.queue(context)?;
                context.wait()?;
                loaded.warm = true;
            }
            timer.times(&mut loaded.launchable, runs, restores.then_some(&restore as _))
        };
        let mut taken = times();
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
            taken = times();
        }
        Ok((taken.map_err(|error| self.blame(&error))?, throttled))
    }

    fn prepare(&self, load: &Load) -> Result<Loaded, Fault> {
        let Some(launch) = load.launch else {
            return Err(Fault::fatal("launch is missing: a CUDA kernel needs launch sizes"));
        };
        let parameters = self.parameters(&load.scalars)?;
        let image = read(&load.artifact).map_err(|message| {
            Fault::candidate(Outcome::RuntimeError, format!("cannot be loaded: {message}"))
        })?;
        let module = self.context.load(&image).map_err(|error| match error.code {
            code::INVALID_IMAGE | code::NO_BINARY_FOR_GPU | code::UNSUPPORTED_PTX_VERSION => {
                Fault::fatal(format!(
                    "the driver cannot load what NVRTC made: {error}; NVRTC may be newer than the driver, or \
                 compile.options name another GPU's architecture"
                ))
            }
            _ => self.blame(&error),
        })?;
        let function = module.function(&load.symbol).map_err(|error| self.blame(&error))?;
        self.check_parameters(&function)?;
        let usage = usage(&function).map_err(|error| self.blame(&error))?;
        if let Some(message) = resources::exceeded(&self.limits, usage, &launch) {
            return Err(Fault::candidate(Outcome::ResourceExceeded, message));
        }
        if launch.shared_bytes > 0 {
            // Beyond 48 KiB a kernel must ask.
            function.allow_shared_memory(launch.shared_bytes).map_err(|error| self.blame(&error))?;
        }
        self.set_variables(&module, &load.variables)?;
        Ok(Loaded { launchable: Launchable::new(function, launch, parameters), warm: false })
    }

    /// Buffers' addresses and scalars' bytes, in the order of the arguments.
    fn parameters(&self, scalars: &[String]) -> Result<Vec<u64>, Fault> {
        let wanted = self.slots.iter().filter(|slot| matches!(slot, Slot::Scalar { .. })).count();
        if wanted != scalars.len() {
            let given = scalars.len();
            return Err(Fault::fatal(format!("scalars has {given} values for {wanted} scalar arguments")));
        }
        let mut scalars = scalars.iter();
        let mut parameters = Vec::new();
        for slot in &self.slots {
            match slot {
                Slot::Input(input) if input.variable => {}
                Slot::Input(input) => parameters.push(input.buffer.address()),
                Slot::Output(output) => parameters.push(output.buffer.address()),
                Slot::Scalar { name, element } => {
                    let text = scalars.next().map_or("", String::as_str);
                    let bytes = scalar::parse(text, *element)
                        .map_err(|error| Fault::fatal(format!("scalar {name}: {error}")))?;
                    parameters.push(u64::from_le_bytes(bytes));
                }
            }
        }
        Ok(parameters)
    }

    /// The compiler cannot check a launch against the job's arguments, so this does.
    fn check_parameters(&self, function: &Function) -> Result<(), Fault> {
        let arguments = self.slots.iter().filter_map(|slot| match slot {
            Slot::Input(input) if input.variable => None,
            Slot::Input(Input { name, .. }) | Slot::Output(Output { name, .. }) => {
                Some((name, size_of::<u64>()))
            }
            Slot::Scalar { name, element } => Some((name, element.bytes())),
        });
        let arguments: Vec<(&String, usize)> = arguments.collect();
        let declared = function.parameters().map_err(|error| self.blame(&error))?;
        let refused = |message| Err(Fault::candidate(Outcome::CompileError, message));
        if declared.len() != arguments.len() || declared.len() > MAX_PARAMETERS {
            let (takes, given) = (declared.len(), arguments.len());
            return refused(format!(
                "the kernel takes {takes} parameters, and the job passes {given} arguments"
            ));
        }
        let different = declared.iter().zip(&arguments).enumerate().find(|(_, (d, (_, a)))| *d != a);
        match different {
            Some((i, (takes, (name, given)))) => refused(format!(
                "parameter {i} of the kernel has {takes} bytes, and the argument {name} has {given}"
            )),
            None => Ok(()),
        }
    }

    /// Fills the variables of a module that stand for buffers. `symbols` are theirs, in the buffers' order.
    fn set_variables(&self, module: &super::driver::Module, symbols: &[String]) -> Result<(), Fault> {
        let inputs = self.slots.iter().filter_map(|slot| match slot {
            Slot::Input(input) if input.variable => Some(input),
            _ => None,
        });
        for (input, symbol) in inputs.zip(symbols) {
            let too_small = module.set_variable(symbol, &input.buffer).map_err(|error| self.blame(&error))?;
            if let Some(size) = too_small {
                let (name, bytes) = (&input.name, input.buffer.bytes());
                let message = format!("the variable for {name} has {size} bytes, and the buffer {bytes}");
                return Err(Fault::candidate(Outcome::ResourceExceeded, message));
            }
        }
        Ok(())
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
    fn blame(&self, error: &DriverError) -> Fault {
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

fn usage(function: &Function) -> Result<Usage, DriverError> {
    Ok(Usage {
        registers: function.attribute(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
        static_shared_bytes: function.attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?,
        max_threads: function.attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
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

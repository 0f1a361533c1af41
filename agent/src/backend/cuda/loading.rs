//! From an artifact to something that can be launched: everything that can be refused before it is.

use cudarc::driver::sys::CUfunction_attribute as Attribute;
use fractune_tuner::trial::Outcome;

use super::device::{Device, Loaded, read};
use super::driver::{DriverError, Function, MAX_PARAMETERS, Module, code};
use super::resources::{self, Usage};
use super::slots::{Input, Output, Slot};
use super::timing::Launchable;
use crate::backend::Fault;
use crate::backend::data::scalar;
use crate::worker::protocol::Load;

impl Device {
    pub(super) fn prepare(&self, load: &Load) -> Result<Loaded, Fault> {
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
        let held = function.blocks_per_unit(&launch).map_err(|error| self.blame(&error))?;
        let footprint = self.limits.footprint(usage, &launch, held);
        Ok(Loaded { launchable: Launchable::new(function, launch, parameters), warm: false, footprint })
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
    fn set_variables(&self, module: &Module, symbols: &[String]) -> Result<(), Fault> {
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
}

fn usage(function: &Function) -> Result<Usage, DriverError> {
    Ok(Usage {
        registers: function.attribute(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
        static_shared_bytes: function.attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?,
        max_threads: function.attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
        local_bytes: function.attribute(Attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
    })
}

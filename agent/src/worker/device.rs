//! What a worker runs candidates on, and how it is set up.

use fractune_tuner::results::Footprint;

use super::confine::{self, Readable};
use super::limits;
use super::protocol::{Init, Load, Ready, Reply, Times, VERSION};
use crate::backend::Fault;
use crate::backend::{cpu, cuda};

/// What a worker runs candidates on.
#[derive(Debug)]
pub(super) enum Device {
    Cpu(cpu::Device),
    Cuda(Box<cuda::Device>),
    /// A GPU that was only opened, to say what it is.
    Opened,
}

impl Device {
    /// Limits, buffers, confinement: in this order, and all of it before anything foreign is loaded.
    pub(super) fn set_up(init: &Init) -> Result<(Self, Ready), Fault> {
        let mut notes = limits::lifelines();
        limits::bind(&init.cpus).map_err(Fault::fatal)?;
        let Some(gpu) = &init.gpu else {
            let device = cpu::Device::new(init)?;
            notes.extend(limits::memory(device.outputs_bytes(), init.cpus.len(), init.memory_limit_bytes));
            notes.extend(confine::confine(Readable::Everything));
            let (product, units) = (cpu::product(), init.cpus.len() as u32);
            return Ok((Self::Cpu(device), Ready { protocol: VERSION, product, units, gpu: None, notes }));
        };
        let found = cuda::Found::open()?;
        let ready = Ready {
            protocol: VERSION,
            product: found.product.clone(),
            units: found.units,
            gpu: Some(found.ready.clone()),
            notes,
        };
        let device = match &gpu.checks {
            Some(checks) => Self::Cuda(Box::new(cuda::Device::new(found, init, checks)?)),
            None => Self::Opened,
        };
        Ok((device, ready))
    }

    /// Whether it still works for this process.
    pub(super) fn is_alive(&self) -> bool {
        match self {
            Self::Cuda(device) => device.is_alive(),
            Self::Cpu(_) | Self::Opened => true,
        }
    }

    pub(super) fn run_reference(&mut self) -> Result<(), Fault> {
        match self {
            Self::Cpu(device) => device.run_reference(),
            Self::Cuda(device) => device.run_reference(),
            Self::Opened => Err(only_opened()),
        }
    }

    pub(super) fn relocate(&mut self) -> Result<(), Fault> {
        match self {
            Self::Cpu(_) => {
                Err(Fault::fatal("relocate: only what lies in a GPU's memory can be put elsewhere"))
            }
            Self::Cuda(device) => device.relocate(),
            Self::Opened => Err(only_opened()),
        }
    }

    pub(super) fn load(&mut self, id: u32, load: &Load) -> Result<Option<Footprint>, Fault> {
        match self {
            Self::Cpu(device) => device.load(id, load).map(|()| None),
            Self::Cuda(device) => device.load(id, load).map(Some),
            Self::Opened => Err(only_opened()),
        }
    }

    pub(super) fn verify(&mut self, id: u32) -> Result<(), Fault> {
        match self {
            Self::Cpu(device) => device.verify(id),
            Self::Cuda(device) => device.verify(id),
            Self::Opened => Err(only_opened()),
        }
    }

    pub(super) fn run(&mut self, id: u32, runs: u32, is_warm: bool) -> Result<Reply, Fault> {
        match self {
            Self::Cpu(device) => Ok(Reply::Times(Times::of_single(device.run(id, runs)?))),
            Self::Cuda(device) => device.run(id, runs, is_warm).map(Reply::Times),
            Self::Opened => Err(only_opened()),
        }
    }

    pub(super) fn unload(&mut self, id: u32) -> Result<(), Fault> {
        match self {
            Self::Cpu(device) => device.unload(id),
            Self::Cuda(device) => device.unload(id),
            Self::Opened => Err(only_opened()),
        }
    }
}

fn only_opened() -> Fault {
    Fault::fatal("init has no gpu.checks: the GPU was opened to say what it is")
}

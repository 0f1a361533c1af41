//! The arguments of the entry point: buffers of inputs and outputs, and scalars.

use std::rc::Rc;

use fractune_tuner::kernel::{ElementType, Init as Contents};

use super::buffers::{self, Buffer};
use super::check::Checks;
use super::driver::{Context, DriverError};
use crate::backend::data::compare;
use crate::worker::protocol::{self, Tolerance};

/// One argument of the entry point.
#[derive(Debug)]
pub(super) enum Slot {
    Input(Input),
    Output(Output),
    Scalar { name: String, element: ElementType },
}

/// A buffer that candidates only read.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) element: ElementType,
    pub(super) contents: Contents,
    /// Its place among the arguments, which its contents depend on.
    pub(super) argument: usize,
    /// Whether it reaches candidates as a variable of theirs.
    pub(super) variable: bool,
    pub(super) buffer: Buffer,
    pub(super) sum: u64,
}

/// A buffer that candidates write.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) element: ElementType,
    pub(super) tolerance: Tolerance,
    pub(super) buffer: Buffer,
    /// What it holds before a verified run: its first contents, or poison.
    pub(super) fresh: Buffer,
    pub(super) fresh_sum: u64,
    /// First contents, where it has any, and its place among the arguments, which they depend on.
    pub(super) contents: Option<Contents>,
    pub(super) argument: usize,
    /// Whether it is compared with what the reference wrote; else it is scratch.
    pub(super) compared: bool,
    pub(super) expected: Option<Expected>,
}

/// What the reference wrote.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) buffer: Buffer,
    pub(super) host: Vec<u8>,
    pub(super) sum: u64,
    pub(super) absolute: f64,
}

/// Queues putting back the first contents of outputs that are also read, so that every timed run does the same.
pub(super) fn restore(slots: &[Slot]) -> Result<(), DriverError> {
    for slot in slots {
        if let Slot::Output(output) = slot
            && output.is_restored()
        {
            output.buffer.copy(&output.fresh)?;
        }
    }
    Ok(())
}

/// Queues putting back what scratch holds at first.
pub(super) fn refresh_scratch(slots: &[Slot]) -> Result<(), DriverError> {
    for slot in slots {
        if let Slot::Output(output) = slot
            && !output.compared
        {
            output.buffer.copy(&output.fresh)?;
        }
    }
    Ok(())
}

impl Slot {
    pub(super) fn buffer(
        context: &Rc<Context>,
        checks: &Checks,
        buffer: &protocol::Buffer,
        seed: u64,
        argument: usize,
    ) -> Result<Self, DriverError> {
        let protocol::Buffer { name, element, length, init, output, scratch, symbol, tolerance } =
            buffer.clone();
        let bytes = usize::try_from(length).unwrap_or(usize::MAX / 16).saturating_mul(element.bytes());
        // Asked for before the host fills as much.
        let made = Buffer::new(context, bytes)?;
        if output || scratch {
            let by_type = Tolerance { relative: element.default_tolerance(), absolute: None };
            let mut output = Output {
                name,
                element,
                tolerance: tolerance.unwrap_or(by_type),
                buffer: made,
                fresh: Buffer::new(context, bytes)?,
                fresh_sum: 0,
                contents: init,
                argument,
                compared: output,
                expected: None,
            };
            output.refill(seed)?;
            output.fresh_sum = checks.sum(&output.fresh)?;
            return Ok(Self::Output(output));
        }
        let mut input = Input {
            name,
            element,
            contents: init.unwrap_or_default(),
            argument,
            variable: symbol.is_some(),
            buffer: made,
            sum: 0,
        };
        input.refill(seed)?;
        input.sum = checks.sum(&input.buffer)?;
        Ok(Self::Input(input))
    }

    /// What candidates see of it in the GPU's memory.
    pub(super) fn seen(&self) -> Option<&Buffer> {
        match self {
            Self::Input(input) => Some(&input.buffer),
            Self::Output(output) => Some(&output.buffer),
            Self::Scalar { .. } => None,
        }
    }

    /// As [`Self::seen`], to be replaced.
    pub(super) fn seen_mut(&mut self) -> Option<&mut Buffer> {
        match self {
            Self::Input(input) => Some(&mut input.buffer),
            Self::Output(output) => Some(&mut output.buffer),
            Self::Scalar { .. } => None,
        }
    }
}

impl Input {
    /// Makes its contents again if they, or its zones, are not as they were; whether they were not.
    pub(super) fn mend(&self, checks: &Checks, seed: u64) -> Result<bool, DriverError> {
        let spoilt = checks.sum(&self.buffer)? != self.sum;
        if spoilt {
            self.refill(seed)?;
        }
        Ok(spoilt)
    }

    pub(super) fn refill(&self, seed: u64) -> Result<(), DriverError> {
        let bytes = self.buffer.bytes();
        self.buffer.seal()?;
        self.buffer.upload(&buffers::contents(self.element, bytes, self.contents, seed, self.argument))
    }
}

impl Output {
    /// Makes what it holds before a verified run.
    pub(super) fn refill(&self, seed: u64) -> Result<(), DriverError> {
        let bytes = self.fresh.bytes();
        self.fresh.seal()?;
        self.fresh.upload(&match self.contents {
            Some(contents) => buffers::contents(self.element, bytes, contents, seed, self.argument),
            None => buffers::poison(self.element, bytes),
        })
    }

    /// Whether each run needs the first contents again. What is scratch, a run leaves as the next one needs it.
    pub(super) fn is_restored(&self) -> bool {
        self.contents.is_some() && self.compared
    }

    pub(super) fn described(&self) -> compare::Output<'_> {
        compare::Output { name: &self.name, element: self.element, poisoned: self.contents.is_none() }
    }
}

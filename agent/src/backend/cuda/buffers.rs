//! Buffers on the device, between zones whose contents are known.
//!
//! A GPU has no guard pages: what a candidate writes beside a buffer lands in another one. So every buffer
//! lies between two zones of a known pattern, and inputs and the reference's outputs are summed up after each
//! verification: a candidate that wrote where it must not is found, and what it spoilt is made again.

use std::rc::Rc;

use fractune_tuner::kernel::{ElementType, Init as Contents};

use super::driver::{Context, DriverError, Memory};
use crate::backend::data::contents;

/// Bytes before a buffer, and at least as many behind it: the driver's own alignment, so that buffers keep it.
const ZONE: usize = 256;
/// Size of the GPU's pages of memory in bytes.
pub(super) const PAGE: usize = 2 << 20;
/// What fills them.
const CANARY: u8 = 0xC5;

/// A buffer and its zones.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Memory,
    bytes: usize,
}

impl Buffer {
    /// Allocates `bytes`; the zones are sealed, the buffer is not filled.
    pub(super) fn new(context: &Rc<Context>, bytes: usize) -> Result<Self, DriverError> {
        let memory = context.allocate(bytes.next_multiple_of(ZONE) + 2 * ZONE)?;
        let buffer = Self { memory, bytes };
        buffer.seal()?;
        Ok(buffer)
    }

    /// Allocates and fills a buffer from the host.
    pub(super) fn holding(context: &Rc<Context>, bytes: &[u8]) -> Result<Self, DriverError> {
        let buffer = Self::new(context, bytes.len())?;
        buffer.upload(bytes)?;
        Ok(buffer)
    }

    /// Another buffer that holds the same, on pages of its own: a small one would be put on the page of the others.
    pub(super) fn elsewhere(&self, context: &Rc<Context>) -> Result<Self, DriverError> {
        let memory = context.allocate((self.bytes + 2 * ZONE).next_multiple_of(PAGE))?;
        let other = Self { memory, bytes: self.bytes };
        other.seal()?;
        other.copy(self)?;
        Ok(other)
    }

    /// What a kernel gets.
    pub(super) fn address(&self) -> u64 {
        self.memory.address() + ZONE as u64
    }

    /// Length in bytes, without the zones.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory with its zones: a whole number of words.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn upload(&self, bytes: &[u8]) -> Result<(), DriverError> {
        self.memory.upload(ZONE, bytes.get(..self.bytes).unwrap_or(bytes))
    }

    pub(super) fn download(&self) -> Result<Vec<u8>, DriverError> {
        let mut bytes = vec![0; self.bytes];
        self.memory.download(ZONE, &mut bytes)?;
        Ok(bytes)
    }

    /// Queues a copy of another buffer's contents.
    pub(super) fn copy(&self, from: &Buffer) -> Result<(), DriverError> {
        self.memory.copy(ZONE, &from.memory, ZONE, self.bytes.min(from.bytes))
    }

    /// Queues the writing of the zones.
    pub(super) fn seal(&self) -> Result<(), DriverError> {
        let end = ZONE + self.bytes;
        self.memory.fill(0, ZONE, CANARY)?;
        self.memory.fill(end, self.memory.bytes() - end, CANARY)
    }

    /// Which side of the buffer was written beyond, if one was: `before the start` or `after the end`.
    pub(super) fn broken_seal(&self) -> Result<Option<&'static str>, DriverError> {
        let end = ZONE + self.bytes;
        for (offset, count, side) in
            [(end, self.memory.bytes() - end, "after the end"), (0, ZONE, "before the start")]
        {
            let mut zone = vec![0; count];
            self.memory.download(offset, &mut zone)?;
            if zone.iter().any(|&byte| byte != CANARY) {
                return Ok(Some(side));
            }
        }
        Ok(None)
    }
}

/// First contents of an argument, made on the host.
pub(super) fn contents(
    element: ElementType,
    bytes: usize,
    init: Contents,
    seed: u64,
    argument: usize,
) -> Vec<u8> {
    let mut host = vec![0; bytes];
    contents::fill(&mut host, element, init, seed, argument);
    host
}

/// The poison of outputs.
pub(super) fn poison(element: ElementType, bytes: usize) -> Vec<u8> {
    let mut host = vec![0; bytes];
    contents::poison(&mut host, element);
    host
}

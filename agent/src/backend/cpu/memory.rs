//! Buffers between guards.
//!
//! A candidate that runs over either end of a buffer meets memory that it cannot touch, and crashes. Buffers
//! are aligned to a cache line, so up to 63 bytes may lie between a buffer's end and the guard, and up to a
//! page before its start: they hold a canary that is checked afterwards.
#![expect(unsafe_code, reason = "maps memory and hands out its bytes")]

use std::io;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Alignment of every buffer in bytes: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;
/// A multiple of every page size that the architecture may have.
const GRANULE: usize = if cfg!(target_arch = "x86_64") { 4 << 10 } else { 64 << 10 };
/// Length of a guard: no memory, and wide enough that an index which is off by some rows of a matrix does not land in what
/// lies beyond.
const GUARD: usize = 1 << 20;
/// What fills the bytes around a buffer.
const CANARY: u8 = 0xC5;

/// Memory of a fixed length between two guards, readable and writable.
#[derive(Debug)]
pub(super) struct Guarded {
    /// First byte of the mapping, the front guard's.
    base: *mut u8,
    /// Length of the mapping, both guards included.
    mapped: usize,
    /// Where the buffer begins, from `base`.
    offset: usize,
    /// Length of the buffer.
    len: usize,
}

impl Guarded {
    /// Maps `len` zero bytes.
    pub(super) fn new(len: usize) -> io::Result<Self> {
        let too_long = || io::Error::from(io::ErrorKind::OutOfMemory);
        let room = len.checked_next_multiple_of(ALIGNMENT).ok_or_else(too_long)?;
        let middle = room.max(1).checked_next_multiple_of(GRANULE).ok_or_else(too_long)?;
        let mapped = middle.checked_add(2 * GUARD).ok_or_else(too_long)?;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
        let base =
            unsafe { mmap_anonymous(std::ptr::null_mut(), mapped, ProtFlags::empty(), MapFlags::PRIVATE) }?;
        let base = base.cast::<u8>();
        let mut memory = Self { base, mapped, offset: GUARD + middle - room, len };
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the range lies within the mapping made above, which nothing refers to yet.
        unsafe { mprotect(base.add(GUARD).cast(), middle, access) }?;
        memory.seal();
        Ok(memory)
    }

    /// Makes the memory, and the canaries, read-only for good.
    pub(super) fn protect(self) -> io::Result<ReadOnly> {
        let middle = self.mapped - 2 * GUARD;
        // SAFETY: the range is this mapping's middle, and no reference into it lives beside `self`.
        unsafe { mprotect(self.base.add(GUARD).cast(), middle, MprotectFlags::READ) }?;
        Ok(ReadOnly(self))
    }

    /// Where the buffer begins.
    pub(super) fn address(&self) -> *mut u8 {
        self.base.wrapping_add(self.offset)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.part(self.offset, self.len)
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.part_mut(self.offset, self.len)
    }

    /// Writes the canaries afresh.
    pub(super) fn seal(&mut self) {
        for (start, len) in self.slack() {
            self.part_mut(start, len).fill(CANARY);
        }
    }

    /// Which side of the buffer was written beyond, if one was: `before the start` or `after the end`.
    pub(super) fn broken_seal(&self) -> Option<&'static str> {
        let [front, back] =
            self.slack().map(|(start, len)| self.part(start, len).iter().any(|&b| b != CANARY));
        match (front, back) {
            (_, true) => Some("after the end"),
            (true, false) => Some("before the start"),
            (false, false) => None,
        }
    }

    /// Start and length of the canary before the buffer, and of the one after it.
    fn slack(&self) -> [(usize, usize); 2] {
        let end = self.offset + self.len;
        [(GUARD, self.offset - GUARD), (end, self.mapped - GUARD - end)]
    }

    fn part(&self, start: usize, len: usize) -> &[u8] {
        // SAFETY: both callers stay between the guards, where the mapping is readable while `self` lives,
        // and anonymous memory is initialised. Candidates write it only during a call, when no reference
        // into it lives.
        unsafe { std::slice::from_raw_parts(self.base.add(start), len) }
    }

    fn part_mut(&mut self, start: usize, len: usize) -> &mut [u8] {
        // SAFETY: as for `part`; the memory is writable, for `protect` takes `self` away; and `&mut self`
        // makes the reference the only one.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(start), len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the whole mapping is this value's own, and no reference outlives it. A failure leaks.
        let _ = unsafe { munmap(self.base.cast(), self.mapped) };
    }
}

/// Memory that nobody can write any more.
#[derive(Debug)]
pub(super) struct ReadOnly(Guarded);

impl ReadOnly {
    /// Where the buffer begins. Writing there is a crash.
    pub(super) fn address(&self) -> *mut u8 {
        self.0.address()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_end_within_a_line_of_the_guard() {
        for len in [0, 1, 63, 64, 4096, 4097, 100_000] {
            let mut memory = Guarded::new(len).unwrap();
            assert_eq!(memory.address() as usize % ALIGNMENT, 0);
            assert_eq!(memory.bytes().len(), len);
            memory.bytes_mut().fill(1);
            let [(_, front), (back_start, back)] = memory.slack();
            assert!(front < GRANULE || len == 0);
            assert!(back < ALIGNMENT && back_start + back == memory.mapped - GUARD);
            assert_eq!(memory.broken_seal(), None);
        }
    }

    #[test]
    fn a_byte_written_outside_breaks_the_seal_until_it_is_renewed() {
        let mut memory = Guarded::new(100).unwrap();
        let end = memory.offset + memory.len;
        memory.part_mut(end, 1).fill(0);
        assert_eq!(memory.broken_seal(), Some("after the end"));
        memory.seal();
        assert_eq!(memory.broken_seal(), None);
        let before = memory.offset - 1;
        memory.part_mut(before, 1).fill(0);
        assert_eq!(memory.broken_seal(), Some("before the start"));
    }

    #[test]
    fn a_length_beyond_all_memory_is_an_error() {
        assert!(Guarded::new(usize::MAX).is_err());
        assert!(Guarded::new(1 << 60).is_err());
    }
}

//! Eviction of buffers from the caches, so that a timed run starts cold.
#![expect(unsafe_code, reason = "cache instructions")]

use std::arch::asm;
#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;

/// Bytes from one flushed address to the next: the smallest cache line of either architecture.
const LINE: usize = if cfg!(target_arch = "x86_64") { 64 } else { 16 };

/// Writes back and evicts every cache line of `len` bytes at `address` from all levels.
pub(super) fn evict(address: *const u8, len: usize) {
    for offset in (0..len).step_by(LINE) {
        flush_line(address.wrapping_add(offset));
    }
    fence();
}

#[cfg(target_arch = "x86_64")]
fn flush_line(line: *const u8) {
    // `clflush` waits for the one before, `clflushopt` does not: five times as fast where it exists.
    static WITHOUT_WAITING: LazyLock<bool> = LazyLock::new(|| {
        let leaf = std::arch::x86_64::__cpuid_count(7, 0);
        leaf.ebx & (1 << 23) != 0
    });
    if *WITHOUT_WAITING {
        // SAFETY: evicting a line changes no memory, and the processor has the instruction.
        unsafe { asm!("clflushopt [{0}]", in(reg) line, options(nostack, preserves_flags)) }
    } else {
        // SAFETY: evicting a line changes no memory, and every 64-bit processor has the instruction.
        unsafe { asm!("clflush [{0}]", in(reg) line, options(nostack, preserves_flags)) }
    }
}

#[cfg(target_arch = "x86_64")]
fn fence() {
    // SAFETY: a fence changes nothing; it waits for the flushes.
    unsafe { asm!("mfence", options(nostack, preserves_flags)) }
}

#[cfg(target_arch = "aarch64")]
fn flush_line(line: *const u8) {
    // SAFETY: cleaning and invalidating a line changes no memory, and Linux allows it to user space.
    unsafe { asm!("dc civac, {0}", in(reg) line, options(nostack, preserves_flags)) }
}

#[cfg(target_arch = "aarch64")]
fn fence() {
    // SAFETY: a barrier changes nothing; it waits for the maintenance above.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) }
}

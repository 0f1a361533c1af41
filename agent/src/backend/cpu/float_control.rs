//! The processor's floating-point control word: rounding, and whether tiny numbers are flushed to zero.
//!
//! A shared object linked with `-ffast-math` sets it when it is loaded, for everything that runs afterwards.
//! Each candidate is given the word that it set, and nobody else's.
#![expect(unsafe_code, reason = "reads and writes a control register")]

use std::arch::asm;

/// The word of this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FloatControl(u64);

impl FloatControl {
    #[cfg(target_arch = "x86_64")]
    pub(super) fn current() -> Self {
        let mut word = 0_u32;
        // SAFETY: stores MXCSR to a live variable of its size.
        unsafe { asm!("stmxcsr [{0}]", in(reg) &raw mut word, options(nostack, preserves_flags)) }
        // The low six bits only record what has happened.
        Self(u64::from(word & !0x3F))
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn set(self) {
        let word = self.0 as u32;
        // SAFETY: the word was read from MXCSR, so no reserved bit is set. Rust's own code only runs under
        // the word that the process started with: callers put it back.
        unsafe { asm!("ldmxcsr [{0}]", in(reg) &raw const word, options(nostack, preserves_flags)) }
    }

    #[cfg(target_arch = "aarch64")]
    pub(super) fn current() -> Self {
        let word: u64;
        // SAFETY: reads FPCR.
        unsafe { asm!("mrs {0}, fpcr", out(reg) word, options(nomem, nostack, preserves_flags)) }
        Self(word)
    }

    #[cfg(target_arch = "aarch64")]
    pub(super) fn set(self) {
        // SAFETY: the word was read from FPCR. Rust's own code only runs under the word that the process
        // started with: callers put it back.
        unsafe { asm!("msr fpcr, {0}", in(reg) self.0, options(nomem, nostack, preserves_flags)) }
    }
}

//! File formats: of other tools, and of programs that use what was found.

mod kernel_tuner;
pub mod t1;
pub mod tuned;

pub use kernel_tuner::{
    BrokenOff, FormatError, Recorded, RecordedEntry, Recording, Written, is_unmeasured, numeric, read,
    write_cachefile, write_t4,
};

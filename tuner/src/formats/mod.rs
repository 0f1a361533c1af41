//! File formats of other tools.

mod kernel_tuner;
pub mod t1;

pub use kernel_tuner::{
    BrokenOff, FormatError, Recorded, RecordedEntry, Recording, Written, is_unmeasured, numeric, read,
    write_cachefile, write_t4,
};

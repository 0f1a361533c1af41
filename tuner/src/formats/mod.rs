//! File formats of other tools.

mod kernel_tuner;

pub use kernel_tuner::{FormatError, Recorded, RecordedEntry, read};

//! What answers for a device: one module per kind.

pub mod cpu;
pub mod replay;

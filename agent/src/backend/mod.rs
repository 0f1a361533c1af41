//! What answers for a device: one module per kind, and what they share.

pub mod cpu;
pub mod cuda;
mod data;
mod fault;
pub mod replay;

pub use fault::Fault;

//! What runs candidates: one module per kind of device.

pub mod cpu;

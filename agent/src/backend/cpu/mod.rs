//! CPUs: candidates are shared objects, called in the worker's own process.
//!
//! This is one of the two places where `unsafe` is allowed; it is kept to `memory`, `library`,
//! `evict` and `float_control`.

mod device;
mod evict;
mod float_control;
mod library;
mod memory;
mod product;

pub use device::Device;
pub use product::product;

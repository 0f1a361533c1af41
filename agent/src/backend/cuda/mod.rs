//! NVIDIA GPUs: candidates are CUBINs, launched from the worker's process.
//!
//! This is the other place where `unsafe` is allowed; it is kept to `driver` and `nvrtc`. A candidate's code
//! runs on the GPU only: in the worker's process nothing foreign runs, so what confines C candidates is not
//! needed here. What does run on a CPU is the compiler, in a confined process of its own.

mod buffers;
mod check;
mod device;
mod driver;
mod loading;
pub mod nvrtc;
mod open;
mod resources;
mod slots;
mod timing;
mod watch;

pub use check::SOURCE as CHECKS;
pub use device::Device;
pub use open::Found;
pub(crate) use timing::IDLE;

/// The source of the loads that run beside what is measured.
pub const LOADS: &str = include_str!("load.cu");

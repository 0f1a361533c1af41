//! Workers: child processes that own the device context and run candidates.
//!
//! A candidate may crash, exit, loop for ever, eat all memory or print gigabytes. It does so in a worker,
//! and the parent sees a clear failure that costs one trial. [`protocol`] is what the two say to each other,
//! [`client`] the parent's side, [`serve()`] the child's.

pub mod client;
pub(crate) mod confine;
mod device;
pub(crate) mod limits;
pub mod protocol;
mod serve;
pub(crate) mod status;
mod syscalls;

pub use client::{Failure, Worker, WorkerCommand, WorkerError};
pub use protocol::{Ready, Times};
pub use serve::serve;

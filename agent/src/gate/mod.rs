//! The gate: who may use a GPU's units, or which of a machine's CPUs, at this moment.
//!
//! A measurement holds its share while it runs, and a quiet one holds everything, so that the times of one
//! are not disturbed by another. Requests are served strictly first come, first served: whoever is at the
//! head of the line blocks those behind it. That is what keeps a quiet request from being starved by a
//! stream of small ones, and what drains the machine for it.
//!
//! `Access` decides for a run whether a measurement of its search is a quiet one.
//!
//! [`Core`] is the pure state machine. [`Gate`] is what a run uses: within one process ([`Gate::cpus`],
//! [`Gate::gpu`]), shared by the processes of one machine over a Unix socket ([`Gate::shared`]), or a node's that a
//! pod joins ([`Service`], [`Gate::joined`]), as `docs/gate-protocol.md` describes.

mod access;
mod claims;
mod core;
mod crowding;
mod desk;
mod election;
mod error;
mod local;
mod protocol;
mod server;
mod service;
mod waits;

pub(crate) use self::access::{Access, Admission};
pub use self::core::{Capacity, Core, Event, Need, NeedError};
pub use self::error::GateError;
pub use self::local::{Gate, Permit};
pub use self::protocol::{MAX_CLAIMS, MAX_LINE_BYTES, Reply, Request, VERSION};
pub use self::service::Service;
pub use self::waits::{NeedKind, Waits};

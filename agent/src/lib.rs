//! The measurement loop: search, compile, verify, time.
//!
//! [`tune::run`] is the loop. What it tunes on is a [`backend`]; candidates run in [`worker`]s, child
//! processes that may die in any way; [`compile`] makes them; the [`gate`] says who may use the device when.
//! On GPUs [`mps`] gives each worker its share, and [`nvml`] says what the card is and how it is clocked.

pub mod backend;
pub mod compile;
pub mod gate;
pub mod mps;
pub mod nvml;
mod process;
pub mod tune;
pub mod worker;

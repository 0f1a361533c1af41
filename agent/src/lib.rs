//! The measurement loop: search, compile, verify, time.
//!
//! [`tune::run`] is the loop. What it tunes on is a [`backend`]; candidates run in [`worker`]s, child
//! processes that may die in any way; [`compile`] makes them; the [`gate`] says who may use the device when.
//! In a pod, [`pod`] keeps a run's result from being lost and [`report`] writes it to the cluster; they talk by a
//! [`link`]. On GPUs [`mps`] gives each worker its share, and [`nvml`] says what the card is and how it is clocked.
//! [`node`] offers a node's GPUs to pods in [`slot`]s.

pub mod backend;
pub mod compile;
pub mod gate;
pub mod link;
mod lock;
pub mod mps;
#[cfg(feature = "node")]
pub mod node;
pub mod nvml;
pub mod pod;
mod process;
#[cfg(feature = "report")]
pub mod report;
pub mod slot;
pub mod tune;
pub mod worker;

//! The controller: reconciles a `TuneJob` into `TuneTask`s and one Indexed Job of tuning pods.
//!
//! One pass over a job has five steps, and each says by its place whether it may touch the API server:
//!
//! | step | module | API server |
//! |---|---|---|
//! | fetch | [`fetch`] | reads |
//! | validate | [`validate`] | no |
//! | plan | [`plan`] | no |
//! | apply | [`apply`] | writes, under the lease |
//! | status | [`status`] derives it, [`apply`] writes it | writes, under the lease |
//!
//! [`reconcile`] puts them together, [`controller`] says when, [`run`] starts everything.

pub mod apply;
pub mod args;
pub mod controller;
pub mod events;
pub mod fetch;
#[cfg(test)]
mod fixture;
pub mod leadership;
pub mod metrics;
pub mod offers;
pub mod plan;
pub mod reconcile;
pub mod run;
#[cfg(test)]
mod script;
pub mod server;
pub mod status;
pub mod telemetry;
pub mod validate;

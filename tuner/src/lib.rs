//! The pure tuning engine of Fractune.
//!
//! Everything that can be decided without a device, a clock, a process or a cluster is decided here, in
//! functions over plain data: what a kernel specification means ([`kernel`], [`task`], [`expr`]), which
//! configurations are valid ([`space`]), which to try next ([`search`]), how long to measure and who wins
//! ([`measure`]), and what is kept ([`trial`], [`log`], [`results`], [`formats`]).
//!
//! The same seed and the same measurements give the same trials.

pub mod condition;
pub mod expr;
pub mod formats;
pub mod kernel;
pub mod log;
pub mod measure;
pub mod results;
pub mod search;
pub mod settings;
pub mod space;
pub mod task;
pub mod trial;
mod violation;

pub use violation::Violation;

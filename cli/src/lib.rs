//! The kubectl plugin and local runs.

mod across;
pub mod args;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod commands;
pub mod error;
pub mod export;
mod export_trials;
mod found;
pub mod import;
mod import_source;
pub mod job;
pub mod lint;
pub mod outcome;
pub mod progress;
pub mod report;
pub mod search;
pub mod table;

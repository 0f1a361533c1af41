//! The kubectl plugin and local runs.

pub mod args;
pub mod commands;
pub mod error;
pub mod export;
pub mod export_trials;
pub mod import;
mod import_source;
pub mod job;
pub mod outcome;
pub mod progress;
pub mod report;
pub mod table;

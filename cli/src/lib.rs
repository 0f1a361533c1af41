//! The kubectl plugin and local runs.

pub mod export;
pub mod report;
pub mod table;

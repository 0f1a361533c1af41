//! The measurement loop: search, compile, verify, time.

pub mod backend;
pub mod gate;
pub mod worker;

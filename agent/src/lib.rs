//! The measurement loop: search, compile, verify, time.

pub mod gate;
pub mod worker;

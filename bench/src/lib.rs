//! Benchmarks of the search, on recorded spaces, and of the construction of spaces.

pub mod chart;
pub mod replay;
pub mod score;
pub mod space;
pub mod synthetic;

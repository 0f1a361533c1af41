//! Measurement statistics: how long to measure, who is dropped, who wins.
//!
//! Pure code over samples in nanoseconds. [`Summary`] says what a set of samples tells about its median;
//! [`Race`] decides after every few runs whether a trial of the search deserves more; [`Finals`] schedules
//! the quiet rounds at the end; [`share_results`] turns quiet samples into winners and the share matrix.

mod finals;
mod matrix;
mod race;
mod stats;

pub use finals::{Finals, FinalsPolicy, Standing, Turn};
pub use matrix::{Quiet, QuietSamples, cross_plan, share_results, winners};
pub use race::{Race, RacePolicy, Step, Verdict};
pub use stats::{Summary, median};

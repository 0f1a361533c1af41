//! Measurement statistics: how long to measure, who is dropped, who wins.
//!
//! Pure code over samples in nanoseconds. [`Summary`] says what a set of samples tells about its median;
//! [`Race`] decides after every few runs whether a trial of the search deserves more; [`Finals`] schedules
//! the final rounds; [`result_under`] turns their samples into winners and the share matrix.

mod canary;
mod finals;
mod matrix;
mod race;
mod stats;

pub use canary::{Canary, KINDS as CANARY_KINDS, suspects};
pub use finals::{Finals, FinalsPolicy, Standing, Turn};
pub use matrix::{FinalSamples, Measured, cross_plan, result_under, winners};
pub use race::{Race, RacePolicy, Step, Verdict};
pub use stats::{Summary, median};

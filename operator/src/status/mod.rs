//! The last step: what to say of a job. Derived from what was observed and planned; touches nothing.

pub mod batch;
mod conditions;
mod derive;
pub mod pods;
mod results;
pub mod tasks;
mod tuned;

pub use derive::{Derived, derive, is_over};
pub use tuned::tuned;

#[cfg(test)]
mod tests;

//! End-to-end tests; this crate has no code of its own.

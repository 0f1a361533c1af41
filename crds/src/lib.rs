//! `TuneJob` and `TuneTask` as Rust types, their validation, and the YAML generated from them.

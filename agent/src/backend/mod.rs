//! What answers for a device: one module per kind, and what they share.

pub mod cpu;
pub mod cuda;
mod data;
mod fault;
pub mod replay;

pub use fault::Fault;

/// The loader's own words, which `libloading` keeps as the source of its error.
fn loader_words(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

//! The log: text or JSON, with a level that can be changed while the operator runs.

use std::io::IsTerminal as _;
use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::args::LogFormat;

/// Changes the level.
#[derive(Clone)]
pub struct LogLevel {
    set: Arc<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

/// Why the level was not changed.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    /// The directives mean nothing.
    #[error(
        "{text:?} is no log level: {error}; write error, warn, info, debug or trace, or directives such as \
         info,fractune_operator=debug"
    )]
    Directives {
        /// As written.
        text: String,
        /// What is wrong.
        error: String,
    },
    /// The log has ended.
    #[error("the log level cannot be changed: {0}")]
    Reload(#[from] reload::Error),
}

impl LogLevel {
    /// Sets the level.
    ///
    /// # Errors
    /// [`LevelError`]; the level is then as before.
    pub fn set(&self, text: &str) -> Result<(), LevelError> {
        (self.set)(filter(text)?)?;
        Ok(())
    }
}

fn filter(text: &str) -> Result<EnvFilter, LevelError> {
    EnvFilter::try_new(text)
        .map_err(|error| LevelError::Directives { text: text.to_owned(), error: error.to_string() })
}

/// Starts the log on standard error.
///
/// # Errors
/// When the level means nothing.
pub fn start(format: LogFormat, level: &str) -> Result<LogLevel, LevelError> {
    let (filter, handle) = reload::Layer::<EnvFilter, Registry>::new(filter(level)?);
    let colours = std::io::stderr().is_terminal();
    let output = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let output = match format {
        LogFormat::Json => output.json().boxed(),
        LogFormat::Text => output.boxed(),
    };
    // A second subscriber in one process, as in tests, leaves the first in place.
    let _ = tracing_subscriber::registry().with(filter).with(output).try_init();
    Ok(LogLevel { set: Arc::new(move |filter| handle.reload(filter)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_means_nothing_is_told_with_the_way_out() {
        let error = filter("fractune=loud").unwrap_err().to_string();
        assert!(error.contains("fractune=loud") && error.contains("debug"), "{error}");
    }
}

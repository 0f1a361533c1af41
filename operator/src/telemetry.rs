//! The log: text or JSON, with a level that can be changed while the operator runs.

use std::io::IsTerminal as _;
use std::sync::Arc;

use tracing_subscriber::filter::LevelFilter;
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
    /// One that hands what is set to a test.
    #[cfg(test)]
    pub(crate) fn with(set: impl Fn(EnvFilter) + Send + Sync + 'static) -> Self {
        Self {
            set: Arc::new(move |filter| {
                set(filter);
                Ok(())
            }),
        }
    }

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
    let wrong = |error: String| LevelError::Directives { text: text.to_owned(), error };
    let mut directives = text.split(',').filter(|directive| !directive.is_empty()).peekable();
    if directives.peek().is_none() {
        return Err(wrong("it is empty".to_owned()));
    }
    // A word alone that is no level would be taken for a module: that module is logged, and nothing else.
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    if let Some(word) = directives.find(|directive| !directive.contains(['=', '[']) && !is_level(directive)) {
        return Err(wrong(format!("{word:?} is neither a level nor MODULE=LEVEL")));
    }
    EnvFilter::try_new(text).map_err(|error| wrong(error.to_string()))
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

    #[test]
    fn a_word_that_is_no_level_does_not_silence_the_log_and_levels_are_taken_as_ever() {
        for wrong in ["verbose", "info,verbose", "fractune_operator", "", ","] {
            let error = filter(wrong).expect_err(wrong).to_string();
            assert!(error.contains(&format!("{wrong:?} is no log level")), "{error}");
        }
        let taken = [
            "info",
            "WARN",
            "off",
            "info,fractune_operator=debug",
            "kube=warn",
            "[write{kind=\"Job\"}]=debug",
        ];
        for right in taken {
            assert!(filter(right).is_ok(), "{right}");
        }
    }
}

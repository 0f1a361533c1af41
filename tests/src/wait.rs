//! Waiting by asking again and again: nothing here sleeps for a time that was guessed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often is asked.
const POLL: Duration = Duration::from_millis(150);

/// Asks `probe` until it has an answer. What it fails with in the meantime is told only if time runs out, because
/// servers that are away for a while are part of many tests.
///
/// # Errors
/// When there is no answer after `seconds`: says what was waited for, and what the last failure was.
pub async fn until<T>(
    what: &str,
    seconds: u64,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        let failure = match probe().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => String::new(),
            Err(error) => format!("; the last attempt failed: {error:#}"),
        };
        if Instant::now() >= deadline {
            bail!("waited {seconds} s for {what}{failure}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Like [`until`], and returns how long it took.
///
/// # Errors
/// As [`until`].
pub async fn within(
    what: &str,
    seconds: u64,
    mut probe: impl AsyncFnMut() -> Result<bool>,
) -> Result<Duration> {
    let started = Instant::now();
    until(what, seconds, async || Ok(probe().await?.then_some(()))).await?;
    Ok(started.elapsed())
}

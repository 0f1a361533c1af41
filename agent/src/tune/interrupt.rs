//! Ending a run when the process is told to stop.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

use super::plan::RunError;

/// Runs `work` to its end on this thread; none if the process was told to stop (SIGINT, SIGTERM, SIGHUP) before.
///
/// # Errors
/// [`RunError::Machine`] if the system cannot give what an event loop needs.
pub fn until_interrupted<T>(work: impl Future<Output = T>) -> Result<Option<T>, RunError> {
    let machine = |error: std::io::Error| RunError::Machine(format!("cannot start: {error}"));
    // One thread: the CPUs are for compilers and kernels.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(machine)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(machine)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(machine)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(machine)?;
        tokio::select! {
            done = work => Ok(Some(done)),
            _ = interrupt.recv() => Ok(None),
            _ = terminate.recv() => Ok(None),
            _ = hangup.recv() => Ok(None),
        }
    })
}

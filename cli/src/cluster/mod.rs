//! What speaks with a cluster: every command that takes the name of a `TuneJob`, and `doctor`.

mod across;
pub mod args;
mod checkpoint;
mod connect;
mod doctor;
mod error;
mod find;
mod kept;
mod logs;
mod near;
mod results;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod script;
mod suspend;
mod text;
mod watch;

use std::future::Future;

use fractune_agent::tune::{exit, until_interrupted};

pub(crate) use self::args::ResultsFormat;
use self::args::{Connection, Doctor, Logs, Results, Switch, Watch};
use self::connect::Session;
pub use self::error::ClusterError;
pub(crate) use self::kept::{Kept, gaps};
use crate::error::CliError;

/// Who changed a field, in its `managedFields`.
const MANAGER: &str = "kubectl-fractune";

/// `watch`.
///
/// # Errors
/// [`CliError`].
pub fn watch(args: &Watch) -> Result<u8, CliError> {
    with(&args.connection, async |session| watch::watch(session, args).await)
}

/// `results`.
///
/// # Errors
/// [`CliError`].
pub fn results(args: &Results) -> Result<u8, CliError> {
    with(&args.connection, async |session| results::results(session, args).await)
}

/// `logs`.
///
/// # Errors
/// [`CliError`].
pub fn logs(args: &Logs) -> Result<u8, CliError> {
    with(&args.connection, async |session| logs::logs(session, args).await)
}

/// `suspend`, and `resume` where `suspend` is false.
///
/// # Errors
/// [`CliError`].
pub fn switch(args: &Switch, suspend: bool) -> Result<u8, CliError> {
    with(&args.connection, async |session| suspend::switch(session, args, suspend).await)
}

/// `doctor`.
///
/// # Errors
/// [`CliError`].
pub fn doctor(args: &Doctor) -> Result<u8, CliError> {
    with(&args.connection, async |session| doctor::doctor(session, args).await)
}

/// Everything that a cluster keeps of a job.
pub(crate) fn kept(connection: &Connection, job: &str) -> Result<Option<Kept>, CliError> {
    interruptible(async {
        let session = Session::open(connection).await?;
        Ok(kept::read(&session, job).await?)
    })
}

/// The results of a job, as pods mount them.
pub(crate) fn published(
    connection: &Connection,
    job: &str,
    format: ResultsFormat,
) -> Result<Option<String>, CliError> {
    interruptible(async {
        let session = Session::open(connection).await?;
        let job = find::job(&session, job).await?;
        results::published(&session, &job, format).await
    })
}

/// Does something with a cluster; the exit code.
fn with(
    connection: &Connection,
    work: impl AsyncFnOnce(&Session) -> Result<u8, CliError>,
) -> Result<u8, CliError> {
    let done = interruptible(async {
        let session = Session::open(connection).await?;
        work(&session).await
    })?;
    Ok(done.unwrap_or(exit::INTERRUPTED))
}

/// Nothing, if the process was told to stop first.
fn interruptible<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<Option<T>, CliError> {
    until_interrupted(work)?.transpose()
}

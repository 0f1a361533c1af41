//! Reading the output folder of a run.

use std::path::Path;

use fractune_agent::tune::folder::{RESULTS, TRIALS};
use fractune_tuner::log;
use fractune_tuner::results::JobResult;
use fractune_tuner::trial::Trial;

use crate::error::CliError;

/// The results of a finished run.
///
/// # Errors
/// [`CliError::Folder`] if there are none, with what to do.
pub fn results(dir: &Path) -> Result<JobResult, CliError> {
    let fail = |message: String| CliError::Folder { dir: dir.into(), message };
    if !dir.is_dir() {
        return Err(fail("no such folder; name the output folder of a run".into()));
    }
    let bytes = std::fs::read(dir.join(RESULTS)).map_err(|error| {
        fail(format!("no {RESULTS} here ({error}); finish the run with `kubectl fractune run FILE --resume`"))
    })?;
    let result: JobResult = serde_json::from_slice(&bytes).map_err(|error| {
        fail(format!(
            "{RESULTS} cannot be read ({error}); make it again with `kubectl fractune run FILE --resume`"
        ))
    })?;
    if result.version == 1 {
        Ok(result)
    } else {
        Err(fail(format!("{RESULTS} has version {}, this program reads version 1", result.version)))
    }
}

/// Refuses a run that has nothing to export or measure again.
///
/// # Errors
/// [`CliError::NoWinner`].
pub fn require_winners(dir: &Path, result: &JobResult) -> Result<(), CliError> {
    let found = result.tasks.iter().any(|task| !task.shares.is_empty());
    if found { Ok(()) } else { Err(CliError::NoWinner(dir.into())) }
}

/// The trials of every task of a finished run.
///
/// # Errors
/// [`CliError::Folder`] if a trial log cannot be read.
pub fn trials(dir: &Path, result: &JobResult) -> Result<Vec<Vec<Trial>>, CliError> {
    let read = |folder: &str| {
        log::read(&dir.join(folder).join(TRIALS))
            .map(|contents| contents.trials)
            .map_err(|error| CliError::Folder { dir: dir.into(), message: error.to_string() })
    };
    result.tasks.iter().map(|task| read(&task.folder)).collect()
}

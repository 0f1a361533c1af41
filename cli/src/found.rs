//! What was found, wherever that is kept: in a run's folder, or on a cluster.

use std::path::Path;
use std::time::SystemTime;

use fractune_agent::tune::folder::{MANIFEST, TRIALS};
use fractune_tuner::results::{JobResult, TaskResult};
use fractune_tuner::task::Task;
use fractune_tuner::trial::Trial;

#[cfg(feature = "cluster")]
use crate::args::Format;
use crate::args::Target;
#[cfg(feature = "cluster")]
use crate::cluster::{self, ClusterError, Kept, ResultsFormat};
use crate::error::CliError;
use crate::job::{self, Overrides, Searched};
use crate::outcome;

/// Where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    /// In a run's output folder.
    Folder(&'a Path),
    /// On a cluster, at the `TuneJob` of this name.
    #[cfg(feature = "cluster")]
    Job(&'a str),
}

/// Everything that is known of a job's tasks.
#[derive(Debug)]
pub(crate) struct Found {
    /// The folder or the job, for messages.
    name: String,
    pub(crate) result: JobResult,
    /// The trials of each task.
    pub(crate) trials: Vec<Vec<Trial>>,
    /// The kernels and problems, checked.
    pub(crate) planned: Vec<Task>,
    /// When each task's last trial was complete.
    pub(crate) ended: Vec<Option<SystemTime>>,
}

impl Found {
    /// Reads a run's folder.
    pub(crate) fn of_folder(dir: &Path) -> Result<Self, CliError> {
        let result = outcome::results(dir)?;
        // The command line may have changed the job's.
        let search = Searched::As(&result.search);
        let overrides = Overrides { shares: result.shares.clone(), search, parallelism: None };
        let planned = job::read(&dir.join(MANIFEST), &overrides)?.plan.tasks;
        let ended = |task: &TaskResult| {
            std::fs::metadata(dir.join(&task.folder).join(TRIALS)).and_then(|m| m.modified()).ok()
        };
        Ok(Self {
            name: dir.display().to_string(),
            trials: outcome::trials(dir, &result)?,
            ended: result.tasks.iter().map(ended).collect(),
            planned,
            result,
        })
    }

    /// Takes what a cluster keeps of a job.
    #[cfg(feature = "cluster")]
    pub(crate) fn of_job(job: &str, kept: Kept) -> Self {
        let Kept { result, trials, planned, ended, notices: _ } = kept;
        Self { name: format!("tunejob/{job}"), result, trials, planned, ended }
    }

    /// The error that it has not what is asked of it.
    pub(crate) fn lacks(&self, message: String) -> CliError {
        CliError::Found { what: self.name.clone(), message }
    }
}

/// Where the command line says to look: a folder that is there is a folder, and any other name is a job's.
#[cfg(feature = "cluster")]
pub(crate) fn source(target: &Target) -> Result<Source<'_>, CliError> {
    let path = match (&target.job, &target.target) {
        (Some(job), _) => return Ok(Source::Job(job)),
        (None, Some(path)) => path,
        (None, None) => return Err(CliError::Usage("name a folder or a TuneJob".into())),
    };
    let name = path.to_str().filter(|name| fractune_tuner::task::is_dns_label(name));
    match (name, target.connection.given()) {
        (Some(name), Some(flag)) if path.is_dir() => Err(CliError::Usage(format!(
            "{name} is a folder here, and {flag} is for a job on a cluster: for the TuneJob write --job {name}, for the \
             folder ./{name} without {flag}"
        ))),
        (None, Some(flag)) => Err(CliError::Usage(format!(
            "{} cannot be the name of a TuneJob, and {flag} is for a job on a cluster; leave it out for a folder",
            path.display()
        ))),
        (Some(name), _) if !path.exists() => Ok(Source::Job(name)),
        _ => Ok(Source::Folder(path)),
    }
}

/// Where the command line says to look.
#[cfg(not(feature = "cluster"))]
pub(crate) fn source(target: &Target) -> Result<Source<'_>, CliError> {
    match &target.target {
        Some(path) => Ok(Source::Folder(path)),
        None => Err(CliError::Usage("name a folder".into())),
    }
}

/// What a cluster keeps of a job; nothing if the process was told to stop first.
#[cfg(feature = "cluster")]
pub(crate) fn kept(target: &Target, job: &str) -> Result<Option<Kept>, CliError> {
    cluster::kept(&target.connection, job).map_err(|error| neither(target, job, error))
}

/// A job's winners in a format, as pods mount them; nothing if the process was told to stop first.
#[cfg(feature = "cluster")]
pub(crate) fn published(target: &Target, job: &str, format: Format) -> Result<Option<String>, CliError> {
    let format = if format == Format::Header { ResultsFormat::Header } else { ResultsFormat::Json };
    cluster::published(&target.connection, job, format).map_err(|error| neither(target, job, error))
}

/// What could have been a folder's name as well may have been meant as one.
#[cfg(feature = "cluster")]
fn neither(target: &Target, name: &str, error: CliError) -> CliError {
    match error {
        CliError::Cluster(
            error @ (ClusterError::NotFound(_) | ClusterError::Config(_) | ClusterError::Unreachable { .. }),
        ) if target.job.is_none() => CliError::NeitherFolderNorJob { name: name.to_owned(), error },
        other => other,
    }
}

#[cfg(all(test, feature = "cluster"))]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn target(words: &[&str]) -> Target {
        match Args::parse_from([&["kubectl-fractune", "report"], words].concat()).command {
            Command::Report { target, .. } => *target,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn a_folder_that_is_there_is_a_folder_and_any_other_name_a_job() {
        // Tests run in the crate's folder, where there is `src`.
        assert_eq!(source(&target(&["src"])).unwrap(), Source::Folder(Path::new("src")));
        assert_eq!(source(&target(&["demo"])).unwrap(), Source::Job("demo"));
        assert_eq!(source(&target(&["demo", "-n", "team"])).unwrap(), Source::Job("demo"));
        assert_eq!(source(&target(&["--job", "src"])).unwrap(), Source::Job("src"));
        // What can be no job's name is a folder, which is then said to be missing.
        assert_eq!(source(&target(&["out/demo"])).unwrap(), Source::Folder(Path::new("out/demo")));
    }

    #[test]
    fn what_could_be_both_is_asked_about() {
        let error = source(&target(&["src", "-n", "team"])).unwrap_err().to_string();
        assert!(error.contains("--job src") && error.contains("./src"), "{error}");
        assert!(source(&target(&["out/demo", "--context", "c"])).is_err());
    }
}

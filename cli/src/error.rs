//! How a command can fail, and the exit code of each way.

use std::path::PathBuf;

use fractune_agent::tune::{RunError, exit};
use fractune_tuner::Violation;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The job is wrong in one or more places.
    #[error("{file} is not valid:\n{}", indented(violations))]
    Invalid {
        /// The file, as named on the command line.
        file: String,
        /// Everything that is wrong.
        violations: Vec<Violation>,
    },
    /// Of several jobs or files, some are wrong.
    #[error("{}:\n{}", counted(*wrong, *jobs, *unreadable), indented(problems))]
    InvalidJobs {
        /// Jobs that are wrong.
        wrong: usize,
        /// Jobs that were read.
        jobs: usize,
        /// Files that cannot be read.
        unreadable: usize,
        /// Everything that is wrong, each with its file or job.
        problems: Vec<String>,
    },
    /// A tuning file has what cannot be translated.
    #[error("{file} cannot be imported:\n{}", indented(violations))]
    Import {
        /// The file, as named on the command line.
        file: String,
        /// Everything that is in the way.
        violations: Vec<Violation>,
    },
    /// The job cannot be read as one.
    #[error("{file}: {message}")]
    Unreadable {
        /// The file, as named on the command line.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// The folder is no finished run.
    #[error("{}: {message}", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What is missing in it.
        message: String,
    },
    /// What was found has not what is asked of it.
    #[error("{what}: {message}")]
    Found {
        /// The folder or the job.
        what: String,
        /// What is missing in it.
        message: String,
    },
    /// A cluster did not do what was asked.
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Cluster(#[from] crate::cluster::ClusterError),
    /// Neither a folder nor a job has this name.
    #[cfg(feature = "cluster")]
    #[error("there is no folder {name} here, so it would be a TuneJob: {error}")]
    NeitherFolderNorJob {
        /// As given on the command line.
        name: String,
        /// Why it is no job either.
        error: crate::cluster::ClusterError,
    },
    /// What is there cannot be written as YAML.
    #[error("cannot be written as YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
    /// The run found nothing that could be used.
    #[error("{}: the run has no winner: every trial failed; see {}", .0.display(), .0.join("report.html").display())]
    NoWinner(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Options of the command line that do not go together.
    #[error("{0}")]
    Usage(String),
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A recording cannot be used.
    #[error(transparent)]
    Recording(#[from] fractune_agent::backend::replay::RecordingError),
    /// The page or header cannot be made.
    #[error("{0}")]
    Render(String),
}

impl CliError {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Io { .. } => exit::IO,
            CliError::NoWinner(_) => exit::NO_RESULT,
            CliError::Run(error) => error.exit_code(),
            CliError::Usage(_) => exit::USAGE,
            #[cfg(feature = "cluster")]
            CliError::Cluster(error) | CliError::NeitherFolderNorJob { error, .. } => error.exit_code(),
            CliError::Invalid { .. }
            | CliError::InvalidJobs { .. }
            | CliError::Import { .. }
            | CliError::Unreadable { .. }
            | CliError::Folder { .. }
            | CliError::Found { .. }
            | CliError::Yaml(_)
            | CliError::Recording(_)
            | CliError::Render(_) => exit::SPEC,
        }
    }
}

/// One line for each, and how many more there are.
fn indented(problems: &[impl std::fmt::Display]) -> String {
    const SHOWN: usize = 100;
    let mut lines: Vec<_> = problems.iter().take(SHOWN).map(|problem| format!("  {problem}")).collect();
    if problems.len() > SHOWN {
        lines.push(format!("  and {} more", problems.len() - SHOWN));
    }
    lines.join("\n")
}

/// `2 of 5 jobs are not valid, and 1 file cannot be read`.
fn counted(wrong: usize, jobs: usize, unreadable: usize) -> String {
    let invalid = format!("{wrong} of {jobs} jobs {} not valid", if wrong == 1 { "is" } else { "are" });
    let files = format!("{unreadable} file{} cannot be read", if unreadable == 1 { "" } else { "s" });
    match (wrong, unreadable) {
        (0, _) => files,
        (_, 0) => invalid,
        _ => format!("{invalid}, and {files}"),
    }
}

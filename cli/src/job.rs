//! From a file to a validated plan.

use std::io::Read as _;
use std::path::Path;

use fractune_agent::tune::Plan;
use fractune_crds::{LoadError, Manifest, TuneJob};
use fractune_tuner::settings::SearchSettings;

use crate::args::Run;
use crate::error::CliError;
use crate::search::Search;

/// A job as it was read, and as it will be run.
#[derive(Debug)]
pub struct Job {
    /// The file's bytes.
    pub manifest: Vec<u8>,
    /// What to do.
    pub plan: Plan,
    /// Documents of the file that are not used, by kind and name.
    pub ignored: Vec<String>,
}

/// What is changed of a job before it is checked.
#[derive(Debug, Default)]
pub struct Overrides<'a> {
    /// Shares in percent; the job's if empty.
    pub shares: Vec<u8>,
    /// How configurations are chosen.
    pub search: Searched<'a>,
    /// Tasks tuned at once.
    pub parallelism: Option<u32>,
}

/// How configurations are chosen.
#[derive(Debug, Default)]
pub enum Searched<'a> {
    /// As the job says.
    #[default]
    AsTheJobSays,
    /// With what the command line says.
    With(&'a Search),
    /// As an earlier run did.
    As(&'a SearchSettings),
}

impl Overrides<'_> {
    fn apply(&self, job: &mut TuneJob) -> Result<(), CliError> {
        if !self.shares.is_empty() {
            job.spec.shares.clone_from(&self.shares);
        }
        if let Some(parallelism) = self.parallelism {
            job.spec.parallelism = parallelism;
        }
        match self.search {
            Searched::AsTheJobSays => Ok(()),
            Searched::With(search) => search.apply(&mut job.spec.search),
            Searched::As(settings) => {
                job.spec.search.clone_from(settings);
                Ok(())
            }
        }
    }
}

impl<'a> From<&'a Run> for Overrides<'a> {
    fn from(run: &'a Run) -> Self {
        let search = Searched::With(&run.search);
        Self { shares: run.shares.clone(), search, parallelism: run.parallelism }
    }
}

/// Reads and validates a job; `-` is standard input.
///
/// # Errors
/// [`CliError`], with every problem of the job at once.
pub fn read(path: &Path, overrides: &Overrides<'_>) -> Result<Job, CliError> {
    let file = name(path);
    let bytes = read_bytes(path).map_err(|source| CliError::Io { path: file.clone(), source })?;
    parse(bytes, &file, overrides)
}

/// How a file is called in messages.
pub(crate) fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".into() } else { path.display().to_string() }
}

pub(crate) fn read_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    // One byte more than a job may have, so that the loader can say that there are too many.
    let limit = fractune_crds::MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn parse(bytes: Vec<u8>, file: &str, overrides: &Overrides<'_>) -> Result<Job, CliError> {
    let mut overridden = Ok(());
    let loaded = fractune_crds::load(&bytes, |job| overridden = overrides.apply(job));
    overridden?;
    let (Manifest { job, ignored, config_maps: _ }, tasks) = loaded.map_err(|error| match error {
        LoadError::Violations(violations) => CliError::Invalid { file: file.into(), violations },
        other => CliError::Unreadable { file: file.into(), message: other.to_string() },
    })?;
    Ok(Job { plan: Plan::new(job, tasks), ignored, manifest: bytes })
}

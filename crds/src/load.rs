//! Reading what users write: a file with a `TuneJob`, and the `ConfigMap`s that it refers to.

use std::collections::BTreeMap;

use fractune_tuner::Violation;
use fractune_tuner::kernel::ConfigMapKeyRef;
use fractune_tuner::task::Task;
use serde_json::Value;
use thiserror::Error;

use crate::fields::{self, Misfit};
use crate::yaml::{self, MAX_BYTES, MAX_DEPTH, MAX_VALUES, Refusal};
use crate::{API_VERSION, GROUP, TuneJob, validate};

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The job.
    pub job: TuneJob,
    /// Data of the `ConfigMap`s in the same file, by name and key.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// Documents of other kinds, as `kind/name`: they mean nothing here.
    pub ignored: Vec<String>,
}

impl Manifest {
    /// The text behind a reference, if its `ConfigMap` is in the same file.
    #[must_use]
    pub fn source(&self, reference: &ConfigMapKeyRef) -> Option<String> {
        self.config_maps.get(&reference.name)?.get(&reference.key).cloned()
    }
}

/// Wrong fields whose line in the file is told; the others have their path.
const LINES_LOOKED_UP: usize = 20;

/// Why a file holds no job that can be run.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Nothing but white space and comments.
    #[error("the file is empty; write a TuneJob")]
    Empty,
    /// More bytes than any job has.
    #[error("the file has {0} bytes, over the limit of {MAX_BYTES}; put long sources into ConfigMaps")]
    TooLarge(usize),
    /// Not text.
    #[error("the file is not text (byte {0} is not UTF-8 or is a control character); write YAML in UTF-8")]
    NotText(usize),
    /// Not YAML.
    #[error("the file is not YAML: {0}")]
    Syntax(serde_yaml::Error),
    /// Nested more deeply than any job.
    #[error("the file is nested deeper than {MAX_DEPTH} levels; a TuneJob needs fewer than 16")]
    TooDeep,
    /// A bomb, or nearly one.
    #[error("the file holds more than {MAX_VALUES} values, or 16 MiB of text, once its aliases are expanded")]
    TooManyValues,
    /// A document that is no object of Kubernetes.
    #[error(
        "document {0} of the file has no kind and apiVersion; a job has kind: TuneJob and apiVersion: {API_VERSION}"
    )]
    NoKind(usize),
    /// A version that this program does not know.
    #[error("kind {kind} has apiVersion {found:?}; this program reads {API_VERSION}")]
    ApiVersion {
        /// Kind of the document.
        kind: String,
        /// The version as written.
        found: String,
    },
    /// There are documents, but no job.
    #[error("the file has no TuneJob; it has {0}")]
    NoJob(String),
    /// More than one job.
    #[error("the file has {0} TuneJobs; give each its own file")]
    SeveralJobs(usize),
    /// Fields that are unknown, missing, of the wrong type, or make no sense.
    #[error("{}", lines(.0))]
    Violations(Vec<Violation>),
}

fn lines(violations: &[Violation]) -> String {
    violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads a file: exactly one `TuneJob`, any `ConfigMap`s, and nothing that either does not know.
///
/// # Errors
/// When the bytes are not YAML within limits, or the documents do not fit their types.
pub fn parse(bytes: &[u8]) -> Result<Manifest, LoadError> {
    let (manifest, unknown) = read(bytes)?;
    if unknown.is_empty() { Ok(manifest) } else { Err(LoadError::Violations(unknown)) }
}

/// Reads a file and validates its job: [`parse`] and [`validate()`] together, with everything that either
/// has to say. `adjust` changes the job in between, as a command line may.
///
/// # Errors
/// As those two.
pub fn load(bytes: &[u8], adjust: impl FnOnce(&mut TuneJob)) -> Result<(Manifest, Vec<Task>), LoadError> {
    let (mut manifest, mut violations) = read(bytes)?;
    adjust(&mut manifest.job);
    match validate(&manifest.job, &|reference| manifest.source(reference)) {
        Ok(tasks) if violations.is_empty() => Ok((manifest, tasks)),
        Ok(_) => Err(LoadError::Violations(violations)),
        Err(more) => {
            violations.extend(more);
            Err(LoadError::Violations(violations))
        }
    }
}

/// The manifest, and the unknown fields of its job.
fn read(bytes: &[u8]) -> Result<(Manifest, Vec<Violation>), LoadError> {
    let text = text_of(bytes)?;
    let documents = yaml::documents(text).map_err(|refusal| match refusal {
        Refusal::Depth => LoadError::TooDeep,
        Refusal::Size => LoadError::TooManyValues,
        Refusal::Syntax(error) => LoadError::Syntax(error),
    })?;
    let mut jobs = Vec::new();
    let mut config_maps = BTreeMap::new();
    let mut ignored = Vec::new();
    for (number, document) in documents.iter().enumerate().filter(|(_, document)| !document.is_null()) {
        let field = |name: &str| document.get(name).and_then(Value::as_str);
        let (Some(kind), Some(version)) = (field("kind"), field("apiVersion")) else {
            return Err(LoadError::NoKind(number + 1));
        };
        match kind {
            "TuneJob" => jobs.push((number, document)),
            "ConfigMap" if version == "v1" => config_maps.extend(config_map(document)),
            _ => ignored.push(match document.pointer("/metadata/name").and_then(Value::as_str) {
                Some(name) => format!("{kind}/{name}"),
                None => kind.to_owned(),
            }),
        }
        let ours = kind == "TuneJob" || version.starts_with(&format!("{GROUP}/"));
        if ours && version != API_VERSION {
            return Err(LoadError::ApiVersion { kind: kind.to_owned(), found: version.to_owned() });
        }
    }
    let (number, document) = match jobs[..] {
        [job] => job,
        [] if ignored.is_empty() && config_maps.is_empty() => return Err(LoadError::Empty),
        [] => {
            ignored.extend(config_maps.keys().map(|name| format!("ConfigMap/{name}")));
            return Err(LoadError::NoJob(ignored.join(", ")));
        }
        _ => return Err(LoadError::SeveralJobs(jobs.len())),
    };
    let (job, unknown) = fields::read(document);
    // Each line is looked up by reading the file again.
    let mut lookups = LINES_LOOKED_UP;
    let mut placed = |misfit: Misfit| {
        let mut violation = misfit.violation;
        lookups = lookups.saturating_sub(1);
        if lookups > 0
            && let Some(line) = yaml::line(text, number, &misfit.path)
        {
            violation.message = format!("{} (line {line})", violation.message);
        }
        violation
    };
    let mut unknown: Vec<Violation> = unknown.into_iter().map(&mut placed).collect();
    match job {
        Ok(job) => Ok((Manifest { job, config_maps, ignored }, unknown)),
        Err(misfit) => {
            let mut violation = placed(misfit);
            violation.message += "; what else is wrong can be told once this is read";
            unknown.push(violation);
            Err(LoadError::Violations(unknown))
        }
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, LoadError> {
    if bytes.len() > MAX_BYTES {
        return Err(LoadError::TooLarge(bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| LoadError::NotText(error.valid_up_to()))?;
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}');
    match text.find(control) {
        Some(at) => Err(LoadError::NotText(at)),
        None => Ok(text),
    }
}

/// Name and data of a `ConfigMap`; values that are not text mean nothing.
fn config_map(document: &Value) -> Option<(String, BTreeMap<String, String>)> {
    let name = document.pointer("/metadata/name")?.as_str()?;
    let data = document.get("data").and_then(Value::as_object).into_iter().flatten();
    let data = data.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    Some((name.to_owned(), data.collect()))
}

#[cfg(test)]
mod tests;

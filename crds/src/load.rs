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
    pub config_maps: ConfigMaps,
    /// Documents of other kinds, as `kind/name`: they mean nothing here.
    pub ignored: Vec<String>,
}

impl Manifest {
    /// The text behind a reference, if its `ConfigMap` is in the same file.
    #[must_use]
    pub fn source(&self, reference: &ConfigMapKeyRef) -> Option<String> {
        source(&self.config_maps, reference)
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
    #[error("the file has {0} TuneJobs, and only lint takes several; give each its own file")]
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

/// A job among those of several files.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Which of the files it is in, from 0.
    pub file: usize,
    /// Its name, or as much of one as it has.
    pub name: String,
    /// The job and its tasks, or everything that is wrong with it.
    pub outcome: Result<(TuneJob, Vec<Task>), Vec<Violation>>,
}

/// What several files hold.
#[derive(Debug, Default)]
pub struct Fleet {
    /// The jobs, in the order of the files.
    pub jobs: Vec<Checked>,
    /// Documents of other kinds, as `kind/name`: they mean nothing here.
    pub ignored: Vec<String>,
    /// Files that cannot be read, by number from 0, and why. Where there is no job at all, every file is among them.
    pub unreadable: Vec<(usize, LoadError)>,
}

/// Reads and validates every job of several files, of which each job may refer to every `ConfigMap`.
#[must_use]
pub fn load_all(files: &[&[u8]]) -> Fleet {
    let mut fleet = Fleet::default();
    let mut read = Vec::new();
    for (file, bytes) in files.iter().enumerate() {
        match text_of(bytes).and_then(|text| Ok((file, text, documents(text)?))) {
            Ok(found) => read.push(found),
            Err(error) => fleet.unreadable.push((file, error)),
        }
    }
    let mut sorted = Vec::new();
    for (file, text, documents) in &read {
        match sort(documents) {
            Ok(found) => sorted.push((*file, *text, found)),
            Err(error) => fleet.unreadable.push((*file, error)),
        }
    }
    if sorted.iter().all(|(.., found)| found.jobs.is_empty()) {
        fleet.unreadable.extend(sorted.into_iter().map(|(file, _, found)| (file, found.no_job())));
        return fleet;
    }
    let config_maps: ConfigMaps = sorted.iter().flat_map(|(.., found)| found.config_maps.clone()).collect();
    for (file, text, found) in sorted {
        for (number, document) in found.jobs {
            let name =
                document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("a job without a name");
            let outcome = job(text, number, document).and_then(|(job, mut violations)| {
                let tasks = validate(&job, &|reference| source(&config_maps, reference));
                match tasks {
                    Ok(tasks) if violations.is_empty() => return Ok((job, tasks)),
                    Ok(_) => {}
                    Err(more) => violations.extend(more),
                }
                Err(violations)
            });
            fleet.jobs.push(Checked { file, name: name.to_owned(), outcome });
        }
        fleet.ignored.extend(found.ignored);
    }
    fleet
}

/// The manifest, and the unknown fields of its job.
fn read(bytes: &[u8]) -> Result<(Manifest, Vec<Violation>), LoadError> {
    let text = text_of(bytes)?;
    let documents = documents(text)?;
    let found = sort(&documents)?;
    let (number, document) = match found.jobs[..] {
        [job] => job,
        [] => return Err(found.no_job()),
        _ => return Err(LoadError::SeveralJobs(found.jobs.len())),
    };
    let (job, unknown) = job(text, number, document).map_err(LoadError::Violations)?;
    Ok((Manifest { job, config_maps: found.config_maps, ignored: found.ignored }, unknown))
}

fn documents(text: &str) -> Result<Vec<Value>, LoadError> {
    yaml::documents(text).map_err(|refusal| match refusal {
        Refusal::Depth => LoadError::TooDeep,
        Refusal::Size => LoadError::TooManyValues,
        Refusal::Syntax(error) => LoadError::Syntax(error),
    })
}

/// Data of `ConfigMap`s, by name and key.
pub type ConfigMaps = BTreeMap<String, BTreeMap<String, String>>;

fn source(config_maps: &ConfigMaps, reference: &ConfigMapKeyRef) -> Option<String> {
    config_maps.get(&reference.name)?.get(&reference.key).cloned()
}

/// The documents of a file by what they mean here.
struct Sorted<'a> {
    /// Each with its number in the file.
    jobs: Vec<(usize, &'a Value)>,
    config_maps: ConfigMaps,
    ignored: Vec<String>,
}

impl Sorted<'_> {
    /// Why a file is refused in which there is no job.
    fn no_job(mut self) -> LoadError {
        if self.ignored.is_empty() && self.config_maps.is_empty() {
            return LoadError::Empty;
        }
        self.ignored.extend(self.config_maps.keys().map(|name| format!("ConfigMap/{name}")));
        LoadError::NoJob(self.ignored.join(", "))
    }
}

fn sort(documents: &[Value]) -> Result<Sorted<'_>, LoadError> {
    let mut sorted = Sorted { jobs: Vec::new(), config_maps: BTreeMap::new(), ignored: Vec::new() };
    for (number, document) in documents.iter().enumerate().filter(|(_, document)| !document.is_null()) {
        let field = |name: &str| document.get(name).and_then(Value::as_str);
        let (Some(kind), Some(version)) = (field("kind"), field("apiVersion")) else {
            return Err(LoadError::NoKind(number + 1));
        };
        match kind {
            "TuneJob" => sorted.jobs.push((number, document)),
            "ConfigMap" if version == "v1" => sorted.config_maps.extend(config_map(document)),
            _ => sorted.ignored.push(match document.pointer("/metadata/name").and_then(Value::as_str) {
                Some(name) => format!("{kind}/{name}"),
                None => kind.to_owned(),
            }),
        }
        let ours = kind == "TuneJob" || version.starts_with(&format!("{GROUP}/"));
        if ours && version != API_VERSION {
            return Err(LoadError::ApiVersion { kind: kind.to_owned(), found: version.to_owned() });
        }
    }
    Ok(sorted)
}

/// The job that is a file's document of this number, and its unknown fields; or what kept it from being read.
fn job(text: &str, number: usize, document: &Value) -> Result<(TuneJob, Vec<Violation>), Vec<Violation>> {
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
        Ok(job) => Ok((job, unknown)),
        Err(misfit) => {
            let mut violation = placed(misfit);
            violation.message += "; what else is wrong can be told once this is read";
            unknown.push(violation);
            Err(unknown)
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

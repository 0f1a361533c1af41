//! The second step: whether a job can be tuned as it stands, and what its tasks are. Touches nothing.

use std::collections::BTreeMap;

use fractune_crds::conditions::reason;
use fractune_crds::{API_VERSION, TuneJob, TuneJobSpec};
use fractune_tuner::kernel::{ConfigMapKeyRef, Kernel};
use serde_json::json;

use crate::fetch::{Observed, Sources};
use crate::names;

/// Bytes that a `ConfigMap` has room for, with some to spare for its metadata.
const MAX_MANIFEST: usize = 1_000_000;
/// The first digits of a job's digest are those of its sources alone.
const SOURCES: usize = 32;
/// Violations that a condition tells; the rest is counted.
const MOST_VIOLATIONS: usize = 8;

/// A job that can be tuned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Digest of everything that the trials depend on.
    pub digest: String,
    /// Kernel and problem of each task, in order.
    pub tasks: Vec<TaskName>,
    /// The job and its sources as one file.
    pub manifest: String,
}

/// Kernel and problem of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskName {
    /// Name of the kernel.
    pub kernel: String,
    /// Name of the problem.
    pub problem: String,
    /// How often it runs in one inference.
    pub weight: i64,
}

/// Why a job cannot go on: a condition's reason and message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Stalled {
    /// One of [`fractune_crds::conditions::reason`].
    pub reason: &'static str,
    /// What is wrong, and what to change.
    pub message: String,
}

impl Stalled {
    /// A reason and its sentence.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Checks a job. A job that passed before, under the same digest, is not checked again: spaces can be large.
///
/// # Errors
/// [`Stalled`], with everything that is wrong.
pub fn validate(observed: &Observed) -> Result<Checked, Stalled> {
    let job = &observed.job;
    if let Some(stalled) = missing(job, &observed.sources) {
        return Err(stalled);
    }
    let checked = checked(job, &observed.sources)?;
    let status = job.status.as_ref().and_then(|status| status.digest.as_deref());
    // The tasks have it where an operator died before it wrote the status.
    let task = observed.tasks.values().next().map(|task| task.spec.digest.as_str());
    match status.or(task) {
        // The spec cannot change but for what no trial depends on, so its digest stays as it was first computed:
        // another version of the operator might write the same spec in other words.
        Some(known) if known.get(..SOURCES) == checked.digest.get(..SOURCES) => {
            Ok(Checked { digest: known.to_owned(), ..checked })
        }
        Some(_) => Err(Stalled::new(
            reason::SOURCE_CHANGED,
            format!(
                "ConfigMap {}: the source has changed since the first trial, and trials of two sources are not \
                 comparable. Put the old text back, or make another TuneJob for the new one. Pods that run go on \
                 with the old text.",
                crate::fetch::references(job).collect::<Vec<_>>().join(", ")
            ),
        )),
        None => {
            let lookup =
                |reference: &ConfigMapKeyRef| lookup(&observed.sources, reference).map(str::to_owned);
            match fractune_crds::validate(job, &lookup) {
                Ok(_) => Ok(checked),
                Err(violations) => {
                    let told: Vec<String> =
                        violations.iter().take(MOST_VIOLATIONS).map(ToString::to_string).collect();
                    let more = violations.len().saturating_sub(MOST_VIOLATIONS);
                    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
                    Err(Stalled::new(reason::INVALID_SPEC, format!("{}{more}", told.join("; "))))
                }
            }
        }
    }
}

fn lookup<'a>(sources: &'a Sources, reference: &ConfigMapKeyRef) -> Option<&'a str> {
    sources.get(&reference.name)?.as_ref()?.get(&reference.key).map(String::as_str)
}

/// The first source that is not there.
fn missing(job: &TuneJob, sources: &Sources) -> Option<Stalled> {
    let references = job.spec.kernels.iter().filter_map(|kernel| kernel.source.config_map_key_ref.as_ref());
    references.into_iter().find(|reference| lookup(sources, reference).is_none()).map(|reference| {
        let ConfigMapKeyRef { name, key } = reference;
        let message = match sources.get(name) {
            Some(Some(data)) => {
                let keys: Vec<&str> = data.keys().map(String::as_str).collect();
                format!("ConfigMap {name} has no key {key:?}; it has {}. Add the key.", keys.join(", "))
            }
            _ => format!("there is no ConfigMap {name}. Create it with the key {key:?}."),
        };
        Stalled::new(reason::SOURCE_MISSING, message)
    })
}

fn checked(job: &TuneJob, sources: &Sources) -> Result<Checked, Stalled> {
    let manifest = manifest(job, sources)?;
    if manifest.len() > MAX_MANIFEST {
        let message = format!(
            "the job and its sources have {} bytes, over the {MAX_MANIFEST} that a ConfigMap has room for. Split the \
             job, or shorten the sources.",
            manifest.len()
        );
        return Err(Stalled::new(reason::SOURCE_TOO_LARGE, message));
    }
    let texts = job.spec.kernels.iter().filter_map(|kernel| {
        kernel.source.config_map_key_ref.as_ref().and_then(|reference| lookup(sources, reference))
    });
    let sources = names::digest([b"sources", texts.collect::<Vec<_>>().join("\0").as_bytes()]);
    let whole = names::digest([b"job", manifest.as_bytes()]);
    let half = |digest: &str| digest.get(..SOURCES).unwrap_or_default().to_owned();
    Ok(Checked { digest: half(&sources) + &half(&whole), tasks: tasks(&job.spec), manifest })
}

/// Kernel and problem of each task, in the order of `fractune_crds::validate`.
fn tasks(spec: &TuneJobSpec) -> Vec<TaskName> {
    let of = |kernel: &Kernel| {
        let name = kernel.name.clone();
        let problems: Vec<_> = kernel
            .problems
            .iter()
            .map(|p| TaskName { kernel: name.clone(), problem: p.name.clone(), weight: p.weight })
            .collect();
        problems
    };
    spec.kernels.iter().flat_map(of).collect()
}

/// The job and its sources as one file. What may change while the job lives is left out or set to what means
/// nothing, so that the file never changes.
fn manifest(job: &TuneJob, sources: &Sources) -> Result<String, Stalled> {
    let mut spec = job.spec.clone();
    spec.suspend = false;
    spec.parallelism = 1;
    // Pods are told by their TuneTask.
    spec.search.max_trials = 1;
    spec.template = None;
    let mut documents = vec![json!({
        "apiVersion": API_VERSION,
        "kind": "TuneJob",
        "metadata": {"name": job.metadata.name},
        "spec": spec,
    })];
    let mut wanted: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for reference in spec.kernels.iter().filter_map(|kernel| kernel.source.config_map_key_ref.as_ref()) {
        if let Some(text) = lookup(sources, reference) {
            wanted.entry(&reference.name).or_default().insert(&reference.key, text);
        }
    }
    documents.extend(wanted.iter().map(|(name, data)| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
    }));
    let texts: Result<Vec<String>, _> = documents.iter().map(serde_yaml::to_string).collect();
    let texts = texts.map_err(|error| Stalled::new(reason::INVALID_SPEC, format!("as YAML: {error}")))?;
    Ok(texts.join("---\n"))
}

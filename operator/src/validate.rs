//! The second step: whether a job can be tuned as it stands, and what its tasks are. Touches nothing.

use std::collections::BTreeMap;

use fractune_crds::conditions::reason;
use fractune_crds::{API_VERSION, TuneJob, TuneJobSpec, names};
use fractune_tuner::kernel::{ConfigMapKeyRef, Kernel};
use kube::ResourceExt as _;
use serde_json::json;

use crate::fetch::{Observed, Sources, task_count};
use crate::status::tasks;

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
    /// The job and its sources as one file; empty where every task is done, and no pod is to read it.
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
    let known = job.status.as_ref().and_then(|status| status.digest.as_deref());
    if let Some(known) = known.filter(|known| is_done(observed, known)) {
        // Nobody needs the sources any more.
        return Ok(Checked {
            digest: known.to_owned(),
            tasks: task_names(&job.spec),
            manifest: String::new(),
        });
    }
    if let Some(stalled) = missing(job, &observed.sources) {
        return Err(stalled);
    }
    let checked = checked(job, &observed.sources)?;
    // An operator died before it wrote the status, or could not make everything.
    if known.is_none() && begun_otherwise(observed, &checked.digest) {
        let message = "the spec or a source has changed after the first objects were made; delete the TuneJob and make it again";
        return Err(Stalled::new(reason::SOURCE_CHANGED, message));
    }
    match known {
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

/// Whether every task is done, as the spec stands and under this digest.
fn is_done(observed: &Observed, digest: &str) -> bool {
    let total = task_count(&observed.job);
    let current = observed.tasks.values().all(|task| task.spec.digest == digest);
    total > 0 && current && tasks::complete(observed) == total
}

/// Whether tasks or the pods' file were made of another spec or source.
fn begun_otherwise(observed: &Observed, digest: &str) -> bool {
    let manifest = names::manifest(&observed.base());
    let manifest = observed.config_maps.iter().find(|map| map.metadata.name.as_ref() == Some(&manifest));
    let of_manifest = manifest.and_then(|map| map.annotations().get(names::DIGEST_ANNOTATION));
    let of_tasks = observed.tasks.values().map(|task| &task.spec.digest);
    of_tasks.chain(of_manifest).any(|made| made != digest)
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
        let begun = job.status.as_ref().is_some_and(|status| status.digest.is_some());
        let pods = if begun { " Pods that run go on with the old text." } else { "" };
        Stalled::new(reason::SOURCE_MISSING, message + pods)
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
    Ok(Checked { digest: half(&sources) + &half(&whole), tasks: task_names(&job.spec), manifest })
}

/// Kernel and problem of each task, in the order of `fractune_crds::validate`.
fn task_names(spec: &TuneJobSpec) -> Vec<TaskName> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::{done, fresh, job, planned, report};

    fn with_source(text: Option<&str>) -> Observed {
        let mut observed = fresh(job(|job| {
            job["spec"]["kernels"][0]["source"] =
                json!({"configMapKeyRef": {"name": "kernels", "key": "scale.c"}});
        }));
        let data = text.map(|text| BTreeMap::from([("scale.c".to_owned(), text.to_owned())]));
        observed.sources.insert("kernels".to_owned(), data);
        observed
    }

    #[test]
    fn a_missing_source_is_named_with_what_to_create() {
        let stalled = validate(&with_source(None)).unwrap_err();
        assert_eq!(stalled.reason, reason::SOURCE_MISSING);
        assert!(stalled.message.contains("kernels") && stalled.message.contains("scale.c"), "{stalled}");
        let mut observed = with_source(Some(""));
        observed.sources.insert("kernels".to_owned(), Some(BTreeMap::from([("other".into(), "x".into())])));
        let stalled = validate(&observed).unwrap_err();
        assert!(stalled.message.contains("it has other"), "{stalled}");
    }

    #[test]
    fn a_changed_source_stalls_what_was_begun_and_nothing_that_was_not() {
        let mut observed = with_source(Some("void scale(float *out, int len) {}"));
        let checked = validate(&observed).unwrap();
        let mut job = (*observed.job).clone();
        job.status =
            Some(fractune_crds::TuneJobStatus { digest: Some(checked.digest.clone()), ..Default::default() });
        observed.job = job.into();
        assert_eq!(validate(&observed).unwrap().digest, checked.digest);
        observed
            .sources
            .insert("kernels".into(), Some(BTreeMap::from([("scale.c".into(), "void f();".into())])));
        assert_eq!(validate(&observed).unwrap_err().reason, reason::SOURCE_CHANGED);
    }

    #[test]
    fn a_job_whose_tasks_are_done_needs_its_source_no_more() {
        let text = "void scale(float *out, int len) {}";
        let mut observed = with_source(Some(text));
        let begun = validate(&observed).unwrap();
        let settings = crate::fixture::settings();
        for object in crate::plan::plan(&observed, &begun, &settings).apply {
            if let crate::plan::Object::Task(mut task) = object {
                task.metadata.generation = Some(1);
                observed.tasks.insert(task.spec.index as usize, (*task).into());
            }
        }
        let mut job = (*observed.job).clone();
        job.status =
            Some(fractune_crds::TuneJobStatus { digest: Some(begun.digest.clone()), ..Default::default() });
        observed.job = job.into();
        for index in 0..2 {
            for gone in [None, Some(BTreeMap::from([("scale.c".into(), "void f();".into())]))] {
                observed.sources.insert("kernels".into(), gone);
                let stalled = validate(&observed).unwrap_err();
                assert!(stalled.message.contains("Pods that run go on with the old text"), "{stalled}");
            }
            report(&mut observed, index, done(1, [(50, 10, 20), (100, 5, 20)]));
        }
        let done = validate(&observed).unwrap();
        assert_eq!((&done.digest, &done.tasks), (&begun.digest, &begun.tasks));
        let plan = crate::plan::plan(&observed, &done, &settings);
        assert_eq!(plan, crate::plan::Plan::default(), "not even pods that are gone are made again");
        let mut other = (*observed.tasks[&1]).clone();
        other.spec.digest = "of another text".into();
        observed.tasks.insert(1, other.into());
        assert!(validate(&observed).is_err(), "a task of another text is not done");
    }

    #[test]
    fn what_was_begun_with_another_source_is_not_gone_on_with_even_before_the_first_status() {
        let mut observed = with_source(Some("void scale(float *out, int len) {}"));
        let begun = validate(&observed).unwrap();
        let made = crate::plan::plan(&observed, &begun, &crate::fixture::settings()).apply;
        let map = made.into_iter().find_map(|object| match object {
            crate::plan::Object::ConfigMap(map) => Some(map),
            _ => None,
        });
        observed.config_maps.push(map.unwrap().into());
        assert_eq!(validate(&observed).unwrap(), begun);
        let other = BTreeMap::from([("scale.c".into(), "void f();".into())]);
        observed.sources.insert("kernels".into(), Some(other));
        assert_eq!(validate(&observed).unwrap_err().reason, reason::SOURCE_CHANGED);
    }

    #[test]
    fn the_pods_read_the_job_and_its_source_from_one_file() {
        let checked = validate(&with_source(Some("void scale(float *out, int len) {}"))).unwrap();
        let (manifest, tasks) = fractune_crds::load(checked.manifest.as_bytes(), |_| ()).unwrap();
        assert_eq!(manifest.job.metadata.name.as_deref(), Some("demo"));
        let names: Vec<_> = tasks.iter().map(|task| (&task.kernel.name, &task.problem.name)).collect();
        let expected: Vec<_> = checked.tasks.iter().map(|task| (&task.kernel, &task.problem)).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn what_may_change_changes_no_digest() {
        let before = validate(&fresh(job(|_| ()))).unwrap();
        let after = validate(&fresh(job(|job| {
            job["spec"]["suspend"] = json!(true);
            job["spec"]["parallelism"] = json!(5);
            job["spec"]["search"] = json!({"maxTrials": 7});
        })));
        assert_eq!(after.unwrap(), before);
        // Another version of the operator writes the spec in other words: what was begun goes on.
        let mut observed = planned(job(|_| ()));
        let mut begun = (*observed.job).clone();
        let sources = before.digest.get(..SOURCES).unwrap();
        let digest = format!("{sources}{}", "0".repeat(32));
        begun.status =
            Some(fractune_crds::TuneJobStatus { digest: Some(digest.clone()), ..Default::default() });
        observed.job = begun.into();
        assert_eq!(validate(&observed).unwrap().digest, digest);
    }

    #[test]
    fn everything_wrong_with_a_spec_is_told_at_once() {
        let observed = fresh(job(|job| {
            job["spec"]["shares"] = json!([50, 50]);
            job["spec"]["kernels"][0]["constraints"] = json!(["BLOCK > "]);
        }));
        let stalled = validate(&observed).unwrap_err();
        assert_eq!(stalled.reason, reason::INVALID_SPEC);
        assert!(stalled.message.contains("spec.shares[1]"), "{stalled}");
        assert!(stalled.message.contains("constraints[0]"), "{stalled}");
    }
}

//! Everything that is wrong with a job, at once.

use std::collections::HashSet;

use fractune_tuner::Violation;
use fractune_tuner::kernel::{ConfigMapKeyRef, Kernel, Language};
use fractune_tuner::task::{NOT_A_DNS_LABEL, Task, is_dns_label};

use crate::schema::job_schema;
use crate::{Neighbours, TuneJob, TuneJobSpec, bounds};

/// Valid configurations of all tasks together: they are held in memory, 8 bytes each.
const MAX_CONFIGURATIONS: usize = 20_000_000;
/// Spaces of a job that are too large to be listed.
const MAX_VAST: usize = 8;
/// Winners that a job's status has room for: shares times neighbours times tasks.
const MAX_RESULTS: usize = 2048;

/// Checks a job and makes its tasks: one per kernel and problem, in the job's order. `sources` gives the
/// text behind a reference to a `ConfigMap`.
///
/// # Errors
/// Everything that is wrong, each once, with its path, the value and the way out.
pub fn validate(
    job: &TuneJob,
    sources: &dyn Fn(&ConfigMapKeyRef) -> Option<String>,
) -> Result<Vec<Task>, Vec<Violation>> {
    let mut found = Vec::new();
    let mut tasks = Vec::new();
    let mut configurations = 0;
    let mut vast = 0;
    name(job, &mut found);
    conditions(&job.spec, &mut found);
    found.extend(job.spec.search.problems("spec.search", job.spec.shares.len()));
    kernels(&job.spec, &mut found);
    for (i, kernel) in job.spec.kernels.iter().enumerate() {
        let path = format!("spec.kernels[{i}]");
        let source = source(&path, kernel, sources, &mut found);
        for problem in 0..kernel.problems.len().max(1) {
            match Task::build(&path, kernel, problem, source.as_deref().unwrap_or_default()) {
                Ok(task) => {
                    if task.space.is_listed() {
                        configurations += task.space.len();
                    } else {
                        vast += 1;
                    }
                    tasks.push(task);
                    if vast > MAX_VAST {
                        let message = format!(
                            "more than {MAX_VAST} of the job's spaces have too many configurations to be listed, and each \
                             takes seconds to look through; make several jobs"
                        );
                        found.push(Violation::new(path, kernel.name.as_str(), message));
                        return Err(found);
                    }
                    if configurations > MAX_CONFIGURATIONS {
                        let message = format!(
                            "the job's spaces have more than {MAX_CONFIGURATIONS} configurations together; \
                             add constraints, or make several jobs"
                        );
                        found.push(Violation::new(path, kernel.name.as_str(), message));
                        return Err(found);
                    }
                }
                Err(more) => found.extend(
                    more.into_iter().filter(|v| source.is_some() || v.path != format!("{path}.source")),
                ),
            }
        }
    }
    schema_bounds(&job.spec, &mut found);
    let mut seen = HashSet::new();
    // What concerns a kernel alone is found with each of its problems.
    found.retain(|violation| seen.insert((violation.path.clone(), violation.message.clone())));
    if found.is_empty() { Ok(tasks) } else { Err(found) }
}

fn name(job: &TuneJob, found: &mut Vec<Violation>) {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        found.push(Violation::new("metadata.name", "", "missing field; name the job"));
    } else if !is_dns_label(name) {
        found.push(Violation::new("metadata.name", name, NOT_A_DNS_LABEL));
    }
}

/// Shares and neighbours.
fn conditions(spec: &TuneJobSpec, found: &mut Vec<Violation>) {
    if spec.shares.is_empty() {
        let message = "is empty; write the shares, in percent, that the kernels will be served at, such as [25, 50, 100]";
        found.push(Violation::new("spec.shares", "", message));
    }
    let mut seen = HashSet::new();
    for (i, &share) in spec.shares.iter().enumerate() {
        let path = format!("spec.shares[{i}]");
        if !(1..=100).contains(&share) {
            let message = "is not a share; write a whole number from 1 to 100, the percent of a GPU";
            found.push(Violation::new(path, share, message));
        } else if !seen.insert(share) {
            found.push(Violation::new(path, share, "is there twice; write each share once"));
        }
    }
    if !spec.neighbours.contains(&Neighbours::Quiet) {
        let message = "does not have Quiet, which the others are compared with; write [Quiet] and what runs beside, or leave it out";
        found.push(Violation::new("spec.neighbours", "", message));
    }
    let in_c = spec.kernels.iter().find(|kernel| kernel.language == Language::C);
    let mut seen = HashSet::new();
    for (i, neighbours) in spec.neighbours.iter().enumerate() {
        let mut refuse = |message: String| {
            let path = format!("spec.neighbours[{i}]");
            found.push(Violation::new(path, format!("{neighbours:?}"), message));
        };
        if !neighbours.is_quiet() {
            if let Some(kernel) = in_c {
                refuse(format!(
                    "is a load on the rest of a GPU, and kernel {:?} is in C; write [Quiet], or leave it out",
                    kernel.name
                ));
            }
            if spec.shares.iter().all(|share| *share >= 100) {
                refuse(
                    "has no room: no share leaves a part of the GPU; add a smaller share, or write [Quiet]"
                        .to_owned(),
                );
            }
        }
        if !seen.insert(neighbours) {
            let path = format!("spec.neighbours[{i}]");
            found.push(Violation::new(path, format!("{neighbours:?}"), "is there twice; write each once"));
        }
    }
}

fn kernels(spec: &TuneJobSpec, found: &mut Vec<Violation>) {
    if spec.kernels.is_empty() {
        found.push(Violation::new("spec.kernels", "", "is empty; write at least one kernel to tune"));
    }
    let mut seen = HashSet::new();
    for (i, kernel) in spec.kernels.iter().enumerate() {
        if !seen.insert(kernel.name.as_str()) {
            let message = "is the name of an earlier kernel too; give each kernel its own name";
            found.push(Violation::new(format!("spec.kernels[{i}].name"), &kernel.name, message));
        }
    }
    let tasks: usize = spec.kernels.iter().map(|kernel| kernel.problems.len()).sum();
    let results = tasks * spec.shares.len() * spec.neighbours.len();
    if results > MAX_RESULTS {
        let message = format!(
            "problems, shares and neighbours multiply to {results} results, over the limit of {MAX_RESULTS}; split the job"
        );
        found.push(Violation::new("spec", "", message));
    }
}

/// The source text, or nothing after a violation that says why.
fn source(
    path: &str,
    kernel: &Kernel,
    sources: &dyn Fn(&ConfigMapKeyRef) -> Option<String>,
    found: &mut Vec<Violation>,
) -> Option<String> {
    match (&kernel.source.inline, &kernel.source.config_map_key_ref) {
        (None, Some(reference)) => {
            let source = sources(reference);
            if source.is_none() {
                let message =
                    "no ConfigMap of that name has that key; create it, or put it into the same file";
                let value = format!("{}/{}", reference.name, reference.key);
                found.push(Violation::new(format!("{path}.source.configMapKeyRef"), value, message));
            }
            source
        }
        // That there is exactly one of the two is checked with the kernel.
        (inline, _) => Some(inline.clone().unwrap_or_default()),
    }
}

/// What the schema bounds and nobody has said anything about yet.
fn schema_bounds(spec: &TuneJobSpec, found: &mut Vec<Violation>) {
    let spec = serde_json::to_value(spec).unwrap_or_default();
    let schema = job_schema().pointer("/properties/spec");
    let mut more = Vec::new();
    if let Some(schema) = schema {
        bounds::check("spec", &spec, schema, &mut more);
    }
    let known: HashSet<&str> = found.iter().map(|violation| violation.path.as_str()).collect();
    more.retain(|violation| !known.contains(violation.path.as_str()));
    found.extend(more);
}

//! The results as a `ConfigMap`, for inference pods to mount.

use std::collections::BTreeMap;

use fractune_crds::{BestAtShare, TuneTask, names};
use fractune_tuner::formats::tuned::{self as formats, Tuned, TunedTask, Winner};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;

use crate::fetch::Observed;
use crate::plan::metadata;

/// The `ConfigMap` of the results; none before the first task is done, and where the published one says the same.
///
/// # Errors
/// The sentence that says why no header can be made of the results.
pub fn tuned(observed: &Observed) -> Result<Option<ConfigMap>, String> {
    let results = collect(observed);
    if results.tasks.iter().all(|task| task.winners.is_empty()) {
        return Ok(None);
    }
    let name = names::tuned(&observed.base());
    let json = formats::json(&results);
    // A name that no macro can hold takes the header away, and not the JSON.
    let (header, problem) = match formats::header(&results) {
        Ok(header) => (Some(header), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let digest = names::digest([json.as_bytes(), header.as_deref().unwrap_or_default().as_bytes()]);
    let published = observed.config_maps.iter().find(|map| map.metadata.name.as_ref() == Some(&name));
    if published.is_some_and(|map| map.annotations().get(names::DIGEST_ANNOTATION) == Some(&digest)) {
        return problem.map_or(Ok(None), Err);
    }
    let mut metadata = metadata(observed, name);
    metadata.annotations = Some(BTreeMap::from([(names::DIGEST_ANNOTATION.to_owned(), digest)]));
    let data = [(names::JSON_KEY, Some(json)), (names::HEADER_KEY, header)];
    let data = data.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))).collect();
    Ok(Some(ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }))
}

/// The winners of every task.
fn collect(observed: &Observed) -> Tuned {
    let task = |task: &TuneTask| {
        let status = task.status.clone().unwrap_or_default();
        let winner = |best: &BestAtShare| Winner {
            share: best.share,
            neighbours: best.neighbours,
            configuration: best.configuration.clone(),
            time_ns: best.time_ns.unsigned_abs(),
            default_ns: best.default_ns.map(i64::unsigned_abs),
            metrics: best
                .metrics
                .iter()
                .filter_map(|(name, v)| Some((name.clone(), v.parse().ok()?)))
                .collect(),
        };
        let kernel = observed.job.spec.kernels.iter().find(|kernel| kernel.name == task.spec.kernel);
        TunedTask {
            kernel: task.spec.kernel.clone(),
            problem: task.spec.problem.clone(),
            verified: kernel.is_some_and(|kernel| !kernel.verify.none),
            size_macros: status.size_macros.clone(),
            winners: status.best.iter().filter(|best| best.quiet).map(winner).collect(),
        }
    };
    let mut devices = Vec::new();
    let gpus = observed.tasks.values().filter_map(|task| task.status.as_ref()?.gpu.as_ref());
    for gpu in gpus {
        let driver = if gpu.driver.is_empty() { String::new() } else { format!(", driver {}", gpu.driver) };
        let line = format!("Device: {}{driver}. Compiler: {}.", gpu.product, gpu.compiler);
        if !devices.contains(&line) {
            devices.push(line);
        }
    }
    Tuned {
        job: observed.name().to_owned(),
        device: devices,
        notes: Vec::new(),
        // Of a task that is not done yet there is nothing to say.
        tasks: observed.tasks.values().map(|t| task(t)).filter(|task| !task.winners.is_empty()).collect(),
    }
}

//! A job and what it owns, read from the cluster.

use fractune_crds::{TuneJob, TuneTask};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt};

use super::connect::{Session, listed};
use super::error::ClusterError;
use super::near::nearest;

/// Names that are asked for when one is not found.
const LOOKED_AT: u32 = 500;

/// The job; where there is none, the error names those that may have been meant.
pub(crate) async fn job(session: &Session, name: &str) -> Result<TuneJob, ClusterError> {
    let api: Api<TuneJob> = Api::namespaced(session.client.clone(), &session.namespace);
    match session.ask(api.get(name)).await {
        Err(ClusterError::NotFound(_)) => Err(not_found(session, name).await),
        other => other,
    }
}

async fn not_found(session: &Session, name: &str) -> ClusterError {
    let Session { namespace, place, .. } = session;
    let jobs: Api<TuneJob> = Api::namespaced(session.client.clone(), namespace);
    let all: Api<TuneJob> = Api::all(session.client.clone());
    let first = ListParams::default().limit(LOOKED_AT);
    let of_that_name = ListParams::default().fields(&format!("metadata.name={name}")).limit(LOOKED_AT);
    // What this user may not see is no hint.
    let here = session.ask(jobs.list_metadata(&first)).await.map(|list| list.items).unwrap_or_default();
    let there =
        session.ask(all.list_metadata(&of_that_name)).await.map(|list| list.items).unwrap_or_default();
    ClusterError::NotFound(missing(name, namespace, place, &here, &there))
}

/// The sentence about a job that is not there, from the jobs of its namespace and those of its name elsewhere.
fn missing(
    name: &str,
    namespace: &str,
    place: &str,
    here: &[PartialObjectMeta<TuneJob>],
    there: &[PartialObjectMeta<TuneJob>],
) -> String {
    let names: Vec<String> = here.iter().map(ResourceExt::name_any).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let namespaces: Vec<String> = there.iter().filter_map(ResourceExt::namespace).collect();
    let hint = match (namespaces.as_slice(), nearest(name, names.iter().copied())) {
        ([only], _) => format!("there is one in namespace {only}: add -n {only}"),
        ([_, _, ..], _) => {
            let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
            format!("there are some in namespaces {}: choose with -n", listed(&namespaces))
        }
        ([], Some(near)) => format!("did you mean {near}?"),
        ([], None) if names.is_empty() => "it has no TuneJobs; choose a namespace with -n".to_owned(),
        ([], None) => format!("it has {}", listed(&names)),
    };
    format!("no TuneJob {name:?} in namespace {namespace} of {place}; {hint}")
}

/// The job's tasks, by index.
pub(crate) async fn tasks(session: &Session, job: &TuneJob) -> Result<Vec<TuneTask>, ClusterError> {
    let api: Api<TuneTask> = Api::namespaced(session.client.clone(), &session.namespace);
    let of_the_job = ListParams::default().fields(&format!("spec.jobName={}", job.name_any()));
    let mut tasks = session.ask(api.list(&of_the_job)).await?.items;
    tasks.retain(|task| belongs(task, job));
    tasks.sort_by_key(|task| task.spec.index);
    Ok(tasks)
}

/// Whether a task was made for this very job, and not for an earlier one of its name.
pub(crate) fn belongs(task: &TuneTask, job: &TuneJob) -> bool {
    let uid = job.metadata.uid.as_deref();
    let owners = task.metadata.owner_references.as_deref().unwrap_or_default();
    owners.is_empty() || owners.iter().any(|owner| Some(owner.uid.as_str()) == uid)
}

/// One entry of a `ConfigMap`; none where either is missing.
pub(crate) async fn entry(session: &Session, name: &str, key: &str) -> Result<Option<String>, ClusterError> {
    let api: Api<ConfigMap> = Api::namespaced(session.client.clone(), &session.namespace);
    match session.ask(api.get(name)).await {
        Ok(map) => Ok(map.data.and_then(|mut data| data.remove(key))),
        Err(ClusterError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::script::{Answer, Script, refusal};

    fn named(name: &str, namespace: &str) -> PartialObjectMeta<TuneJob> {
        serde_json::from_value(json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": name, "namespace": namespace}}))
        .unwrap()
    }

    #[test]
    fn what_may_have_been_meant_is_named() {
        let of = |here: &[&str], there: &[&str]| {
            let here: Vec<_> = here.iter().map(|name| named(name, "team")).collect();
            let there: Vec<_> = there.iter().map(|namespace| named("demo", namespace)).collect();
            missing("demo", "team", "https://h (context c)", &here, &there)
        };
        let start = "no TuneJob \"demo\" in namespace team of https://h (context c); ";
        assert_eq!(of(&["dmeo", "x"], &[]), format!("{start}did you mean dmeo?"));
        assert_eq!(of(&["dmeo"], &["b"]), format!("{start}there is one in namespace b: add -n b"));
        assert!(of(&[], &["a", "b"]).ends_with("namespaces a, b: choose with -n"));
        assert!(of(&[], &[]).ends_with("it has no TuneJobs; choose a namespace with -n"));
        assert!(of(&["x", "yy"], &[]).ends_with("it has x, yy"));
    }

    #[tokio::test]
    async fn a_cluster_without_definitions_is_told_apart_from_a_missing_job() {
        let script = Script::new(|_| Some(Answer::Is(404, json!("404 page not found"))));
        let error = job(&script.session(), "demo").await.unwrap_err();
        assert!(matches!(error, ClusterError::NoDefinitions(_)), "{error}");
        let script = Script::new(|asked| {
            asked.uri.contains("tunejobs/demo").then(|| refusal(404, "tunejobs \"demo\" not found", "demo"))
        });
        let error = job(&script.session(), "demo").await.unwrap_err();
        assert!(matches!(error, ClusterError::NotFound(_)), "{error}");
        let script =
            Script::new(|_| Some(refusal(403, "User \"bob\" cannot get resource \"tunejobs\"", "demo")));
        let error = job(&script.session(), "demo").await.unwrap_err();
        assert!(error.exit_code() == 77 && error.to_string().contains("bob"), "{error}");
        let script = Script::new(|_| Some(Answer::Lost));
        let error = job(&script.session(), "demo").await.unwrap_err();
        assert!(error.exit_code() == 69 && error.to_string().contains("cannot reach"), "{error}");
    }
}

//! How do the namespace's jobs stand?

use std::collections::BTreeMap;

use fractune_crds::State;
use fractune_crds::conditions::{PODS_ARE_STARTING, RECONCILING, STALLED};
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use super::check::Check;
use super::{Session, text};

const NAME: &str = "jobs";
/// Jobs of a kind that are named.
const NAMED: usize = 5;

pub(super) async fn check(session: &Session) -> Check {
    // Whatever is stored, also by older versions.
    let kind = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(fractune_crds::GROUP, "v1alpha1", "TuneJob"),
        "tunejobs",
    );
    let api: Api<DynamicObject> = Api::namespaced_with(session.client.clone(), &session.namespace, &kind);
    match session.ask(api.list(&ListParams::default())).await {
        Ok(jobs) => judge(&jobs.items, &session.namespace),
        Err(error) => Check::unknown(NAME, &error),
    }
}

fn judge(jobs: &[DynamicObject], namespace: &str) -> Check {
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    let (mut stalled, mut waiting) = (Vec::new(), Vec::new());
    for job in jobs {
        let state = job.data.pointer("/status/state").and_then(Value::as_str).unwrap_or("not looked at yet");
        *states.entry(state.to_owned()).or_default() += 1;
        if state == format!("{:?}", State::Stalled) {
            stalled.push((job, why(job, STALLED)));
        }
        if state == format!("{:?}", State::Pending) {
            let message = said(job, RECONCILING, "message");
            waiting.extend((!message.is_empty() && message != PODS_ARE_STARTING).then_some((job, message)));
        }
    }
    let words: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    if jobs.is_empty() {
        return Check::ok(NAME, format!("no TuneJobs in {namespace}"));
    }
    let start = format!("in {namespace}: {}", words.join(", "));
    let Some((first, _)) = stalled.iter().chain(&waiting).next() else {
        return Check::ok(NAME, start);
    };
    let fix = format!("kubectl describe tunejob {} --namespace {namespace}", first.name_any());
    let mut message = start;
    for (title, jobs) in
        [("Stalled until somebody changes something", &stalled), ("Pods that cannot start", &waiting)]
    {
        if !jobs.is_empty() {
            message = format!("{message}. {title}: {}", named(jobs));
        }
    }
    Check::warn(NAME, message, fix)
}

/// Jobs, each with why it does not go on.
fn named(jobs: &[(&DynamicObject, String)]) -> String {
    let mut words: Vec<String> =
        jobs.iter().take(NAMED).map(|(job, why)| format!("{} ({why})", job.name_any())).collect();
    if jobs.len() > NAMED {
        words.push(format!("and {} more", jobs.len() - NAMED));
    }
    words.join("; ")
}

fn why(job: &DynamicObject, kind: &str) -> String {
    format!("{}: {}", said(job, kind, "reason"), said(job, kind, "message"))
}

/// A field of a condition that holds.
fn said(job: &DynamicObject, kind: &str, field: &str) -> String {
    let conditions = job.data.pointer("/status/conditions").and_then(Value::as_array);
    let condition = conditions.into_iter().flatten().find(|c| c["type"] == kind && c["status"] == "True");
    text::one_line(condition.and_then(|c| c[field].as_str()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::check::Verdict;
    use super::*;

    fn job(name: &str, state: &str) -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "fractune.dev/v1alpha1", "kind": "TuneJob",
            "metadata": {"name": name}, "spec": {"odd": true}, "status": {"state": state, "conditions": [
                {"type": "Stalled", "status": "True", "reason": "SourceMissing", "message": "no ConfigMap k"}]}}))
        .unwrap()
    }

    #[test]
    fn stalled_jobs_are_named_with_their_reason() {
        assert_eq!(judge(&[], "team").verdict, Verdict::Ok);
        assert_eq!(
            judge(&[job("a", "Complete"), job("b", "Running")], "team").message,
            "in team: 1 Complete, 1 Running"
        );
        let found = judge(&[job("a", "Stalled"), job("b", "Complete")], "team");
        assert_eq!(found.verdict, Verdict::Warn);
        assert!(found.message.contains("a (SourceMissing: no ConfigMap k)"), "{}", found.message);
        let many: Vec<_> = (0..9).map(|n| job(&format!("j{n}"), "Stalled")).collect();
        assert!(judge(&many, "team").message.ends_with("and 4 more"));
    }

    #[test]
    fn pods_that_no_node_takes_are_told_before_the_job_is_stalled() {
        let pending = |message: &str| {
            let mut pending = job("a", "Pending");
            pending.data["status"]["conditions"] =
                json!([{"type": "Reconciling", "status": "True", "reason": "Starting", "message": message}]);
            judge(&[pending], "team")
        };
        assert_eq!(pending("pods are starting").verdict, Verdict::Ok);
        let found = pending("no node can take the pods: 1 node(s) were unschedulable");
        assert_eq!(found.verdict, Verdict::Warn);
        let expected = "Pods that cannot start: a (no node can take the pods: 1 node(s) were unschedulable)";
        assert!(found.message.ends_with(expected), "{}", found.message);
        assert_eq!(found.fix.as_deref(), Some("kubectl describe tunejob a --namespace team"));
    }
}

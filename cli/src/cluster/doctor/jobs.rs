//! How do the namespace's jobs stand?

use std::collections::BTreeMap;

use fractune_crds::State;
use fractune_crds::conditions::STALLED;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use super::check::Check;
use super::{Session, text};

const NAME: &str = "jobs";
/// Stalled jobs that are named.
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
    let mut stalled = Vec::new();
    for job in jobs {
        let state = job.data.pointer("/status/state").and_then(Value::as_str).unwrap_or("not looked at yet");
        *states.entry(state.to_owned()).or_default() += 1;
        if state == format!("{:?}", State::Stalled) {
            stalled.push(format!("{} ({})", job.name_any(), why(job)));
        }
    }
    let words: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    if jobs.is_empty() {
        return Check::ok(NAME, format!("no TuneJobs in {namespace}"));
    }
    let start = format!("in {namespace}: {}", words.join(", "));
    let Some(first) =
        jobs.iter().find(|job| job.data.pointer("/status/state").and_then(Value::as_str) == Some("Stalled"))
    else {
        return Check::ok(NAME, start);
    };
    let more = stalled.len().saturating_sub(NAMED);
    stalled.truncate(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let fix = format!("kubectl describe tunejob {} --namespace {namespace}", first.name_any());
    Check::warn(
        NAME,
        format!("{start}. Stalled until somebody changes something: {}{more}", stalled.join("; ")),
        fix,
    )
}

fn why(job: &DynamicObject) -> String {
    let conditions = job.data.pointer("/status/conditions").and_then(Value::as_array);
    let stalled = conditions.into_iter().flatten().find(|c| c["type"] == STALLED && c["status"] == "True");
    let word = |field: &str| stalled.and_then(|c| c[field].as_str()).unwrap_or_default().to_owned();
    text::one_line(&format!("{}: {}", word("reason"), word("message")))
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
}

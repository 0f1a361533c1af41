//! Can this namespace take `TuneJobs`: does it exist, may you make them, is there room?

use std::cmp::Ordering;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};

use super::check::Check;
use super::{ClusterError, Operator, Session};

const NAMESPACE: &str = "namespace";
const QUOTAS: &str = "quotas";
const YOU: &str = "your rights";
/// What a user does with `TuneJobs`.
const VERBS: [&str; 5] = ["get", "list", "watch", "create", "patch"];
const ENFORCED: &str = "pod-security.kubernetes.io/enforce";

pub(super) async fn check(session: &Session, operators: &[Operator]) -> Vec<Check> {
    let name = &session.namespace;
    let api: Api<Namespace> = Api::all(session.client.clone());
    let found = match session.ask(api.get(name)).await {
        Ok(found) => found,
        Err(ClusterError::NotFound(_)) => {
            let fix = format!("kubectl create namespace {name}");
            return vec![Check::fail(NAMESPACE, format!("there is no namespace {name}"), fix)];
        }
        Err(error) => {
            // Most users may not read namespaces, and can work in one all the same.
            return vec![Check::unknown(NAMESPACE, &error), rights(session).await, quotas(session).await];
        }
    };
    let mut checks = vec![state(&found, operators)];
    checks.push(rights(session).await);
    checks.push(quotas(session).await);
    checks
}

fn state(namespace: &Namespace, operators: &[Operator]) -> Check {
    let name = namespace.name_any();
    if namespace.metadata.deletion_timestamp.is_some() {
        return Check::fail(
            NAMESPACE,
            format!("{name} is being deleted"),
            format!("kubectl get namespace {name} -o yaml"),
        );
    }
    let level = namespace.labels().get(ENFORCED).map_or("the cluster's default", String::as_str);
    let mut message = format!(
        "{name}: pods have to keep to the Pod Security Standard {level:?}, and tuning pods keep to restricted"
    );
    if level == "the cluster's default" {
        message = format!("{name}: no Pod Security level of its own; tuning pods keep to restricted");
    }
    if operators.iter().any(|operator| operator.watches(&name)) || operators.is_empty() {
        Check::ok(NAMESPACE, message)
    } else {
        Check::warn(
            NAMESPACE,
            format!("{message}; no operator reconciles it"),
            "kubectl fractune doctor -n NAMESPACE, with one that an operator watches",
        )
    }
}

async fn rights(session: &Session) -> Check {
    let api: Api<SelfSubjectAccessReview> = Api::all(session.client.clone());
    let mut refused = Vec::new();
    for verb in VERBS {
        let attributes = ResourceAttributes {
            group: Some(fractune_crds::GROUP.to_owned()),
            resource: Some("tunejobs".to_owned()),
            verb: Some(verb.to_owned()),
            namespace: Some(session.namespace.clone()),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        match session.ask(api.create(&PostParams::default(), &review)).await {
            Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => {}
            Ok(_) => refused.push(verb),
            Err(error) => return Check::unknown(YOU, &error),
        }
    }
    let namespace = &session.namespace;
    if refused.is_empty() {
        return Check::ok(YOU, format!("you may {} TuneJobs in {namespace}", VERBS.join(", ")));
    }
    let fix = format!(
        "kubectl create rolebinding NAME --namespace {namespace} --clusterrole edit --user YOU, by an administrator"
    );
    Check::warn(YOU, format!("you may not {} TuneJobs in {namespace}", refused.join(", ")), fix)
}

async fn quotas(session: &Session) -> Check {
    let api: Api<ResourceQuota> = Api::namespaced(session.client.clone(), &session.namespace);
    match session.ask(api.list(&ListParams::default())).await {
        Ok(quotas) => judge(&quotas.items, &session.namespace),
        Err(error) => Check::unknown(QUOTAS, &error),
    }
}

/// Whether the quotas leave room for one more pod.
fn judge(quotas: &[ResourceQuota], namespace: &str) -> Check {
    if quotas.is_empty() {
        return Check::ok(QUOTAS, format!("none in {namespace}"));
    }
    let mut full = Vec::new();
    for quota in quotas {
        let status = quota.status.clone().unwrap_or_default();
        let (hard, used) = (status.hard.unwrap_or_default(), status.used.unwrap_or_default());
        for (resource, hard) in hard.iter().filter(|(resource, _)| matters(resource)) {
            if is_full(hard, used.get(resource)) {
                let used = used.get(resource).map_or("0", |used| used.0.as_str());
                full.push(format!("{} of {}: {used} of {} used", resource, quota.name_any(), hard.0));
            }
        }
    }
    if full.is_empty() {
        let names: Vec<String> = quotas.iter().map(ResourceExt::name_any).collect();
        return Check::ok(QUOTAS, format!("{} in {namespace}, with room", names.join(", ")));
    }
    let message = format!("no room for another pod in {namespace}: {}", full.join("; "));
    Check::warn(QUOTAS, message, format!("kubectl describe resourcequota --namespace {namespace}"))
}

/// Whether a `TuneJob` needs some of a resource.
fn matters(resource: &str) -> bool {
    const NEEDED: [&str; 8] = [
        "pods",
        "cpu",
        "memory",
        "requests.cpu",
        "requests.memory",
        "configmaps",
        "count/jobs.batch",
        "count/configmaps",
    ];
    NEEDED.contains(&resource)
        || resource.starts_with("requests.fractune.dev/")
        || resource.starts_with("count/tune")
}

fn is_full(hard: &Quantity, used: Option<&Quantity>) -> bool {
    let used = used.map_or(Some(0.0), |used| number(&used.0));
    number(&hard.0).zip(used).is_some_and(|(hard, used)| used.partial_cmp(&hard) != Some(Ordering::Less))
}

/// A quantity as a number: `250m`, `4`, `1Gi`.
fn number(quantity: &str) -> Option<f64> {
    let end = quantity.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(quantity.len());
    let (digits, unit) = quantity.split_at(end);
    let binary = |power: i32| 1024_f64.powi(power);
    let factor = match unit {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::check::Verdict;
    use super::super::operator::tests::installed;
    use super::*;

    fn quota(hard: &Value, used: &Value) -> ResourceQuota {
        serde_json::from_value(json!({"metadata": {"name": "q"}, "status": {"hard": hard, "used": used}}))
            .unwrap()
    }

    #[test]
    fn a_full_quota_is_told_with_its_numbers() {
        assert_eq!(judge(&[], "team").verdict, Verdict::Ok);
        let room = quota(&json!({"pods": "4", "memory": "1Gi"}), &json!({"pods": "3", "memory": "900Mi"}));
        assert_eq!(judge(&[room], "team").verdict, Verdict::Ok);
        let full = quota(&json!({"pods": "4", "secrets": "1"}), &json!({"pods": "4", "secrets": "1"}));
        let found = judge(&[full], "team");
        assert_eq!(found.verdict, Verdict::Warn);
        assert_eq!(found.message, "no room for another pod in team: pods of q: 4 of 4 used");
        assert_eq!(judge(&[quota(&json!({"pods": "0"}), &json!({}))], "team").verdict, Verdict::Warn);
        let cpus = quota(&json!({"requests.cpu": "2"}), &json!({"requests.cpu": "2000m"}));
        assert_eq!(judge(&[cpus], "team").verdict, Verdict::Warn);
    }

    #[test]
    fn quantities_are_numbers() {
        assert_eq!(
            (number("250m"), number("4"), number("1Gi")),
            (Some(0.25), Some(4.0), Some(1_073_741_824.0))
        );
        assert_eq!((number("1e3"), number("x")), (None, None));
    }

    #[test]
    fn a_namespace_that_goes_or_that_nobody_watches_is_told() {
        let namespace =
            |value: Value| -> Namespace { serde_json::from_value(json!({"metadata": value})).unwrap() };
        let team = namespace(json!({"name": "team", "labels": {(ENFORCED): "restricted"}}));
        let found = state(&team, &[installed()]);
        assert!(found.verdict == Verdict::Ok && found.message.contains("\"restricted\""), "{found:?}");
        let mut elsewhere = installed();
        elsewhere.watched = Some("other".to_owned());
        assert_eq!(state(&team, &[elsewhere]).verdict, Verdict::Warn);
        let going = namespace(json!({"name": "team", "deletionTimestamp": "2026-11-22T10:00:00Z"}));
        assert_eq!(state(&going, &[installed()]).verdict, Verdict::Fail);
    }
}

//! Are the admission policies in force?

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::ResourceExt;

use super::check::Check;
use super::{Operator, PART_OF, Session, all, upgrade};

const NAME: &str = "policies";
/// What each of the chart's policies keeps, by the end of its name.
const POLICIES: [(&str, &str); 3] = [
    ("-tunetask-status", "a tuning pod can write the status of every TuneTask in its namespace"),
    ("-tunetask-spec", "everybody who may write TuneTasks can change what pods tune"),
    ("-tunejob-status", "programs other than the operator can write the status of TuneJobs"),
];

/// The one that the chart has where it installs the agent of GPU nodes.
const NODE: (&str, &str) = ("-node", "the token of a node's agent can change labels of every node");

pub(super) async fn check(session: &Session, operator: &Operator) -> Check {
    let labels = format!("{PART_OF},app.kubernetes.io/instance={}", operator.release);
    let policies = all::<ValidatingAdmissionPolicy>(session, &labels).await;
    let bindings = all::<ValidatingAdmissionPolicyBinding>(session, &labels).await;
    let agents = all::<DaemonSet>(session, &labels).await;
    match (policies, bindings, agents) {
        (Ok(policies), Ok(bindings), Ok(agents)) => judge(operator, &policies, &bindings, !agents.is_empty()),
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => Check::unknown(NAME, &error),
    }
}

fn judge(
    operator: &Operator,
    policies: &[ValidatingAdmissionPolicy],
    bindings: &[ValidatingAdmissionPolicyBinding],
    has_agent: bool,
) -> Check {
    let denied: BTreeSet<String> = bindings
        .iter()
        .filter_map(|binding| binding.spec.as_ref())
        .filter(|spec| spec.validation_actions.iter().flatten().any(|action| action == "Deny"))
        .filter_map(|spec| spec.policy_name.clone())
        .collect();
    let in_force = |end: &str| {
        policies.iter().map(ResourceExt::name_any).any(|name| name.ends_with(end) && denied.contains(&name))
    };
    let wanted = || POLICIES.iter().chain(has_agent.then_some(&NODE));
    let open: Vec<&str> = wanted().filter(|(end, _)| !in_force(end)).map(|(_, what)| *what).collect();
    let count = wanted().count();
    if open.is_empty() {
        return Check::ok(NAME, format!("all {count} admission policies are in force"));
    }
    let message =
        format!("{} of {} admission policies are not in force: {}", open.len(), count, open.join("; "));
    Check::warn(NAME, message, format!("{} --set policies.enabled=true", upgrade(operator)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::check::Verdict;
    use super::super::operator::tests::installed;
    use super::*;

    #[test]
    fn a_policy_without_a_binding_that_denies_is_none() {
        let name = |end: &str| format!("fractune{end}");
        let policies: Vec<ValidatingAdmissionPolicy> = POLICIES
            .iter()
            .map(|(end, _)| serde_json::from_value(json!({"metadata": {"name": name(end)}})).unwrap())
            .collect();
        let bindings = |action: &str| -> Vec<ValidatingAdmissionPolicyBinding> {
            let one = |(end, _): &(&str, &str)| {
                let spec = json!({"policyName": name(end), "validationActions": [action]});
                serde_json::from_value(json!({"metadata": {"name": name(end)}, "spec": spec})).unwrap()
            };
            POLICIES.iter().map(one).collect()
        };
        let operator = installed();
        assert_eq!(judge(&operator, &policies, &bindings("Deny"), false).verdict, Verdict::Ok);
        assert_eq!(judge(&operator, &policies, &bindings("Audit"), false).verdict, Verdict::Warn);
        let found = judge(&operator, &policies, &bindings("Deny"), true);
        assert!(found.message.starts_with("1 of 4") && found.message.contains("every node"), "{found:?}");
        let found = judge(&operator, &policies[1..], &bindings("Deny"), false);
        assert!(
            found.message.contains("1 of 3") && found.message.contains("status of every TuneTask"),
            "{found:?}"
        );
        assert_eq!(judge(&operator, &[], &[], false).verdict, Verdict::Warn);
        let [mut policy, mut binding] = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]
            .map(|kind| json!({"kind": kind, "metadata": {"name": "fractune-node"}}));
        policy["spec"] = json!({});
        binding["spec"] = json!({"policyName": "fractune-node", "validationActions": ["Deny"]});
        let policies = [policies, vec![serde_json::from_value(policy).unwrap()]].concat();
        let bindings = [bindings("Deny"), vec![serde_json::from_value(binding).unwrap()]].concat();
        let found = judge(&operator, &policies, &bindings, true);
        assert_eq!(found.message, "all 4 admission policies are in force");
    }
}

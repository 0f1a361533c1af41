//! May the operator do what it has to?

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::PostParams;

use super::check::Check;
use super::{ClusterError, Operator, Session, upgrade};

const NAME: &str = "rights";
/// Questions that are asked at once.
const AT_ONCE: usize = 8;

/// Where a right has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Where jobs are reconciled.
    Jobs,
    /// In the whole cluster, which an operator for one namespace does without.
    Cluster,
    /// Where the lease is.
    Lease,
}

/// What may be done with a resource.
#[derive(Clone, Copy, Debug)]
struct Right {
    group: &'static str,
    /// With its subresource after a slash.
    resource: &'static str,
    verbs: &'static [&'static str],
    scope: Scope,
}

/// What the chart gives the operator.
const RIGHTS: &[Right] = &[
    right("fractune.dev", "tunejobs", &["get", "list", "watch"], Scope::Jobs),
    right("fractune.dev", "tunejobs/status", &["patch"], Scope::Jobs),
    right("fractune.dev", "tunejobs/finalizers", &["update"], Scope::Jobs),
    right("fractune.dev", "tunetasks", &["get", "list", "watch", "create", "patch", "delete"], Scope::Jobs),
    right("batch", "jobs", &["get", "list", "watch", "create", "patch", "delete"], Scope::Jobs),
    right("", "configmaps", &["get", "list", "watch", "create", "patch", "delete"], Scope::Jobs),
    right("", "serviceaccounts", &["get", "create", "patch", "delete"], Scope::Jobs),
    right("rbac.authorization.k8s.io", "rolebindings", &["get", "create", "patch", "delete"], Scope::Jobs),
    right("", "pods", &["get", "list", "watch"], Scope::Jobs),
    right("", "namespaces", &["get"], Scope::Jobs),
    right("", "events", &["list", "watch"], Scope::Jobs),
    right("events.k8s.io", "events", &["get", "list", "create", "patch"], Scope::Jobs),
    right("", "nodes", &["list"], Scope::Cluster),
    right("coordination.k8s.io", "leases", &["get", "update", "patch", "create"], Scope::Lease),
];

const fn right(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    scope: Scope,
) -> Right {
    Right { group, resource, verbs, scope }
}

/// Asks the API server, for the operator's service account, for every right.
pub(super) async fn check(session: &Session, operator: &Operator) -> Check {
    let questions = questions(operator);
    let asked = questions.len();
    let answers = futures::stream::iter(questions)
        .map(async |attributes| {
            let allowed = allowed(session, operator, attributes.clone()).await?;
            Ok::<_, ClusterError>((!allowed).then_some(attributes))
        })
        .buffered(AT_ONCE)
        .try_filter_map(async |refused| Ok(refused));
    match answers.try_collect::<Vec<_>>().await {
        Ok(refused) => judge(operator, asked, &refused),
        Err(error) => Check::unknown(NAME, &error),
    }
}

fn questions(operator: &Operator) -> Vec<ResourceAttributes> {
    let mut questions = Vec::new();
    for Right { group, resource, verbs, scope } in RIGHTS {
        let namespace = match scope {
            Scope::Jobs => operator.watched.clone(),
            Scope::Cluster if operator.watched.is_some() => continue,
            Scope::Cluster => None,
            Scope::Lease => Some(operator.lease.1.clone()),
        };
        let (resource, subresource) =
            resource.split_once('/').map_or((*resource, None), |(r, s)| (r, Some(s)));
        for verb in *verbs {
            let by_name = *scope == Scope::Lease && *verb != "create";
            questions.push(ResourceAttributes {
                group: Some((*group).to_owned()),
                resource: Some(resource.to_owned()),
                subresource: subresource.map(str::to_owned),
                verb: Some((*verb).to_owned()),
                namespace: namespace.clone(),
                name: by_name.then(|| operator.lease.0.clone()),
                ..ResourceAttributes::default()
            });
        }
    }
    questions.push(ResourceAttributes {
        group: Some("rbac.authorization.k8s.io".to_owned()),
        resource: Some("clusterroles".to_owned()),
        verb: Some("bind".to_owned()),
        name: Some(operator.agent_role.clone()),
        namespace: operator.watched.clone(),
        ..ResourceAttributes::default()
    });
    questions
}

async fn allowed(
    session: &Session,
    operator: &Operator,
    attributes: ResourceAttributes,
) -> Result<bool, ClusterError> {
    let api: Api<SubjectAccessReview> = Api::all(session.client.clone());
    let Operator { namespace, account, .. } = operator;
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{namespace}:{account}")),
            groups: Some(vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ]),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let answer = session.ask(api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn judge(operator: &Operator, asked: usize, refused: &[ResourceAttributes]) -> Check {
    if refused.is_empty() {
        return Check::ok(NAME, format!("{} may do all {asked} things that it has to", operator.title()));
    }
    let mut by_resource: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for attributes in refused {
        let verb = attributes.verb.as_deref().unwrap_or_default();
        by_resource.entry(resource(attributes)).or_default().push(verb);
    }
    let words: Vec<String> =
        by_resource.iter().map(|(resource, verbs)| format!("{} {resource}", verbs.join(", "))).collect();
    let message = format!("{} may not: {}; somebody cut its role", operator.title(), words.join("; "));
    Check::fail(NAME, message, format!("{} --force-conflicts", upgrade(operator)))
}

/// As kubectl names it: `jobs.batch`, `tunejobs.fractune.dev/status`.
fn resource(attributes: &ResourceAttributes) -> String {
    let part = |part: &Option<String>| part.clone().filter(|part| !part.is_empty());
    let mut text = part(&attributes.resource).unwrap_or_default();
    for (sign, part) in [
        (".", part(&attributes.group)),
        ("/", part(&attributes.subresource)),
        (" in ", part(&attributes.namespace)),
    ] {
        if let Some(part) = part {
            text.push_str(sign);
            text.push_str(&part);
        }
    }
    text
}

/// The role of a job's reporters, which the operator hands out.
pub(super) async fn agent(session: &Session, operator: &Operator) -> Check {
    const NAME: &str = "agent role";
    let api: Api<ClusterRole> = Api::all(session.client.clone());
    let role = &operator.agent_role;
    match session.ask(api.get(role)).await {
        Ok(found) => match agent_lacks(&found) {
            lacks if lacks.is_empty() => {
                Check::ok(NAME, format!("{role} lets pods write their task's status"))
            }
            lacks => {
                let message = format!("ClusterRole {role} lacks: {}; no pod can report", lacks.join("; "));
                Check::fail(NAME, message, format!("{} --force-conflicts", upgrade(operator)))
            }
        },
        Err(ClusterError::NotFound(_)) => {
            let message = format!("ClusterRole {role} is not there: no pod can report");
            Check::fail(NAME, message, upgrade(operator))
        }
        Err(error) => Check::unknown(NAME, &error),
    }
}

fn agent_lacks(role: &ClusterRole) -> Vec<String> {
    let has = |resource: &str, verb: &str| {
        role.rules.iter().flatten().any(|rule| {
            let any = |list: &Option<Vec<String>>, word: &str| {
                list.iter().flatten().any(|entry| entry == word || entry == "*")
            };
            any(&rule.api_groups, fractune_crds::GROUP)
                && any(&rule.resources, resource)
                && rule.verbs.iter().any(|entry| entry == verb || entry == "*")
        })
    };
    [("tunetasks", "get"), ("tunetasks/status", "patch")]
        .into_iter()
        .filter(|(resource, verb)| !has(resource, verb))
        .map(|(resource, verb)| format!("{verb} {resource}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::check::Verdict;
    use super::super::operator::tests::installed;
    use super::*;
    use crate::cluster::script::{Answer, Script};

    /// Answers each question: refused where `cut` says so.
    fn server(cut: fn(&Value) -> bool) -> Script {
        Script::new(move |asked| {
            let mut review = asked.body.clone();
            let allowed = !cut(&asked.body["spec"]["resourceAttributes"]);
            review["apiVersion"] = json!("authorization.k8s.io/v1");
            review["kind"] = json!("SubjectAccessReview");
            review["status"] = json!({"allowed": allowed});
            asked.uri.contains("subjectaccessreviews").then_some(Answer::Is(201, review))
        })
    }

    #[tokio::test]
    async fn the_verb_that_was_cut_is_named() {
        let whole = server(|_| false);
        assert_eq!(check(&whole.session(), &installed()).await.verdict, Verdict::Ok);
        let user = whole.writes()[0].body["spec"]["user"].clone();
        assert_eq!(user, "system:serviceaccount:fractune:fractune-operator");
        let cut = server(|attributes| {
            attributes["resource"] == "jobs" && attributes["verb"] == "create"
                || attributes["subresource"] == "status"
        });
        let found = check(&cut.session(), &installed()).await;
        assert_eq!(found.verdict, Verdict::Fail);
        let expected = "may not: create jobs.batch; patch tunejobs.fractune.dev/status;";
        assert!(found.message.contains(expected), "{}", found.message);
        assert!(found.fix.unwrap().starts_with("helm upgrade fractune charts/fractune --namespace fractune"));
    }

    #[tokio::test]
    async fn who_may_not_ask_is_told_to_fetch_an_administrator() {
        let script =
            Script::new(|_| Some(crate::cluster::script::refusal(403, "User \"bob\" cannot create", "")));
        let found = check(&script.session(), &installed()).await;
        assert!(
            found.verdict == Verdict::Warn && found.fix.unwrap().contains("administrator"),
            "{}",
            found.message
        );
    }

    #[test]
    fn an_operator_for_one_namespace_needs_rights_there_only() {
        let mut operator = installed();
        operator.watched = Some("team".to_owned());
        let questions = questions(&operator);
        let namespaces: std::collections::BTreeSet<_> =
            questions.iter().map(|q| q.namespace.clone()).collect();
        assert_eq!(namespaces, [Some("team".to_owned()), Some("fractune".to_owned())].into());
        assert!(questions.iter().all(|q| q.resource.as_deref() != Some("nodes")));
    }

    /// The rules of the chart's roles, as `group resource verb`.
    fn chart() -> Vec<String> {
        let chart = include_str!("../../../../charts/fractune/templates/rbac-operator.yaml");
        let list = |line: &str, key: &str| -> Option<Vec<String>> {
            let rest = line.trim().trim_start_matches("- ").strip_prefix(key)?;
            let inner = rest.trim().trim_start_matches('[').trim_end_matches(']');
            Some(inner.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect())
        };
        let (mut groups, mut resources, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for line in chart.lines() {
            if let Some(words) = list(line, "apiGroups:") {
                groups = words;
            } else if let Some(words) = list(line, "resources:") {
                resources = words;
            } else if let Some(verbs) = list(line, "verbs:") {
                for (group, resource) in groups.iter().flat_map(|g| resources.iter().map(move |r| (g, r))) {
                    found.extend(verbs.iter().map(|verb| format!("{group} {resource} {verb}")));
                }
            }
        }
        found
    }

    #[test]
    fn what_is_asked_for_is_what_the_chart_gives() {
        let each = |right: &Right| {
            let (group, resource) = (right.group, right.resource);
            right.verbs.iter().map(move |verb| format!("{group} {resource} {verb}")).collect::<Vec<_>>()
        };
        let mut asked: Vec<String> = RIGHTS.iter().flat_map(each).collect();
        asked.push("rbac.authorization.k8s.io clusterroles bind".to_owned());
        let mut given = chart();
        asked.sort_unstable();
        given.sort_unstable();
        given.dedup();
        assert_eq!(asked, given);
    }

    #[test]
    fn a_reporters_role_that_was_cut_is_told() {
        let role = |verbs: &[&str]| -> ClusterRole {
            serde_json::from_value(json!({"metadata": {}, "rules": [
                {"apiGroups": ["fractune.dev"], "resources": ["tunetasks"], "verbs": ["get"]},
                {"apiGroups": ["fractune.dev"], "resources": ["tunetasks/status"], "verbs": verbs}]}))
            .unwrap()
        };
        assert_eq!(agent_lacks(&role(&["get", "patch"])), Vec::<String>::new());
        assert_eq!(agent_lacks(&role(&["get"])), ["patch tunetasks/status"]);
    }
}

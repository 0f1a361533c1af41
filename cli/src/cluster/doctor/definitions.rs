//! Are the definitions there, and are they those of this version?

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use super::check::Check;
use super::{ClusterError, Session};
use crate::cluster::connect::listed;
use crate::cluster::error::INSTALL;

const NAME: &str = "definitions";
/// The command that brings a definition up to date: that of the release that made it, where one did.
fn upgrade(definition: &CustomResourceDefinition) -> String {
    let of_helm = |key: &str| definition.annotations().get(&format!("meta.helm.sh/release-{key}")).cloned();
    match (of_helm("name"), of_helm("namespace")) {
        (Some(release), Some(namespace)) => {
            format!("helm upgrade {release} charts/fractune --namespace {namespace} --reuse-values")
        }
        _ => "kubectl apply --server-side --force-conflicts -f charts/fractune/files/crds".to_owned(),
    }
}

/// The findings, and whether jobs can be asked for.
pub(super) async fn check(session: &Session) -> (Vec<Check>, bool) {
    let api: Api<CustomResourceDefinition> = Api::all(session.client.clone());
    let mut missing = Vec::new();
    let mut checks = Vec::new();
    for (file, ours) in fractune_crds::schema::definitions() {
        let name = file.trim_end_matches(".yaml");
        match session.ask(api.get(name)).await {
            Ok(theirs) => checks.extend(compare(name, &ours, &theirs)),
            Err(ClusterError::NotFound(_)) => missing.push(name),
            Err(ClusterError::Forbidden(_)) => return served(session).await,
            Err(error) => return (vec![Check::unknown(NAME, &error)], false),
        }
    }
    if !missing.is_empty() {
        let message = format!("there is no definition of {}", missing.join(", "));
        return (vec![Check::fail(NAME, message, INSTALL)], false);
    }
    if checks.is_empty() {
        checks.push(Check::ok(NAME, "tunejobs and tunetasks are served, as this version defines them"));
    }
    (checks, true)
}

/// What can be told without a look at the definitions.
async fn served(session: &Session) -> (Vec<Check>, bool) {
    match session.ask(session.client.list_api_group_resources(fractune_crds::API_VERSION)).await {
        Ok(_) => {
            let message =
                "tunejobs and tunetasks are served; you may not see whether as this version defines them";
            (vec![Check::ok(NAME, message)], true)
        }
        Err(_) => {
            (vec![Check::fail(NAME, format!("{} is not served", fractune_crds::API_VERSION), INSTALL)], false)
        }
    }
}

/// What is wrong with a definition.
fn compare(name: &str, ours: &Value, theirs: &CustomResourceDefinition) -> Vec<Check> {
    let mut checks = Vec::new();
    let conditions = theirs.status.as_ref().and_then(|status| status.conditions.as_ref());
    let refused = conditions
        .into_iter()
        .flatten()
        .find(|c| (c.type_ == "Established" || c.type_ == "NamesAccepted") && c.status != "True");
    if let Some(condition) = refused {
        let why = condition.message.clone().unwrap_or_default();
        let fix = format!("kubectl describe crd {name}");
        checks.push(Check::fail(NAME, format!("{name} is not served: {why}"), fix));
    }
    let version = "v1alpha1";
    let schema = theirs.spec.versions.iter().find(|v| v.name == version && v.served).map(|v| &v.schema);
    let Some(schema) = schema else {
        checks.push(Check::fail(NAME, format!("{name} is not served as {version}"), upgrade(theirs)));

        return checks;
    };
    let fix = upgrade(theirs);
    let theirs = serde_json::to_value(schema).unwrap_or_default();
    // Read as theirs was, so that both are written alike.
    let ours = serde_json::from_value::<CustomResourceDefinition>(ours.clone()).ok();
    let ours = ours
        .and_then(|ours| serde_json::to_value(&ours.spec.versions.first()?.schema).ok())
        .unwrap_or_default();
    if ours != theirs {
        checks.push(difference(name, &fields(&ours), &fields(&theirs), &fix));
    }
    checks
}

fn difference(name: &str, ours: &[String], theirs: &[String], fix: &str) -> Check {
    let lacking = |all: &[String], of: &[String]| -> Vec<String> {
        // A field below another that is missing as well needs no word.
        let missing: Vec<&String> = all.iter().filter(|field| !of.contains(field)).collect();
        let below = |field: &str| {
            missing.iter().any(|other| {
                field.strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with(['.', '[']))
            })
        };
        missing.iter().filter(|field| !below(field)).map(|field| (*field).clone()).collect()
    };
    let words = |fields: &[String]| listed(&fields.iter().map(String::as_str).collect::<Vec<_>>());
    let (older, newer) = (lacking(ours, theirs), lacking(theirs, ours));
    let version = env!("CARGO_PKG_VERSION");
    match (older.as_slice(), newer.as_slice()) {
        ([], []) => Check::warn(
            NAME,
            format!("{name} has other bounds or rules than version {version} gives it"),
            fix,
        ),
        ([], newer) => Check::warn(
            NAME,
            format!(
                "{name} is newer than this program, version {version}, which does not know {}",
                words(newer)
            ),
            "install the version of kubectl-fractune that belongs to the chart",
        ),
        (older, _) => Check::fail(
            NAME,
            format!("{name} is older than version {version}: it lacks {}", words(older)),
            fix,
        ),
    }
}

/// Every field of a schema, as `spec.kernels[].name`.
fn fields(schema: &Value) -> Vec<String> {
    fn walk(schema: &Value, path: &str, found: &mut Vec<String>) {
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(property, &path, found);
            found.push(path);
        }
        if let Some(items) = schema.get("items") {
            walk(items, &format!("{path}[]"), found);
        }
    }
    let mut found = Vec::new();
    walk(schema.get("openAPIV3Schema").unwrap_or(schema), "", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    fn definition() -> (Value, CustomResourceDefinition) {
        let [(_, ours), _] = fractune_crds::schema::definitions();
        (ours.clone(), serde_json::from_value(ours).unwrap())
    }

    #[test]
    fn our_own_definition_is_as_it_should_be() {
        let (ours, theirs) = definition();
        assert_eq!(compare("tunejobs.fractune.dev", &ours, &theirs), []);
    }

    #[test]
    fn an_older_one_is_told_by_the_fields_that_it_lacks() {
        let (ours, _) = definition();
        let mut old = ours.clone();
        let spec =
            old.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
        spec.as_object_mut().unwrap().remove("measure");
        let old = serde_json::from_value(old).unwrap();
        let checks = compare("tunejobs.fractune.dev", &ours, &old);
        assert_eq!(checks[0].verdict, Verdict::Fail);
        assert!(checks[0].message.ends_with("it lacks spec.measure"), "{}", checks[0].message);
    }

    #[test]
    fn a_newer_one_and_other_bounds_are_warnings() {
        let (ours, _) = definition();
        let mut new = ours.clone();
        let spec =
            new.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
        spec["later"] = serde_json::json!({"type": "string"});
        let checks = compare("tunejobs.fractune.dev", &ours, &serde_json::from_value(new).unwrap());
        assert!(checks[0].verdict == Verdict::Warn && checks[0].message.contains("spec.later"), "{checks:?}");
        let mut other = ours.clone();
        let spec =
            other.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
        spec["shares"]["maxItems"] = serde_json::json!(3);
        let checks = compare("tunejobs.fractune.dev", &ours, &serde_json::from_value(other).unwrap());
        assert!(checks[0].verdict == Verdict::Warn && checks[0].message.contains("bounds"), "{checks:?}");
    }

    #[test]
    fn a_version_that_is_not_served_fails() {
        let (ours, mut theirs) = definition();
        theirs.spec.versions[0].served = false;
        assert_eq!(compare("tunejobs.fractune.dev", &ours, &theirs)[0].verdict, Verdict::Fail);
    }
}

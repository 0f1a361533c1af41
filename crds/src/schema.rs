//! The definitions that Kubernetes is given, and their YAML.
//!
//! The types say what is there; what only Kubernetes knows (how lists merge, rules in CEL, bounds of
//! embedded types) is added here, in one place, to what is derived from them.

mod rules;

use std::sync::LazyLock;

use kube::CustomResourceExt as _;
use serde_json::{Map, Value, json};

use crate::{TuneJob, TuneTask};

/// File name and definition of each resource.
#[must_use]
pub fn definitions() -> [(&'static str, Value); 2] {
    [
        ("tunejobs.fractune.dev.yaml", job()),
        ("tunetasks.fractune.dev.yaml", definition(TuneTask::crd(), rules::TASK_LISTS, &rules::task())),
    ]
}

fn job() -> Value {
    let mut definition = definition(TuneJob::crd(), rules::JOB_LISTS, &rules::job());
    if let Some(Value::Object(schema)) = definition.pointer_mut(SCHEMA_POINTER)
        && let Some(status) = at(schema, "status")
    {
        // An object without a status is ready, by the rules of kstatus: Helm and Flux would not wait for a job that no
        // operator has seen yet. So its status speaks of no generation that there is.
        status.insert("default".into(), json!({"observedGeneration": -1}));
    }
    definition
}

/// The YAML of a definition, as it is committed.
///
/// # Errors
/// When YAML cannot hold the definition, which the types rule out.
pub fn yaml(definition: &Value) -> Result<String, serde_yaml::Error> {
    let text = serde_yaml::to_string(definition)?;
    Ok(format!("# Generated from crds/src by `make crds`; edit that, not this.\n{text}"))
}

/// The schema of a `TuneJob`, for those who check one without Kubernetes.
pub(crate) fn job_schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let [(_, mut job), _] = definitions();
        job.pointer_mut(SCHEMA_POINTER).map_or(Value::Null, Value::take)
    });
    &SCHEMA
}

const SCHEMA_POINTER: &str = "/spec/versions/0/schema/openAPIV3Schema";

fn definition(
    derived: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    lists: &[(&str, rules::ListType)],
    added: &[rules::Rule],
) -> Value {
    // A definition is plain data, so this does not fail.
    let mut definition = serde_json::to_value(derived).unwrap_or_default();
    if let Some(Value::Object(schema)) = definition.pointer_mut(SCHEMA_POINTER) {
        complete(schema);
        if let Some(message) = at(schema, "status.conditions[].message") {
            // Kubernetes' own bound of a condition's message.
            message.insert("maxLength".into(), json!(32_768));
        }
        for (path, list_type) in lists {
            if let Some(list) = at(schema, path) {
                list_type.set(list);
            }
        }
        for rule in added {
            if let Some(object) = at(schema, rule.path) {
                rule.add(object);
            }
        }
    }
    whole_numbers(&mut definition);
    definition
}

/// The schema at a path such as `spec.kernels[].arguments[]`; the object's own where it is empty.
fn at<'a>(schema: &'a mut Map<String, Value>, path: &str) -> Option<&'a mut Map<String, Value>> {
    if path.is_empty() {
        return Some(schema);
    }
    path.split('.').try_fold(schema, |schema, step| {
        let name = step.trim_end_matches("[]");
        let property = schema.get_mut("properties")?.get_mut(name)?.as_object_mut()?;
        if name == step { Some(property) } else { property.get_mut("items")?.as_object_mut() }
    })
}

/// Gives every list a type, every list, map and string a bound, and takes away what only confuses: nulls,
/// and formats that Kubernetes does not know.
fn complete(schema: &mut Map<String, Value>) {
    const ITEMS: u64 = 64;
    const LENGTH: u64 = 1024;

    schema.remove("nullable");
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    match format {
        "uint8" | "uint16" => schema.insert("format".into(), json!("int32")),
        "uint32" | "uint64" => schema.insert("format".into(), json!("int64")),
        _ => None,
    };
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => {
            schema.entry("x-kubernetes-list-type").or_insert(json!("atomic"));
            schema.entry("maxItems").or_insert(json!(ITEMS));
        }
        Some("object") if schema.contains_key("additionalProperties") => {
            schema.entry("maxProperties").or_insert(json!(ITEMS));
        }
        Some("string") if !schema.contains_key("enum") && !schema.contains_key("format") => {
            schema.entry("maxLength").or_insert(json!(LENGTH));
        }
        _ => {}
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().filter_map(Value::as_object_mut).for_each(complete);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(Value::Object(schema)) = schema.get_mut(below) {
            complete(schema);
        }
    }
}

/// Bounds are floats in the derived types; `maximum: 100.0` would only surprise.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|n| number.is_f64() && n.fract() == 0.0 && n.abs() < 1e15);
            if let Some(whole) = whole {
                *value = json!(whole as i64);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 200_000;

    /// Calls `check` with the path and the content of every schema below.
    fn walk(path: &str, schema: &Value, check: &mut impl FnMut(&str, &Map<String, Value>)) {
        let schema = schema.as_object().unwrap_or_else(|| panic!("{path} is not an object"));
        check(path, schema);
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            walk(&format!("{path}.{name}"), property, check);
        }
        for below in ["items", "additionalProperties"] {
            if let Some(below) = schema.get(below) {
                walk(&format!("{path}[]"), below, check);
            }
        }
    }

    #[test]
    fn a_default_keeps_to_its_own_bounds() {
        for (name, definition) in definitions() {
            let schema = serde_json::to_value(&definition).unwrap();
            let schema = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            let mut seen = 0;
            walk(&name, schema, &mut |path, schema| {
                let number = |name: &str| schema.get(name).and_then(Value::as_f64);
                let Some(default) = number("default") else { return };
                seen += 1;
                let (least, most) = (number("minimum"), number("maximum"));
                assert!(least.is_none_or(|least| default >= least), "{path}: the API server refuses {default}");
                assert!(most.is_none_or(|most| default <= most), "{path}: the API server refuses {default}");
            });
            assert!(seen > 5, "{name}: {seen} numbers have a default");
        }
    }

    #[test]
    fn the_committed_yaml_is_fresh_and_small_enough_for_client_side_apply() {
        for (name, definition) in definitions() {
            let expected = yaml(&definition).unwrap();
            let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == expected, "crds/{name} is stale: run `make crds`");
            assert!(expected.len() < LIMIT, "{name} has {} bytes", expected.len());
        }
    }

    #[test]
    fn schemas_are_structural() {
        const UNSTRUCTURED: [&str; 8] = [
            "$ref",
            "$defs",
            "definitions",
            "oneOf",
            "anyOf",
            "nullable",
            "uniqueItems",
            "patternProperties",
        ];
        for (name, definition) in definitions() {
            walk(name, definition.pointer(SCHEMA_POINTER).unwrap(), &mut |path, schema| {
                for keyword in UNSTRUCTURED {
                    let int_or_string = schema.contains_key("x-kubernetes-int-or-string");
                    assert!(!schema.contains_key(keyword) || int_or_string, "{path} has {keyword}");
                }
                let both = schema.contains_key("properties") && schema.contains_key("additionalProperties");
                assert!(!both, "{path} has properties and additionalProperties");
                assert_ne!(schema.get("additionalProperties"), Some(&json!(false)), "{path}");
                assert_ne!(schema.get("default"), Some(&Value::Null), "{path}");
                let open = ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"];
                let typed = schema.contains_key("type") || open.iter().any(|k| schema.contains_key(*k));
                assert!(typed, "{path} has no type");
                let format = schema.get("format").and_then(Value::as_str).unwrap_or("int32");
                assert!(["int32", "int64", "date-time"].contains(&format), "{path} has format {format}");
                assert_ne!(schema.get("type"), Some(&json!("number")), "{path} is a float");
            });
        }
    }

    #[test]
    fn everything_is_bounded_and_every_list_has_a_type() {
        for (name, definition) in definitions() {
            walk(name, definition.pointer(SCHEMA_POINTER).unwrap(), &mut |path, schema| {
                let has = |keyword: &str| schema.contains_key(keyword);
                match schema.get("type").and_then(Value::as_str) {
                    Some("array") => {
                        assert!(has("items") && has("maxItems"), "{path}");
                        let list_type = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
                        assert!(list_type.is_some(), "{path} has no list type");
                        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                        let items = &schema["items"];
                        let required = items["required"].as_array().cloned().unwrap_or_default();
                        for key in keys.into_iter().flatten() {
                            assert!(required.contains(key), "{path}: key {key} is not required");
                        }
                        assert_eq!(list_type == Some("map"), keys.is_some(), "{path}");
                    }
                    Some("string") => {
                        assert!(has("maxLength") || has("enum") || has("format"), "{path} has no bound");
                    }
                    Some("object") if has("additionalProperties") => assert!(has("maxProperties"), "{path}"),
                    _ => {}
                }
            });
        }
    }

    #[test]
    fn a_job_that_no_operator_has_seen_has_a_status_of_no_generation() {
        let [(_, mut job), (_, mut task)] = definitions();
        let default = |definition: &mut Value| {
            let schema = definition.pointer_mut(SCHEMA_POINTER).unwrap().as_object_mut().unwrap();
            at(schema, "status").unwrap().get("default").cloned()
        };
        assert_eq!(default(&mut job), Some(json!({"observedGeneration": -1})));
        assert_eq!(default(&mut task), None);
    }

    #[test]
    fn rules_and_list_types_reach_the_schema() {
        let [(_, job), (_, task)] = definitions();
        for (definition, lists, rules) in
            [(job, rules::JOB_LISTS, rules::job()), (task, rules::TASK_LISTS, rules::task())]
        {
            let mut schema = definition.pointer(SCHEMA_POINTER).unwrap().as_object().unwrap().clone();
            for (path, _) in lists {
                let list = at(&mut schema, path).unwrap_or_else(|| panic!("no list at {path}"));
                assert_eq!(list["type"], "array", "{path}");
            }
            for rule in rules {
                let object = at(&mut schema, rule.path).unwrap_or_else(|| panic!("no {}", rule.path));
                assert!(object.contains_key("x-kubernetes-validations"), "{}", rule.path);
            }
        }
    }
}

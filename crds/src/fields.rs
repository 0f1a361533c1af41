//! Plain values into typed ones, with what does not fit named by its path.

use fractune_tuner::Violation;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::schema::job_schema;
use crate::yaml::Step;

/// A field that does not fit: its path, and what is wrong.
pub(crate) struct Misfit {
    pub(crate) path: Vec<Step>,
    pub(crate) violation: Violation,
}

/// Reads a value. All unknown fields are returned beside what was read, or beside the first field of the
/// wrong type, at which reading ends.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> (Result<T, Misfit>, Vec<Misfit>) {
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let typed = serde_path_to_error::Deserializer::new(value, &mut track);
    let result = serde_ignored::deserialize(typed, |path| unknown.push(steps_of(&path)));
    let result = result.map_err(|error: serde_json::Error| wrong(value, &track.path(), &error.to_string()));
    // The type of a document is known before its fields are read.
    unknown.retain(|path| !matches!(&path[..], [Step::Key(key)] if key == "apiVersion" || key == "kind"));
    (result, unknown.into_iter().map(|path| unknown_field(value, path)).collect())
}

fn steps_of(path: &serde_ignored::Path<'_>) -> Vec<Step> {
    use serde_ignored::Path;
    let (parent, step) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(Step::Index(*index))),
        Path::Map { parent, key } => (parent, Some(Step::Key(key.clone()))),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            (parent, None)
        }
    };
    let mut steps = steps_of(parent);
    steps.extend(step);
    steps
}

/// `spec.kernels[0].name`.
fn text_of(steps: &[Step]) -> String {
    let text: String = steps
        .iter()
        .map(|step| match step {
            Step::Index(index) => format!("[{index}]"),
            Step::Key(key) => format!(".{key}"),
        })
        .collect();
    text.trim_start_matches('.').to_owned()
}

/// A scalar as written; nothing for what is too long to show.
fn shown(document: &Value, path: &[Step]) -> String {
    let value = path.iter().try_fold(document, |value, step| match step {
        Step::Index(index) => value.get(index),
        Step::Key(key) => value.get(key),
    });
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => value.to_string(),
        _ => String::new(),
    }
}

fn unknown_field(document: &Value, path: Vec<Step>) -> Misfit {
    let known = path.split_last().map(|(_, parent)| known_fields(parent)).unwrap_or_default();
    let message = if known.is_empty() {
        "unknown field; remove it".to_owned()
    } else {
        format!("unknown field; known fields here: {}", known.join(", "))
    };
    Misfit { violation: Violation::new(text_of(&path), shown(document, &path), message), path }
}

/// The names of the fields of an object, from the schema; none where the schema does not say.
fn known_fields(path: &[Step]) -> Vec<&'static str> {
    let schema = path.iter().try_fold(job_schema(), |schema, step| match step {
        Step::Index(_) => schema.get("items"),
        Step::Key(key) => schema.get("properties")?.get(key),
    });
    let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    properties.map(|properties| properties.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn wrong(document: &Value, path: &serde_path_to_error::Path, error: &str) -> Misfit {
    use serde_path_to_error::Segment;
    let steps = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    let path: Vec<Step> = steps.collect();
    let missing = error.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let violation = match missing {
        Some(field) => {
            let mut path = path.clone();
            path.push(Step::Key(field.to_owned()));
            Violation::new(text_of(&path), "", "missing field; write it")
        }
        None => Violation::new(text_of(&path), shown(document, &path), in_words(error)),
    };
    Misfit { path, violation }
}

/// A message of the deserializer, in words of YAML instead of Rust.
fn in_words(error: &str) -> String {
    const WORDS: [(&str, &str); 12] = [
        ("expected u8", "expected a whole number from 1 to 100"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected i32", "expected a whole number from -2147483648 to 2147483647"),
        ("expected i64", "expected a whole number"),
        ("expected a string", "expected text (put it in quotes)"),
        ("expected a sequence", "expected a list"),
        ("expected a map", "expected a mapping"),
        ("invalid type: null", "nothing is written here"),
        ("invalid type: sequence", "invalid type: a list"),
        ("invalid type: map", "invalid type: a mapping"),
        ("unknown variant", "unknown value"),
        (
            "data did not match any variant of untagged enum Value",
            "a parameter's value is an integer, a boolean or a string",
        ),
    ];
    let mut text = error.to_owned();
    for (rust, words) in WORDS {
        text = text.replace(rust, words);
    }
    match text.find("expected struct ") {
        Some(at) => {
            text.truncate(at);
            text + "expected a mapping"
        }
        None => text,
    }
}

//! What is wrong with a file that cannot be read, in its own terms.

use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::Violation;

/// Why a text is no JSON.
pub(super) fn not_json(text: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() && !text.trim_ascii().is_empty() {
        return format!("is cut off at line {}, column {}; get the whole file", error.line(), error.column());
    }
    format!("is not JSON: {error}; name a T1 tuning file")
}

/// A field that is missing or has a value of the wrong type.
pub(super) fn wrong_field(json: &Json, error: &serde_path_to_error::Error<serde_json::Error>) -> Violation {
    let message = error.inner().to_string();
    if message.starts_with("missing field") {
        return Violation::new(error.path().to_string(), "", format!("{message}; add it"));
    }
    let value = error.path().iter().try_fold(json, |json, segment| match segment {
        serde_path_to_error::Segment::Seq { index } => json.get(*index),
        serde_path_to_error::Segment::Map { key } => json.get(key),
        _ => Some(json),
    });
    let value = value.map(Json::to_string).unwrap_or_default();
    let (found, wanted) = message.split_once(", expected ").unwrap_or((&message, "another value"));
    let wanted = match wanted {
        "f64" => "a number",
        "a sequence" => "a list",
        other => other,
    };
    Violation::new(error.path().to_string(), value, format!("has an {found}; write {wanted}"))
}

/// A path as all messages have it: `Arguments[0].Size`, not `Arguments.0.Size`.
pub(super) fn field_path(path: &str) -> String {
    let mut fields = String::new();
    for segment in path.split('.').filter(|segment| *segment != "?") {
        if segment.bytes().all(|b| b.is_ascii_digit()) {
            let _ = write!(fields, "[{segment}]");
        } else {
            fields.push_str(if fields.is_empty() { "" } else { "." });
            fields.push_str(segment);
        }
    }
    fields
}

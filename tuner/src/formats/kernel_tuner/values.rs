//! JSON values as parameter values and times.

use serde_json::Value as Json;

use crate::kernel::Value;

/// A parameter value; none for null, arrays and objects. A number that is no 64-bit integer is kept as the
/// text that the file has.
pub(super) fn parameter_value(json: &Json) -> Option<Value> {
    match json {
        Json::Bool(b) => Some(Value::Bool(*b)),
        Json::Number(n) => Some(n.as_i64().map_or_else(|| Value::Text(n.to_string()), Value::Int)),
        Json::String(s) => Some(Value::Text(s.clone())),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Nanoseconds of a time in some unit. None for what is no time: failures are strings, null, or, in old
/// files, 1e20.
pub(super) fn nanoseconds(json: &Json, ns_per_unit: f64) -> Option<u64> {
    const TOO_LONG_MS: f64 = 1e15;
    let time = json.as_f64()?;
    (time.is_finite() && time > 0.0 && time < TOO_LONG_MS).then(|| (time * ns_per_unit).round() as u64)
}

/// Nanoseconds per millisecond.
pub(super) const MILLISECONDS: f64 = 1e6;

//! The schema's bounds, checked without Kubernetes, so that a job that runs here is admitted there.

use fractune_tuner::Violation;
use serde_json::Value;

/// Every number outside its range, and every list, map or text over its length, below a value.
///
/// What is empty or has the wrong form is for those to say who know what it is for.
pub(crate) fn check(path: &str, value: &Value, schema: &Value, found: &mut Vec<Violation>) {
    match value {
        Value::Number(number) => {
            let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
            let (least, most) = (bound("minimum"), bound("maximum"));
            let Some(number) = number.as_i64() else { return };
            if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
                let range = match (least, most) {
                    (Some(least), Some(most)) => format!("from {least} to {most}"),
                    (Some(least), None) => format!("of at least {least}"),
                    (None, most) => format!("of at most {}", most.unwrap_or(i64::MAX)),
                };
                let message = format!("is out of range; write a whole number {range}");
                found.push(Violation::new(path, number, message));
            }
        }
        Value::String(text) => {
            let length = text.chars().count();
            over(path, "maxLength", "characters", length, schema, found);
        }
        Value::Array(items) => {
            over(path, "maxItems", "items", items.len(), schema, found);
            for (i, item) in items.iter().enumerate() {
                let schema = schema.get("items").unwrap_or(&Value::Null);
                check(&format!("{path}[{i}]"), item, schema, found);
            }
        }
        Value::Object(fields) => {
            over(path, "maxProperties", "entries", fields.len(), schema, found);
            for (name, field) in fields {
                let property = schema.get("properties").and_then(|properties| properties.get(name));
                let schema = property.or_else(|| schema.get("additionalProperties"));
                check(&format!("{path}.{name}"), field, schema.unwrap_or(&Value::Null), found);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn over(path: &str, bound: &str, unit: &str, length: usize, schema: &Value, found: &mut Vec<Violation>) {
    let most = schema.get(bound).and_then(Value::as_u64);
    if let Some(most) = most.filter(|&most| length as u64 > most) {
        let message = format!("has {length} {unit}, over the limit of {most}; use fewer");
        found.push(Violation::new(path, "", message));
    }
}

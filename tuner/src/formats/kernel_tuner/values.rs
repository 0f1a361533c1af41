//! JSON values as parameter values and times.

use serde_json::Value as Json;

use crate::kernel::{Configuration, Value};

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

/// The number that a text spells in decimal. The engine has no fractions, so it keeps them as text.
fn number(text: &str) -> Option<f64> {
    let starts = text.strip_prefix('-').unwrap_or(text).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    text.parse::<f64>().ok().filter(|number| starts && number.is_finite())
}

/// A configuration in which texts that spell a number have one spelling, and whole ones are integers, so
/// that `2`, `2.0` and `"2.0"` are one value.
#[must_use]
pub fn numeric(configuration: &Configuration) -> Configuration {
    const EXACT: f64 = 9.0e15;
    let one_spelling = |value: &Value| match value {
        Value::Text(text) => match number(text) {
            Some(number) if number.fract() == 0.0 && number.abs() < EXACT => Value::Int(number as i64),
            Some(number) => Value::Text(number.to_string()),
            None => value.clone(),
        },
        Value::Bool(_) | Value::Int(_) => value.clone(),
    };
    Configuration(configuration.0.iter().map(|(name, value)| (name.clone(), one_spelling(value))).collect())
}

/// Whether every value of a parameter is a number, at least one of them spelt as text.
pub(super) fn are_fractions(values: &[Value]) -> bool {
    let is_number = |value: &Value| match value {
        Value::Int(_) => true,
        Value::Text(text) => number(text).is_some(),
        Value::Bool(_) => false,
    };
    values.iter().all(is_number) && values.iter().any(|value| matches!(value, Value::Text(_)))
}

/// A parameter value as JSON; the text of a fraction becomes its number.
pub(super) fn json_value(value: &Value, fractions: bool) -> Json {
    match value {
        Value::Text(text) if fractions => {
            let whole = text.parse::<i64>().ok().map(Json::from);
            whole.or_else(|| number(text).map(Json::from)).unwrap_or_else(|| Json::from(text.as_str()))
        }
        Value::Text(text) => Json::from(text.as_str()),
        Value::Int(value) => Json::from(*value),
        Value::Bool(value) => Json::from(*value),
    }
}

/// What Python's `str()` makes of a value, of which Kernel Tuner makes its keys.
pub(super) fn python_str(value: &Json) -> String {
    match value {
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        Json::String(text) => text.clone(),
        Json::Number(number) if number.is_f64() => python_float(number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// What Python's `repr()` makes of a double: Rust's has the same digits, but other exponents.
pub(in crate::formats) fn python_float(value: f64) -> String {
    let text = format!("{value:?}");
    match text.split_once('e') {
        None => text,
        Some((digits, exponent)) => {
            let (sign, exponent) =
                exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            format!("{digits}e{sign}{exponent:0>2}")
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_spelt_as_python_does() {
        for (value, python) in [
            (0.5, "0.5"),
            (2.0, "2.0"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (1e16, "1e+16"),
            (1e-120, "1e-120"),
        ] {
            assert_eq!(python_float(value), python);
        }
    }

    #[test]
    fn only_parameters_all_of_whose_values_are_numbers_become_numbers() {
        let texts = |texts: &[&str]| texts.iter().map(|text| Value::Text((*text).into())).collect::<Vec<_>>();
        assert!(are_fractions(&texts(&["0.5", "2"])));
        assert!(!are_fractions(&texts(&["0.5", "half"])) && !are_fractions(&texts(&["inf", "nan"])));
        assert!(!are_fractions(&[Value::Int(1)]));
        assert_eq!(json_value(&texts(&["2"])[0], true).to_string(), "2");
        assert_eq!(json_value(&texts(&["2.0"])[0], true).to_string(), "2.0");
        assert_eq!(json_value(&texts(&["2"])[0], false).to_string(), "\"2\"");
    }
}

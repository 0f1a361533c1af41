//! Parameters: their values and defaults.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::file::TuningParameter;
use super::python::{Object, evaluate, parse};
use super::report::Report;
use super::translate::Tunable;
use crate::formats::kernel_tuner::python_float;
use crate::kernel::{Parameter, Value};

/// Most values of a parameter, as a job allows.
const MAX_VALUES: usize = 4096;

pub(super) fn tunables(parameters: &[TuningParameter], report: &mut Report) -> Vec<Tunable> {
    if parameters.is_empty() {
        report.refuse("ConfigurationSpace.TuningParameters", "", "is empty; there is nothing to tune");
    }
    let mut tunables: Vec<Tunable> = Vec::with_capacity(parameters.len());
    for (i, parameter) in parameters.iter().enumerate() {
        let path = format!("ConfigurationSpace.TuningParameters[{i}]");
        if !is_identifier(&parameter.name) {
            let message = "is no C identifier, so it can be no macro; rename it, in the source too";
            report.refuse(format!("{path}.Name"), &parameter.name, message);
        } else if tunables.iter().any(|known| known.parameter.name == parameter.name) {
            let message = "is the name of an earlier parameter too; rename one of them";
            report.refuse(format!("{path}.Name"), &parameter.name, message);
        }
        tunables.push(tunable(&path, parameter, report).unwrap_or_else(|| refused(&parameter.name)));
    }
    tunables
}

pub(super) fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn refused(name: &str) -> Tunable {
    let parameter = Parameter { name: name.to_owned(), values: Vec::new(), range: None, default: None };
    Tunable { parameter, fractional: false, refused: true }
}

fn tunable(path: &str, parameter: &TuningParameter, report: &mut Report) -> Option<Tunable> {
    let field = format!("{path}.Values");
    let (text, objects) = match &parameter.values {
        Json::String(text) => {
            let value = parse(text).and_then(|expression| evaluate(&expression, &[]));
            match report.keep(&field, text, value)? {
                Object::List(items) => (text.clone(), items),
                single => (text.clone(), vec![single]),
            }
        }
        Json::Array(items) => {
            let text = parameter.values.to_string();
            let Some(objects) = items.iter().map(object).collect() else {
                report.refuse(field, &text, "holds what is no value; write numbers, truths or strings");
                return None;
            };
            (text, objects)
        }
        other => {
            report.refuse(field, &other.to_string(), "is no list; write one, such as \"[1, 2, 4]\"");
            return None;
        }
    };
    let kind = kind_of(path, &parameter.ty, report)?;
    let mut values = Vec::with_capacity(objects.len());
    let mut known = BTreeSet::new();
    let mut repeated = 0;
    for object in &objects {
        match value(object, kind) {
            Ok(value) if known.insert(comparable(&value, kind)) => values.push(value),
            Ok(_) => repeated += 1,
            Err(message) => {
                report.refuse(field, &text, message);
                return None;
            }
        }
        if values.len() > MAX_VALUES {
            let message = format!("has more than {MAX_VALUES} values; use fewer");
            report.refuse(field, &text, message);
            return None;
        }
    }
    if values.is_empty() {
        report.refuse(field, &text, "has no values; write at least one");
        return None;
    }
    if repeated > 0 {
        report.warn(field, &text, format!("has {repeated} values twice; each counts once"));
    }
    let default = default(path, parameter, kind, &values, report);
    let fractional = kind == Kind::Float && values.iter().any(|value| matches!(value, Value::Text(_)));
    let parameter = Parameter { name: parameter.name.clone(), values, range: None, default: Some(default) };
    Some(Tunable { parameter, fractional, refused: false })
}

/// What the values of a parameter are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Uint,
    Float,
    Bool,
    Text,
}

fn kind_of(path: &str, ty: &str, report: &mut Report) -> Option<Kind> {
    match ty {
        "int" => Some(Kind::Int),
        "uint" => Some(Kind::Uint),
        "float" => Some(Kind::Float),
        "bool" => Some(Kind::Bool),
        "string" => Some(Kind::Text),
        other => {
            let message = "is no type of a parameter; write int, uint, float, bool or string";
            report.refuse(format!("{path}.Type"), other, message);
            None
        }
    }
}

/// A value as the engine has it. The engine has no fractions, so floats are kept as text, which reaches
/// the source unchanged.
fn value(object: &Object, kind: Kind) -> Result<Value, String> {
    let whole = match object {
        Object::Int(value) => Some(*value),
        Object::Bool(value) => Some(i64::from(*value)),
        Object::Float(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => Some(*value as i64),
        _ => None,
    };
    match (kind, object) {
        (Kind::Int | Kind::Uint, _) if whole.is_some_and(|whole| kind == Kind::Int || whole >= 0) => {
            Ok(Value::Int(whole.unwrap_or_default()))
        }
        (Kind::Float, Object::Int(value)) => Ok(Value::Text(value.to_string())),
        (Kind::Float, Object::Float(value)) => Ok(Value::Text(python_float(*value))),
        (Kind::Bool, Object::Bool(value)) => Ok(Value::Bool(*value)),
        (Kind::Bool, Object::Int(value @ (0 | 1))) => Ok(Value::Bool(*value == 1)),
        (Kind::Text, Object::Text(text)) => Ok(Value::Text(text.clone())),
        _ => {
            let (shown, wanted) = match kind {
                Kind::Int => (shown(object), "a whole number, as the Type says"),
                Kind::Uint => (shown(object), "a whole number from 0 up, as the Type says"),
                Kind::Float => (shown(object), "a number, as the Type says"),
                Kind::Bool => (shown(object), "a truth, as the Type says"),
                Kind::Text => (shown(object), "a string, as the Type says; put it in quotes"),
            };
            Err(format!("has the value {shown}, which is not {wanted}"))
        }
    }
}

/// What two values that mean the same have in common: `2` and `2.0` are one float.
fn comparable(value: &Value, kind: Kind) -> Value {
    match value {
        Value::Text(text) if kind == Kind::Float => {
            text.parse::<f64>().map_or_else(|_| value.clone(), |number| Value::Text(number.to_string()))
        }
        _ => value.clone(),
    }
}

fn shown(object: &Object) -> String {
    match object {
        Object::Int(value) => value.to_string(),
        Object::Float(value) => format!("{value:?}"),
        Object::Bool(value) => value.to_string(),
        Object::Text(text) => format!("{text:?}"),
        Object::List(_) => "a list".to_owned(),
    }
}

fn object(json: &Json) -> Option<Object> {
    Some(match json {
        Json::Bool(value) => Object::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Object::Int(value),
            None => Object::Float(number.as_f64()?),
        },
        Json::String(text) => Object::Text(text.clone()),
        Json::Null | Json::Array(_) | Json::Object(_) => return None,
    })
}

/// The default, or the first value where the file has none that can be used.
fn default(
    path: &str,
    parameter: &TuningParameter,
    kind: Kind,
    values: &[Value],
    report: &mut Report,
) -> Value {
    let first = values.first().cloned().unwrap_or(Value::Int(0));
    let Some(json) = &parameter.default else { return first };
    // Some files have a list of one.
    let single = if let Json::Array(items) = json
        && let [single] = items.as_slice()
    {
        single
    } else {
        json
    };
    let written = object(single).and_then(|object| value(&object, kind).ok());
    let written = written.map(|default| comparable(&default, kind));
    if let Some(known) = values.iter().find(|value| written.as_ref() == Some(&comparable(value, kind))) {
        return known.clone();
    }
    let message = format!("is not among the values; {first} is the default instead");
    report.warn(format!("{path}.Default"), &json.to_string(), message);
    first
}

//! Parameters as written, checked and made into lists of values.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;

use super::{SpaceParameter, field, names};
use crate::Violation;
use crate::expr::Type;
use crate::kernel::{Parameter, Range, Value};

/// Most values of one parameter.
const MAX_VALUES: usize = 4096;
/// Ranks and their sums stay below this.
const MAX_RAW: u64 = 1 << 63;

/// A parameter's values as expressions see them, and its place in a rank.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) values: Vec<i64>,
    /// How much the rank grows from one value to the next.
    pub(super) stride: u64,
}

impl Domain {
    pub(super) fn new(values: Vec<i64>) -> Self {
        Self { values, stride: 1 }
    }

    /// The number of the value that a configuration's rank holds for this parameter.
    pub(super) fn digit(&self, rank: u64) -> usize {
        (rank / self.stride) as usize % self.values.len()
    }
}

/// The type of a parameter's values, if they have one.
pub(super) fn type_of(values: &[Value]) -> Option<Type> {
    values.first().map(|value| match value {
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Text(_) => Type::Text,
    })
}

/// Gives each domain its stride and returns the number of raw combinations.
pub(super) fn place(path: &str, domains: &mut [Domain]) -> Result<u64, Violation> {
    let mut raw = 1_u64;
    for domain in domains.iter_mut().rev() {
        domain.stride = raw;
        raw = raw.checked_mul(domain.values.len() as u64).filter(|raw| *raw <= MAX_RAW).ok_or_else(|| {
            Violation::new(
                field(path, "parameters"),
                "",
                "the parameters have over 2^63 combinations; give some of them fewer values",
            )
        })?;
    }
    Ok(raw)
}

/// Checks every parameter and lists its values; one without usable values is listed without any.
pub(super) fn check(
    path: &str,
    parameters: &[Parameter],
    sizes: &BTreeMap<String, i64>,
    violations: &mut Vec<Violation>,
) -> Vec<SpaceParameter> {
    if parameters.is_empty() {
        violations.push(Violation::new(
            field(path, "parameters"),
            "",
            "there is nothing to tune; add at least one parameter",
        ));
    }
    let mut first_with: HashMap<&str, usize> = HashMap::new();
    let mut checked = Vec::with_capacity(parameters.len());
    for (i, parameter) in parameters.iter().enumerate() {
        let own = field(path, &format!("parameters[{i}]"));
        let name = parameter.name.as_str();
        let mut report = |message: String| {
            violations.push(Violation::new(format!("{own}.name"), name, message));
        };
        if let Some(problem) = names::problem(name) {
            report(problem.to_owned());
        }
        if sizes.contains_key(name) {
            report("the problem has a size of this name too; rename one of them".to_owned());
        }
        if let Some(first) = first_with.get(name) {
            report(format!("parameters[{first}] has this name already; rename or remove one of them"));
        } else {
            first_with.insert(name, i);
        }
        let values = values(&own, parameter, violations);
        checked.push(SpaceParameter { name: name.to_owned(), values });
    }
    checked
}

fn values(path: &str, parameter: &Parameter, violations: &mut Vec<Violation>) -> Vec<Value> {
    let mut report = |field: &str, value: String, message: &str| {
        violations.push(Violation::new(format!("{path}{field}"), value, message));
        Vec::new()
    };
    match (&parameter.range, parameter.values.as_slice()) {
        (Some(_), [_, ..]) => report("", String::new(), "has both values and range; remove one of the two"),
        (None, []) => report(
            ".values",
            String::new(),
            "has no values; list them, as in values: [1, 2, 4], or give a range: {min: 1, max: 8}",
        ),
        (Some(range), []) => match expand(*range) {
            Ok(values) => values,
            Err((field, value, message)) => report(&format!(".range{field}"), value, &message),
        },
        (None, values) => match listed_problem(values) {
            None => values.to_vec(),
            Some((field, value, message)) => {
                report(&format!(".values{field}"), value, &message);
                // The type is known well enough for the constraints to be checked.
                if values.len() <= MAX_VALUES { values.to_vec() } else { values[..1].to_vec() }
            }
        },
    }
}

/// A field below the one at hand, its value, and what is wrong with it.
type Problem = (String, String, String);

fn expand(range: Range) -> Result<Vec<Value>, Problem> {
    let Range { min, max, step } = range;
    if step < 1 {
        return Err((".step".into(), step.to_string(), "the step must be at least 1".into()));
    }
    if min > max {
        return Err((String::new(), format!("{min} to {max}"), "min is over max; swap them".into()));
    }
    let count = (i128::from(max) - i128::from(min)) / i128::from(step) + 1;
    if count > MAX_VALUES as i128 {
        let message = format!("has {count} values, over the limit of {MAX_VALUES}; use a larger step");
        return Err((String::new(), format!("{min} to {max}"), message));
    }
    Ok((0..count as i64).map(|i| Value::Int(min.wrapping_add(i.wrapping_mul(step)))).collect())
}

fn listed_problem(values: &[Value]) -> Option<Problem> {
    if values.len() > MAX_VALUES {
        let message = format!("has {} values, over the limit of {MAX_VALUES}; leave some out", values.len());
        return Some((String::new(), String::new(), message));
    }
    let first = values.first()?;
    if let Some((i, odd)) =
        values.iter().enumerate().find(|(_, value)| mem::discriminant(*value) != mem::discriminant(first))
    {
        let message = format!(
            "is {} where {}, the first value, is {}; give all values one type",
            kind(odd),
            shown(first),
            kind(first)
        );
        return Some((format!("[{i}]"), odd.to_string(), message));
    }
    let mut seen = HashSet::new();
    let (i, twice) = values.iter().enumerate().find(|(_, value)| !seen.insert(*value))?;
    Some((format!("[{i}]"), twice.to_string(), "is listed twice; remove one of the two".into()))
}

/// A value as it would be written: text in quotes, or an empty one could not be seen.
fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "a boolean",
        Value::Int(_) => "an integer",
        Value::Text(_) => "a string",
    }
}

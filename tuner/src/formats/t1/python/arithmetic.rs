//! What operators and functions do with values.

use std::cmp::Ordering;

use super::eval::Object;
use super::{Binary, Comparison, Unary};

impl Object {
    fn kind(&self) -> &'static str {
        match self {
            Object::Int(_) => "an integer",
            Object::Float(_) => "a float",
            Object::Bool(_) => "a boolean",
            Object::Text(_) => "a string",
            Object::List(_) => "a list",
        }
    }

    fn number(&self) -> Option<Number> {
        match self {
            Object::Int(value) => Some(Number::Int(*value)),
            Object::Bool(value) => Some(Number::Int(i64::from(*value))),
            Object::Float(value) => Some(Number::Float(*value)),
            Object::Text(_) | Object::List(_) => None,
        }
    }
}

/// A number: booleans count as 0 and 1.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    fn float(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }
}

pub(super) fn unknown(function: &str, arguments: usize) -> String {
    format!(
        "the function {function} with {arguments} argument{} is not understood; write the value",
        if arguments == 1 { "" } else { "s" }
    )
}

pub(super) fn one_argument(function: &str, operand: &Object) -> Result<Object, String> {
    let float_to_int = |value: f64| {
        const LIMIT: f64 = 9.0e18;
        if value.abs() < LIMIT { Ok(Object::Int(value as i64)) } else { Err(TOO_LARGE.to_owned()) }
    };
    match (function, operand.number()) {
        ("abs", Some(Number::Int(value))) => value.checked_abs().map(Object::Int).ok_or(TOO_LARGE.into()),
        ("abs", Some(Number::Float(value))) => Ok(Object::Float(value.abs())),
        ("int" | "ceil" | "floor" | "math.ceil" | "math.floor", Some(Number::Int(value))) => {
            Ok(Object::Int(value))
        }
        ("int", Some(Number::Float(value))) => float_to_int(value.trunc()),
        ("ceil" | "math.ceil", Some(Number::Float(value))) => float_to_int(value.ceil()),
        ("floor" | "math.floor", Some(Number::Float(value))) => float_to_int(value.floor()),
        ("float", Some(number)) => Ok(Object::Float(number.float())),
        ("bool", _) => Ok(Object::Bool(operand.is_true())),
        _ => Err(unknown(function, 1)),
    }
}

const TOO_LARGE: &str = "a result does not fit 64 bits; use smaller numbers";

/// How many items an operation makes, as far as it makes lists.
pub(super) fn repeated(operator: Binary, left: &Object, right: &Object) -> usize {
    match (operator, left, right) {
        (Binary::Add, Object::List(a), Object::List(b)) => a.len() + b.len(),
        (Binary::Multiply, Object::List(items), Object::Int(times))
        | (Binary::Multiply, Object::Int(times), Object::List(items)) => {
            items.len().saturating_mul(usize::try_from(*times).unwrap_or(0))
        }
        _ => 0,
    }
}

pub(super) fn unary(operator: Unary, operand: &Object) -> Result<Object, String> {
    match (operator, operand.number()) {
        (Unary::Minus, Some(Number::Int(value))) => {
            value.checked_neg().map(Object::Int).ok_or(TOO_LARGE.into())
        }
        (Unary::Minus, Some(Number::Float(value))) => Ok(Object::Float(-value)),
        (Unary::Plus, Some(Number::Int(value))) => Ok(Object::Int(value)),
        (Unary::Plus, Some(Number::Float(value))) => Ok(Object::Float(value)),
        (Unary::Invert, Some(Number::Int(value))) => Ok(Object::Int(!value)),
        _ => Err(format!("{} has no such sign; use a number", operand.kind())),
    }
}

pub(super) fn binary(operator: Binary, left: &Object, right: &Object) -> Result<Object, String> {
    match (operator, left, right) {
        (Binary::Add, Object::List(a), Object::List(b)) => {
            return Ok(Object::List(a.iter().chain(b).cloned().collect()));
        }
        (Binary::Add, Object::Text(a), Object::Text(b)) => return Ok(Object::Text(format!("{a}{b}"))),
        (Binary::Multiply, Object::List(items), Object::Int(times))
        | (Binary::Multiply, Object::Int(times), Object::List(items)) => {
            let times = usize::try_from(*times).unwrap_or(0);
            return Ok(Object::List(items.iter().cycle().take(items.len() * times).cloned().collect()));
        }
        _ => {}
    }
    let (Some(a), Some(b)) = (left.number(), right.number()) else {
        return Err(format!("{} and {} cannot be combined like this", left.kind(), right.kind()));
    };
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => integer(operator, a, b),
        _ => floating(operator, a.float(), b.float()),
    }
}

fn integer(operator: Binary, a: i64, b: i64) -> Result<Object, String> {
    let by_zero = || "a division by zero; exclude the zero".to_owned();
    let value = match operator {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide | Binary::FloorDivide | Binary::Modulo if b == 0 => return Err(by_zero()),
        Binary::Divide => return Ok(Object::Float(a as f64 / b as f64)),
        Binary::FloorDivide => {
            a.checked_div(b).map(|quotient| quotient - i64::from(a % b != 0 && (a < 0) != (b < 0)))
        }
        Binary::Modulo => {
            a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
        Binary::Power if b < 0 => return floating(operator, a as f64, b as f64),
        Binary::Power => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
        Binary::ShiftLeft => {
            u32::try_from(b).ok().and_then(|b| 2_i64.checked_pow(b)).and_then(|b| a.checked_mul(b))
        }
        Binary::ShiftRight => u32::try_from(b).ok().map(|b| a >> b.min(63)),
        Binary::BitAnd => Some(a & b),
        Binary::BitOr => Some(a | b),
        Binary::BitXor => Some(a ^ b),
    };
    value.map(Object::Int).ok_or_else(|| TOO_LARGE.to_owned())
}

fn floating(operator: Binary, a: f64, b: f64) -> Result<Object, String> {
    let value = match operator {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        Binary::FloorDivide => (a / b).floor(),
        Binary::Modulo => a - b * (a / b).floor(),
        Binary::Power => a.powf(b),
        _ => return Err("bits of a float; use integers".to_owned()),
    };
    if value.is_finite() { Ok(Object::Float(value)) } else { Err("a result is no finite number".to_owned()) }
}

pub(super) fn compare(operator: Comparison, left: &Object, right: &Object) -> Result<bool, String> {
    Ok(match operator {
        Comparison::Equal => equal(left, right),
        Comparison::NotEqual => !equal(left, right),
        Comparison::Less => order(left, right)? == Ordering::Less,
        Comparison::LessOrEqual => order(left, right)? != Ordering::Greater,
        Comparison::Greater => order(left, right)? == Ordering::Greater,
        Comparison::GreaterOrEqual => order(left, right)? != Ordering::Less,
        Comparison::In | Comparison::NotIn => {
            let Object::List(items) = right else {
                return Err(format!("`in` {}; use a list", right.kind()));
            };
            items.iter().any(|item| equal(left, item)) == (operator == Comparison::In)
        }
    })
}

fn equal(left: &Object, right: &Object) -> bool {
    match (left.number(), right.number()) {
        (Some(Number::Int(a)), Some(Number::Int(b))) => a == b,
        (Some(a), Some(b)) => a.float().partial_cmp(&b.float()) == Some(Ordering::Equal),
        _ => left == right,
    }
}

pub(super) fn order(left: &Object, right: &Object) -> Result<Ordering, String> {
    match (left.number(), right.number(), left, right) {
        (Some(Number::Int(a)), Some(Number::Int(b)), _, _) => Ok(a.cmp(&b)),
        // Results that are not finite are refused where they come up, so every two floats have an order.
        (Some(a), Some(b), _, _) => Ok(a.float().partial_cmp(&b.float()).unwrap_or(Ordering::Equal)),
        (_, _, Object::Text(a), Object::Text(b)) => Ok(a.cmp(b)),
        _ => Err(format!("{} and {} have no order", left.kind(), right.kind())),
    }
}

pub(super) fn extreme(function: &str, items: &[Object]) -> Result<Object, String> {
    let Some((first, rest)) = items.split_first() else {
        return Err(format!("{function}() of nothing; give it values"));
    };
    let wanted = if function == "min" { Ordering::Less } else { Ordering::Greater };
    rest.iter()
        .try_fold(first, |best, item| Ok(if order(item, best)? == wanted { item } else { best }))
        .cloned()
}

pub(super) fn subscript(list: &Object, index: &Object) -> Option<Object> {
    let (Object::List(items), Object::Int(index)) = (list, index) else { return None };
    let from_end = if *index < 0 { i64::try_from(items.len()).ok()? } else { 0 };
    items.get(usize::try_from(index + from_end).ok()?).cloned()
}

//! Evaluates an expression, within limits.

use std::cmp::Ordering;

use super::{Binary, Comparison, Expr, Kind, Loop, PythonError, Unary};

/// Steps, and items of lists, that one expression may take.
const MAX_STEPS: usize = 1_000_000;

/// A value of Python.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Object {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Object>),
}

impl Object {
    /// As a condition.
    pub(in super::super) fn is_true(&self) -> bool {
        match self {
            Object::Int(value) => *value != 0,
            Object::Float(value) => *value != 0.0,
            Object::Bool(value) => *value,
            Object::Text(text) => !text.is_empty(),
            Object::List(items) => !items.is_empty(),
        }
    }

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

type Evaluated = Result<Object, PythonError>;

/// The value of an expression; `names` are its variables.
///
/// # Errors
/// When it has none, uses what this subset lacks, or asks for too much work.
pub(in super::super) fn evaluate(expression: &Expr, names: &[(String, Object)]) -> Evaluated {
    Evaluator { names: names.to_vec(), steps: MAX_STEPS }.value(expression)
}

struct Evaluator {
    names: Vec<(String, Object)>,
    steps: usize,
}

impl Evaluator {
    fn spend(&mut self, column: usize, steps: usize) -> Result<(), PythonError> {
        self.steps = self.steps.checked_sub(steps).ok_or_else(|| {
            PythonError::new(column, format!("it has more than {MAX_STEPS} items or steps; use fewer"))
        })?;
        Ok(())
    }

    fn value(&mut self, expression: &Expr) -> Evaluated {
        let column = expression.column;
        self.spend(column, 1)?;
        Ok(match &expression.kind {
            Kind::Int(value) => Object::Int(*value),
            Kind::Float(text) => Object::Float(text.parse().map_err(|_| {
                PythonError::new(column, "a number that cannot be read; write it as 1.5 or 1e-3")
            })?),
            Kind::Text(text) => Object::Text(text.clone()),
            Kind::Bool(value) => Object::Bool(*value),
            Kind::None => return Err(PythonError::new(column, "None is no value of a parameter")),
            Kind::Name(name) => {
                let known = self.names.iter().rev().find(|(known, _)| known == name);
                let unknown = || PythonError::new(column, format!("the name {name} is not defined"));
                known.map(|(_, value)| value.clone()).ok_or_else(unknown)?
            }
            Kind::List(items) => Object::List(self.all(items)?),
            Kind::Unary(operator, operand) => {
                let operand = self.value(operand)?;
                unary(*operator, &operand).map_err(|message| PythonError::new(column, message))?
            }
            Kind::Binary(operator, operands) => {
                let (left, right) = (self.value(&operands.0)?, self.value(&operands.1)?);
                self.spend(column, repeated(*operator, &left, &right))?;
                binary(*operator, &left, &right).map_err(|message| PythonError::new(column, message))?
            }
            Kind::Compare(first, rest) => {
                let mut left = self.value(first)?;
                for (operator, right) in rest {
                    let right = self.value(right)?;
                    if !compare(*operator, &left, &right)
                        .map_err(|message| PythonError::new(column, message))?
                    {
                        return Ok(Object::Bool(false));
                    }
                    left = right;
                }
                Object::Bool(true)
            }
            Kind::And(operands) => self.first_that(operands, false)?,
            Kind::Or(operands) => self.first_that(operands, true)?,
            Kind::Not(operand) => Object::Bool(!self.value(operand)?.is_true()),
            Kind::Conditional(parts) => {
                let condition = self.value(&parts.0)?.is_true();
                self.value(if condition { &parts.1 } else { &parts.2 })?
            }
            Kind::Call(function, arguments) => {
                let arguments = self.all(arguments)?;
                self.call(column, function, &arguments)?
            }
            Kind::Subscript(parts) => {
                let (list, index) = (self.value(&parts.0)?, self.value(&parts.1)?);
                subscript(&list, &index).ok_or_else(|| {
                    PythonError::new(column, "an index that the list does not have; use one that it has")
                })?
            }
            Kind::Comprehension(comprehension) => {
                let mut items = Vec::new();
                self.iterate(&comprehension.loops, &comprehension.element, &mut items)?;
                Object::List(items)
            }
        })
    }

    fn all(&mut self, expressions: &[Expr]) -> Result<Vec<Object>, PythonError> {
        expressions.iter().map(|expression| self.value(expression)).collect()
    }

    /// The first operand whose truth is `wanted`, or the last one.
    fn first_that(&mut self, operands: &[Expr], wanted: bool) -> Evaluated {
        let mut last = Object::Bool(!wanted);
        for operand in operands {
            last = self.value(operand)?;
            if last.is_true() == wanted {
                break;
            }
        }
        Ok(last)
    }

    fn iterate(
        &mut self,
        loops: &[Loop],
        element: &Expr,
        items: &mut Vec<Object>,
    ) -> Result<(), PythonError> {
        let Some((outer, inner)) = loops.split_first() else {
            items.push(self.value(element)?);
            return Ok(());
        };
        let Object::List(values) = self.value(&outer.iterable)? else {
            return Err(PythonError::new(outer.iterable.column, "what follows `in` must be a list or range"));
        };
        for value in values {
            self.names.push((outer.variable.clone(), value));
            let mut kept = true;
            for condition in &outer.conditions {
                kept = kept && self.value(condition)?.is_true();
            }
            if kept {
                self.iterate(inner, element, items)?;
            }
            self.names.pop();
        }
        Ok(())
    }

    fn call(&mut self, column: usize, function: &str, arguments: &[Object]) -> Evaluated {
        let refuse = |message: String| PythonError::new(column, message);
        match (function, arguments) {
            ("range", [Object::Int(stop)]) => self.range(column, 0, *stop, 1),
            ("range", [Object::Int(start), Object::Int(stop)]) => self.range(column, *start, *stop, 1),
            ("range", [Object::Int(start), Object::Int(stop), Object::Int(step)]) => {
                self.range(column, *start, *stop, *step)
            }
            ("range", _) => Err(refuse("range() takes one to three integers".into())),
            ("list" | "tuple", [Object::List(items)]) => Ok(Object::List(items.clone())),
            ("set", [Object::List(items)]) => {
                let mut distinct: Vec<Object> = Vec::new();
                self.spend(column, items.len().saturating_mul(items.len()) / 2)?;
                for item in items {
                    if !distinct.contains(item) {
                        distinct.push(item.clone());
                    }
                }
                Ok(Object::List(distinct))
            }
            ("sorted" | "reversed", [Object::List(items)]) => {
                let mut items = items.clone();
                if function == "reversed" {
                    items.reverse();
                } else {
                    let mut failed = None;
                    items.sort_by(|a, b| {
                        order(a, b).unwrap_or_else(|message| {
                            failed = Some(message);
                            Ordering::Equal
                        })
                    });
                    if let Some(message) = failed {
                        return Err(refuse(message));
                    }
                }
                Ok(Object::List(items))
            }
            ("len", [Object::List(items)]) => Ok(Object::Int(i64::try_from(items.len()).unwrap_or(i64::MAX))),
            ("sum", [Object::List(items)]) => items.iter().try_fold(Object::Int(0), |sum, item| {
                binary(Binary::Add, &sum, item).map_err(|message| PythonError::new(column, message))
            }),
            ("min" | "max", [Object::List(items)]) => extreme(function, items).map_err(refuse),
            ("min" | "max", [_, _, ..]) => extreme(function, arguments).map_err(refuse),
            ("pow", [base, exponent]) => binary(Binary::Power, base, exponent).map_err(refuse),
            (_, [operand]) => one_argument(function, operand).map_err(refuse),
            _ => Err(refuse(unknown(function, arguments.len()))),
        }
    }

    fn range(&mut self, column: usize, start: i64, stop: i64, step: i64) -> Evaluated {
        if step == 0 {
            return Err(PythonError::new(column, "range() with a step of 0; use another step"));
        }
        let mut items = Vec::new();
        let mut next = Some(start);
        while let Some(value) = next.filter(|&value| if step > 0 { value < stop } else { value > stop }) {
            self.spend(column, 1)?;
            items.push(Object::Int(value));
            next = value.checked_add(step);
        }
        Ok(Object::List(items))
    }
}

fn unknown(function: &str, arguments: usize) -> String {
    format!(
        "the function {function} with {arguments} argument{} is not understood; write the value",
        if arguments == 1 { "" } else { "s" }
    )
}

fn one_argument(function: &str, operand: &Object) -> Result<Object, String> {
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
fn repeated(operator: Binary, left: &Object, right: &Object) -> usize {
    match (operator, left, right) {
        (Binary::Add, Object::List(a), Object::List(b)) => a.len() + b.len(),
        (Binary::Multiply, Object::List(items), Object::Int(times))
        | (Binary::Multiply, Object::Int(times), Object::List(items)) => {
            items.len().saturating_mul(usize::try_from(*times).unwrap_or(0))
        }
        _ => 0,
    }
}

fn unary(operator: Unary, operand: &Object) -> Result<Object, String> {
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

fn binary(operator: Binary, left: &Object, right: &Object) -> Result<Object, String> {
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
        Binary::Divide if b == 0 => return Err(by_zero()),
        Binary::Divide => return Ok(Object::Float(a as f64 / b as f64)),
        Binary::FloorDivide | Binary::Modulo if b == 0 => return Err(by_zero()),
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

fn compare(operator: Comparison, left: &Object, right: &Object) -> Result<bool, String> {
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

fn order(left: &Object, right: &Object) -> Result<Ordering, String> {
    match (left.number(), right.number(), left, right) {
        (Some(Number::Int(a)), Some(Number::Int(b)), _, _) => Ok(a.cmp(&b)),
        // Results that are not finite are refused where they come up, so every two floats have an order.
        (Some(a), Some(b), _, _) => Ok(a.float().partial_cmp(&b.float()).unwrap_or(Ordering::Equal)),
        (_, _, Object::Text(a), Object::Text(b)) => Ok(a.cmp(b)),
        _ => Err(format!("{} and {} have no order", left.kind(), right.kind())),
    }
}

fn extreme(function: &str, items: &[Object]) -> Result<Object, String> {
    let Some((first, rest)) = items.split_first() else {
        return Err(format!("{function}() of nothing; give it values"));
    };
    let wanted = if function == "min" { Ordering::Less } else { Ordering::Greater };
    rest.iter()
        .try_fold(first, |best, item| Ok(if order(item, best)? == wanted { item } else { best }))
        .cloned()
}

fn subscript(list: &Object, index: &Object) -> Option<Object> {
    let (Object::List(items), Object::Int(index)) = (list, index) else { return None };
    let from_end = if *index < 0 { i64::try_from(items.len()).ok()? } else { 0 };
    items.get(usize::try_from(index + from_end).ok()?).cloned()
}

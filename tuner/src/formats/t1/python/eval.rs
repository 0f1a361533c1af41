//! Evaluates an expression, within limits.

use std::cmp::Ordering;

use super::arithmetic::{binary, compare, extreme, one_argument, order, repeated, subscript, unary, unknown};
use super::{Binary, Expr, Kind, Loop, PythonError};

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
            Kind::List(items) => {
                Object::List(items.iter().map(|item| self.item(item)).collect::<Result<_, _>>()?)
            }
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

    /// An item of a list. Lists of lists could hold more than the steps that made them.
    fn item(&mut self, expression: &Expr) -> Evaluated {
        match self.value(expression)? {
            Object::List(_) => Err(PythonError::new(expression.column, "a list in a list; write one list")),
            item => Ok(item),
        }
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
            items.push(self.item(element)?);
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
            ("range", [Object::Int(start), Object::Int(stop), Object::Int(by)]) => {
                self.range(column, *start, *stop, *by)
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

    fn range(&mut self, column: usize, start: i64, stop: i64, by: i64) -> Evaluated {
        if by == 0 {
            return Err(PythonError::new(column, "range() with a step of 0; use another step"));
        }
        let mut items = Vec::new();
        let mut next = Some(start);
        while let Some(value) = next.filter(|&value| if by > 0 { value < stop } else { value > stop }) {
            self.spend(column, 1)?;
            items.push(Object::Int(value));
            next = value.checked_add(by);
        }
        Ok(Object::List(items))
    }
}

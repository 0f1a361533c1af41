//! From Python to CEL: conditions, sizes and launch dimensions.
//!
//! CEL has no division that gives fractions, no power and no chained comparison, converts nothing by itself,
//! and rounds quotients towards zero. So a true division is kept as a pair of integers until something
//! compares or rounds it (`K % (a * b / c) == 0` becomes a remainder of integers), a float literal is the
//! decimal fraction that it says, and `//` and `%` become CEL's own where no operand can be negative.
//! What has no exact translation is refused.

use crate::kernel::{Parameter, Value};

use super::cel::Cel;
use super::python::{Binary, Expr, Kind, PythonError, Unary};

/// A parameter, and what an expression over it has to know.
#[derive(Clone, Debug)]
pub(super) struct Tunable {
    pub(super) parameter: Parameter,
    /// The engine keeps its values as text because they are fractions.
    pub(super) fractional: bool,
    /// Its values were refused; it stands here so that its name is known.
    pub(super) refused: bool,
}

/// One dimension of `ProblemSize`.
#[derive(Clone, Debug)]
pub(super) enum Dimension {
    /// A number, which becomes a size of the problem.
    Size { name: String, value: i64 },
    /// An expression over parameters.
    Expression(Expr),
}

/// What names mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) tunables: &'a [Tunable],
    pub(super) problem_size: &'a [Dimension],
    /// Whether a parameter's name is the list of its values, as in the sizes of arguments, which are
    /// the same for every configuration.
    pub(super) lists: bool,
}

pub(super) type Translated<T> = Result<T, PythonError>;

/// A translated value and its type.
pub(super) enum Typed {
    Int(Cel),
    /// A fraction; the denominator is positive.
    Ratio(Cel, Cel),
    Bool(Cel),
    Text(Cel),
}

impl Names<'_> {
    /// An expression as a condition: of type bool.
    pub(super) fn condition(&self, expression: &Expr) -> Translated<Cel> {
        match &expression.kind {
            Kind::And(operands) => Ok(Cel::all(&self.conditions(operands)?)),
            Kind::Or(operands) => Ok(Cel::any(&self.conditions(operands)?)),
            Kind::Not(operand) => Ok(self.condition(operand)?.not()),
            _ => Ok(match self.value(expression)? {
                Typed::Int(value) | Typed::Ratio(value, _) => value.compare("!=", &Cel::int(0)),
                Typed::Bool(value) => value,
                Typed::Text(value) => value.compare("!=", &Cel::string("")),
            }),
        }
    }

    fn conditions(&self, operands: &[Expr]) -> Translated<Vec<Cel>> {
        operands.iter().map(|operand| self.condition(operand)).collect()
    }

    /// An expression as a whole number; a fraction is cut, as Python's `int()` does.
    pub(super) fn size(&self, expression: &Expr) -> Translated<Cel> {
        Ok(match self.number(expression)? {
            (value, None) => value,
            (numerator, Some(denominator)) => numerator.truncate_divide(&denominator),
        })
    }

    pub(super) fn value(&self, expression: &Expr) -> Translated<Typed> {
        let refuse = |message: &str| Err(PythonError::new(expression.column, message));
        match &expression.kind {
            Kind::Int(value) => Ok(Typed::Int(Cel::int(*value))),
            Kind::Float(text) => decimal(text).ok_or_else(|| {
                PythonError::new(expression.column, "a number with too many digits; write fewer")
            }),
            Kind::Text(text) => Ok(Typed::Text(Cel::string(text))),
            Kind::Bool(value) => Ok(Typed::Bool(Cel::word(value.to_string()))),
            Kind::None => refuse("every parameter has a value; remove the comparison with None"),
            Kind::Name(name) => self.name(expression, name),
            Kind::List(_) => refuse("a list stands only after `in`"),
            Kind::Comprehension(_) => refuse("a comprehension stands only after `in`"),
            Kind::Unary(operator, operand) => {
                let (numerator, denominator) = self.number(operand)?;
                match operator {
                    Unary::Plus => Ok(ratio(numerator, denominator)),
                    Unary::Minus => Ok(ratio(numerator.negate(), denominator)),
                    Unary::Invert => refuse("`~` works on bits, which CEL does not; write the number"),
                }
            }
            Kind::Binary(operator, operands) => self.binary(expression, *operator, operands),
            Kind::Compare(first, rest) => self.comparisons(first, rest).map(Typed::Bool),
            Kind::Not(_) => self.condition(expression).map(Typed::Bool),
            Kind::And(operands) | Kind::Or(operands) => {
                for operand in operands {
                    if !matches!(self.value(operand)?, Typed::Bool(_)) {
                        let message = "`and` and `or` give one of their operands here, not a truth; write `x if condition else y`";
                        return Err(PythonError::new(operand.column, message));
                    }
                }
                self.condition(expression).map(Typed::Bool)
            }
            Kind::Conditional(parts) => self.conditional(expression, parts),
            Kind::Call(function, arguments) => self.call(expression, function, arguments),
            Kind::Subscript(parts) => self.subscript(expression, parts),
        }
    }

    pub(super) fn name(&self, expression: &Expr, name: &str) -> Translated<Typed> {
        let refuse = |message: String| Err(PythonError::new(expression.column, message));
        let Some(tunable) = self.tunables.iter().find(|t| t.parameter.name == name) else {
            let known: Vec<&str> = self.tunables.iter().map(|t| t.parameter.name.as_str()).collect();
            return refuse(format!("{name} is no parameter; the parameters are {}", known.join(", ")));
        };
        if tunable.refused {
            return Err(PythonError::following(expression.column, name));
        }
        if self.lists {
            return refuse(format!(
                "it depends on the parameter {name}, but every configuration gets the same buffers; write max({name})"
            ));
        }
        if tunable.fractional {
            return refuse(format!(
                "{name} has fractions as values, which no condition can compute with; make it whole numbers and divide in the source"
            ));
        }
        let values = &tunable.parameter.values;
        Ok(match values.first() {
            Some(Value::Bool(_)) => Typed::Bool(Cel::word(name)),
            Some(Value::Text(_)) => Typed::Text(Cel::word(name)),
            Some(Value::Int(_)) | None => Typed::Int(int_variable(name, values)),
        })
    }

    /// A number: numerator, and denominator unless that is 1. A truth counts as 0 or 1.
    pub(super) fn number(&self, expression: &Expr) -> Translated<(Cel, Option<Cel>)> {
        match self.value(expression)? {
            Typed::Int(value) => Ok((value, None)),
            Typed::Ratio(numerator, denominator) => Ok((numerator, Some(denominator))),
            Typed::Bool(value) => Ok((as_int(&value), None)),
            Typed::Text(_) => Err(PythonError::new(expression.column, "a string where a number is needed")),
        }
    }

    pub(super) fn int(&self, expression: &Expr, what: &str) -> Translated<Cel> {
        let (value, denominator) = self.number(expression)?;
        if denominator.is_none() {
            return Ok(value);
        }
        let message = format!("{what} of a fraction cannot be translated; write // or int()");
        Err(PythonError::new(expression.column, message))
    }

    fn binary(&self, expression: &Expr, operator: Binary, operands: &(Expr, Expr)) -> Translated<Typed> {
        match operator {
            Binary::Power => {
                let base = self.int(&operands.0, "a power")?;
                return self.power(expression.column, &base, &operands.1).map(Typed::Int);
            }
            Binary::ShiftLeft | Binary::ShiftRight => {
                let value = self.int(&operands.0, "a shift")?;
                let by = self.power(expression.column, &Cel::int(2), &operands.1)?;
                let left = operator == Binary::ShiftLeft;
                return Ok(Typed::Int(if left { value.multiply(&by) } else { value.floor_divide(&by) }));
            }
            Binary::BitAnd | Binary::BitOr | Binary::BitXor => {
                return self.bits(expression, operator, operands);
            }
            _ => {}
        }
        let one = || Cel::int(1);
        let (p, q) = self.number(&operands.0)?;
        let (r, s) = self.number(&operands.1)?;
        if q.is_none() && s.is_none() {
            match operator {
                Binary::Add => return Ok(Typed::Int(p.add(&r))),
                Binary::Subtract => return Ok(Typed::Int(p.subtract(&r))),
                Binary::Multiply => return Ok(Typed::Int(p.multiply(&r))),
                Binary::FloorDivide => return Ok(Typed::Int(p.floor_divide(&r))),
                Binary::Modulo => return Ok(Typed::Int(p.modulo(&r))),
                _ => {}
            }
        }
        let (q, s) = (q.unwrap_or_else(one), s.unwrap_or_else(one));
        let (ps, rq) = (p.multiply(&s), r.multiply(&q));
        let common = q.multiply(&s);
        Ok(match operator {
            Binary::Add => ratio(ps.add(&rq), Some(common)),
            Binary::Subtract => ratio(ps.subtract(&rq), Some(common)),
            Binary::Multiply => ratio(p.multiply(&r), Some(common)),
            Binary::FloorDivide => Typed::Int(ps.floor_divide(&rq)),
            Binary::Modulo => ratio(ps.modulo(&rq), Some(common)),
            _ if rq.is_positive() => ratio(ps, Some(rq)),
            _ if rq.is_negative() => ratio(ps.negate(), Some(rq.negate())),
            _ => {
                let message = format!(
                    "`/` by `{}`, which may be 0 or of either sign, cannot be translated; write // or multiply both sides",
                    rq.text()
                );
                return Err(PythonError::new(operands.1.column, message));
            }
        })
    }

    fn conditional(&self, expression: &Expr, parts: &(Expr, Expr, Expr)) -> Translated<Typed> {
        let condition = self.condition(&parts.0)?;
        match (self.value(&parts.1)?, self.value(&parts.2)?) {
            (Typed::Bool(yes), Typed::Bool(no)) => Ok(Typed::Bool(condition.choose(&yes, &no))),
            (Typed::Text(yes), Typed::Text(no)) => Ok(Typed::Text(condition.choose(&yes, &no))),
            (Typed::Int(yes), Typed::Int(no)) => Ok(Typed::Int(condition.choose(&yes, &no))),
            (Typed::Int(yes), Typed::Bool(no)) => Ok(Typed::Int(condition.choose(&yes, &as_int(&no)))),
            (Typed::Bool(yes), Typed::Int(no)) => Ok(Typed::Int(condition.choose(&as_int(&yes), &no))),
            _ => {
                let message =
                    "the two results of `if else` differ in type, or are fractions; use whole numbers";
                Err(PythonError::new(expression.column, message))
            }
        }
    }
}

fn int_variable(name: &str, values: &[Value]) -> Cel {
    let ints = values.iter().map(|value| if let Value::Int(value) = value { *value } else { 0 });
    let (low, high) = ints.fold((i64::MAX, i64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    Cel::variable(name, low.min(high), high.max(low))
}

pub(super) fn as_int(truth: &Cel) -> Cel {
    truth.choose(&Cel::int(1), &Cel::int(0))
}

pub(super) fn ratio(numerator: Cel, denominator: Option<Cel>) -> Typed {
    match denominator.filter(|d| d.text() != "1") {
        None => Typed::Int(numerator),
        Some(denominator) => Typed::Ratio(numerator, denominator),
    }
}

/// A decimal number as the fraction that it says: `0.25` is 1/4.
fn decimal(text: &str) -> Option<Typed> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut numerator: i64 = format!("0{whole}{fraction}").parse().ok()?;
    let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let scale = 10_i64.checked_pow(exponent.unsigned_abs())?;
    let mut denominator = 1;
    if exponent >= 0 {
        numerator = numerator.checked_mul(scale)?;
    } else {
        denominator = scale;
    }
    let (mut a, mut b) = (numerator, denominator);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let divisor = a.max(1);
    Some(ratio(Cel::int(numerator / divisor), Some(Cel::int(denominator / divisor))))
}

//! From Python to CEL: conditions, sizes and launch dimensions.
//!
//! CEL has no division that gives fractions, no power and no chained comparison, converts nothing by itself,
//! and rounds quotients towards zero. So a true division is kept as a pair of integers until something
//! compares or rounds it (`K % (a * b / c) == 0` becomes a remainder of integers), a float literal is the
//! decimal fraction that it says, and `//` and `%` become CEL's own where no operand can be negative.
//! What has no exact translation is refused.

use crate::kernel::{Parameter, Value};

use super::cel::Cel;
use super::python::{Binary, Comparison, Expr, Kind, Object, PythonError, Unary, evaluate};

/// A parameter, and whether the engine keeps its values as text because they are fractions.
#[derive(Clone, Debug)]
pub(super) struct Tunable {
    pub(super) parameter: Parameter,
    pub(super) fractional: bool,
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

type Translated<T> = Result<T, PythonError>;

/// A translated value and its type.
enum Typed {
    Int(Cel),
    /// A fraction; the denominator is positive.
    Ratio(Cel, Cel),
    Bool(Cel),
    Text(Cel),
}

/// Most values that a table of powers lists.
const MAX_TABLE: usize = 16;
/// Largest exponent that is written out as a product.
const MAX_FACTORS: i64 = 8;

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

    fn value(&self, expression: &Expr) -> Translated<Typed> {
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

    fn name(&self, expression: &Expr, name: &str) -> Translated<Typed> {
        let refuse = |message: String| Err(PythonError::new(expression.column, message));
        let Some(tunable) = self.tunables.iter().find(|t| t.parameter.name == name) else {
            let known: Vec<&str> = self.tunables.iter().map(|t| t.parameter.name.as_str()).collect();
            return refuse(format!("{name} is no parameter; the parameters are {}", known.join(", ")));
        };
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
    fn number(&self, expression: &Expr) -> Translated<(Cel, Option<Cel>)> {
        match self.value(expression)? {
            Typed::Int(value) => Ok((value, None)),
            Typed::Ratio(numerator, denominator) => Ok((numerator, Some(denominator))),
            Typed::Bool(value) => Ok((as_int(&value), None)),
            Typed::Text(_) => Err(PythonError::new(expression.column, "a string where a number is needed")),
        }
    }

    fn int(&self, expression: &Expr, what: &str) -> Translated<Cel> {
        match self.number(expression)? {
            (value, None) => Ok(value),
            (_, Some(_)) => {
                let message = format!("{what} of a fraction cannot be translated; write // or int()");
                Err(PythonError::new(expression.column, message))
            }
        }
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

    /// A power of integers: written out, or as a table over the exponent's values.
    fn power(&self, column: usize, base: &Cel, exponent: &Expr) -> Translated<Cel> {
        let refuse = |message: &str| PythonError::new(column, message);
        let written = self.int(exponent, "a power")?;
        if let Some(exponent) = written.constant() {
            if let (Some(base), Ok(exponent)) = (base.constant(), u32::try_from(exponent)) {
                let power = base.checked_pow(exponent).map(Cel::int);
                return power.ok_or_else(|| refuse("a power that does not fit 64 bits"));
            }
            if (0..=MAX_FACTORS).contains(&exponent) {
                return Ok((0..exponent).fold(Cel::int(1), |product, _| product.multiply(base)));
            }
            return Err(refuse("a power with an exponent over 8 or under 0; write it out"));
        }
        let too_free = || refuse("a power whose exponent is no number and no parameter; write it out");
        let (Some(base), Kind::Name(name)) = (base.constant(), &exponent.kind) else {
            return Err(too_free());
        };
        let tunable = self.tunables.iter().find(|t| &t.parameter.name == name).ok_or_else(too_free)?;
        let mut table: Vec<(i64, i64)> = Vec::new();
        for value in &tunable.parameter.values {
            let Value::Int(value) = value else { return Err(too_free()) };
            let power = u32::try_from(*value).ok().and_then(|exponent| base.checked_pow(exponent));
            let power = power.ok_or_else(|| refuse("a power that is no integer of 64 bits"))?;
            table.push((*value, power));
        }
        if table.len() > MAX_TABLE {
            return Err(refuse("a power of a parameter with over 16 values; make the power the parameter"));
        }
        let mut rows = table.into_iter().rev();
        let last = rows.next().map(|(_, power)| Cel::int(power)).ok_or_else(too_free)?;
        Ok(rows.fold(last, |rest, (value, power)| {
            written.compare("==", &Cel::int(value)).choose(&Cel::int(power), &rest)
        }))
    }

    /// Bits: CEL has none, but a mask of the lowest ones is a remainder.
    fn bits(&self, expression: &Expr, operator: Binary, operands: &(Expr, Expr)) -> Translated<Typed> {
        if operator == Binary::BitAnd {
            let value = self.int(&operands.0, "bits")?;
            let mask = self.int(&operands.1, "bits")?.constant().and_then(|mask| mask.checked_add(1));
            if let Some(modulus) = mask.filter(|modulus| modulus.count_ones() == 1 && *modulus > 0) {
                return Ok(Typed::Int(value.modulo(&Cel::int(modulus))));
            }
        }
        let message = "`&`, `|` and `^` work on bits, which CEL does not; write `and`, `or`, or a remainder";
        Err(PythonError::new(expression.column, message))
    }

    fn comparisons(&self, first: &Expr, rest: &[(Comparison, Expr)]) -> Translated<Cel> {
        let mut left = first;
        let mut parts = Vec::with_capacity(rest.len());
        for (operator, right) in rest {
            parts.push(self.comparison(*operator, left, right)?);
            left = right;
        }
        Ok(Cel::all(&parts))
    }

    fn comparison(&self, operator: Comparison, left: &Expr, right: &Expr) -> Translated<Cel> {
        let sign = match operator {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
            Comparison::In => return self.membership(left, right),
            Comparison::NotIn => return Ok(self.membership(left, right)?.not()),
        };
        let equality = matches!(operator, Comparison::Equal | Comparison::NotEqual);
        match (self.value(left)?, self.value(right)?) {
            (Typed::Text(a), Typed::Text(b)) | (Typed::Bool(a), Typed::Bool(b)) if equality => {
                Ok(a.compare(sign, &b))
            }
            (Typed::Text(_), _) | (_, Typed::Text(_)) => {
                let message = if equality {
                    "a string compared with a number is never equal; compare values of one type"
                } else {
                    "strings have no order in CEL; compare with ==, != or in"
                };
                Err(PythonError::new(left.column, message))
            }
            _ => {
                let (p, q) = self.number(left)?;
                let (r, s) = self.number(right)?;
                // Denominators are positive, so multiplying by them keeps the order.
                let scaled = |value: Cel, by: Option<Cel>| by.map_or(value.clone(), |by| value.multiply(&by));
                Ok(scaled(p, s).compare(sign, &scaled(r, q)))
            }
        }
    }

    fn membership(&self, element: &Expr, list: &Expr) -> Translated<Cel> {
        let items: Vec<Typed> = match &list.kind {
            Kind::List(items) => items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?,
            Kind::Call(..) | Kind::Comprehension(_) | Kind::Binary(..) => {
                let Object::List(items) = evaluate(list, &[])? else {
                    return Err(PythonError::new(list.column, "`in` needs a list; write the values out"));
                };
                let fraction = || PythonError::new(list.column, "a list of fractions; use whole numbers");
                items.iter().map(constant).collect::<Option<_>>().ok_or_else(fraction)?
            }
            _ => return Err(PythonError::new(list.column, "`in` needs a list; write the values out")),
        };
        if items.is_empty() {
            return Ok(Cel::word("false"));
        }
        let element_value = self.value(element)?;
        let mixed = || PythonError::new(list.column, "the list and what is looked up in it differ in type");
        let codes = items.into_iter().map(|item| match (&element_value, item) {
            (Typed::Text(_), Typed::Text(item)) | (Typed::Int(_), Typed::Int(item)) => Ok(item),
            (Typed::Bool(_), Typed::Bool(item)) => Ok(item),
            (Typed::Bool(_), Typed::Int(item)) => match item.constant() {
                Some(0) => Ok(Cel::word("false")),
                Some(1) => Ok(Cel::word("true")),
                _ => Err(mixed()),
            },
            (Typed::Int(_), Typed::Bool(item)) => Ok(as_int(&item)),
            _ => Err(mixed()),
        });
        let codes = codes.collect::<Result<Vec<_>, _>>()?;
        match element_value {
            Typed::Int(value) | Typed::Bool(value) | Typed::Text(value) => Ok(value.is_in(&codes)),
            Typed::Ratio(..) => Err(mixed()),
        }
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

    fn call(&self, expression: &Expr, function: &str, arguments: &[Expr]) -> Translated<Typed> {
        let plain = function.strip_prefix("math.").or(function.strip_prefix("np.")).unwrap_or(function);
        if let (true, "min" | "max" | "len" | "sum", [Expr { kind: Kind::Name(name), .. }]) =
            (self.lists, plain, arguments)
        {
            return self.over_values(expression, plain, name);
        }
        match (plain, arguments) {
            ("min" | "max", [first, rest @ ..]) if !rest.is_empty() => {
                let mut best = self.int(first, "the least or greatest")?;
                for argument in rest {
                    let next = self.int(argument, "the least or greatest")?;
                    best = if plain == "min" { best.min(&next) } else { best.max(&next) };
                }
                Ok(Typed::Int(best))
            }
            ("pow", [base, exponent]) => {
                let base = self.int(base, "a power")?;
                self.power(expression.column, &base, exponent).map(Typed::Int)
            }
            ("abs", [operand]) => {
                let (numerator, denominator) = self.number(operand)?;
                let known = numerator.is_not_negative();
                let size = if known { numerator } else { numerator.max(&numerator.negate()) };
                Ok(ratio(size, denominator))
            }
            ("bool", [operand]) => self.condition(operand).map(Typed::Bool),
            ("int", [operand]) => self.size(operand).map(Typed::Int),
            ("float", [operand]) => self.number(operand).map(|(p, q)| ratio(p, q)),
            ("ceil" | "floor", [operand]) => Ok(Typed::Int(match self.number(operand)? {
                (value, None) => value,
                (p, Some(q)) => {
                    if plain == "ceil" {
                        p.ceil_divide(&q)
                    } else {
                        p.floor_divide(&q)
                    }
                }
            })),
            _ => {
                let message = format!(
                    "the function {function} with {} argument{} has no translation; there are min, max, abs, int, float, bool, pow, ceil and floor",
                    arguments.len(),
                    if arguments.len() == 1 { "" } else { "s" }
                );
                Err(PythonError::new(expression.column, message))
            }
        }
    }

    /// `max(parameter)` and the like, where a parameter is the list of its values.
    fn over_values(&self, expression: &Expr, function: &str, name: &str) -> Translated<Typed> {
        let tunable = self.tunables.iter().find(|t| t.parameter.name == name);
        let Some(values) = tunable.map(|t| &t.parameter.values) else {
            return self.name(expression, name);
        };
        let ints: Option<Vec<i64>> =
            values.iter().map(|value| if let Value::Int(i) = value { Some(*i) } else { None }).collect();
        let result = match (function, ints) {
            ("len", _) => i64::try_from(values.len()).ok(),
            ("min", Some(ints)) => ints.into_iter().min(),
            ("max", Some(ints)) => ints.into_iter().max(),
            (_, Some(ints)) => ints.into_iter().try_fold(0_i64, i64::checked_add),
            (_, None) => None,
        };
        let message = || format!("{function}({name}) has no value; {name} must have whole numbers as values");
        result
            .map(|value| Typed::Int(Cel::int(value)))
            .ok_or_else(|| PythonError::new(expression.column, message()))
    }

    fn subscript(&self, expression: &Expr, parts: &(Expr, Expr)) -> Translated<Typed> {
        let refuse = |message: String| Err(PythonError::new(expression.column, message));
        let Kind::Name(name) = &parts.0.kind else {
            return refuse("an index into something that has no name; write the value".into());
        };
        if name != "ProblemSize" {
            let wanted = if let Kind::Text(key) = &parts.1.kind { key.as_str() } else { "the value" };
            return refuse(format!("{name}[...] cannot be translated; write {wanted}"));
        }
        let Kind::Int(index) = parts.1.kind else {
            return refuse("ProblemSize needs a number as index, such as ProblemSize[0]".into());
        };
        match usize::try_from(index).ok().and_then(|index| self.problem_size.get(index)) {
            Some(Dimension::Size { name, value }) => {
                // Another problem may have another size, of which only the sign is known.
                let low = if *value > 0 { 1 } else { *value };
                Ok(Typed::Int(Cel::variable(name, low, i64::MAX >> 16)))
            }
            Some(Dimension::Expression(size)) => self.size(size).map(Typed::Int),
            None => refuse(format!("ProblemSize has no element {index}; it has {}", self.problem_size.len())),
        }
    }
}

fn int_variable(name: &str, values: &[Value]) -> Cel {
    let ints = values.iter().map(|value| if let Value::Int(value) = value { *value } else { 0 });
    let (low, high) = ints.fold((i64::MAX, i64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    Cel::variable(name, low.min(high), high.max(low))
}

fn as_int(truth: &Cel) -> Cel {
    truth.choose(&Cel::int(1), &Cel::int(0))
}

fn ratio(numerator: Cel, denominator: Option<Cel>) -> Typed {
    match denominator.filter(|d| d.text() != "1") {
        None => Typed::Int(numerator),
        Some(denominator) => Typed::Ratio(numerator, denominator),
    }
}

fn constant(object: &Object) -> Option<Typed> {
    match object {
        Object::Int(value) => Some(Typed::Int(Cel::int(*value))),
        Object::Bool(value) => Some(Typed::Bool(Cel::word(value.to_string()))),
        Object::Text(text) => Some(Typed::Text(Cel::string(text))),
        Object::Float(_) | Object::List(_) => None,
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

//! Powers, bits, functions and `ProblemSize`, from Python to CEL.

use crate::kernel::Value;

use super::cel::Cel;
use super::python::{Binary, Expr, Kind, PythonError};
use super::translate::{Dimension, Names, Translated, Typed, ratio};

/// Most values that a table of powers lists.
const MAX_TABLE: usize = 16;
/// Largest exponent that is written out as a product.
const MAX_FACTORS: i64 = 8;

impl Names<'_> {
    /// A power of integers: written out, or as a table over the exponent's values.
    pub(super) fn power(&self, column: usize, base: &Cel, exponent: &Expr) -> Translated<Cel> {
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
    pub(super) fn bits(
        &self,
        expression: &Expr,
        operator: Binary,
        operands: &(Expr, Expr),
    ) -> Translated<Typed> {
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

    pub(super) fn call(&self, expression: &Expr, function: &str, arguments: &[Expr]) -> Translated<Typed> {
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
            ("min" | "max", [Expr { kind: Kind::List(_), .. }]) => {
                let message = format!("{function} of a list has no translation; write {function}(a, b)");
                Err(PythonError::new(expression.column, message))
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
        let tunable = self.tunables.iter().find(|t| t.parameter.name == name && !t.refused);
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

    pub(super) fn subscript(&self, expression: &Expr, parts: &(Expr, Expr)) -> Translated<Typed> {
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

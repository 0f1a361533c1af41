//! Comparisons and membership, from Python to CEL.

use super::cel::Cel;
use super::python::{Comparison, Expr, Kind, Object, PythonError, evaluate};
use super::translate::{Names, Translated, Typed, as_int};

impl Names<'_> {
    pub(super) fn comparisons(&self, first: &Expr, rest: &[(Comparison, Expr)]) -> Translated<Cel> {
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
            (Typed::Text(_), Typed::Text(item))
            | (Typed::Int(_), Typed::Int(item))
            | (Typed::Bool(_), Typed::Bool(item)) => Ok(item),
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
}

fn constant(object: &Object) -> Option<Typed> {
    match object {
        Object::Int(value) => Some(Typed::Int(Cel::int(*value))),
        Object::Bool(value) => Some(Typed::Bool(Cel::word(value.to_string()))),
        Object::Text(text) => Some(Typed::Text(Cel::string(text))),
        Object::Float(_) | Object::List(_) => None,
    }
}

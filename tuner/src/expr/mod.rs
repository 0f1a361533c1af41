//! Expressions: CEL over parameters and sizes.
//!
//! A text is parsed once by the `cel` crate, checked against the [`Scope`] of its variables, and compiled
//! to a tree over `i64` slots that is evaluated without allocation. What CEL calls dynamic is settled
//! when an expression is compiled: names and types are wrong before anything runs, or never.
//!
//! Supported are integer, double, boolean and string literals, variables, `+ - * / %` and unary `-`,
//! comparisons of equal types, `&& || !`, `? :`, `x in [a, b, c]`, `int()`, `double()`, `ceil_div(a, b)`,
//! `min(a, b)` and `max(a, b)`. Integers are CEL's: an overflow is an error, division cuts towards zero,
//! and a remainder has the sign of the dividend.

mod bounds;
mod check;
mod code;
mod error;
mod parse;
mod scope;
mod span;
mod suggest;

pub(crate) use bounds::Bounds;
pub use error::{EvalError, ExpressionError, Position};
pub use scope::{Scope, Type};

use code::Node;

/// An expression that is known to be well-typed, ready to be evaluated.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    root: Node,
    result: Type,
    slots: Vec<usize>,
}

impl Expression {
    /// Parses, checks and compiles a CEL expression over the scope's variables.
    ///
    /// # Errors
    /// When the text is not CEL, names what is not in scope, mixes types, or uses what is not supported.
    pub fn compile(text: &str, scope: &Scope) -> Result<Expression, ExpressionError> {
        let program = parse::parse(text)?;
        let (root, result) = check::check(text, &program, scope)?;
        Ok(Self::new(text.to_owned(), root.fold(&|_| None), result))
    }

    fn new(text: String, root: Node, result: Type) -> Self {
        let mut slots = Vec::new();
        root.visit_slots(&mut |slot| slots.push(slot));
        slots.sort_unstable();
        slots.dedup();
        Self { text, root, result, slots }
    }

    /// The text as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of the result.
    #[must_use]
    pub fn result_type(&self) -> Type {
        self.result
    }

    /// The slots of the variables that the result depends on, ascending, each once.
    #[must_use]
    pub fn slots(&self) -> &[usize] {
        &self.slots
    }

    /// The value of an `Int` expression.
    ///
    /// # Errors
    /// On division by zero, overflow, or an expression of another type.
    pub fn eval_int(&self, values: &[i64]) -> Result<i64, EvalError> {
        if self.result == Type::Int { self.root.eval(values) } else { Err(EvalError::WrongType) }
    }

    /// The value of a `Bool` expression.
    ///
    /// # Errors
    /// On division by zero, overflow, or an expression of another type.
    pub fn eval_bool(&self, values: &[i64]) -> Result<bool, EvalError> {
        if self.result == Type::Bool { Ok(self.root.eval(values)? != 0) } else { Err(EvalError::WrongType) }
    }

    /// The value of a `Double` expression, or of an `Int` one as a double.
    ///
    /// # Errors
    /// On division of integers by zero, integer overflow, or an expression of another type.
    pub fn eval_double(&self, values: &[i64]) -> Result<f64, EvalError> {
        match self.result {
            Type::Double => Ok(code::double(self.root.eval(values)?)),
            Type::Int => Ok(self.root.eval(values)? as f64),
            Type::Bool | Type::Text => Err(EvalError::WrongType),
        }
    }

    /// The same expression where the variables that `constant` knows have become constants.
    pub(crate) fn fold(&self, constant: &dyn Fn(usize) -> Option<i64>) -> Expression {
        Self::new(self.text.clone(), self.root.fold(constant), self.result)
    }

    /// Whether a `Bool` expression has a value and is false for all values of its variables in their
    /// ranges, by slot; `false` also where that is not known.
    pub(crate) fn is_false_within(&self, ranges: &[Bounds]) -> bool {
        self.root.bounds(ranges) == Some((0, 0))
    }

    /// The expressions whose conjunction this one is: the operands of its outermost `&&`s, in order.
    pub(crate) fn conjuncts(&self) -> Vec<Expression> {
        fn split<'a>(node: &'a Node, parts: &mut Vec<&'a Node>) {
            if let Node::And(operands) = node {
                split(&operands.0, parts);
                split(&operands.1, parts);
            } else {
                parts.push(node);
            }
        }
        let mut parts = Vec::new();
        split(&self.root, &mut parts);
        parts.into_iter().map(|part| Self::new(self.text.clone(), part.clone(), self.result)).collect()
    }

    /// Weaker conditions over fewer variables that hold wherever this one does: what is a multiple of a
    /// product is a multiple of each factor. They let a search give up early.
    pub(crate) fn implied(&self) -> Vec<Expression> {
        let mut implied = Vec::new();
        if let Some((dividend, divisor)) = self.root.divisibility() {
            for factor in divisor.factors() {
                let condition = Node::divisible(dividend.clone(), factor.clone());
                let weaker = Self::new(self.text.clone(), condition, self.result);
                if !weaker.slots.is_empty() && weaker.slots.len() < self.slots.len() {
                    implied.push(weaker);
                }
            }
        }
        implied
    }
}

#[cfg(test)]
mod tests;

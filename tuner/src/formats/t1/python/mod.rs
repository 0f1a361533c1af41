//! The Python that tuning files hold: expressions, never statements.
//!
//! Values are lists such as `[2**i for i in range(6)]`, conditions are comparisons such as
//! `32 <= x * y <= 1024`. A crate that parses all of Python (those that linters are built on) brings dozens
//! of packages for an expression grammar of a page, and nothing that evaluates or bounds what a hostile file
//! asks for, so the page is written here: tokens, a tree, a parser that limits nesting, and an evaluator
//! that limits work. Whatever is not in the subset is refused by name.

mod arithmetic;
mod eval;
mod parse;
mod token;

pub(super) use eval::{Object, evaluate};
pub(super) use parse::parse;

/// Why an expression is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (column {column})")]
pub(super) struct PythonError {
    /// Column in characters, from 1.
    pub(super) column: usize,
    /// What is wrong and what to write instead.
    pub(super) message: String,
    /// Whether it only follows from something that has been refused already.
    pub(super) follows: bool,
}

impl PythonError {
    pub(super) fn new(column: usize, message: impl Into<String>) -> Self {
        Self { column, message: message.into(), follows: false }
    }

    /// An error of an expression over `name`, which has been refused.
    pub(super) fn following(column: usize, name: &str) -> Self {
        Self { column, message: format!("{name} has been refused"), follows: true }
    }
}

/// An expression and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expr {
    pub(super) column: usize,
    pub(super) kind: Kind,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Int(i64),
    /// A number with a point or an exponent; its text, because decimal fractions are exact and doubles not.
    Float(String),
    Text(String),
    Bool(bool),
    None,
    /// A variable, or a dotted name such as `math.ceil`.
    Name(String),
    /// A list, tuple or set.
    List(Vec<Expr>),
    Unary(Unary, Box<Expr>),
    Binary(Binary, Box<(Expr, Expr)>),
    /// `a <= b < c`: the first operand, then each operator with what follows it.
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    /// `yes if condition else no`, in the order condition, yes, no.
    Conditional(Box<(Expr, Expr, Expr)>),
    Call(String, Vec<Expr>),
    Subscript(Box<(Expr, Expr)>),
    Comprehension(Box<Comprehension>),
}

/// `element for variable in iterable if condition ...`
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Comprehension {
    pub(super) element: Expr,
    pub(super) loops: Vec<Loop>,
}

/// One `for` of a comprehension, with the `if`s that follow it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Loop {
    pub(super) variable: String,
    pub(super) iterable: Expr,
    pub(super) conditions: Vec<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Minus,
    Plus,
    Invert,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
    ShiftLeft,
    ShiftRight,
    BitAnd,
    BitOr,
    BitXor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

#[cfg(test)]
mod tests;

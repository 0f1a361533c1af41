//! What can be wrong with an expression, before and while it is evaluated.

use std::fmt;

use thiserror::Error;

/// Where in an expression's text: line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The position of the character at the byte `offset`.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let mut position = Self { line: 1, column: 1 };
        for (_, char) in text.char_indices().take_while(|(start, _)| *start < offset) {
            if char == '\n' {
                position = Self { line: position.line + 1, column: 1 };
            } else {
                position.column += 1;
            }
        }
        position
    }
}

impl fmt::Display for Position {
    /// `column 5`, or `line 2, column 5` after the first line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 1 {
            write!(f, "line {}, ", self.line)?;
        }
        write!(f, "column {}", self.column)
    }
}

/// Why a text is not an expression that can be evaluated. Displays as one line: what, where, and the way
/// out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExpressionError {
    /// The text is longer or more deeply nested than any sensible expression.
    #[error("{message}")]
    TooComplex {
        /// Which limit, and the way out.
        message: String,
    },
    /// The text is not CEL.
    #[error("not an expression: {message} at {position}")]
    Parse {
        /// What the parser met.
        message: String,
        /// Where.
        position: Position,
    },
    /// A variable that is not in scope.
    #[error("unknown name {name:?} at {position}; {help}")]
    UnknownName {
        /// The name as written.
        name: String,
        /// Where.
        position: Position,
        /// The nearest name and the names in scope.
        help: String,
    },
    /// An operator or function applied to types that it is not for.
    #[error("{what} at {position}; {help}")]
    Type {
        /// What is applied to what.
        what: String,
        /// Where.
        position: Position,
        /// What to write instead.
        help: String,
    },
    /// CEL that the engine does not evaluate.
    #[error("{what} at {position}; {help}")]
    Unsupported {
        /// What is not supported.
        what: String,
        /// Where.
        position: Position,
        /// What to write instead.
        help: String,
    },
}

/// Why an expression has no value for some values of its variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EvalError {
    /// A division or remainder by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// A result that a signed 64-bit integer cannot hold.
    #[error("the result does not fit into a signed 64-bit integer")]
    Overflow,
    /// The expression's result is of another type than was asked for.
    #[error("the expression has a result of another type")]
    WrongType,
    /// Fewer values than the expression's variables need.
    #[error("a variable of the expression has no value")]
    MissingValue,
}

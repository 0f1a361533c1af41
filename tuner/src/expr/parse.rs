//! From text to syntax tree, whatever the text.

use cel::Program;

use super::{ExpressionError, Position};

/// Longest text in bytes.
const MAX_BYTES: usize = 4096;
/// Deepest nesting of brackets and of conditionals. The parser recurses per level.
const MAX_NESTING: usize = 32;
/// Most operators. A chain of them is as deep a tree as it is long.
const MAX_OPERATORS: usize = 256;

/// Parses a text that may be anything.
pub(super) fn parse(text: &str) -> Result<Program, ExpressionError> {
    guard(text)?;
    Program::compile(text).map_err(|errors| {
        let Some(first) = errors.errors.into_iter().next() else {
            return ExpressionError::Parse { message: "no expression".into(), position: Position::of(text, 0) };
        };
        let line = usize::try_from(first.pos.0).unwrap_or(1).max(1);
        let column = usize::try_from(first.pos.1).unwrap_or(1).max(1);
        ExpressionError::Parse { message: condense(&first.msg), position: Position { line, column } }
    })
}

/// Refuses what the parser would recurse into too deeply, or what no expression holds.
fn guard(text: &str) -> Result<(), ExpressionError> {
    if text.trim().is_empty() {
        return Err(ExpressionError::Parse {
            message: "the text is empty".into(),
            position: Position::of(text, 0),
        });
    }
    if text.len() > MAX_BYTES {
        return Err(ExpressionError::TooComplex {
            message: format!(
                "the expression has {} bytes, over the limit of {MAX_BYTES}; split it",
                text.len()
            ),
        });
    }
    let mut quote = None;
    let mut escaped = false;
    let (mut depth, mut conditionals, mut operators) = (0_usize, 0_usize, 0_usize);
    for (offset, char) in text.chars().enumerate() {
        if let Some(open) = quote {
            // An escaped quote does not end the string.
            if !escaped && char == open {
                quote = None;
            }
            escaped = !escaped && char == '\\';
            continue;
        }
        match char {
            '"' | '\'' => quote = Some(char),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '?' => conditionals += 1,
            '+' | '-' | '*' | '/' | '%' | '<' | '>' | '!' | '=' | '&' | '|' | '.' => operators += 1,
            ' ' | '\t' | '\n' | '\r' | '!'..='~' => {}
            other => {
                return Err(ExpressionError::Parse {
                    message: format!("unexpected character {other:?}"),
                    position: Position::of(text, offset),
                });
            }
        }
        let limit = if depth > MAX_NESTING {
            Some(("brackets nest", MAX_NESTING))
        } else if conditionals > MAX_NESTING {
            Some(("conditionals number", MAX_NESTING))
        } else if operators > MAX_OPERATORS {
            Some(("operator characters number", MAX_OPERATORS))
        } else {
            None
        };
        if let Some((what, most)) = limit {
            let position = Position::of(text, offset);
            return Err(ExpressionError::TooComplex {
                message: format!("{what} over {most} at {position}; split the expression"),
            });
        }
    }
    Ok(())
}

/// The parser's message in one short line.
fn condense(message: &str) -> String {
    const SHOWN: usize = 120;
    let message = message.trim_start_matches("Syntax error: ");
    // A parser generator lists every token that would have fitted; nobody reads that.
    let message = message.split(" expecting {").next().unwrap_or(message);
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ").replace("'<EOF>'", "end of text");
    let mut shown: String = line.chars().take(SHOWN).collect();
    if shown.len() < line.len() {
        shown.push_str("...");
    }
    shown
}

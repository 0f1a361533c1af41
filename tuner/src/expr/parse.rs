//! From text to syntax tree, whatever the text.

use cel::Program;

use super::{ExpressionError, Position};

/// Longest text in bytes.
const MAX_BYTES: usize = 4096;
/// Deepest nesting of brackets and of conditionals. The parser recurses per level.
const MAX_NESTING: usize = 24;
/// Most characters of operators, dots and brackets. A chain of them is as deep a tree as it is long; only
/// `&&` and `||` are not counted, because the parser balances them.
const MAX_OPERATORS: usize = 128;

/// Parses a text that may be anything.
pub(super) fn parse(text: &str) -> Result<Program, ExpressionError> {
    guard(text)?;
    Program::compile(text).map_err(|errors| {
        let Some(first) = errors.errors.into_iter().next() else {
            return ExpressionError::Parse {
                message: "no expression".into(),
                position: Position::of(text, 0),
            };
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
    for (offset, char) in text.char_indices() {
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
            '(' | '[' | '{' => {
                depth += 1;
                operators += 1;
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '?' => conditionals += 1,
            '+' | '-' | '*' | '/' | '%' | '<' | '>' | '!' | '=' | '.' => operators += 1,
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
            Some(("operators number", MAX_OPERATORS))
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
    const SHOWN: usize = 60;
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    // A parser generator lists every token that would have fitted; nobody reads that.
    let message = message.split(" expecting ").next().unwrap_or(message);
    if message.contains("Recursion limit") {
        return "it is nested too deeply; split it into several".to_owned();
    }
    if message.contains("`_?_:_`") {
        return "a `?` without its `:`".to_owned();
    }
    let openings = [
        "token recognition error at: ",
        "mismatched input ",
        "extraneous input ",
        "no viable alternative at input ",
    ];
    let Some(met) = openings.iter().find_map(|opening| message.strip_prefix(opening)) else {
        return message.split_whitespace().collect::<Vec<_>>().join(" ");
    };
    let met = met.split_whitespace().collect::<Vec<_>>().join(" ");
    if met.contains("<EOF>") {
        return "the text ends too early".to_owned();
    }
    let inner = met.strip_prefix('\'').and_then(|m| m.strip_suffix('\'')).unwrap_or(&met).trim();
    let mut shown: String = inner.chars().take(SHOWN).collect();
    if inner.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    let help = match inner {
        "=" => "; write == to compare",
        "&" | "and" => "; write && for and",
        "|" | "or" => "; write || for or",
        "not" => "; write ! for not",
        "True" => "; write true",
        "False" => "; write false",
        _ if inner.starts_with(['\'', '"']) => "; a string that does not end, or has an unknown escape",
        _ => "",
    };
    format!("unexpected `{shown}`{help}")
}

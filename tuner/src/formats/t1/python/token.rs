//! From text to tokens.

use super::PythonError;

/// A token and the column that it begins at, from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) column: usize,
    pub(super) kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    Int(i64),
    Float(String),
    Text(String),
    /// A name or keyword.
    Word(String),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

/// Longest expression in characters.
const MAX_CHARS: usize = 65_536;

/// Longer ones first, so that `**` is not two `*`.
const SIGNS: [&str; 31] = [
    "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", ":=", "+", "-", "*", "/", "%", "(", ")", "[",
    "]", "{", "}", ",", ":", ".", "<", ">", "&", "|", "^", "~",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, PythonError> {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > MAX_CHARS {
        let message = format!("the expression is longer than {MAX_CHARS} characters; shorten it");
        return Err(PythonError::new(1, message));
    }
    let mut tokens = Vec::new();
    let mut rest = chars.as_slice();
    while let Some(&first) = rest.first() {
        let column = chars.len() - rest.len() + 1;
        let (length, kind) = if first.is_whitespace() {
            rest = rest.get(1..).unwrap_or_default();
            continue;
        } else if first.is_ascii_digit() || (first == '.' && rest.get(1).is_some_and(char::is_ascii_digit)) {
            number(rest, column)?
        } else if first == '\'' || first == '"' {
            string(rest, column)?
        } else if first.is_alphabetic() || first == '_' {
            word(rest, column)?
        } else {
            sign(rest, column)?
        };
        tokens.push(Token { column, kind });
        rest = rest.get(length..).unwrap_or_default();
    }
    tokens.push(Token { column: chars.len() + 1, kind: TokenKind::End });
    Ok(tokens)
}

fn taken(rest: &[char], is_part: impl Fn(char) -> bool) -> usize {
    rest.iter().take_while(|c| is_part(**c)).count()
}

fn number(rest: &[char], column: usize) -> Result<(usize, TokenKind), PythonError> {
    let too_large = || PythonError::new(column, "the number does not fit 64 bits; use a smaller one");
    if let [digit, letter, ..] = rest
        && *digit == '0'
        && matches!(letter, 'x' | 'X' | 'o' | 'O' | 'b' | 'B')
    {
        let radix = match letter.to_ascii_lowercase() {
            'x' => 16,
            'o' => 8,
            _ => 2,
        };
        let tail = rest.get(2..).unwrap_or_default();
        let length = taken(tail, |c| c.is_ascii_alphanumeric() || c == '_');
        let digits: String = tail.iter().take(length).filter(|c| **c != '_').collect();
        let value = i64::from_str_radix(&digits, radix).map_err(|_| {
            PythonError::new(column, "the number has digits that its base does not know, or too many")
        })?;
        return Ok((length + 2, TokenKind::Int(value)));
    }
    let is_digit = |c: char| c.is_ascii_digit() || c == '_';
    let mut length = taken(rest, is_digit);
    let mut whole = true;
    if rest.get(length) == Some(&'.') {
        whole = false;
        length += 1 + taken(rest.get(length + 1..).unwrap_or_default(), is_digit);
    }
    if matches!(rest.get(length), Some('e' | 'E')) {
        let signed = usize::from(matches!(rest.get(length + 1), Some('+' | '-')));
        let digits = taken(rest.get(length + 1 + signed..).unwrap_or_default(), is_digit);
        if digits > 0 {
            whole = false;
            length += 1 + signed + digits;
        }
    }
    let text: String = rest.iter().take(length).filter(|c| **c != '_').collect();
    if rest.get(length).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
        return Err(PythonError::new(column, format!("`{text}` is followed by a letter; write a number")));
    }
    let kind =
        if whole { TokenKind::Int(text.parse().map_err(|_| too_large())?) } else { TokenKind::Float(text) };
    Ok((length, kind))
}

fn string(rest: &[char], column: usize) -> Result<(usize, TokenKind), PythonError> {
    let mut text = String::new();
    let mut chars = rest.iter().enumerate().skip(1);
    while let Some((i, &c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, '\\')) => text.push('\\'),
                Some((_, '\'')) => text.push('\''),
                Some((_, '"')) => text.push('"'),
                _ => {
                    let message = "an escape other than \\\\, \\' and \\\" in a string; write the character";
                    return Err(PythonError::new(column + i, message));
                }
            },
            _ if rest.first() == Some(&c) => return Ok((i + 1, TokenKind::Text(text))),
            _ => text.push(c),
        }
    }
    Err(PythonError::new(column, "a string that does not end; close its quotes"))
}

fn word(rest: &[char], column: usize) -> Result<(usize, TokenKind), PythonError> {
    let length = taken(rest, |c| c.is_alphanumeric() || c == '_');
    let word: String = rest.iter().take(length).collect();
    if matches!(rest.get(length), Some('\'' | '"')) {
        let message = format!("a string with the prefix {word}; write a plain string");
        return Err(PythonError::new(column, message));
    }
    Ok((length, TokenKind::Word(word)))
}

fn sign(rest: &[char], column: usize) -> Result<(usize, TokenKind), PythonError> {
    let starts = |sign: &str| sign.chars().zip(rest).filter(|(a, b)| a == *b).count() == sign.len();
    let Some(sign) = SIGNS.into_iter().find(|sign| starts(sign)) else {
        let found = rest.first().copied().unwrap_or(' ');
        let help = match found {
            '=' => "; write == to compare",
            '!' => "; write not",
            _ => "",
        };
        return Err(PythonError::new(column, format!("unexpected `{found}`{help}")));
    };
    let help = match sign {
        "&&" => "write and",
        "||" => "write or",
        ":=" => "name nothing inside an expression",
        _ => return Ok((sign.len(), TokenKind::Sign(sign))),
    };
    Err(PythonError::new(column, format!("`{sign}` is not understood; {help}")))
}

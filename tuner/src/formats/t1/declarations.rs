//! What a source declares in the device's memory. No parser of C++: it reads declarations only as far as their
//! names, past comments, attributes, lengths and initial values.

/// Whether a declaration with `__constant__` or `__device__` names the variable.
pub(super) fn declares_device_variable(source: &str, name: &str) -> bool {
    let code = without_comments(source);
    let tokens: Vec<&str> = tokens(&code).collect();
    let spaces =
        tokens.iter().enumerate().filter(|(_, token)| matches!(**token, "__constant__" | "__device__"));
    spaces.into_iter().any(|(at, _)| declares(tokens.get(at + 1..).unwrap_or_default(), name))
}

/// Whether a declaration, from behind its memory space, is of the variable.
fn declares(tokens: &[&str], name: &str) -> bool {
    let mut rest = tokens.iter();
    let mut before = "";
    let mut is_aggregate = false;
    while let Some(&token) = rest.next() {
        match token {
            _ if token == name => return true,
            "[" => skip(&mut rest),
            "(" if is_attribute(before) => skip(&mut rest),
            "{" if is_aggregate => skip(&mut rest),
            ";" | "(" | "{" => return false,
            "=" => {
                let mut depth = 0;
                for &token in rest.by_ref() {
                    match token {
                        "," if depth == 0 => break,
                        ";" => return false,
                        "(" | "{" | "[" => depth += 1,
                        ")" | "}" | "]" => depth -= 1,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        is_aggregate |= matches!(token, "struct" | "union");
        before = token;
    }
    false
}

fn is_attribute(word: &str) -> bool {
    // The second parenthesis of `__attribute__((...))` is within the first.
    matches!(word, "__align__" | "alignas" | "__attribute__" | "__declspec")
}

/// Skips to behind the bracket that closes the one just read.
fn skip<'a>(rest: &mut impl Iterator<Item = &'a &'a str>) {
    let mut depth = 1;
    for token in rest {
        match *token {
            "(" | "{" | "[" => depth += 1,
            ")" | "}" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// Words, and every other character by itself.
fn tokens(code: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = code;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let length =
            if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (token, after) = rest.split_at(length);
        rest = after;
        Some(token)
    })
}

/// The source with a space for every comment and an empty literal for every string.
fn without_comments(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let end = if rest.starts_with("//") {
            rest.find('\n')
        } else if rest.starts_with("/*") {
            rest.get(2..).and_then(|text| text.find("*/")).map(|at| at + 4)
        } else if first == '"' {
            code.push('"');
            end_of_string(rest)
        } else {
            code.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        };
        code.push(if first == '"' { '"' } else { ' ' });
        rest = end.and_then(|end| rest.get(end..)).unwrap_or_default();
    }
    code
}

/// Where a string that begins the text ends: its quotation mark, or the line, which no string goes past.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return Some(at),
            '"' if !escaped => return Some(at + 1),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_device_are_found_past_all_that_may_precede_them() {
        for source in [
            "__constant__ float w[9];",
            "__constant__ __align__(16) float w[9];",
            "__align__(16) __constant__ float w[9];",
            "__constant__ __attribute__((aligned(16))) float w[N];",
            "__constant__ /* (x); */ float // y;\n w[9];",
            "__constant__ float v[2] = {1, 2}, w[9];",
            "__constant__ struct Pair { float a, b; } w;",
            "char const *s = \"/*\"; __device__ float w = 3;",
        ] {
            assert!(declares_device_variable(source, "w"), "{source}");
        }
    }

    #[test]
    fn what_only_mentions_a_variable_declares_none() {
        for source in [
            "// __constant__ float w[9];",
            "/* __constant__ float w; */ float w;",
            "__device__ float f(float w) { return w; }",
            "__constant__ float v[w];",
            "__constant__ float v = w;",
            "my__constant__ float w;",
            "const char *s = \"__constant__ float w;\";",
            "__constant__ float v; float w;",
            "/* __constant__ float w;",
        ] {
            assert!(!declares_device_variable(source, "w"), "{source}");
        }
    }
}

//! What may stand where in a header.

use crate::kernel::Value;

/// A name as part of a macro's name.
pub(super) fn upper(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// Text that neither ends the comment it stands in nor seems to begin another.
pub(super) fn comment(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.replace("*/", "* /").replace("/*", "/ *")
}

/// Whether a macro can have the name.
pub(super) fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether the value's text ends where its macro does.
pub(super) fn is_macro_text(value: &Value) -> bool {
    let text = value.macro_text();
    !text.contains(char::is_control)
        && !text.trim_end().ends_with('\\')
        && !text.contains("/*")
        && !text.contains("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_stays_one() {
        assert_eq!(comment("odd */ note /* with\nlines"), "odd * / note / * with lines");
        assert_eq!(comment("*/*"), "* / *");
    }

    #[test]
    fn names_become_macro_names() {
        assert_eq!(upper("mlp-up.1"), "MLP_UP_1");
        for (name, expected) in [("_a1", true), ("1a", false), ("", false), ("a-b", false), ("ä", false)] {
            assert_eq!(is_identifier(name), expected, "{name}");
        }
    }

    #[test]
    fn values_that_would_leave_their_macro_are_told() {
        for text in ["1\n#error", "1 \\", "1 /* ", "1 // "] {
            assert!(!is_macro_text(&Value::Text(text.to_owned())), "{text:?}");
        }
        assert!(is_macro_text(&Value::Text("unsigned long".to_owned())));
    }
}

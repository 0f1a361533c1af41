//! Which names a parameter may have: it is a macro in C and a variable in CEL.

/// Words that mean something in CEL, C or C++ (CUDA's language), so that a macro or variable of that name
/// would change or break the text it stands in.
const RESERVED: &[&str] = &[
    "alignas",
    "alignof",
    "as",
    "asm",
    "auto",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "class",
    "const",
    "constexpr",
    "continue",
    "decltype",
    "default",
    "define",
    "defined",
    "delete",
    "do",
    "double",
    "else",
    "enum",
    "explicit",
    "extern",
    "false",
    "float",
    "for",
    "friend",
    "function",
    "goto",
    "if",
    "import",
    "in",
    "inline",
    "int",
    "let",
    "long",
    "loop",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "null",
    "nullptr",
    "operator",
    "package",
    "private",
    "protected",
    "public",
    "register",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "static_assert",
    "struct",
    "switch",
    "template",
    "this",
    "thread_local",
    "throw",
    "true",
    "try",
    "typedef",
    "typeid",
    "typename",
    "typeof",
    "union",
    "unsigned",
    "using",
    "var",
    "virtual",
    "void",
    "volatile",
    "while",
];

/// What is wrong with a parameter's name, and the way out.
pub(super) fn problem(name: &str) -> Option<&'static str> {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !starts || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Some("not a C identifier; use letters, digits and underscores, and no digit at the start");
    }
    RESERVED
        .contains(&name)
        .then_some("a reserved word of CEL or C; choose another name, such as one with a suffix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_free_identifiers_are_names() {
        for good in ["a", "_", "block_m2", "BLOCK"] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in ["", "2a", "a-b", "a b", "é", "int", "in", "true", "while", "template"] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}

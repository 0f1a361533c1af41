use super::*;

fn value(text: &str) -> Result<Object, PythonError> {
    evaluate(&parse(text)?, &[("x".to_owned(), Object::Int(6))])
}

fn ints(values: &[i64]) -> Object {
    Object::List(values.iter().copied().map(Object::Int).collect())
}

#[test]
fn the_lists_of_real_files_have_python_s_values() {
    for (text, expected) in [
        ("[1, 2, 4, 8, 16] + list(range(32, 128+1, 32))", &[1, 2, 4, 8, 16, 32, 64, 96, 128][..]),
        ("[2**i for i in range(0, 6)]", &[1, 2, 4, 8, 16, 32]),
        ("[i for i in range(3,12,2)]", &[3, 5, 7, 9, 11]),
        ("[128+64*i for i in range(3)]", &[128, 192, 256]),
        ("[i for i in range(20) if i % 3 == 0 and i != 9]", &[0, 3, 6, 12, 15, 18]),
        ("[a*b for a in [1, 2] for b in (3, 5) if a < b]", &[3, 5, 6, 10]),
        ("list(2**i for i in range(3))", &[1, 2, 4]),
        ("list(range(5, 0, -2))", &[5, 3, 1]),
        ("sorted(set([4, 2, 4, 1]))", &[1, 2, 4]),
        ("[0] * 3", &[0, 0, 0]),
        ("1, 2", &[1, 2]),
        ("[x if x > 5 else 0, -x, x // 4, -x // 4, -x % 4, 1 << 4]", &[6, -6, 1, -2, 2, 16]),
        ("[max(1, x), min([x, 2]), abs(-3), int(7.9), len([1, 2]), sum([1, 2, 3])]", &[6, 2, 3, 7, 2, 6]),
        ("[0x10, 1_000, 0b11]", &[16, 1000, 3]),
    ] {
        assert_eq!(value(text), Ok(ints(expected)), "{text}");
    }
}

#[test]
fn operators_bind_as_in_python() {
    for (text, expected) in [
        ("-2**2", Object::Int(-4)),
        ("2**-1", Object::Float(0.5)),
        ("2**3**2", Object::Int(512)),
        ("7 / 2", Object::Float(3.5)),
        ("1 + 2 * 3 - 4", Object::Int(3)),
        ("10 - 4 - 3", Object::Int(3)),
        ("1 < 2 < 3", Object::Bool(true)),
        ("1 < 3 < 2", Object::Bool(false)),
        ("not 1 == 2 and 3 in (1, 3)", Object::Bool(true)),
        ("4 not in [1, 2] or 1 / 0", Object::Bool(true)),
        ("0 or 5", Object::Int(5)),
        ("5 & 3 == 1", Object::Bool(true)),
        ("True + 1", Object::Int(2)),
        ("'a' + \"b\"", Object::Text("ab".into())),
    ] {
        assert_eq!(value(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_not_understood_is_named_with_its_column() {
    for (text, column, phrase) in [
        ("lambda x: x", 1, "lambda"),
        ("x && 1", 3, "write and"),
        ("x = 1", 3, "write =="),
        ("p.values()", 1, "p.values"),
        ("[1, 2", 6, "is missing"),
        ("1 +", 4, "too early"),
        ("y + 1", 1, "y is not defined"),
        ("1 // 0", 1, "zero"),
        ("2**200", 1, "64 bits"),
        ("f'a'", 1, "prefix f"),
        ("{1: 2}", 1, "dictionaries"),
        ("x is 1", 3, "write =="),
        ("range(0, 9, 0)", 1, "step of 0"),
        ("'abc", 1, "does not end"),
    ] {
        let error = value(text).unwrap_err();
        assert!(error.message.contains(phrase), "{text}: {error}");
        assert_eq!(error.column, column, "{text}: {error}");
    }
    assert!(value("99999999999999999999").unwrap_err().message.contains("64 bits"));
}

#[test]
fn hostile_expressions_end_soon() {
    for text in [
        "list(range(10**15))".to_owned(),
        "[0] * 10**12".to_owned(),
        "[a for a in range(1000) for b in range(1000) for c in range(1000)]".to_owned(),
        "[[0] * 1000] * 100000".to_owned(),
        "[x for x in [[0] * 100000] for i in range(100000)]".to_owned(),
        "(".repeat(100_000),
        "[".repeat(60_000),
        "-".repeat(60_000) + "1",
        "not ".repeat(16_000) + "1",
        "1**".repeat(20_000) + "1",
        "x".repeat(70_000),
        vec!["1"; 10_000].join("+"),
    ] {
        assert!(value(&text).is_err());
    }
    assert_eq!(value(&vec!["1"; 250].join("+")), Ok(Object::Int(250)));
}

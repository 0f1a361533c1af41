use cel::{Context, Program, Value};
use proptest::prelude::*;

use super::*;

/// Slots: `block_m`, `k`, `m`, `n` (ints), `fast` (bool), `kind` (string: 0 wide, 1 narrow).
fn scope() -> Scope {
    let mut scope = Scope::new();
    for name in ["block_m", "k", "m", "n"] {
        scope.add(name, Type::Int);
    }
    scope.add("fast", Type::Bool);
    scope.add("kind", Type::Text);
    scope.intern("wide");
    scope.intern("narrow");
    scope
}

const VALUES: [i64; 6] = [64, 3, -7, 0, 1, 0];

fn compile(text: &str) -> Expression {
    Expression::compile(text, &scope()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> ExpressionError {
    Expression::compile(text, &scope()).expect_err(text)
}

fn int(text: &str) -> Result<i64, EvalError> {
    compile(text).eval_int(&VALUES)
}

fn bool(text: &str) -> Result<bool, EvalError> {
    compile(text).eval_bool(&VALUES)
}

#[test]
fn integers_are_cels() {
    assert_eq!(int("m / 2"), Ok(-3));
    assert_eq!(int("m % 2"), Ok(-1));
    assert_eq!(int("block_m - k * 2"), Ok(58));
    assert_eq!(int("m / n"), Err(EvalError::DivisionByZero));
    assert_eq!(int("m % n"), Err(EvalError::DivisionByZero));
    assert_eq!(int("9223372036854775807 + k"), Err(EvalError::Overflow));
    assert_eq!(int("-9223372036854775808 / (n - 1)"), Err(EvalError::Overflow));
    assert_eq!(int("-(n - 9223372036854775807 - 1)"), Err(EvalError::Overflow));
}

#[test]
fn functions_compute_what_their_names_say() {
    for (a, b, ceiling) in [(7, 2, 4), (-7, 2, -3), (7, -2, -3), (-7, -2, 4), (6, 3, 2), (0, 5, 0)] {
        assert_eq!(int(&format!("ceil_div({a} + n, {b} + n)")), Ok(ceiling), "{a} / {b}");
    }
    assert_eq!(int("ceil_div(m, n)"), Err(EvalError::DivisionByZero));
    assert_eq!(int("min(m, k) + max(m, k)"), Ok(-4));
    assert_eq!(int("int(double(m) / 2.0)"), Ok(-3));
    assert_eq!(int("int(1e300)"), Err(EvalError::Overflow));
    assert_eq!(compile("double(m) * 0.5").eval_double(&VALUES), Ok(-3.5));
    assert_eq!(compile("m").eval_double(&VALUES), Ok(-7.0));
    assert_eq!(compile("-min(1.5, double(k))").eval_double(&VALUES), Ok(-1.5));
}

#[test]
fn what_decides_absorbs_an_error_on_the_other_side() {
    assert_eq!(bool("m / n == 1 && k == 0"), Ok(false));
    assert_eq!(bool("k == 0 && m / n == 1"), Ok(false));
    assert_eq!(bool("m / n == 1 || fast"), Ok(true));
    assert_eq!(bool("fast || m / n == 1"), Ok(true));
    assert_eq!(bool("m / n == 1 && fast"), Err(EvalError::DivisionByZero));
    assert_eq!(bool("!fast || m / n == 1"), Err(EvalError::DivisionByZero));
    assert_eq!(bool("n == 0 ? fast : m / n == 1"), Ok(true));
    // The same when constants decide.
    assert_eq!(bool("1 / 0 == 1 || true"), Ok(true));
    assert_eq!(bool("1 / 0 == 1 || false"), Err(EvalError::DivisionByZero));
}

#[test]
fn strings_and_booleans_are_compared_and_looked_up() {
    assert_eq!(bool("kind == 'wide' && kind != 'narrow'"), Ok(true));
    assert_eq!(bool("kind in ['narrow', \"wide\"]"), Ok(true));
    assert_eq!(bool("kind == 'unheard of'"), Ok(false));
    assert_eq!(bool("'a' == 'a' && 'a' != 'b'"), Ok(true));
    assert_eq!(bool("fast == true && fast in [true]"), Ok(true));
    assert_eq!(bool("(fast ? 'wide' : 'narrow') == kind"), Ok(true));
    assert_eq!(bool("m in [1, k - 10]"), Ok(true));
    assert_eq!(bool("m in []"), Ok(false));
    assert_eq!(bool("m in [-7, 1 / n]"), Err(EvalError::DivisionByZero));
}

#[test]
fn slots_are_those_that_the_result_depends_on() {
    assert_eq!(compile("n + k * n").slots(), [1, 3]);
    assert_eq!(compile("false && m == 1").slots(), [0_usize; 0]);
    let folded = compile("m * k > 3 && n == 0").fold(&|slot| (slot == 3).then_some(0));
    assert_eq!(folded.slots(), [1, 2]);
    assert_eq!(folded.eval_bool(&[0, 2, 2]), Ok(true));
    let parts = compile("m > 0 && (n > 1 && k > 2) && (fast || m > 3)").conjuncts();
    let slots: Vec<_> = parts.iter().map(|part| part.slots().to_vec()).collect();
    assert_eq!(slots, [vec![2], vec![3], vec![1], vec![2, 4]]);
}

#[test]
fn a_result_is_only_given_as_its_own_type() {
    assert_eq!(compile("m").eval_bool(&VALUES), Err(EvalError::WrongType));
    assert_eq!(compile("fast").eval_int(&VALUES), Err(EvalError::WrongType));
    assert_eq!(compile("fast").eval_double(&VALUES), Err(EvalError::WrongType));
    assert_eq!(compile("kind").eval_int(&VALUES), Err(EvalError::WrongType));
    assert_eq!(compile("n").eval_int(&VALUES[..2]), Err(EvalError::MissingValue));
}

#[test]
fn messages_say_what_is_wrong_where_and_the_way_out() {
    for (text, message) in [
        (
            "k * blok_m",
            "unknown name \"blok_m\" at column 5; did you mean \"block_m\"? known names: block_m, fast, k, kind, m, n",
        ),
        (
            "2.0 * m",
            "`2.0 * m` multiplies double with int at column 5; CEL converts nothing by itself: write double(m)",
        ),
        (
            "(m + 1) / (2.0 - 1.0)",
            "`(m + 1) / (2.0 - 1.0)` divides int by double at column 9; CEL converts nothing by itself: write double(m + 1)",
        ),
        (
            "kind == 'é' && fast + 1 == 2",
            "`fast + 1` adds bool and int at column 21; CEL converts nothing by itself: write (fast ? 1 : 0)",
        ),
        (
            "m && fast",
            "`m` is int where && needs bool at column 1; CEL converts nothing by itself: write m != 0",
        ),
        (
            "m >\n 0.5",
            "`m > 0.5` compares int with double at column 3; CEL converts nothing by itself: write double(m)",
        ),
        ("m >\n zz", "unknown name \"zz\" at line 2, column 2; known names: block_m, fast, k, kind, m, n"),
        ("1u + m", "an unsigned literal is not supported at column 1; write it without the u: 1"),
        (
            "min(m, n, k)",
            "min with 3 arguments is not supported at column 4; it takes two, so nest it: min(a, min(b, c))",
        ),
        ("", "not an expression: the text is empty at column 1"),
        ("m +", "not an expression: the text ends too early at column 4"),
        ("m = 1", "not an expression: unexpected `=`; write == to compare at column 3"),
        ("fast and fast", "not an expression: unexpected `and`; write && for and at column 6"),
        ("m ? 1", "not an expression: a `?` without its `:` at column 1"),
        ("m + é", "not an expression: unexpected character 'é' at column 5"),
    ] {
        assert_eq!(refusal(text).to_string(), message, "{text}");
    }
}

#[test]
fn what_is_not_supported_is_refused_with_a_hint() {
    for text in [
        "[1, 2].all(x, x > 1)",
        "has(m.x)",
        "m.x",
        "m.size()",
        "size(m)",
        "m[0]",
        "{'a': 1}",
        "T{a: 1}",
        "[1]",
        "null",
        "b'a'",
        "m in n",
        "kind < 'wide'",
        "fast < fast",
        "m[0][0]",
        "nothing()",
    ] {
        let error = refusal(text);
        assert!(matches!(error, ExpressionError::Unsupported { .. }), "{text}: {error}");
    }
    for text in [
        "kind + kind",
        "fast + fast",
        "m in ['a']",
        "1.0 in [1.0]",
        "int(fast)",
        "double(kind)",
        "-fast",
        "!m",
        "fast ? 1 : 2.0",
        "m ? 1 : 2",
        "2.0 % 1.0",
        "ceil_div(1.0, 2.0)",
        "min(1, 2.0)",
        "m == 'a'",
        "m == fast",
    ] {
        let error = refusal(text);
        assert!(matches!(error, ExpressionError::Type { .. }), "{text}: {error}");
    }
}

#[test]
fn odd_text_is_a_parse_error_of_one_line() {
    for text in [
        " ",
        "1 +",
        "(",
        ")",
        "((((",
        "a b",
        "'abc",
        "\"",
        "\0",
        "1 2",
        "@",
        "$a",
        "a..b",
        "'\\q'",
        "[",
        "{",
        "in",
        "1 in",
        "99999999999999999999",
        "0xfffffffffffffffff",
        "1e999",
        "m & 1",
        "if",
        "`a`",
        "// c",
        "5 .",
        "?",
        "&&",
        "\\",
        "-",
        "'\n'",
        "m\u{a0}",
        "\u{feff}m",
        "\u{1b}[0m",
        "has(m)",
        "m ? 1",
    ] {
        let error = refusal(text);
        assert!(matches!(error, ExpressionError::Parse { .. }), "{text}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn long_and_deep_text_neither_overflows_the_stack_nor_passes() {
    let deep = [
        "(".repeat(4000),
        "[".repeat(4000),
        "-(".repeat(2000),
        "!(".repeat(33),
        format!("m{}", " + m".repeat(1000)),
        format!("m{}", "[0]".repeat(1300)),
        format!("m{}", ".m".repeat(2000)),
        "fast ? 1 : ".repeat(300) + "2",
        "m".repeat(5000),
    ];
    for text in deep {
        let error = refusal(&text);
        assert!(matches!(error, ExpressionError::TooComplex { .. }), "{error}");
    }
    // What the limits let through is compiled, with stack to spare: threads have 2 MiB.
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let compiled = small.spawn(|| {
        for text in [
            format!("m{}", "+m".repeat(128)),
            format!("{}m{}", "(".repeat(24), ")".repeat(24)),
            format!("{}m{}{}", "-(".repeat(24), "+m".repeat(80), ")".repeat(24)),
            format!("{}m{}", "min(".repeat(24), ", m)".repeat(24)),
            "fast ? 1 : ".repeat(24) + "2",
            format!("fast{}", "&&fast".repeat(600)),
            format!("m in [{}1]", "1,".repeat(2000)),
            "-".repeat(128) + "m",
        ] {
            let value = compile(&text);
            assert!(value.eval_int(&VALUES).is_ok() || value.eval_bool(&VALUES).is_ok(), "{text}");
        }
    });
    compiled.unwrap().join().unwrap();
    // Brackets inside a string are none.
    assert_eq!(bool(&format!("kind == '{}\\''", "(".repeat(600))), Ok(false));
}

/// Text of an int expression over m, n and k.
fn int_text(depth: u32) -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        (-4_i64..5).prop_map(|i| i.to_string()),
        Just("9223372036854775807".to_owned()),
        Just("-9223372036854775808".to_owned()),
        prop::sample::select(vec!["m", "n", "k"]).prop_map(str::to_owned),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let operator = prop::sample::select(vec!["+", "-", "*", "/", "%"]);
    let int = || int_text(depth - 1);
    prop_oneof![
        2 => leaf,
        4 => (int(), operator, int()).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
        1 => int().prop_map(|a| format!("-({a})")),
        1 => (bool_text(depth - 1), int(), int()).prop_map(|(c, a, b)| format!("({c} ? {a} : {b})")),
        1 => (int(), int(), int()).prop_map(|(a, o, b)| format!("{a} + {o} * {b}")).prop_map(|t| format!("({t})")),
        1 => int().prop_map(|a| format!("int(double({a}) / 2.0)")),
    ]
    .boxed()
}

/// Text of a bool expression over m, n, k and fast.
fn bool_text(depth: u32) -> BoxedStrategy<String> {
    let leaf = prop::sample::select(vec!["true", "false", "fast"]).prop_map(str::to_owned);
    if depth == 0 {
        return leaf.boxed();
    }
    let comparison = prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let int = || int_text(depth - 1);
    let bool = || bool_text(depth - 1);
    prop_oneof![
        1 => leaf,
        4 => (int(), comparison, int()).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
        2 => (bool(), bool()).prop_map(|(a, b)| format!("({a} && {b})")),
        2 => (bool(), bool()).prop_map(|(a, b)| format!("({a} || {b})")),
        1 => bool().prop_map(|a| format!("!{a}")),
        1 => (int(), int(), int()).prop_map(|(x, a, b)| format!("({x} in [{a}, {b}])")),
        1 => (bool(), bool()).prop_map(|(a, b)| format!("({a} == {b})")),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn evaluation_agrees_with_the_reference_interpreter(
        text in prop_oneof![int_text(3), bool_text(3)],
        m in -3_i64..4, n in -3_i64..4, k in any::<i64>(), fast: bool,
    ) {
        let mut context = Context::default();
        for (name, value) in [("m", Value::Int(m)), ("n", Value::Int(n)), ("k", Value::Int(k)), ("fast", Value::Bool(fast))] {
            context.add_variable_from_value(name, value);
        }
        let expected = Program::compile(&text).unwrap().execute(&context);
        let expression = compile(&text);
        let values = [0, k, m, n, i64::from(fast), 0];
        let mine = match expression.result_type() {
            Type::Bool => expression.eval_bool(&values).map(Value::Bool),
            _ => expression.eval_int(&values).map(Value::Int),
        };
        prop_assert_eq!(mine.ok(), expected.ok(), "{}", text);
    }

    #[test]
    fn bounds_hold_for_every_value_in_the_ranges(
        text in prop_oneof![int_text(3), bool_text(3)],
        m in -3_i64..4, n in -3_i64..4, k in -9_i64..10, widths in prop::array::uniform3(0_i64..4), fast: bool,
    ) {
        let expression = compile(&text);
        let fast = i64::from(fast);
        let ranges = [(0, 0), (k, k + widths[0]), (m, m + widths[1]), (n, n + widths[2]), (0, fast), (0, 0)];
        if let Some((low, high)) = expression.root.bounds(&ranges) {
            for k in k..=k + widths[0] {
                for m in m..=m + widths[1] {
                    for n in n..=n + widths[2] {
                        for fast in 0..=fast {
                            let value = expression.root.eval(&[0, k, m, n, fast, 0]);
                            prop_assert!(value.is_ok_and(|v| low <= v && v <= high), "{} {:?}", text, value);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn no_text_panics(text in "[-+*/%()\\[\\]{}<>=!&|?:.,'\"\\\\ mnk0-9ué\n]{0,60}") {
        if let Err(error) = Expression::compile(&text, &scope()) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}

use super::*;

const SPEC: &str = r#"
name: axpy
language: C
source: {inline: "x"}
entrypoint: axpy
problems: [{name: small, sizes: {n: 64}}, {name: large, sizes: {n: 4096}, weight: 3}]
arguments:
  - buffer: {name: x, type: f32, length: "n"}
  - buffer: {name: y, type: f32, length: "2 * n", output: true}
  - scalar: {name: n, type: i32, value: "n * unroll"}
  - scalar: {name: a, type: f32, value: "0.5"}
parameters:
  - {name: unroll, values: [8, 1, 2, 4]}
  - {name: fast, values: [false, true]}
constraints: ["unroll < 8"]
verify: {entrypoint: reference, relative: "1e-3"}
metrics:
  - {name: gbs, value: "double(12 * n) / double(time_ns)"}
  - {name: never, value: "1 / (unroll - unroll)"}
"#;
const SOURCE: &str = "void axpy(float *x, float *y, int n, float a) {} void reference() {}";

fn kernel(edit: impl Fn(&str) -> String) -> Kernel {
    serde_yaml::from_str(&edit(SPEC)).unwrap()
}

fn build(edit: impl Fn(&str) -> String) -> Result<Task, Vec<Violation>> {
    Task::build("k", &kernel(edit), 0, SOURCE)
}

/// The only violation of the kernel with `from` replaced by `to`.
fn violation(from: &str, to: &str) -> Violation {
    assert!(SPEC.contains(from), "{from}");
    let mut found = build(|spec| spec.replace(from, to)).unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn assert_refused(from: &str, to: &str, path: &str, phrase: &str) {
    let found = violation(from, to);
    assert_eq!(found.path, path, "{found}");
    assert!(found.message.contains(phrase), "{found}");
}

#[test]
fn a_good_kernel_is_ready_to_tune() {
    let task = build(str::to_owned).unwrap();
    assert_eq!(task.name(), "axpy/small");
    assert_eq!(task.space.len(), 6);
    assert_eq!(task.buffer_bytes(), 3 * 64 * 4);
    assert_eq!(task.space.configuration(task.default).to_string(), "fast=false unroll=1");
    let macros = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(task.macros(task.default), [macros("unroll", "1"), macros("fast", "0")]);
    assert!(task.launch(task.default).is_none());
    let values: Vec<Number> =
        task.scalar_values(task.default).unwrap().into_iter().map(|s| s.value).collect();
    assert_eq!(values, [Number::Int(64), Number::Float(0.5)]);
    let metrics = task.metrics(task.default, 768);
    assert_eq!(metrics, BTreeMap::from([("gbs".to_owned(), 1.0)]));
    assert_eq!(task.tolerance(ElementType::F32), Tolerance { relative: 1e-3, absolute: None });
}

#[test]
fn sizes_become_macros_only_when_asked() {
    let task = build(|spec| spec.replace("verify:", "compile: {sizes: Macros}\nverify:")).unwrap();
    assert!(task.macros(0).contains(&("n".to_owned(), "64".to_owned())));
}

#[test]
fn the_digest_changes_with_what_trials_depend_on_and_with_nothing_else() {
    let base = build(str::to_owned).unwrap().digest();
    let with = |from: &str, to: &str| build(|spec| spec.replace(from, to)).unwrap().digest();
    assert_eq!(base.len(), 64);
    assert_eq!(base, with("name: small", "name: tiny"));
    assert_eq!(base, with("4096", "8192"));
    assert_ne!(base, with("n: 64", "n: 65"));
    assert_ne!(base, with("unroll < 8", "unroll < 4"));
    let other = Task::build("k", &kernel(str::to_owned), 0, &format!("{SOURCE}\n")).unwrap().digest();
    assert_ne!(base, other);
    assert_ne!(base, Task::build("k", &kernel(str::to_owned), 1, SOURCE).unwrap().digest());
}

#[test]
fn names_must_be_usable() {
    assert_refused("name: axpy", "name: A_b", "k.name", "DNS label");
    assert_refused("name: small", "name: -x", "k.problems[0].name", "DNS label");
    assert_refused("name: y, type", "name: x, type", "k.arguments[1].buffer.name", "earlier argument");
    assert_refused("name: never", "name: gbs", "k.metrics[1].name", "earlier metric");
    let twice = kernel(|spec| spec.replace("name: large", "name: small"));
    let found = Task::build("k", &twice, 1, SOURCE).unwrap_err();
    assert_eq!(found[0].path, "k.problems[1].name");
}

#[test]
fn an_entry_point_must_be_in_the_source() {
    assert_refused("entrypoint: axpy", "entrypoint: ''", "k.entrypoint", "missing entry point");
    assert_refused("entrypoint: axpy", "entrypoint: axp", "k.entrypoint", "no function of that name");
    assert_refused("entrypoint: axpy", "entrypoint: axpy()", "k.entrypoint", "C identifier");
    assert_refused(
        "entrypoint: reference,",
        "entrypoint: ref,",
        "k.verify.entrypoint",
        "missing entry point",
    );
}

#[test]
fn verification_is_never_silently_absent() {
    assert_refused("{entrypoint: reference, relative: \"1e-3\"}", "{}", "k.verify", "none: true");
    assert_refused("relative: \"1e-3\"}", "none: true}", "k.verify", "both");
    assert_refused("\"1e-3\"", "\"-1\"", "k.verify.relative", "tolerance");
    assert_refused("\"1e-3\"", "little", "k.verify.relative", "tolerance");
    assert_refused("\"1e-3\"", "NaN", "k.verify.relative", "tolerance");
}

#[test]
fn lengths_are_positive_ints_over_sizes() {
    let path = "k.arguments[0].buffer.length";
    assert_refused("length: \"n\"", "length: \"n - 64\"", path, "is 0 for problem");
    assert_refused("length: \"n\"", "length: \"-n\"", path, "is -64 for problem");
    assert_refused("length: \"n\"", "length: \"n / (n - 64)\"", path, "division by zero");
    assert_refused("length: \"n\"", "length: \"n * unroll\"", path, "parameter");
    assert_refused("length: \"n\"", "length: \"many\"", path, "many");
    assert_refused("length: \"n\"", "length: \"\"", path, "empty");
    assert_refused("length: \"n\"", "length: \"1.5\"", path, "double");
    assert_refused("length: \"n\"", "length: \"9223372036854775807\"", "k.arguments", "address space");
}

#[test]
fn buffers_over_the_memory_are_named() {
    let task = build(str::to_owned).unwrap();
    assert!(task.check_memory("k", 768).is_none());
    let found = task.check_memory("k", 767).unwrap();
    assert!(found.path == "k.arguments" && found.message.contains("smaller sizes"));
}

#[test]
fn scalars_have_a_value_that_their_type_holds() {
    let path = "k.arguments[2].scalar.value";
    assert_refused("\"n * unroll\"", "\"double(n)\"", path, "int()");
    assert_refused("\"n * unroll\"", "\"n > 1\"", path, "? 1 : 0");
    assert_refused("\"n * unroll\"", "\"n * 100000000\"", "k.arguments", "i32 cannot hold");
    assert_refused("output: true", "output: false", "k.arguments", "output");
    assert_refused("scalar: {name: a, type: f32, value: \"0.5\"}", "{}", "k.arguments[3]", "neither");
}

#[test]
fn a_variable_of_the_source_is_an_input_of_a_cuda_kernel() {
    let symbol = |symbol: &str| format!("length: \"n\", symbol: {symbol}");
    assert_refused("length: \"n\"", &symbol("y"), "k.arguments[0].buffer.symbol", "CUDA only");
    let cuda = |edit: &dyn Fn(&str) -> String| {
        let launch = "language: CUDA\nlaunch: {grid: [\"1\"], block: [\"1\"]}";
        build(|spec| edit(&spec.replace("language: C", launch)))
    };
    assert!(cuda(&|spec| spec.replace("length: \"n\"", &symbol("y"))).is_ok());
    let found = cuda(&|spec| spec.replace("length: \"n\"", &symbol("absent"))).unwrap_err();
    assert!(found[0].to_string().contains("no variable of that name"), "{found:?}");
    let found = cuda(&|spec| spec.replace("output: true", "output: true, symbol: y")).unwrap_err();
    assert!(found[0].to_string().contains("cannot be an output"), "{found:?}");
}

#[test]
fn where_nobody_sets_a_default_one_that_is_valid_is_taken_from_a_space_that_cannot_be_listed_too() {
    let wide = "  - {name: p, range: {min: 1, max: 4096, step: 1}}\n  - {name: q, range: {min: 1, max: 4096, step: 1}}\n";
    let task =
        build(|spec| spec.replace("constraints: [", &format!("{wide}constraints: [\"p > 1\", "))).unwrap();
    assert!(!task.space.is_listed() && task.space.contains(task.default));
    let again =
        build(|spec| spec.replace("constraints: [", &format!("{wide}constraints: [\"p > 1\", "))).unwrap();
    assert_eq!(task.default, again.default);
}

#[test]
fn a_default_must_be_valid() {
    assert_refused("[8, 1, 2, 4]", "[8, 1, 2, 4], default: 3", "k.parameters[0].default", "not among");
    let found = violation("[8, 1, 2, 4]", "[8, 1, 2, 4], default: 8");
    assert_eq!(found.path, "k.parameters");
    assert!(found.message.contains("\"unroll < 8\""), "{found}");
}

#[test]
fn a_launch_belongs_to_cuda() {
    assert_refused("verify:", "launch: {grid: [n], block: [n]}\nverify:", "k.launch", "CUDA only");
    assert_refused("language: C", "language: CUDA", "k.launch", "missing");
    let cuda = |grid: &str, block: &str| {
        build(|spec| {
            let launch = format!("language: CUDA\nlaunch: {{grid: [{grid}], block: [{block}]}}");
            spec.replace("language: C", &launch)
        })
    };
    let task = cuda("'ceil_div(n, 32)'", "'32', 'unroll'").unwrap();
    let expected = LaunchSizes { grid: [2, 1, 1], block: [32, 1, 1], shared_bytes: 0 };
    assert_eq!(task.launch(task.default), Some(Ok(expected)));
    assert_eq!(task.reference_launch(task.default), Some(Ok(expected)));
    let found = cuda("n", "'2048'").unwrap_err();
    assert!(found[0].path == "k.launch" && found[0].message.contains("2048"), "{found:?}");
    let found = cuda("'n > 1'", "'32', m").unwrap_err();
    assert_eq!(found[0].path, "k.launch.grid[0]");
    assert_eq!(found[1].path, "k.launch.block[1]");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let found = build(|spec| {
        spec.replace("name: axpy", "name: A")
            .replace("unroll < 8", "unroll <")
            .replace("\"0.5\"", "\"b\"")
            .replace("time_ns", "time")
            .replace("1e-3", "x")
    })
    .unwrap_err();
    let paths: Vec<&str> = found.iter().map(|v| v.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "k.name",
            "k.verify.relative",
            "k.constraints[0]",
            "k.arguments[3].scalar.value",
            "k.metrics[0].value"
        ]
    );
}

use proptest::prelude::*;

use super::python::{Object, evaluate, parse};
use super::*;

mod refusals;

/// A tuning file with pieces replaced; the kernel adds vectors.
const FILE: &str = r#"{
  "General": {"BenchmarkName": "Vector_Add", "OutputFormat": "JSON"},
  "ConfigurationSpace": {
    "TuningParameters": [
      {"Name": "block_size_x", "Type": "int", "Values": "[32 * i for i in range(1, 5)]", "Default": 64},
      {"Name": "tile", "Type": "int", "Values": "[1, 2, 4]", "Default": 1},
      {"Name": "kind", "Type": "string", "Values": "['float', 'half']", "Default": "float"},
      {"Name": "shift", "Type": "int", "Values": "[-2, 0, 3]", "Default": 0},
      {"Name": "fast", "Type": "bool", "Values": "[True, False]", "Default": true},
      {"Name": "scale", "Type": "float", "Values": "[0.5, 1]", "Default": 0.5}
    ],
    "Conditions": [{"Expression": "block_size_x % tile == 0", "Parameters": ["block_size_x", "tile"]}]
  },
  "KernelSpecification": {
    "Language": "CUDA", "CompilerOptions": ["-std=c++11"], "KernelName": "vector_add", "KernelFile": "add.cu",
    "LocalSize": {"X": "block_size_x", "Y": "1", "Z": "1"},
    "GlobalSize": {"X": "1000 // block_size_x + 1", "Y": "1", "Z": "1"},
    "GridDivX": ["block_size_x", "tile"], "ProblemSize": [1000], "SharedMemory": 0, "Stream": null,
    "Arguments": [
      {"Name": "c", "Type": "float", "MemoryType": "Vector", "AccessType": "WriteOnly", "FillType": "Constant", "FillValue": 0.0, "Size": "ProblemSize[0]", "Output": 1},
      {"Name": "a", "Type": "float", "MemoryType": "Vector", "AccessType": "ReadOnly", "FillType": "Random", "FillValue": 1.0, "Size": "ProblemSize[0] + max(tile)"},
      {"Name": "n", "Type": "int32", "MemoryType": "Scalar", "AccessType": "ReadOnly", "FillValue": 1000}
    ]
  }
}"#;

const SOURCE: &str =
    "__constant__ float weights[9];\n__global__ void vector_add(float *c, float *a, int n) {}";

fn import(file: &str) -> Result<Imported, Vec<Violation>> {
    read(file.as_bytes())?.translate("vector-add", SOURCE, None)
}

/// The file with a piece of its text replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(FILE.contains(from), "{from}");
    FILE.replacen(from, to, 1)
}

fn with_condition(condition: &str) -> Result<Imported, Vec<Violation>> {
    import(&changed("block_size_x % tile == 0", &condition.replace('"', "\\\"")))
}

#[test]
fn a_file_becomes_a_kernel() {
    let imported = import(FILE).unwrap();
    let kernel = imported.kernel;
    assert_eq!(kernel.entrypoint, "vector_add");
    assert_eq!(kernel.parameters[0].values, [32, 64, 96, 128].map(Value::Int));
    assert_eq!(kernel.parameters[4].values, [true, false].map(Value::Bool));
    assert_eq!(kernel.parameters[5].default, Some(Value::Text("0.5".into())));
    assert_eq!(kernel.constraints, ["block_size_x % tile == 0", "block_size_x <= 1024"]);
    let launch = kernel.launch.unwrap();
    assert_eq!(launch.grid, ["ceil_div(problem_size_x, block_size_x * tile)"]);
    assert_eq!((launch.block, launch.shared_memory), (vec!["block_size_x".to_owned()], None));
    assert_eq!(kernel.problems[0].sizes["problem_size_x"], 1000);
    let buffers: Vec<_> = kernel.arguments.iter().filter_map(|a| a.buffer.clone()).collect();
    assert_eq!(buffers[0].length, "problem_size_x");
    assert_eq!((buffers[0].output, buffers[0].init), (true, None));
    assert_eq!((buffers[1].length.as_str(), buffers[1].output), ("problem_size_x + 4", false));
    assert_eq!(kernel.arguments[2].scalar.as_ref().unwrap().value, "1000");
    assert!(kernel.verify.none);
    assert_eq!(kernel.compile.options, ["-std=c++11"]);
    assert_eq!(read(FILE.as_bytes()).unwrap().name(), "vector-add");
    let warnings: Vec<String> = imported.warnings.iter().map(Violation::to_string).collect();
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn floats_keep_the_spelling_of_the_file() {
    let floats = |values: &str, default: &str| {
        let file = changed("\"[0.5, 1]\", \"Default\": 0.5", &format!("{values}, \"Default\": {default}"));
        let parameter = import(&file).unwrap().kernel.parameters.remove(5);
        let texts: Vec<String> = parameter.values.iter().map(ToString::to_string).collect();
        (texts.join(" "), parameter.default.unwrap().to_string())
    };
    assert_eq!(floats("\"[0.5, 1.0, 2, 1e-5, 2.0]\"", "2.0"), ("0.5 1.0 2 1e-05".into(), "2".into()));
    assert_eq!(floats("[0.5, 1.0, 2]", "1"), ("0.5 1.0 2".into(), "1.0".into()));
}

#[test]
fn conditions_become_cel() {
    for (python, cel) in [
        ("32 <= block_size_x * tile <= 1024", "32 <= block_size_x * tile && block_size_x * tile <= 1024"),
        (
            "tile > 1 or not (block_size_x == 64 and tile == 2)",
            "tile > 1 || !(block_size_x == 64 && tile == 2)",
        ),
        ("block_size_x // tile >= 16", "block_size_x / tile >= 16"),
        ("shift // 2 == 1", "(shift - (shift % 2 + 2) % 2) / 2 == 1"),
        ("shift % 2 == 1", "(shift % 2 + 2) % 2 == 1"),
        ("block_size_x % ((tile * 4) / tile) == 0", "block_size_x * tile % (tile * 4) == 0"),
        ("block_size_x / tile <= 64", "block_size_x <= 64 * tile"),
        ("0.5 * block_size_x < 1e2", "block_size_x < 200"),
        ("tile in [1, 2] and tile not in (4, 8)", "tile in [1, 2] && !(tile in [4, 8])"),
        ("block_size_x in range(32, 97, 32)", "block_size_x in [32, 64, 96]"),
        ("kind == 'half' or fast", "kind == \"half\" || fast"),
        ("fast == 1", "(fast ? 1 : 0) == 1"),
        ("fast in [0, 1]", "fast in [false, true]"),
        ("tile ** 2 + 1 < 2 ** 4", "tile * tile + 1 < 16"),
        ("2 ** tile <= 16", "(tile == 1 ? 2 : tile == 2 ? 4 : 16) <= 16"),
        ("min(tile, 2, block_size_x) == max(1, tile)", "min(min(tile, 2), block_size_x) == max(1, tile)"),
        ("abs(shift) < 3", "max(shift, -shift) < 3"),
        ("block_size_x & 31 == 0 or tile", "block_size_x % 32 == 0 || tile != 0"),
        ("(block_size_x & 31) == 0", "block_size_x % 32 == 0"),
        ("(tile if fast else 2 * tile) < 5", "(fast ? tile : 2 * tile) < 5"),
        ("math.ceil(block_size_x / 48) * tile < 5", "ceil_div(block_size_x, 48) * tile < 5"),
        ("int(block_size_x / 48) < tile << 1", "block_size_x / 48 < tile * 2"),
        ("block_size_x - (tile - 1) > -1 * -shift", "block_size_x - (tile - 1) > -1 * -shift"),
        ("tile <= 12 * 1024", "tile <= 12288"),
        ("ProblemSize[0] % tile == 0", "problem_size_x % tile == 0"),
        ("True", "true"),
    ] {
        let kernel = with_condition(python).map(|imported| imported.kernel);
        match kernel {
            Ok(kernel) => assert_eq!(kernel.constraints[0], cel, "{python}"),
            Err(violations) => panic!("{python}: {violations:?}"),
        }
    }
}

#[test]
fn without_divisors_the_grid_is_divided_by_the_block() {
    let file = changed(r#""GridDivX": ["block_size_x", "tile"], "#, "");
    let imported = import(&file).unwrap();
    assert_eq!(imported.kernel.launch.unwrap().grid, ["ceil_div(problem_size_x, block_size_x)"]);
    assert_eq!(imported.warnings.len(), 0);
    let file =
        file.replace("1000 // block_size_x + 1\", \"Y\": \"1\"", "1000 // block_size_x\", \"Y\": \"4\"");
    let warnings: Vec<String> = import(&file).unwrap().warnings.iter().map(Violation::to_string).collect();
    assert!(
        warnings.len() == 2 && warnings[0].contains("15 blocks") && warnings[0].contains("says 16"),
        "{warnings:?}"
    );
    assert!(warnings[1].contains("GlobalSize.Y") && warnings[1].contains("says 1,"), "{warnings:?}");
}

#[test]
fn a_global_size_in_threads_is_divided_by_the_block() {
    let file = changed(
        r#""GridDivX": ["block_size_x", "tile"], "ProblemSize": [1000]"#,
        r#""GlobalSizeType": "OpenCL""#,
    )
    .replace("\"ProblemSize[0]\"", "1000")
    .replace("ProblemSize[0] +", "1000 +");
    let grid = |file: &str| import(file).unwrap().kernel.launch.unwrap().grid;
    assert_eq!(grid(&file), ["ceil_div(1000 / block_size_x + 1, block_size_x)"]);
    assert_eq!(grid(&file.replace("OpenCL", "CUDA")), ["1000 / block_size_x + 1"]);
}

#[test]
fn a_grid_that_is_given_twice_and_differs_is_pointed_out() {
    let imported = import(&changed("1000 // block_size_x + 1", "4000 // block_size_x")).unwrap();
    let warning = imported.warnings[0].to_string();
    assert!(warning.contains("62 blocks") && warning.contains("says 16"), "{warning}");
}

#[test]
fn a_default_that_breaks_the_conditions_gives_way_to_the_nearest_valid_one() {
    let imported = with_condition("tile > 1 or shift > 0").unwrap();
    let defaults: Vec<_> = imported.kernel.parameters.iter().map(|p| p.default.clone().unwrap()).collect();
    assert_eq!(defaults[..2], [Value::Int(64), Value::Int(1)]);
    assert_eq!(defaults[3], Value::Int(3));
    assert!(imported.warnings[0].to_string().contains("nearest"), "{:?}", imported.warnings);
}

#[test]
fn of_equally_near_configurations_the_default_has_the_nearest_values() {
    // The first value that is valid is 32, the one beside the default 64 is 96.
    let file = changed("[32 * i for i in range(1, 5)]", "[32, 16, 8, 64, 96]");
    let file = file.replacen("block_size_x % tile == 0", "block_size_x not in (64, 8, 16)", 1);
    let imported = import(&file).unwrap();
    assert_eq!(imported.kernel.parameters[0].default, Some(Value::Int(96)));
    assert!(imported.warnings[0].to_string().contains("another baseline"), "{:?}", imported.warnings);
}

#[test]
fn constant_memory_is_an_argument_and_a_variable_where_the_source_has_it() {
    let with_name = |name: &str| {
        let argument = format!(
            r#"{{"Name": "{name}", "Type": "float", "MemoryType": "Vector", "MemType": "Constant", "AccessType": "ReadOnly", "FillType": "Random", "Size": 9}},
               {{"Name": "n", "Type""#
        );
        import(&changed(r#"{"Name": "n", "Type""#, &argument)).unwrap()
    };
    let symbols = |imported: &Imported| -> Vec<String> {
        imported.kernel.arguments.iter().filter_map(|a| a.buffer.as_ref()?.symbol.clone()).collect()
    };
    let imported = with_name("weights");
    assert_eq!((imported.kernel.arguments.len(), symbols(&imported)), (5, vec!["weights".to_owned()]));
    let contents = |i: usize| imported.kernel.arguments[i].buffer.as_ref().unwrap().init;
    let index = Some(crate::kernel::Init::Index);
    assert_eq!((contents(2), contents(4)), (index, index));
    assert!(imported.warnings[0].to_string().contains("must hold the same"), "{:?}", imported.warnings);
    let imported = with_name("absent");
    assert_eq!((imported.kernel.arguments.len(), symbols(&imported).len()), (4, 0));
    assert!(imported.warnings[0].to_string().contains("argument only"), "{:?}", imported.warnings);
}

#[test]
fn budgets_become_trials() {
    let budget =
        |budget: &str| import(&changed("\"General\"", &format!("\"Budget\": {budget}, \"General\"")));
    let trials = |text: &str| budget(text).unwrap().max_trials;
    assert_eq!(trials(r#"[{"Type": "ConfigurationCount", "BudgetValue": 50}]"#), Some(50));
    assert_eq!(trials(r#"{"Type": "ConfigurationFraction", "BudgetValue": 0.25}"#), Some(72));
    assert_eq!(trials(r#"[{"Type": "TuningDuration", "BudgetValue": 50}]"#), None);
    assert!(budget(r#"[{"Type": "ConfigurationCount", "BudgetValue": 0}]"#).is_err());
}

#[test]
fn other_contents_types_and_access_are_translated() {
    let file = changed(
        r#""Type": "float", "MemoryType": "Vector", "AccessType": "ReadOnly", "FillType": "Random", "FillValue": 1.0"#,
        r#""Type": "double2", "MemoryType": "Vector", "AccessType": "ReadWrite", "FillType": "Generator", "DataSource": "i""#,
    );
    let imported = import(&file).unwrap();
    let buffer = imported.kernel.arguments[1].buffer.clone().unwrap();
    assert_eq!(
        (buffer.element, buffer.length.as_str()),
        (crate::kernel::ElementType::F64, "2 * (problem_size_x + 4)")
    );
    assert_eq!((buffer.init, buffer.output), (Some(crate::kernel::Init::Index), true));
}

#[test]
fn a_reference_of_the_source_verifies() {
    let imported = read(FILE.as_bytes()).unwrap().translate("a", SOURCE, Some("slow_add")).unwrap();
    assert_eq!(
        (imported.kernel.verify.entrypoint.as_deref(), imported.kernel.verify.none),
        (Some("slow_add"), false)
    );
}

#[test]
fn what_is_not_used_is_said_unless_it_only_describes() {
    let file =
        changed("\"Stream\": null", "\"Stream\": null, \"Device\": {}, \"Misc\": {}, \"Profiling\": true");
    let paths: Vec<String> = import(&file).unwrap().warnings.into_iter().map(|w| w.path).collect();
    assert_eq!(paths, ["KernelSpecification.Misc", "KernelSpecification.Profiling"]);
    let file = changed(r#"{"Name": "c", "#, r#"{"Name": "c", "Color": 1, "#);
    assert_eq!(import(&file).unwrap().warnings[0].path, "KernelSpecification.Arguments[0].Color");
}

/// Integer expressions of Python over x (positive), y (of any sign) and b (a truth).
fn number() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("x".to_owned()),
        Just("y".to_owned()),
        Just("b".to_owned()),
        (-5_i64..9).prop_map(|i| format!("({i})")),
        Just("0.5".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let operator = prop::sample::select(vec!["+", "-", "*", "//", "%", "/"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("abs({a})")),
            inner.clone().prop_map(|a| format!("{a} ** 2")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("max({a}, {b})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} if {b} > 0 else {c})")),
        ]
    })
}

fn condition() -> impl Strategy<Value = String> {
    let operator = || prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let comparison = prop_oneof![
        (number(), operator(), number()).prop_map(|(a, o, b)| format!("{a} {o} {b}")),
        (number(), operator(), number(), operator(), number())
            .prop_map(|(a, o, b, p, c)| format!("{a} {o} {b} {p} {c}")),
        number().prop_map(|a| format!("{a} in [0, 1, 2, 3]")),
        number().prop_map(|a| format!("not {a}")),
    ];
    comparison.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Where Python has a value and there is a translation, CEL has the same value.
    #[test]
    fn translated_conditions_have_python_s_value(text in condition()) {
        let parameter = |name: &str, values: Vec<Value>| Tunable {
            parameter: Parameter { name: name.into(), values, range: None, default: None },
            fractional: false,
            refused: false,
        };
        let (xs, ys) = ([1_i64, 2, 6, 32], [-3_i64, 0, 1, 4]);
        let tunables = [
            parameter("x", xs.map(Value::Int).to_vec()),
            parameter("y", ys.map(Value::Int).to_vec()),
            parameter("b", vec![Value::Bool(true), Value::Bool(false)]),
        ];
        let names = Names { tunables: &tunables, problem_size: &[], lists: false };
        let expression = parse(&text).unwrap();
        let Ok(cel) = names.condition(&expression) else { return Ok(()) };
        let Ok(compiled) = Expression::compile(cel.text(), &scope(&tunables, &BTreeMap::new())) else {
            // Only length may stop it: types and names are right.
            prop_assert!(cel.text().len() > 100, "{text} became {}", cel.text());
            return Ok(());
        };
        for (x, y, b) in xs.iter().flat_map(|x| ys.iter().flat_map(move |y| [(*x, *y, true), (*x, *y, false)])) {
            let objects = [
                ("x".to_owned(), Object::Int(x)),
                ("y".to_owned(), Object::Int(y)),
                ("b".to_owned(), Object::Bool(b)),
            ];
            let Ok(python) = evaluate(&expression, &objects) else { continue };
            let Ok(found) = compiled.eval_bool(&[x, y, i64::from(b)]) else { continue };
            prop_assert_eq!(found, python.is_true(), "{} became {} for x={} y={} b={}", text, cel.text(), x, y, b);
        }
    }
}

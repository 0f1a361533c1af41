//! What is refused, and in which words.

use super::*;

#[test]
fn what_has_no_translation_is_refused_with_path_value_and_way_out() {
    let cases = [
        ("lambda p: p['tile'] > 1", "lambda"),
        ("p['tile'] > 1", "write tile"),
        ("tiles > 1", "the parameters are block_size_x, tile"),
        ("block_size_x / shift > 1", "multiply both sides"),
        ("block_size_x | tile == 1", "bits"),
        ("scale < 1", "has fractions as values"),
        ("kind < 'half'", "no order"),
        ("kind == 1", "values of one type"),
        ("block_size_x ** tile > 4", "write it out"),
        ("tile ** 0.5 > 1", "write // or int()"),
        ("math.sqrt(tile) > 1", "there are min, max"),
        ("tile > 1 &", "too early"),
        ("tile > 1 && fast", "write and"),
        ("sum([tile]) > 1", "there are min, max"),
        ("max([tile, shift]) > 1", "write max(a, b)"),
        ("tile in block_size_x", "write the values out"),
        ("(tile or shift) * 2 > 1", "if condition else"),
        ("tile > 9", "no configuration"),
    ];
    for (condition, phrase) in cases {
        let violations = with_condition(condition).unwrap_err();
        let text = violations[0].to_string();
        assert!(text.starts_with("ConfigurationSpace"), "{text}");
        assert!(text.contains(phrase), "{condition} gives, without {phrase:?}: {text}");
    }
}

#[test]
fn fields_that_mean_nothing_here_are_refused_by_path() {
    let arguments = "KernelSpecification.Arguments";
    for (from, to, path, phrase) in [
        (r#""Language": "CUDA""#, r#""Language": "OpenCL""#, "KernelSpecification.Language", "CUDA"),
        (r#""KernelName": "vector_add", "#, "", "KernelSpecification", "KernelName"),
        (r#""Values": "[1, 2, 4]""#, r#""Values": "[1, 2.5]""#, "TuningParameters[1].Values", "2.5"),
        (r#""Values": "[1, 2, 4]""#, r#""Values": "[]""#, "TuningParameters[1].Values", "no values"),
        (r#""Values": "[1, 2, 4]""#, r#""Values": "range(5000)""#, "TuningParameters[1].Values", "4096"),
        (r#""Values": "[1, 2, 4]""#, r#""Values": "[1, 2""#, "TuningParameters[1].Values", "column 6"),
        (r#""Values": "[1, 2, 4]""#, r#""Values": [1, null]"#, "TuningParameters[1].Values", "no value"),
        (r#""Values": "[1, 2, 4]""#, r#""Values": 4"#, "TuningParameters[1].Values", "no list"),
        (r#""Type": "bool""#, r#""Type": "boolean""#, "TuningParameters[4].Type", "uint"),
        (r#""Name": "tile""#, r#""Name": "block_size_x""#, "TuningParameters[1].Name", "earlier"),
        (r#""Name": "tile""#, r#""Name": "tile-x""#, "TuningParameters[1].Name", "identifier"),
        (
            r#"["block_size_x", "tile"], "Problem"#,
            r#"["block_size_y"], "Problem"#,
            "GridDivX[0]",
            "block_size_y",
        ),
        (r#""ProblemSize": [1000]"#, r#""ProblemSize": [0]"#, "ProblemSize[0]", "over 0"),
        (r#""ProblemSize": [1000]"#, r#""ProblemSize": [1, 1, 1, 1]"#, "ProblemSize", "three"),
        (r#"{"X": "block_size_x""#, r#"{"X": "bsx""#, "LocalSize.X", "no parameter"),
        (r#""SharedMemory": 0"#, r#""SharedMemory": true"#, "SharedMemory", "neither"),
        (r#""MemoryType": "Scalar""#, r#""MemoryType": "Local""#, "Arguments[2].MemoryType", "SharedMemory"),
        (r#""Size": "ProblemSize[0]", "#, "", "Arguments[0].Size", "missing"),
        ("ProblemSize[0] + max(tile)", "ProblemSize[0] * tile", "Arguments[1].Size", "max(tile)"),
        ("ProblemSize[0] + max(tile)", "ProblemSize[1]", "Arguments[1].Size", "no element 1"),
        (r#""FillType": "Random""#, r#""FillType": "BinaryRaw""#, "Arguments[1].FillType", "Random"),
        (
            r#""FillType": "Random", "FillValue": 1.0"#,
            r#""FillType": "Constant", "FillValue": 40"#,
            "Arguments[1].FillValue",
            "other than 0 and 1",
        ),
        (
            r#""Type": "int32", "MemoryType": "Scalar""#,
            r#""Type": "float4", "MemoryType": "Scalar""#,
            "Arguments[2].Type",
            "one by one",
        ),
        (r#""FillValue": 1000"#, r#""FillValue": 1.5"#, "Arguments[2].FillValue", "int32"),
        (r#", "FillValue": 1000"#, "", "Arguments[2].FillValue", "missing"),
        (r#""Type": "int32""#, r#""Type": "custom""#, "Arguments[2].Type", "no translation"),
        (r#""WriteOnly""#, r#""Write""#, "Arguments[0].AccessType", "ReadWrite"),
        (r#""Arguments": ["#, r#""Arguments": [], "Rest": ["#, arguments, "is empty"),
        (
            r#""AccessType": "WriteOnly", "FillType": "Constant", "FillValue": 0.0, "Size": "ProblemSize[0]", "Output": 1"#,
            r#""AccessType": "ReadOnly", "Size": 4"#,
            arguments,
            "writes",
        ),
    ] {
        let violations = import(&changed(from, to)).unwrap_err();
        let text = violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("\n");
        assert!(
            text.contains(path) && text.contains(phrase),
            "{to} gives, without {path:?} or {phrase:?}: {text}"
        );
    }
}

#[test]
fn files_that_are_no_tuning_files_are_refused() {
    for (text, phrase) in [
        (&b"not json"[..], "is not JSON"),
        (b"", "is not JSON"),
        (b"{}", "no T1 tuning file"),
        (b"[1, 2]", "no T1 tuning file"),
        (
            br#"{"ConfigurationSpace": 1, "KernelSpecification": {}}"#,
            "ConfigurationSpace: \"1\": has an invalid type",
        ),
        (br#"{"ConfigurationSpace": {"Tuning"#, "is cut off at line 1"),
    ] {
        let violations = read(text).unwrap_err();
        assert!(violations[0].to_string().contains(phrase), "{violations:?}");
    }
}

#[test]
fn values_of_the_wrong_kind_are_named_with_the_way_out() {
    let budget = |budget: &str| changed("\"General\"", &format!("\"Budget\": {budget}, \"General\""));
    for (file, phrases) in [
        (budget("[5]"), ["Budget[0]: \"5\"", "write an object with Type and BudgetValue"]),
        (
            budget(r#"{"Type": "ConfigurationCount", "BudgetValue": "many"}"#),
            ["Budget.BudgetValue", "write a number"],
        ),
        (
            changed(
                r#"{"Expression": "block_size_x % tile == 0", "Parameters": ["block_size_x", "tile"]}"#,
                r#""tile > 1""#,
            ),
            ["Conditions[0]: ", "write an object such as {\"Expression\": "],
        ),
        (
            changed(r#""CompilerOptions": ["-std=c++11"]"#, r#""CompilerOptions": "-O3""#),
            ["CompilerOptions", "write a list"],
        ),
        (
            changed(
                r#""FillType": "Random", "FillValue": 1.0"#,
                r#""FillType": "Constant", "FillValue": "3.0""#,
            ),
            ["Arguments[1].FillValue", "no number"],
        ),
        (
            changed(
                r#""FillType": "Random", "FillValue": 1.0"#,
                r#""FillType": "Constant", "FillValue": [5, 6]"#,
            ),
            ["[5,6]", "no number"],
        ),
        (
            changed(
                r#""FillType": "Random", "FillValue": 1.0"#,
                r#""FillType": "Constant", "FillValue": null"#,
            ),
            ["Arguments[1].FillValue", "missing"],
        ),
        (
            changed(r#""FillType": "Random", "FillValue": 1.0"#, r#""FillValue": "3.0""#),
            ["Arguments[1].FillValue", "no number"],
        ),
        (
            changed(r#""Type": "int", "Values": "[-2, 0, 3]""#, r#""Type": "uint", "Values": "[-2, 0, 3]""#),
            ["TuningParameters[3].Values", "from 0 up"],
        ),
    ] {
        let violations = import(&file).unwrap_err();
        let text = violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("\n");
        let escaped = text.replace("\\\"", "\"");
        for phrase in phrases {
            assert!(escaped.contains(phrase), "without {phrase:?}: {text}");
        }
        assert!(!text.contains("struct ") && !text.contains("untagged"), "{text}");
    }
}

#[test]
fn a_refused_parameter_is_no_mistake_in_what_uses_it() {
    let file = changed(r#""Values": "[1, 2, 4]""#, r#""Values": "[1, 2.5]""#)
        .replace("ProblemSize[0] + max(tile)", "max(tile)");
    let violations = import(&file).unwrap_err();
    assert!(violations.len() == 1 && violations[0].path.ends_with("[1].Values"), "{violations:?}");
}

#[test]
fn a_refusal_in_cel_comes_before_the_constraint_that_it_is_about() {
    let long = vec!["block_size_x * tile != 7"; 90].join(" and ");
    let text = with_condition(&long).unwrap_err()[0].message.clone();
    assert!(text.starts_with("is refused in CEL: ") && text.len() < 500, "{text}");
}

#[test]
fn every_refusal_is_told_at_once() {
    let file = changed("block_size_x % tile == 0", "tiles > 1").replace("\"Random\"", "\"Script\"");
    assert_eq!(import(&file).unwrap_err().len(), 2);
}

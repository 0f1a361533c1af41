use super::*;

const JOB: &str = r#"
apiVersion: fractune.dev/v1alpha1
kind: TuneJob
metadata: {name: axpy}
spec:
  shares: [50, 100]
  kernels:
    - name: axpy
      language: C
      source: {inline: "void axpy(float *y, int n) {} void reference(float *y, int n) {}"}
      entrypoint: axpy
      problems: [{name: small, sizes: {n: 64}}, {name: large, sizes: {n: 128}}]
      arguments:
        - buffer: {name: y, type: f32, length: "n", output: true}
        - scalar: {name: n, type: i32, value: "n"}
      parameters: [{name: unroll, values: [1, 2, 4]}]
      constraints: ["unroll < 4"]
      verify: {entrypoint: reference}
"#;

fn violations(text: &str) -> Vec<Violation> {
    match load(text.as_bytes(), |_| ()) {
        Err(LoadError::Violations(violations)) => violations,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("accepted:\n{text}"),
    }
}

#[test]
fn a_good_job_becomes_a_task_for_each_problem() {
    let (manifest, tasks) = load(JOB.as_bytes(), |_| ()).unwrap();
    let names: Vec<String> = tasks.iter().map(Task::name).collect();
    assert_eq!(names, ["axpy/small", "axpy/large"]);
    assert_eq!(manifest.job.spec.parallelism, 1);
    assert_eq!(manifest.job.spec.neighbours, [crate::Neighbours::Quiet]);
    assert!(manifest.ignored.is_empty());
}

#[test]
fn loads_beside_need_a_gpu_of_which_a_part_is_left() {
    let cuda = JOB.replace("language: C", "language: CUDA");
    assert_ne!(cuda, JOB);
    let of = |shares: &str, neighbours: &str| {
        let text =
            cuda.replace("shares: [50, 100]", &format!("shares: {shares}\n  neighbours: {neighbours}"));
        load(text.as_bytes(), |_| ()).map_err(|error| error.to_string())
    };
    assert!(!of("[50, 100]", "[Quiet, Compute]").is_err_and(|error| error.contains("spec.neighbours")));
    let whole = of("[100]", "[Quiet, Compute]").unwrap_err();
    assert!(whole.contains("spec.neighbours[1]") && whole.contains("no share leaves a part"), "{whole}");
    let twice = of("[50]", "[Quiet, Compute, Compute]").unwrap_err();
    assert!(twice.contains("is there twice"), "{twice}");
}

/// What is replaced in a good job, by what, and the path and a part of the one message that must follow.
const BAD: &[(&str, &str, &str, &str)] = &[
    (
        "entrypoint: axpy",
        "entrypoint: axpy\n      entryPoint: x",
        "spec.kernels[0].entryPoint",
        "unknown field",
    ),
    ("  shares:", "  share: 1\n  shares:", "spec.share", "known fields here: activeDeadlineSeconds"),
    ("entrypoint: axpy", "entrypoint: saxpy", "spec.kernels[0].entrypoint", "missing entry point"),
    ("      entrypoint: axpy\n", "", "spec.kernels[0].entrypoint", "missing field"),
    ("unroll < 4", "unroll <", "spec.kernels[0].constraints[0]", "not an expression"),
    ("unroll < 4", "unroll + 4", "spec.kernels[0].constraints[0]", "bool"),
    ("unroll < 4", "unrol < 4", "spec.kernels[0].constraints[0]", "unrol"),
    ("unroll < 4", "unroll > 4", "spec.kernels[0].constraints", "no configuration"),
    ("[1, 2, 4]}", "[1, 2, 4], default: 4}", "spec.kernels[0].parameters", "unroll < 4"),
    ("[1, 2, 4]}", "[1, 2, 4], default: 3}", "spec.kernels[0].parameters[0].default", "not among"),
    (
        "[1, 2, 4]}",
        "[1, 2, 1.5]}",
        "spec.kernels[0].parameters[0].values[2]",
        "integer, a boolean or a string",
    ),
    ("[1, 2, 4]}", "[]}", "spec.kernels[0].parameters[0].values", "no values"),
    ("name: large", "name: small", "spec.kernels[0].problems[1].name", "earlier problem"),
    ("value: \"n\"", "value: \"\"", "spec.kernels[0].arguments[1].scalar.value", "empty"),
    (
        "length: \"n\"",
        "length: \"n - 128\"",
        "spec.kernels[0].arguments[0].buffer.length",
        "at least 1 element",
    ),
    ("length: \"n\"", "length: many", "spec.kernels[0].arguments[0].buffer.length", "many"),
    ("length: \"n\"", "length: 64", "spec.kernels[0].arguments[0].buffer.length", "quotes"),
    (
        "shares: [50, 100]",
        "shares: [50, 100]\n  neighbours: [Quiet, Memory]",
        "spec.neighbours[1]",
        "is in C; write [Quiet]",
    ),
    ("shares: [50, 100]", "shares: [50, 100]\n  neighbours: []", "spec.neighbours", "does not have Quiet"),
    ("shares: [50, 100]", "shares: [0]", "spec.shares[0]", "from 1 to 100"),
    ("shares: [50, 100]", "shares: [101]", "spec.shares[0]", "from 1 to 100"),
    ("shares: [50, 100]", "shares: [50, 50]", "spec.shares[1]", "twice"),
    ("shares: [50, 100]", "shares: []", "spec.shares", "empty"),
    ("shares: [50, 100]", "shares: half", "spec.shares", "expected a list (line 6)"),
    ("verify: {entrypoint: reference}", "verify: {}", "spec.kernels[0].verify", "none: true"),
    ("      verify: {entrypoint: reference}\n", "", "spec.kernels[0].verify", "none: true"),
    ("source: {inline:", "source: {inlin:", "spec.kernels[0].source.inlin", "unknown field"),
    ("{name: axpy}", "{name: Axpy_1}", "metadata.name", "DNS label"),
    ("{name: axpy}", "{name: axpy, lables: {}}", "metadata.lables", "unknown field"),
    ("  shares:", "  parallelism: 0\n  shares:", "spec.parallelism", "from 1 to 1000"),
    ("  shares:", "  search: {seed: -1}\n  shares:", "spec.search.seed", "at least 0"),
    (
        "  shares:",
        "  measure: {maxNoisePercent: 101}\n  shares:",
        "spec.measure.maxNoisePercent",
        "from 1 to 100",
    ),
    ("  shares:", "  measure: {sharing: Never}\n  shares:", "spec.measure.sharing", "unknown value"),
    ("language: C", "language: Rust", "spec.kernels[0].language", "unknown value"),
];

#[test]
fn bad_fields_are_named_with_the_way_out() {
    for (from, to, path, phrase) in BAD {
        assert!(JOB.contains(from), "{from}");
        let found = violations(&JOB.replace(from, to));
        let matches = found.iter().filter(|v| v.path == *path && v.message.contains(phrase)).count();
        assert!(matches >= 1, "{from} -> {to}: {found:#?}");
        let mut distinct = found.clone();
        distinct.dedup();
        assert_eq!(distinct, found, "said twice");
    }
}

#[test]
fn a_problem_of_the_kernel_alone_is_said_once_for_all_its_problems() {
    let found = violations(&JOB.replace("unroll < 4", "unroll <"));
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn two_kernels_of_one_name_are_refused() {
    let (_, kernel) = JOB.split_once("  kernels:\n").unwrap();
    let found = violations(&format!("{JOB}{}", kernel.trim_start_matches('\n')));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].path, "spec.kernels[1].name");
}

#[test]
fn every_problem_is_said_at_once() {
    let bad = JOB
        .replace("shares: [50, 100]", "shares: [0, 101]\n  sharez: 1")
        .replace("unroll < 4", "unrol < 4")
        .replace("entrypoint: axpy", "entrypoint: saxpy\n      colour: red");
    let found = violations(&bad);
    let paths: Vec<&str> = found.iter().map(|v| v.path.as_str()).collect();
    let expected = [
        "spec.sharez",
        "spec.kernels[0].colour",
        "spec.shares[0]",
        "spec.shares[1]",
        "spec.kernels[0].entrypoint",
        "spec.kernels[0].constraints[0]",
    ];
    assert_eq!(paths, expected, "{found:#?}");
    assert!(matches!(parse(bad.as_bytes()), Err(LoadError::Violations(v)) if v.len() == 2));
}

#[test]
fn a_source_may_come_from_a_config_map_in_the_same_file() {
    let job = JOB.replace(
        "source: {inline: \"void axpy(float *y, int n) {} void reference(float *y, int n) {}\"}",
        "source: {configMapKeyRef: {name: code, key: axpy.c}}",
    );
    let found = violations(&job);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].path, "spec.kernels[0].source.configMapKeyRef");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: code}\ndata: {axpy.c: \"axpy reference\"}\n";
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n";
    let (manifest, tasks) = load(format!("---\n{map}---\n{pod}---{job}").as_bytes(), |_| ()).unwrap();
    assert_eq!(tasks[0].source, "axpy reference");
    assert_eq!(manifest.ignored, ["Pod/p"]);
}

#[test]
fn jobs_of_several_files_are_checked_each_with_the_config_maps_of_all() {
    let from_map = JOB
        .replace(
            "source: {inline: \"void axpy(float *y, int n) {} void reference(float *y, int n) {}\"}",
            "source: {configMapKeyRef: {name: code, key: axpy.c}}",
        )
        .replace("{name: axpy}\nspec", "{name: mapped}\nspec");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: code}\ndata: {axpy.c: \"axpy reference\"}\n";
    let wrong =
        JOB.replace("{name: axpy}\nspec", "{name: wrong}\nspec").replace("[50, 100]", "[0]\n  colour: 1");
    let first = format!("{JOB}---{from_map}---{wrong}");
    let fleet = load_all(&[first.as_bytes(), map.as_bytes(), b"# nothing\n"]);
    let names: Vec<_> = fleet.jobs.iter().map(|job| (job.file, job.name.as_str())).collect();
    assert_eq!(names, [(0, "axpy"), (0, "mapped"), (0, "wrong")]);
    assert!(fleet.unreadable.is_empty(), "{:?}", fleet.unreadable);
    let (_, tasks) = fleet.jobs[1].outcome.as_ref().unwrap();
    assert_eq!(tasks[0].source, "axpy reference");
    let paths: Vec<_> = fleet.jobs[2].outcome.as_ref().unwrap_err().iter().map(|v| v.path.as_str()).collect();
    assert_eq!(paths, ["spec.colour", "spec.shares[0]"]);

    let fleet = load_all(&[JOB.as_bytes(), b"a: [1", b"just words"]);
    assert_eq!(fleet.jobs.len(), 1, "a file that cannot be read keeps no other from being checked");
    assert_eq!(fleet.unreadable.iter().map(|(file, _)| *file).collect::<Vec<_>>(), [1, 2]);
    let fleet = load_all(&[map.as_bytes(), b""]);
    assert!(fleet.jobs.is_empty());
    assert!(matches!(&fleet.unreadable[..], [(0, LoadError::NoJob(_)), (1, LoadError::Empty)]));
}

fn refusal(bytes: impl AsRef<[u8]>) -> LoadError {
    parse(bytes.as_ref()).unwrap_err()
}

#[test]
fn files_that_are_no_job_are_refused_in_one_sentence() {
    for empty in ["", "\n \n", "# nothing\n", "---\n---\n"] {
        assert!(matches!(refusal(empty), LoadError::Empty), "{empty:?}: {}", refusal(empty));
    }
    assert!(matches!(refusal(b"\x7fELF\x02\xff\xfe"), LoadError::NotText(_)));
    assert!(matches!(refusal(b"a: \xff"), LoadError::NotText(3)));
    assert!(matches!(refusal(b"a: \0"), LoadError::NotText(3)));
    assert!(matches!(refusal(vec![b' '; MAX_BYTES + 1]), LoadError::TooLarge(_)));
    assert!(matches!(refusal("a: [1"), LoadError::Syntax(_)));
    assert!(matches!(refusal("a: 1\na: 2"), LoadError::Syntax(_)));
    assert!(matches!(refusal("just words"), LoadError::NoKind(1)));
    assert!(matches!(refusal("apiVersion: v1\nkind: Pod"), LoadError::NoJob(found) if found == "Pod"));
    assert!(matches!(refusal(format!("{JOB}---{JOB}")), LoadError::SeveralJobs(2)));
    let old = JOB.replace("v1alpha1", "v1");
    assert!(matches!(refusal(old), LoadError::ApiVersion { found, .. } if found == "fractune.dev/v1"));
}

#[test]
fn twenty_thousand_levels_do_not_overflow_the_stack() {
    const LEVELS: usize = 20_000;
    let block: String = "- ".repeat(LEVELS) + "x";
    for text in ["[".repeat(LEVELS), format!("{}{}", "[".repeat(LEVELS), "]".repeat(LEVELS)), block] {
        assert!(matches!(refusal(&text), LoadError::TooDeep), "{}", refusal(&text));
    }
    assert!(matches!(refusal("{a: ".repeat(LEVELS)), LoadError::TooDeep));
    assert!(matches!(refusal("[".repeat(MAX_BYTES)), LoadError::TooDeep));
}

#[test]
fn brackets_in_a_source_are_not_levels() {
    let source = "{ [ ".repeat(400) + &"] } ".repeat(400);
    let job = JOB.replace("void axpy(", &format!("/* {source} */ void axpy("));
    assert!(parse(job.as_bytes()).is_ok());
}

#[test]
fn bombs_of_aliases_are_refused() {
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for i in 1..12 {
        let aliases = vec![format!("*a{}", i - 1); 9].join(", ");
        laughs = format!("{laughs}a{i}: &a{i} [{aliases}]\n");
    }
    assert!(matches!(refusal(laughs), LoadError::TooManyValues));
    // Few values, but each of them long.
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 16), vec!["*a"; 1 << 12].join(", "));
    assert!(matches!(refusal(long), LoadError::TooManyValues));
    assert!(matches!(refusal("a: &a [*a]"), LoadError::TooDeep));
    assert!(matches!(refusal("a: *b"), LoadError::Syntax(_)));
}

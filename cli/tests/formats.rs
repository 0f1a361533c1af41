//! Formats of others, end to end: tuning files are imported and tuned, runs are exported, and the real Kernel
//! Tuner reads what was written.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use common::{expect_code, fractune, place, run};
use serde_json::Value as Json;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn data(name: &str) -> PathBuf {
    repository().join("tests/data/t1").join(name)
}

/// The Python that has Kernel Tuner. It is installed where it is missing; where it cannot be, that is said
/// past the test runner's capture, and is an error where `CI` is set.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON
        .get_or_init(|| {
            let output = Command::new(repository().join("scripts/python-venv")).output().unwrap();
            if output.status.success() {
                return Some(String::from_utf8(output.stdout).unwrap().trim().into());
            }
            let reason = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(69) && std::env::var_os("CI").is_none(), "{reason}");
            let _ = writeln!(std::io::stderr(), "\nSKIPPED: what needs the real Kernel Tuner. {reason}");
            None
        })
        .as_deref()
}

/// What the real Kernel Tuner makes of a file.
fn kernel_tuner(python: &Path, command: &str, file: &Path) -> Json {
    let script = repository().join("cli/tests/common/with_kernel_tuner.py");
    let output = Command::new(python).args(["-W", "ignore"]).arg(script).arg(command).arg(file).output();
    let output = output.unwrap();
    expect_code(&output, 0);
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// A file of Kernel Tuner's own tests, from its release.
fn of_kernel_tuner(python: &Path, name: &str) -> PathBuf {
    python.ancestors().nth(3).unwrap().join("kernel_tuner/test").join(name)
}

fn import(file: &Path, more: &[&str]) -> Output {
    fractune(&["import"]).arg(file).args(more).output().unwrap()
}

/// Imports a file that must be importable; what standard error said, and the number of valid configurations
/// that `lint` counts in the job.
fn imported_and_linted(file: &Path, job: &Path, more: &[&str]) -> (String, u64) {
    let said = expect_code(&import(file, &[more, &["--output", job.to_str().unwrap()]].concat()), 0);
    let output = fractune(&["lint"]).arg(job).output().unwrap();
    expect_code(&output, 0);
    let text = String::from_utf8(output.stdout).unwrap();
    let (before, _) = text.split_once(" valid configurations").unwrap();
    (said, before.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn a_cuda_tuning_file_becomes_a_job_that_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let job = dir.path().join("job.yaml");
    let (said, valid) = imported_and_linted(&data("scale/scale.json"), &job, &["--shares", "25,50,100"]);
    assert_eq!(valid, SCALE);
    for phrase in ["verifies nothing", "Default: \"3\"", "GlobalSize.X", "nearest valid configuration"] {
        assert!(said.contains(phrase), "without {phrase}: {said}");
    }
    let yaml = std::fs::read_to_string(&job).unwrap();
    for phrase in [
        "# A T1 file has no reference",
        "none: true",
        "symbol: factors",
        "#define MAX_FACTORS 12",
        "- ceil_div(problem_size_x, block_size_x * block_size_y * per_thread)",
        "- block_size_x * block_size_y % (per_thread * chunk) == 0",
        "length: problem_size_x + 12 - 1",
    ] {
        assert!(yaml.contains(phrase), "without {phrase}: {yaml}");
    }
}

/// Valid configurations of tests/data/t1/scale, as Kernel Tuner 1.5.0 counts them.
const SCALE: u64 = 1116;

/// Files of others, their valid configurations as Kernel Tuner 1.5.0 counts them, and the options that they
/// need.
const OF_KERNEL_TUNER: [(&str, u64); 2] =
    [("test_T1_input.json", 1_867_776), ("test_cache_file_T1_input.json", 15)];

#[test]
fn spaces_have_the_size_that_kernel_tuner_gives_them() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let own = [(data("scale/scale.json"), SCALE)].into_iter();
    let theirs = OF_KERNEL_TUNER.map(|(name, size)| (of_kernel_tuner(python, name), size));
    for (file, size) in own.chain(theirs) {
        let (_, ours) = imported_and_linted(&file, &dir.path().join("job.yaml"), &[]);
        assert_eq!(ours, size, "{}", file.display());
        assert_eq!(kernel_tuner(python, "space", &file)["size"], ours, "{}", file.display());
    }
}

/// An imported C job, tuned exhaustively on this machine.
fn tuned(dir: &Path) -> PathBuf {
    let job = dir.join("job.yaml");
    let reference = ["--reference", "scale_reference"];
    let (said, valid) = imported_and_linted(&data("scale-c/scale.json"), &job, &reference);
    assert!(valid == 13 && !said.contains("verifies nothing"), "{said}");
    let (_, out) = place(dir, &std::fs::read_to_string(&job).unwrap());
    expect_code(&run(&dir.join("job.yaml"), &out, &[]), 0);
    out
}

fn export(out: &Path, arguments: &[&str]) -> Output {
    fractune(&["export"]).arg(out).args(arguments).output().unwrap()
}

#[test]
fn a_tuning_file_is_tuned_exported_and_read_by_kernel_tuner() {
    let dir = tempfile::tempdir().unwrap();
    let out = tuned(dir.path());
    let (cachefile, t4) = (dir.path().join("cache.json"), dir.path().join("t4.json"));
    for (format, file) in [("kernel-tuner", &cachefile), ("t4", &t4)] {
        expect_code(&export(&out, &["--format", format, "--output", file.to_str().unwrap()]), 0);
    }

    // What was exported can be replayed, and has the same winner as far as medians go.
    let recording = ["--backend", "replay", "--recording", cachefile.to_str().unwrap()];
    let replayed = dir.path().join("replayed");
    expect_code(&run(&dir.path().join("job.yaml"), &replayed, &recording), 0);
    assert_eq!(common::results(&replayed)["tasks"][0]["trials"], 13);

    let Some(python) = python() else { return };
    let simulated = kernel_tuner(python, "simulate", &cachefile);
    assert_eq!(simulated["entries"], 13);
    let failures: Vec<&str> =
        simulated["failures"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    assert_eq!(failures, ["CompilationFailedConfig"; 2]);
    assert_eq!(simulated["results"], 11);
    let fastest = common::trials(&out, "scale-c.default")
        .iter()
        .filter_map(|trial| trial["measurements"][0]["timeNs"].as_f64())
        .fold(f64::MAX, f64::min);
    assert!((simulated["best_time"].as_f64().unwrap() * 1e6 - fastest).abs() < 1.0, "{simulated} {fastest}");

    let reopened = kernel_tuner(python, "reopen", &cachefile);
    assert_eq!(
        (&reopened["before"], &reopened["after"], &reopened["kept"]),
        (&13.into(), &14.into(), &true.into())
    );

    let results = kernel_tuner(python, "t4", &t4);
    assert_eq!(results["version"], results["schema_version"]);
    let invalidity = results["invalidity"].as_array().unwrap();
    assert_eq!(invalidity.iter().filter(|i| *i == "correct").count(), 11);
    assert_eq!(invalidity.iter().filter(|i| *i == "compile").count(), 2);
}

#[test]
fn fractions_are_found_by_kernel_tuner_and_by_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(data("scale-c/scale.json")).unwrap();
    let gain = r#"{"Name": "gain", "Type": "float", "Values": "[0.5, 1.0, 2, 1e-5]", "Default": 2.0},"#;
    let text = text.replacen("{\"Name\": \"unroll\"", &format!("{gain}\n{{\"Name\": \"unroll\""), 1);
    let t1 = dir.path().join("t1.json");
    std::fs::write(&t1, text).unwrap();
    std::fs::copy(data("scale-c/scale.c"), dir.path().join("scale.c")).unwrap();
    let job = dir.path().join("job.yaml");
    let (_, valid) = imported_and_linted(&t1, &job, &["--reference", "scale_reference"]);
    assert_eq!(valid, 4 * 13);
    let (_, out) = place(dir.path(), &std::fs::read_to_string(&job).unwrap());
    expect_code(&run(&job, &out, &[]), 0);
    let cachefile = dir.path().join("cache.json");
    expect_code(&export(&out, &["--format", "kernel-tuner", "--output", cachefile.to_str().unwrap()]), 0);

    let recording = ["--backend", "replay", "--recording", cachefile.to_str().unwrap()];
    let replayed = dir.path().join("replayed");
    expect_code(&run(&job, &replayed, &recording), 0);
    let trials = common::trials(&replayed, "scale-c.default");
    assert!(trials.iter().all(|trial| trial["message"] != "not in the recording"));
    assert_eq!(trials.iter().filter(|trial| trial["outcome"] == "Ok").count(), 4 * 11);
    let notes = common::results(&replayed)["device"]["notes"].to_string();
    assert!(notes.contains("was recorded of kernel scale, problem size"), "{notes}");

    let Some(python) = python() else { return };
    assert_eq!(kernel_tuner(python, "simulate", &cachefile)["results"], 4 * 11);
}

#[test]
fn what_cannot_be_exported_says_what_to_choose() {
    let dir = tempfile::tempdir().unwrap();
    let job = common::good_job("maxTrials: 4").replace(
        "problems: [{name: small, sizes: {n: 4096}}]",
        "problems: [{name: small, sizes: {n: 4096}}, {name: large, sizes: {n: 8192}}]",
    );
    let (file, out) = place(dir.path(), &job);
    expect_code(&run(&file, &out, &[]), 0);
    let refused = |arguments: &[&str]| {
        expect_code(&export(&out, &[&["--format", "kernel-tuner"], arguments].concat()), 65)
    };
    assert!(refused(&[]).contains("add / small, add / large: name a folder with --output"));
    assert!(refused(&["--share", "7", "--problem", "small"]).contains("no share 7"));
    assert!(refused(&["--problem", "huge"]).contains("no such kernel and problem"));
    let message = expect_code(&export(&out, &["--format", "json", "--share", "100"]), 65);
    assert!(message.contains("every winner"), "{message}");
    let folder = dir.path().join("exported");
    let output = export(&out, &["--format", "t4", "--output", folder.to_str().unwrap()]);
    expect_code(&output, 0);
    for name in ["add.small.json", "add.large.json"] {
        let json: Json = serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        assert!(json["results"].as_array().is_some_and(|results| !results.is_empty()), "{name}");
    }
    let output = export(&out, &["--format", "kernel-tuner", "--problem", "large"]);
    expect_code(&output, 0);
    let json: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["problem_size"], serde_json::json!([8192]));
}

#[test]
fn tuning_files_that_cannot_be_imported_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(data("scale-c/scale.json")).unwrap();
    let file = dir.path().join("t1.json");
    let source = dir.path().join("scale.c");
    let kernel = std::fs::read_to_string(data("scale-c/scale.c")).unwrap();
    std::fs::write(&source, &kernel).unwrap();
    let refused = |from: &str, to: &str, more: &[&str]| {
        assert!(text.contains(from), "{from}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
        let output = import(&file, more);
        assert!(output.stdout.is_empty());
        expect_code(&output, 65)
    };
    for (from, to, phrases) in [
        ("\"C\"", "\"OpenCL\"", &["KernelSpecification.Language: \"OpenCL\"", "CUDA"][..]),
        ("scale.c\"", "gone.c\"", &["KernelFile: \"gone.c\"", "--source"]),
        ("chunk // unroll >= 16", "chunk & unroll", &["Conditions[0].Expression", "bits", "column 1"]),
        ("\"[64, 128, 256]\"", "\"list(range(10**9))\"", &["TuningParameters[1].Values", "items or steps"]),
        ("{\"Name\": \"unroll\"", "{\"Nam\": \"unroll\"", &["TuningParameters[0]", "Name"]),
        ("\"KernelName\": \"scale\"", "\"KernelName\": \"shrink\"", &["entrypoint", "shrink"]),
        ("{\n  \"General\"", "[\n  \"General\"", &["not JSON"]),
    ] {
        let message = refused(from, to, &[]);
        for phrase in phrases {
            assert!(message.contains(phrase), "{to} gives, without {phrase:?}: {message}");
        }
    }
    let message = refused("scale", "scale", &["--name", "Not A Label"]);
    assert!(message.contains("--name: \"Not A Label\"") && message.contains("DNS label"), "{message}");
    assert_eq!(message.matches("Not A Label").count(), 1, "{message}");
    let message = refused("scale", "scale", &["--shares", "0"]);
    assert!(message.contains("--shares: \"0\""), "{message}");
    let message = refused("scale", "scale", &["--reference", "absent"]);
    assert!(message.contains("--reference: \"absent\""), "{message}");
    std::fs::write(&source, kernel + &"// filler\n".repeat(14_000)).unwrap();
    let message = refused("scale", "scale", &[]);
    assert!(message.contains("131072") && message.contains("configMapKeyRef"), "{message}");
    std::fs::write(&source, "\n").unwrap();
    assert!(refused("scale", "scale", &[]).contains("is empty"));
    expect_code(&import(&dir.path().join("absent.json"), &[]), 74);
}

#[test]
fn sources_outside_the_tuning_file_s_folders_are_only_read_where_the_user_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("a/b");
    std::fs::create_dir_all(&inner).unwrap();
    let text = std::fs::read_to_string(data("scale-c/scale.json")).unwrap();
    std::fs::copy(data("scale-c/scale.c"), dir.path().join("scale.c")).unwrap();
    let file = inner.join("t1.json");
    std::fs::write(&file, text.replace("scale.c\"", "../../scale.c\"")).unwrap();
    let message = expect_code(&import(&file, &[]), 65);
    assert!(message.contains("KernelFile") && message.contains("outside"), "{message}");
    std::fs::write(inner.join("scale.c"), "#include \"../../scale.c\"\n").unwrap();
    std::fs::write(&file, &text).unwrap();
    let message = expect_code(&import(&file, &[]), 65);
    assert!(message.contains("scale.c: is included from outside"), "{message}");
    let source = inner.join("scale.c");
    expect_code(&import(&file, &["--source", source.to_str().unwrap()]), 0);
}

#[test]
fn a_replay_skips_what_its_recording_lacks_and_exports_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let out = tuned(dir.path());
    let cachefile = dir.path().join("cache.json");
    expect_code(&export(&out, &["--format", "kernel-tuner", "--output", cachefile.to_str().unwrap()]), 0);
    let mut cache: Json = serde_json::from_slice(&std::fs::read(&cachefile).unwrap()).unwrap();
    let entries = cache["cache"].as_object_mut().unwrap();
    let compiled: Vec<String> =
        entries.iter().filter(|(_, entry)| entry["time"].is_number()).map(|(key, _)| key.clone()).collect();
    for key in compiled.iter().skip(compiled.len() - 3) {
        entries.remove(key);
    }
    std::fs::write(&cachefile, cache.to_string()).unwrap();
    let replayed = dir.path().join("replayed");
    let recording = ["--backend", "replay", "--recording", cachefile.to_str().unwrap()];
    expect_code(&run(&dir.path().join("job.yaml"), &replayed, &recording), 0);
    let trials = common::trials(&replayed, "scale-c.default");
    let missing = trials.iter().filter(|trial| trial["message"] == "not in the recording");
    assert_eq!((trials.len(), missing.count()), (13, 3));
    let again = dir.path().join("again.json");
    let output = export(&replayed, &["--format", "kernel-tuner", "--output", again.to_str().unwrap()]);
    let said = expect_code(&output, 0);
    assert!(said.contains("3 of 13 trials are left out"), "{said}");
    let json: Json = serde_json::from_slice(&std::fs::read(&again).unwrap()).unwrap();
    assert_eq!(json["cache"].as_object().unwrap().len(), 10);
    // The replay's own trial log, replayed, lacks the same.
    let log = replayed.join("scale-c.default/trials.jsonl");
    let third = dir.path().join("third");
    let recording = ["--backend", "replay", "--recording", log.to_str().unwrap()];
    expect_code(&run(&dir.path().join("job.yaml"), &third, &recording), 0);
    let trials = common::trials(&third, "scale-c.default");
    assert_eq!(trials.iter().filter(|trial| trial["message"] == "not in the recording").count(), 3);
    assert_eq!(trials.iter().filter(|trial| trial["outcome"] == "CompileError").count(), 2);
}

#[test]
fn a_trial_log_answers_for_its_own_task_only() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &common::good_job("maxTrials: 4"));
    expect_code(&run(&file, &out, &[]), 0);
    let log = out.join("add.small/trials.jsonl");
    let recording = ["--backend", "replay", "--recording", log.to_str().unwrap()];
    expect_code(&run(&file, &dir.path().join("same"), &recording), 0);
    let other = common::good_job("maxTrials: 4").replace("sizes: {n: 4096}", "sizes: {n: 8192}");
    let other = other.replace("name: small", "name: large");
    std::fs::write(&file, other).unwrap();
    let message = expect_code(&run(&file, &dir.path().join("other"), &recording), 65);
    assert!(message.contains("trial log of add/small") && message.contains("add/large"), "{message}");
}

#[test]
fn a_cachefile_that_is_cut_off_is_replayed_as_far_as_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let out = tuned(dir.path());
    let cachefile = dir.path().join("cache.json");
    expect_code(&export(&out, &["--format", "kernel-tuner", "--output", cachefile.to_str().unwrap()]), 0);
    let text = std::fs::read(&cachefile).unwrap();
    // The header and the first entries are whole; the cut goes through an entry.
    std::fs::write(&cachefile, &text[..text.len() * 2 / 3]).unwrap();
    let replayed = dir.path().join("replayed");
    let recording = ["--backend", "replay", "--recording", cachefile.to_str().unwrap()];
    expect_code(&run(&dir.path().join("job.yaml"), &replayed, &recording), 0);
    let results = common::results(&replayed);
    let notes = results["device"]["notes"].to_string();
    assert!(notes.contains("is cut off; its") && notes.contains("whole entries are used"), "{notes}");
    std::fs::write(&cachefile, &text[..200]).unwrap();
    let message = expect_code(&run(&dir.path().join("job.yaml"), &dir.path().join("none"), &recording), 65);
    assert!(message.contains("cut off before its first entry ends"), "{message}");
}

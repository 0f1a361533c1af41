//! Bad input: a clear message, the exit code, and nothing half-written.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use common::{expect_code, fractune, good_job, job, place, run};

/// Lints a job given on standard input; standard error.
fn refused(job: &[u8]) -> String {
    let mut child = fractune(&["lint", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The program may refuse before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(job);
    expect_code(&child.wait_with_output().unwrap(), 65)
}

/// The good job with one piece of its text replaced.
fn changed(from: &str, to: &str) -> Vec<u8> {
    let job = good_job("maxTrials: 8");
    assert!(job.contains(from), "{from}");
    job.replacen(from, to, 1).into_bytes()
}

#[test]
fn a_good_job_is_accepted_and_described() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = place(dir.path(), &good_job("maxTrials: 8"));
    let output = fractune(&["lint"]).arg(&file).output().unwrap();
    expect_code(&output, 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains("add/small: 36 valid configurations of 36"));
}

#[test]
fn every_message_names_the_field_and_what_is_wrong() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("maxTrials: 8", "maxTrail: 8", &["spec.search.maxTrail", "unknown field"]),
        ("maxTrials: 8", "maxTrials: many", &["spec.search.maxTrials", "many"]),
        ("      entrypoint: add\n", "", &["spec.kernels[0]", "entrypoint"]),
        ("entrypoint: add\n", "entrypoint: subtract\n", &["spec.kernels[0].entrypoint", "subtract"]),
        ("      verify:", "      constraints: [\"step +\"]\n      verify:", &["constraints[0]", "column"]),
        ("      verify:", "      constraints: [\"step + 1\"]\n      verify:", &["constraints[0]", "bool"]),
        (
            "      verify:",
            "      constraints: [\"stp > 1\"]\n      verify:",
            &["constraints[0]", "stp", "step"],
        ),
        (
            "      verify:",
            "      constraints: [\"step > 9\"]\n      verify:",
            &["constraints", "no configuration"],
        ),
        ("      verify:", "      constraints: [\"step > 1\"]\n      verify:", &["default", "step > 1"]),
        ("name: unroll", "name: step", &["parameters[1].name", "step"]),
        ("values: [1, 2, 4, 8, 16, 32], default: 1", "values: []", &["parameters[0].values", "no values"]),
        ("length: \"n\"", "length: \"-n\"", &["arguments[0].buffer.length", "-4096"]),
        ("length: \"n\"", "length: \"true\"", &["arguments[0].buffer.length", "bool"]),
        ("verify: {entrypoint: add_reference}", "verify: {}", &["spec.kernels[0].verify", "none: true"]),
    ];
    for (from, to, phrases) in cases {
        let message = refused(&changed(from, to));
        for phrase in *phrases {
            assert!(message.contains(phrase), "{to:?} gives, without {phrase:?}:\n{message}");
        }
    }
}

#[test]
fn shares_outside_1_to_100_are_refused() {
    for share in ["0", "101"] {
        let message = refused(&changed(common::shares(), &format!("[{share}]")));
        assert!(message.contains("spec.shares[0]") && message.contains(share), "{message}");
    }
}

#[test]
fn files_that_are_no_jobs_are_refused_and_none_brings_the_program_down() {
    assert!(refused(b"").contains("empty"));
    assert!(refused(b"\x00\x01\xff\xfe").contains("not text"));
    assert!(refused("[".repeat(20_000).as_bytes()).contains("deep"));
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
        writeln!(bomb, "a{i}: &a{i} [{aliases}]").unwrap();
    }
    assert!(refused(bomb.as_bytes()).contains("alias"));
    assert!(refused(b"apiVersion: v1\nkind: Pod\n").contains("TuneJob"));
}

#[test]
fn every_problem_of_a_job_is_told_at_once() {
    let job = good_job("maxTrials: 0")
        .replace("name: unroll", "name: 2unroll")
        .replace("type: f32, length: \"n\", output: true", "type: f32, length: \"n / 0\", output: true");
    let message = refused(job.as_bytes());
    for path in ["spec.search.maxTrials", "spec.kernels[0].parameters[0].name", "arguments[2].buffer.length"]
    {
        assert!(message.contains(path), "{message}");
    }
}

#[test]
fn buffers_over_the_machine_s_memory_are_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let job = good_job("maxTrials: 8").replace("n: 4096", "n: 2000000000");
    let (file, out) = place(dir.path(), &job);
    let message = expect_code(&run(&file, &out, &[]), 65);
    assert!(message.contains("memory"), "{message}");
}

#[test]
fn a_source_that_never_compiles_ends_the_run_early_with_the_compiler_s_words() {
    let dir = tempfile::tempdir().unwrap();
    let parameters = "        - {name: x, range: {min: 1, max: 200}}";
    let job = job(parameters, "this is no C", "maxTrials: 200");
    let (file, out) = place(dir.path(), &job);
    let message = expect_code(&run(&file, &out, &[]), 65);
    assert!(message.contains("reference add_reference does not compile:\nadd.c:"), "{message}");
    assert!(common::trials(&out, "add.small").is_empty());

    let job = job.replace("verify: {entrypoint: add_reference}", "verify: {none: true}");
    let (file, _) = place(dir.path(), &job);
    let out = dir.path().join("unverified");
    let message = expect_code(&run(&file, &out, &[]), 65);
    assert!(message.contains("none of the first") && message.contains("error:"), "{message}");
    assert!(common::trials(&out, "add.small").len() < 30);
    assert!(!out.join("results.json").exists());
}

#[test]
fn a_reference_that_crashes_is_the_job_s_fault_not_a_candidate_s() {
    let dir = tempfile::tempdir().unwrap();
    let job = good_job("maxTrials: 8")
        .replace("c[i] = a[i] + b[i];\n          }", "*(volatile int *)8 = i; (void)c; (void)a; (void)b; }");
    let (file, out) = place(dir.path(), &job);
    let message = expect_code(&run(&file, &out, &[]), 65);
    assert!(message.contains("reference"), "{message}");
}

#[test]
fn another_job_s_folder_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("maxTrials: 8"));
    expect_code(&run(&file, &out, &[]), 0);
    let before = std::fs::read(out.join("add.small/trials.jsonl")).unwrap();
    let message = expect_code(&run(&file, &out, &[]), 65);
    assert!(message.contains("--resume"), "{message}");
    let (file, _) = place(
        dir.path(),
        &good_job("maxTrials: 8").replace("metadata: {name: add}", "metadata: {name: sub}"),
    );
    let message = expect_code(&run(&file, &out, &["--resume"]), 65);
    assert!(message.contains("\"add\"") && message.contains("\"sub\""), "{message}");
    let (file, _) = place(dir.path(), &good_job("maxTrials: 8, seed: 2"));
    let message = expect_code(&run(&file, &out, &["--resume"]), 65);
    assert!(message.contains("seed") && message.contains("--out"), "{message}");
    assert_eq!(std::fs::read(out.join("add.small/trials.jsonl")).unwrap(), before);
    let kept = std::fs::read_to_string(out.join("job.yaml")).unwrap();
    assert_eq!(kept, good_job("maxTrials: 8"), "the folder's own job stays");

    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "mine").unwrap();
    let message = expect_code(&run(&file, &foreign, &[]), 65);
    assert!(message.contains("something else"), "{message}");
    assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 1);
}

#[test]
fn a_share_of_less_than_one_cpu_is_refused_with_the_smallest_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("maxTrials: 8"));
    if std::thread::available_parallelism().unwrap().get() >= 100 {
        return; // One percent of this machine is a CPU.
    }
    let message = expect_code(&run(&file, &out, &["--shares", "1"]), 69);
    assert!(message.contains("smallest share"), "{message}");
    expect_code(&run(&file, &out, &[]), 0);
}

#[test]
fn a_disk_that_fills_up_ends_the_run_and_the_rest_can_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("strategy: Exhaustive"));
    std::fs::create_dir(&out).unwrap();
    // A file system of its own, in a mount namespace of its own; what is left there is copied out.
    let script = r#"mount -t tmpfs -o size=160k none "$2" 2>/dev/null || exit 99
"$0" run -q "$1" --out "$2"; code=$?
rm -rf "$2/objects"; cp -r "$2/." "$3/"; exit $code"#;
    let kept = dir.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .args([env!("CARGO_BIN_EXE_kubectl-fractune")])
        .args([&file, &out, &kept])
        .env("FRACTUNE_GATE", dir.path().join("gate"))
        .output();
    let Ok(output) = output else { return println!("skipped: no unshare") };
    if output.status.code() == Some(99) || String::from_utf8_lossy(&output.stderr).contains("unshare") {
        return println!("skipped: no mount namespaces here");
    }
    let message = expect_code(&output, 74);
    assert!(message.contains("space"), "{message}");
    assert!(!kept.join("results.json").exists());
    expect_code(&run(&file, &kept, &["--resume"]), 0);
    assert_eq!(common::trials(&kept, "add.small").len(), 36);
}

#[test]
fn a_machine_without_a_gpu_explains_itself() {
    let dir = tempfile::tempdir().unwrap();
    let job = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/cuda-stencil.yaml");
    // Hides the GPUs of a machine that has some.
    let output = fractune(&["run", job, "--out"])
        .arg(dir.path().join("out"))
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()
        .unwrap();
    let message = expect_code(&output, 69);
    let no_driver = message.contains("\"laplacian\" is in CUDA") && message.contains("libnvidia-ml.so.1");
    assert!(no_driver || message.contains("CUDA_VISIBLE_DEVICES is empty"), "{message}");
    assert!(!dir.path().join("out").join("results.json").exists());
}

#[test]
fn languages_and_backends_that_do_not_fit_are_named() {
    let job = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/cuda-stencil.yaml");
    let dir = tempfile::tempdir().unwrap();
    let message = expect_code(&run(std::path::Path::new(job), dir.path(), &["--backend", "cpu"]), 65);
    assert!(message.contains("is in CUDA, and backend cpu runs C"), "{message}");
    let (file, out) = place(dir.path(), &good_job("maxTrials: 8"));
    let message = expect_code(&run(&file, &out, &["--backend", "cuda"]), 65);
    assert!(message.contains("is in C, and backend cuda runs CUDA"), "{message}");
}

#[test]
fn options_that_would_be_ignored_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("maxTrials: 8"));
    let message = expect_code(&run(&file, &out, &["--gpu", "0"]), 2);
    assert!(message.contains("--gpu is for CUDA kernels"), "{message}");
    let message = expect_code(&run(&file, &out, &["--recording", "absent.json"]), 2);
    assert!(message.contains("--backend replay"), "{message}");
    let message =
        expect_code(&run(&file, &out, &["--backend", "replay", "--recording", "200=absent.json"]), 2);
    assert!(message.contains("\"200\" is no share"), "{message}");
    assert!(!out.exists());
}

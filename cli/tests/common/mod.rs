//! What the tests of local runs share: small jobs, and the program itself.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A job whose kernel adds two vectors; `parameters` and `body` go into it as they stand, and the body may
/// use every parameter.
pub(crate) fn job(parameters: &str, body: &str, search: &str) -> String {
    format!(
        r#"apiVersion: fractune.dev/v1alpha1
kind: TuneJob
metadata: {{name: add}}
spec:
  shares: {shares}
  kernels:
    - name: add
      language: C
      entrypoint: add
      problems: [{{name: small, sizes: {{n: 4096}}}}]
      arguments:
        - buffer: {{name: a, type: f32, length: "n"}}
        - buffer: {{name: b, type: f32, length: "n"}}
        - buffer: {{name: c, type: f32, length: "n", output: true}}
        - scalar: {{name: n, type: i32, value: "n"}}
      parameters:
{parameters}
      verify: {{entrypoint: add_reference}}
      metrics: [{{name: gflops, value: "double(n) / double(time_ns)"}}]
      compile: {{options: ["-O2"]}}
      source:
        inline: |
          #include <fcntl.h>
          #include <stdio.h>
          #include <stdlib.h>
          #include <string.h>
          #include <unistd.h>
          void add_reference(const float *a, const float *b, float *c, int n) {{
            for (int i = 0; i < n; i++) c[i] = a[i] + b[i];
          }}
          void add(const float *a, const float *b, float *c, int n) {{
            {body}
          }}
  search: {{{search}}}
  measure: {{minTimeMs: 1, timeoutSeconds: 3, finalists: 3}}
"#,
        shares = shares(),
    )
}

/// Shares that this machine has whole CPUs for.
pub(crate) fn shares() -> &'static str {
    if std::thread::available_parallelism().unwrap().get() >= 2 { "[50, 100]" } else { "[100]" }
}

/// A job of 36 configurations, all of them good.
pub(crate) fn good_job(search: &str) -> String {
    job(
        "        - {name: unroll, values: [1, 2, 4, 8, 16, 32], default: 1}
        - {name: step, values: [1, 2, 3, 4, 5, 6], default: 1}",
        "for (int i = 0; i < n; i++) c[i] = a[i] + b[i] + 0 * unroll * step;",
        search,
    )
}

/// The program, with its arguments.
pub(crate) fn fractune(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-fractune"));
    command.args(arguments);
    command
}

/// Writes a job into a folder, and names the file and the output folder.
pub(crate) fn place(dir: &Path, job: &str) -> (PathBuf, PathBuf) {
    let file = dir.join("job.yaml");
    std::fs::write(&file, job).unwrap();
    (file, dir.join("out"))
}

/// Runs a job to its end.
pub(crate) fn run(file: &Path, out: &Path, more: &[&str]) -> Output {
    run_command(file, out).args(more).output().unwrap()
}

/// The command that runs a job. Tests do not wait for each other's measurements: each has its own gate.
pub(crate) fn run_command(file: &Path, out: &Path) -> Command {
    let mut command = fractune(&["run"]);
    command.arg(file).arg("--out").arg(out).env("FRACTUNE_GATE", file.with_file_name("gate"));
    command
}

/// Trials of a task's log: every line after the header.
pub(crate) fn trials(out: &Path, task: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(out.join(task).join("trials.jsonl")).unwrap_or_default();
    text.lines().skip(1).filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The results of a finished run.
pub(crate) fn results(out: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap()
}

/// Standard error, and a check of the exit code that shows it.
pub(crate) fn expect_code(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

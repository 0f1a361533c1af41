//! What was found, for use by programs: a C and CUDA header, and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fractune_tuner::kernel::Value;
use fractune_tuner::results::{JobResult, ShareResult, TaskResult};
use serde_json::json;

/// Why results cannot be exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// Two things would be defined by one macro.
    #[error("{first} and {second} would both be the macro {name}: rename one of them")]
    Collision {
        /// Name of the macro.
        name: String,
        /// What it stands for.
        first: String,
        /// What it would stand for as well.
        second: String,
    },
    /// A parameter's name is not a C identifier, so it cannot be a macro.
    #[error("parameter {parameter:?} of kernel {kernel} is not a C identifier: rename it")]
    Name {
        /// Name of the kernel.
        kernel: String,
        /// Name of the parameter.
        parameter: String,
    },
    /// A parameter's value cannot be the text of a macro.
    #[error(
        "parameter {parameter} of kernel {kernel} has the value {value:?}, which a macro cannot hold: \
         use a value on one line, without comments and without a backslash at its end"
    )]
    Value {
        /// Name of the kernel.
        kernel: String,
        /// Name of the parameter.
        parameter: String,
        /// Its value.
        value: String,
    },
}

/// A header with every winner, for C, C++ and CUDA.
///
/// Each parameter of each winner is a macro `FRACTUNE_<KERNEL>_<PROBLEM>_<SHARE>_<PARAMETER>`, beside
/// `..._TIME_NS`. Where `FRACTUNE_SELECT_<KERNEL>_<PROBLEM>_<SHARE>` is defined, the kernel's own macros are
/// defined as well, so that `cc -include tuned.h -DFRACTUNE_SELECT_SGEMM_SQUARE_50 kernel.c` compiles the
/// tuned kernel.
///
/// # Errors
/// Names that meet in one macro, and names and values that no macro can hold.
pub fn header(job: &JobResult) -> Result<String, ExportError> {
    let mut names = Names::default();
    let guard = format!("FRACTUNE_TUNED_{}_H", upper(&job.job));
    names.take(&guard, "the include guard")?;

    let mut definitions = String::new();
    let mut selections = String::new();
    let mut selectors: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for task in &job.tasks {
        if task.shares.is_empty() {
            let _ = writeln!(
                definitions,
                "\n/* {} / {}: no configuration was Ok, nothing to define */",
                comment(&task.kernel),
                comment(&task.problem)
            );
        }
        for share in &task.shares {
            let stem = format!("{}_{}_{}", upper(&task.kernel), upper(&task.problem), share.share);
            define(&mut definitions, &mut names, task, share, &stem)?;
            let selector = format!("FRACTUNE_SELECT_{stem}");
            names.take(&selector, &format!("the selection of {}", title(task, share)))?;
            select(&mut selections, task, share, &selector);
            for parameter in share.best.configuration.0.keys() {
                selectors.entry(parameter).or_default().push(selector.clone());
            }
        }
    }

    let mut text = provenance(job);
    let _ = writeln!(text, "#ifndef {guard}\n#define {guard}");
    text.push_str(&definitions);
    text.push_str(&exclusions(&selectors));
    text.push_str(&selections);
    let _ = writeln!(text, "\n#endif /* {guard} */");
    Ok(text)
}

/// Every winner in one line of JSON: an array of `{kernel, problem, share, configuration, timeNs, speedup,
/// metrics}`, where `speedup` is a string with three decimals, or null where the default has no time.
#[must_use]
pub fn json(job: &JobResult) -> String {
    let winner = |task: &TaskResult, share: &ShareResult| {
        json!({
            "kernel": task.kernel,
            "problem": task.problem,
            "share": share.share,
            "configuration": share.best.configuration,
            "timeNs": share.best.time_ns,
            "speedup": share.speedup().map(|ratio| format!("{ratio:.3}")),
            "metrics": share.metrics,
        })
    };
    let winners = job.tasks.iter().flat_map(|t| t.shares.iter().map(move |s| winner(t, s)));
    serde_json::Value::Array(winners.collect()).to_string()
}

/// The macros taken so far, each with what it stands for.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn take(&mut self, name: &str, what: &str) -> Result<(), ExportError> {
        match self.0.insert(name.to_owned(), what.to_owned()) {
            None => Ok(()),
            Some(first) => {
                Err(ExportError::Collision { name: name.to_owned(), first, second: what.to_owned() })
            }
        }
    }
}

fn define(
    text: &mut String,
    names: &mut Names,
    task: &TaskResult,
    share: &ShareResult,
    stem: &str,
) -> Result<(), ExportError> {
    let _ = writeln!(text, "\n/* {} */", comment(&title(task, share)));
    for (parameter, value) in &share.best.configuration.0 {
        if !is_identifier(parameter) {
            return Err(ExportError::Name { kernel: task.kernel.clone(), parameter: parameter.clone() });
        }
        if !is_macro_text(value) {
            return Err(ExportError::Value {
                kernel: task.kernel.clone(),
                parameter: parameter.clone(),
                value: value.to_string(),
            });
        }
        let name = format!("FRACTUNE_{stem}_{}", upper(parameter));
        names.take(&name, &format!("parameter {parameter} of {}", title(task, share)))?;
        let _ = writeln!(text, "#define {name} {}", value.macro_text());
    }
    let name = format!("FRACTUNE_{stem}_TIME_NS");
    names.take(&name, &format!("the time of {}", title(task, share)))?;
    let _ = writeln!(text, "#define {name} {}", share.best.time_ns);
    Ok(())
}

/// The kernel's own macros, each unless it is defined already: a value given by hand wins.
fn select(text: &mut String, task: &TaskResult, share: &ShareResult, selector: &str) {
    let _ = writeln!(text, "\n#if defined({selector})");
    for (size, value) in &task.size_macros {
        let _ = writeln!(text, "#ifndef {size}\n#define {size} {value}\n#endif");
    }
    for (parameter, value) in &share.best.configuration.0 {
        let _ = writeln!(text, "#ifndef {parameter}\n#define {parameter} {}\n#endif", value.macro_text());
    }
    text.push_str("#endif\n");
}

/// Two selections that define one macro would silently mix two configurations, so the compiler refuses.
fn exclusions(selectors: &BTreeMap<&str, Vec<String>>) -> String {
    let mut parameters: BTreeMap<&Vec<String>, Vec<&str>> = BTreeMap::new();
    for (parameter, selectors) in selectors {
        parameters.entry(selectors).or_default().push(parameter);
    }
    let mut text = String::new();
    for (selectors, parameters) in parameters.into_iter().filter(|(selectors, _)| selectors.len() > 1) {
        let sum: Vec<String> = selectors.iter().map(|s| format!("defined({s})")).collect();
        let _ = writeln!(
            text,
            "\n#if {} > 1\n#error \"select one only of those that define {}\"\n#endif",
            sum.join(" \\\n    + "),
            parameters.join(", ")
        );
    }
    text
}

fn provenance(job: &JobResult) -> String {
    let mut text = format!("/* Tuned by fractune: job {}.\n", comment(&job.job));
    if job.device.backend == "replay" {
        text.push_str(" * SIMULATION: times come from a recording, nothing was measured.\n");
    }
    let device = &job.device;
    let _ = writeln!(
        text,
        " * Device: {} (backend {}, {} compute units).\n * Compiler: {}.",
        comment(&device.product),
        comment(&device.backend),
        device.units,
        comment(&device.compiler)
    );
    if let Some(gpu) = &device.gpu {
        let mps = if gpu.mps { "through MPS" } else { "without MPS" };
        let _ = writeln!(text, " * GPU: {}, driver {}, {mps}.", comment(&gpu.uuid), comment(&gpu.driver));
    }
    for (share, units) in &device.units_by_share {
        let _ = writeln!(text, " * Share {share} %: {units} compute units.");
    }
    for task in job.tasks.iter().filter(|task| !task.verified) {
        let (kernel, problem) = (comment(&task.kernel), comment(&task.problem));
        let _ = writeln!(text, " * Outputs of {kernel} / {problem} were not verified.");
    }
    for note in &device.notes {
        let _ = writeln!(text, " * Note: {}", comment(note));
    }
    text.push_str(
        " *\n * To compile a kernel with its winner, include this file first and define the macro that\n \
         * selects it, such as FRACTUNE_SELECT_<KERNEL>_<PROBLEM>_<SHARE>.\n */\n",
    );
    text
}

fn title(task: &TaskResult, share: &ShareResult) -> String {
    format!("{} / {} at {} %", task.kernel, task.problem, share.share)
}

/// A name as part of a macro's name.
fn upper(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// Text that neither ends the comment it stands in nor seems to begin another.
fn comment(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.replace("*/", "* /").replace("/*", "/ *")
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_macro_text(value: &Value) -> bool {
    let text = value.macro_text();
    !text.contains(char::is_control)
        && !text.trim_end().ends_with('\\')
        && !text.contains("/*")
        && !text.contains("//")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::report::sample;

    /// Compiles and runs a program; its standard output, or the compiler's complaint.
    fn run(compiler: &str, file: &Path, options: &[&str]) -> Result<String, String> {
        let program = file.with_extension(compiler);
        let build = Command::new(compiler)
            .args(["-Wall", "-Wextra", "-Werror", "-include", "tuned.h"])
            .args(options)
            .arg("-o")
            .args([&program, file])
            .current_dir(file.parent().unwrap())
            .output()
            .unwrap();
        if !build.status.success() {
            return Err(String::from_utf8_lossy(&build.stderr).into_owned());
        }
        let output = Command::new(program).output().unwrap();
        Ok(String::from_utf8(output.stdout).unwrap())
    }

    const PROGRAM: &str = r#"
#include <stdio.h>
int main(void) {
    element x = 1;
    printf("%d %d %d", block_m, FRACTUNE_SGEMM_SQUARE_50_BLOCK_M, (int)x);
    return FRACTUNE_SGEMM_SQUARE_50_TIME_NS > 0 ? 0 : 1;
}
"#;

    fn job() -> JobResult {
        let (mut job, _) = sample::job();
        job.device.notes.push("odd */ note /* with\nlines".to_owned());
        for task in &mut job.tasks {
            for share in &mut task.shares {
                let values = &mut share.best.configuration.0;
                values.insert("element".to_owned(), Value::Text("unsigned long".to_owned()));
            }
        }
        job
    }

    #[test]
    fn the_header_compiles_the_selected_kernel() {
        let job = job();
        let tempdir = tempfile::tempdir().unwrap();
        std::fs::write(tempdir.path().join("tuned.h"), header(&job).unwrap()).unwrap();
        let block_m =
            &job.tasks[0].shares.iter().find(|s| s.share == 50).unwrap().best.configuration.0["block_m"];
        let has_cxx = Command::new("c++").arg("--version").output().is_ok();
        for (compiler, name) in [("cc", "kernel.c"), ("c++", "kernel.cc")] {
            if compiler == "c++" && !has_cxx {
                continue;
            }
            let file = tempdir.path().join(name);
            std::fs::write(&file, PROGRAM).unwrap();
            let tuned = run(compiler, &file, &["-DFRACTUNE_SELECT_SGEMM_SQUARE_50"]);
            assert_eq!(tuned.unwrap(), format!("{block_m} {block_m} 1"));
            let by_hand = run(compiler, &file, &["-DFRACTUNE_SELECT_SGEMM_SQUARE_50", "-Dblock_m=7"]);
            assert_eq!(by_hand.unwrap(), format!("7 {block_m} 1"));
            let none = run(compiler, &file, &[]);
            assert!(none.unwrap_err().contains("block_m"));
            let both = ["-DFRACTUNE_SELECT_SGEMM_SQUARE_50", "-DFRACTUNE_SELECT_SGEMM_SQUARE_100"];
            let refused = run(compiler, &file, &both).unwrap_err();
            assert!(refused.contains("select one only"), "{refused}");
        }
    }

    #[test]
    fn kernels_whose_macros_would_meet_are_refused() {
        let mut job = job();
        let mut twin = job.tasks[0].clone();
        twin.kernel = "SGEMM".to_owned();
        job.tasks.push(twin);
        let error = header(&job).unwrap_err().to_string();
        assert!(error.contains("sgemm / square") && error.contains("SGEMM / square"), "{error}");
    }

    #[test]
    fn parameters_that_differ_in_case_only_are_refused() {
        let mut job = job();
        let values = &mut job.tasks[0].shares[0].best.configuration.0;
        values.insert("BLOCK_M".to_owned(), Value::Int(1));
        assert!(matches!(header(&job), Err(ExportError::Collision { .. })));
    }

    #[test]
    fn values_that_would_leave_their_macro_are_refused() {
        for text in ["1\n#error", "1 \\", "1 /* ", "1 // "] {
            let mut job = job();
            let values = &mut job.tasks[0].shares[0].best.configuration.0;
            values.insert("element".to_owned(), Value::Text(text.to_owned()));
            assert!(matches!(header(&job), Err(ExportError::Value { .. })), "{text:?}");
        }
    }

    #[test]
    fn names_that_are_no_identifiers_are_refused() {
        let mut job = job();
        let values = &mut job.tasks[0].shares[0].best.configuration.0;
        values.insert("2nd".to_owned(), Value::Int(1));
        assert!(header(&job).unwrap_err().to_string().contains("\"2nd\""));
    }

    #[test]
    fn a_simulation_is_called_one_in_the_header() {
        let mut job = job();
        job.device.backend = "replay".to_owned();
        assert!(header(&job).unwrap().contains("SIMULATION"));
    }

    #[test]
    fn json_has_one_entry_per_winner_and_ratios_as_strings() {
        let mut job = job();
        job.tasks[0].shares[0].baseline = None;
        let parsed: Vec<serde_json::Value> = serde_json::from_str(&json(&job)).unwrap();
        let winners: usize = job.tasks.iter().map(|t| t.shares.len()).sum();
        assert_eq!(parsed.len(), winners);
        assert!(parsed[0]["speedup"].is_null());
        let expected = format!("{:.3}", job.tasks[0].shares[1].speedup().unwrap());
        assert_eq!(parsed[1]["speedup"], expected);
        assert_eq!(parsed[1]["timeNs"], job.tasks[0].shares[1].best.time_ns);
    }
}

//! The winners as a header for C, C++ and CUDA.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::text::{comment, is_identifier, is_macro_text, upper};
use super::{Tuned, TunedTask, Winner};

/// Why there cannot be a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
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
    /// A size that the source has as a macro is not a C identifier.
    #[error("size {size:?} of kernel {kernel} is not a C identifier: rename it")]
    Size {
        /// Name of the kernel.
        kernel: String,
        /// Name of the size.
        size: String,
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
/// tuned kernel. Winners beside a load have it behind the share: `FRACTUNE_SELECT_SGEMM_SQUARE_50_COMPUTE`.
///
/// # Errors
/// Names that meet in one macro, and names and values that no macro can hold.
pub fn header(tuned: &Tuned) -> Result<String, HeaderError> {
    let mut names = Names::default();
    let guard = format!("FRACTUNE_TUNED_{}_H", upper(&tuned.job));
    names.take(&guard, "the include guard")?;

    let mut definitions = String::new();
    let mut selections = String::new();
    let mut selectors: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for task in &tuned.tasks {
        if task.winners.is_empty() {
            let _ = writeln!(
                definitions,
                "\n/* {} / {}: no configuration was Ok, nothing to define */",
                comment(&task.kernel),
                comment(&task.problem)
            );
        }
        if let Some(size) = task.size_macros.keys().find(|size| !is_identifier(size)) {
            return Err(HeaderError::Size { kernel: task.kernel.clone(), size: size.clone() });
        }
        for winner in &task.winners {
            let stem = format!("{}_{}_{}", upper(&task.kernel), upper(&task.problem), condition(winner));
            define(&mut definitions, &mut names, task, winner, &stem)?;
            let selector = format!("FRACTUNE_SELECT_{stem}");
            names.take(&selector, &format!("the selection of {}", title(task, winner)))?;
            select(&mut selections, task, winner, &selector);
            for parameter in winner.configuration.0.keys() {
                selectors.entry(parameter).or_default().push(selector.clone());
            }
        }
    }

    let mut text = provenance(tuned);
    let _ = writeln!(text, "#ifndef {guard}\n#define {guard}");
    text.push_str(&definitions);
    text.push_str(&exclusions(&selectors));
    text.push_str(&selections);
    let _ = writeln!(text, "\n#endif /* {guard} */");
    Ok(text)
}

/// `50`, or `50_COMPUTE` beside a load.
fn condition(winner: &Winner) -> String {
    if winner.neighbours.is_quiet() {
        winner.share.to_string()
    } else {
        format!("{}_{}", winner.share, upper(&winner.neighbours.to_string()))
    }
}

/// The macros taken so far, each with what it stands for.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn take(&mut self, name: &str, what: &str) -> Result<(), HeaderError> {
        match self.0.insert(name.to_owned(), what.to_owned()) {
            None => Ok(()),
            Some(first) => {
                Err(HeaderError::Collision { name: name.to_owned(), first, second: what.to_owned() })
            }
        }
    }
}

fn define(
    text: &mut String,
    names: &mut Names,
    task: &TunedTask,
    winner: &Winner,
    stem: &str,
) -> Result<(), HeaderError> {
    let _ = writeln!(text, "\n/* {} */", comment(&title(task, winner)));
    for (parameter, value) in &winner.configuration.0 {
        if !is_identifier(parameter) {
            return Err(HeaderError::Name { kernel: task.kernel.clone(), parameter: parameter.clone() });
        }
        if !is_macro_text(value) {
            return Err(HeaderError::Value {
                kernel: task.kernel.clone(),
                parameter: parameter.clone(),
                value: value.to_string(),
            });
        }
        let name = format!("FRACTUNE_{stem}_{}", upper(parameter));
        names.take(&name, &format!("parameter {parameter} of {}", title(task, winner)))?;
        let _ = writeln!(text, "#define {name} {}", value.macro_text());
    }
    let name = format!("FRACTUNE_{stem}_TIME_NS");
    names.take(&name, &format!("the time of {}", title(task, winner)))?;
    let _ = writeln!(text, "#define {name} {}", winner.time_ns);
    Ok(())
}

/// The kernel's own macros, each unless it is defined already: a value given by hand wins.
fn select(text: &mut String, task: &TunedTask, winner: &Winner, selector: &str) {
    let _ = writeln!(text, "\n#if defined({selector})");
    for (size, value) in &task.size_macros {
        let _ = writeln!(text, "#ifndef {size}\n#define {size} {value}\n#endif");
    }
    for (parameter, value) in &winner.configuration.0 {
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

fn provenance(tuned: &Tuned) -> String {
    let mut text = format!("/* Tuned by fractune: job {}.\n", comment(&tuned.job));
    for line in &tuned.device {
        let _ = writeln!(text, " * {}", comment(line));
    }
    for task in tuned.tasks.iter().filter(|task| !task.verified) {
        let (kernel, problem) = (comment(&task.kernel), comment(&task.problem));
        let _ = writeln!(text, " * Outputs of {kernel} / {problem} were not verified.");
    }
    for note in &tuned.notes {
        let _ = writeln!(text, " * Note: {}", comment(note));
    }
    text.push_str(
        " *\n * To compile a kernel with its winner, include this file first and define the macro that\n \
         * selects it, such as FRACTUNE_SELECT_<KERNEL>_<PROBLEM>_<SHARE>.\n */\n",
    );
    text
}

fn title(task: &TunedTask, winner: &Winner) -> String {
    format!("{} / {} at {}", task.kernel, task.problem, winner.condition())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::super::tests::sample;
    use super::*;
    use crate::condition::Neighbours;
    use crate::kernel::Value;

    const PROGRAM: &str = r#"
#include <stdio.h>
int main(void) {
    element x = 1;
    printf("%d %d %d %d", block_m, FRACTUNE_SGEMM_SQUARE_50_BLOCK_M, SIZE_M, (int)x);
    return FRACTUNE_SGEMM_SQUARE_50_TIME_NS > 0 ? 0 : 1;
}
"#;

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

    #[test]
    fn the_header_compiles_the_selected_kernel() {
        let tempdir = tempfile::tempdir().unwrap();
        std::fs::write(tempdir.path().join("tuned.h"), header(&sample()).unwrap()).unwrap();
        let has_cxx = Command::new("c++").arg("--version").output().is_ok();
        for (compiler, name) in [("cc", "kernel.c"), ("c++", "kernel.cc")] {
            if compiler == "c++" && !has_cxx {
                continue;
            }
            let file = tempdir.path().join(name);
            std::fs::write(&file, PROGRAM).unwrap();
            let tuned = run(compiler, &file, &["-DFRACTUNE_SELECT_SGEMM_SQUARE_50"]);
            assert_eq!(tuned.unwrap(), "64 64 512 1");
            let by_hand = run(compiler, &file, &["-DFRACTUNE_SELECT_SGEMM_SQUARE_50", "-Dblock_m=7"]);
            assert_eq!(by_hand.unwrap(), "7 64 512 1");
            let none = run(compiler, &file, &[]);
            assert!(none.unwrap_err().contains("block_m"));
            let both = ["-DFRACTUNE_SELECT_SGEMM_SQUARE_50", "-DFRACTUNE_SELECT_SGEMM_SQUARE_100"];
            let refused = run(compiler, &file, &both).unwrap_err();
            assert!(refused.contains("select one only"), "{refused}");
        }
    }

    #[test]
    fn kernels_whose_macros_would_meet_are_refused() {
        let mut tuned = sample();
        let mut twin = tuned.tasks[0].clone();
        twin.kernel = "SGEMM".to_owned();
        tuned.tasks.push(twin);
        let error = header(&tuned).unwrap_err().to_string();
        assert!(error.contains("sgemm / square") && error.contains("SGEMM / square"), "{error}");
    }

    #[test]
    fn parameters_that_differ_in_case_only_are_refused() {
        let mut tuned = sample();
        tuned.tasks[0].winners[0].configuration.0.insert("BLOCK_M".to_owned(), Value::Int(1));
        assert!(matches!(header(&tuned), Err(HeaderError::Collision { .. })));
    }

    #[test]
    fn values_that_would_leave_their_macro_are_refused() {
        let mut tuned = sample();
        let values = &mut tuned.tasks[0].winners[0].configuration.0;
        values.insert("element".to_owned(), Value::Text("1\n#error".to_owned()));
        assert!(matches!(header(&tuned), Err(HeaderError::Value { .. })));
    }

    #[test]
    fn names_that_are_no_identifiers_are_refused() {
        let mut tuned = sample();
        tuned.tasks[0].winners[0].configuration.0.insert("2nd".to_owned(), Value::Int(1));
        assert!(header(&tuned).unwrap_err().to_string().contains("parameter \"2nd\""));
        let mut tuned = sample();
        tuned.tasks[0].size_macros.insert("m 1\n#error".to_owned(), 1);
        assert!(header(&tuned).unwrap_err().to_string().contains("size \"m 1"));
    }

    #[test]
    fn what_was_not_found_or_not_verified_is_said() {
        let mut tuned = sample();
        tuned.tasks[0].verified = false;
        tuned.tasks[0].winners.clear();
        let text = header(&tuned).unwrap();
        assert!(text.contains("Outputs of sgemm / square were not verified."), "{text}");
        assert!(text.contains("sgemm / square: no configuration was Ok"), "{text}");
    }

    #[test]
    fn a_winner_beside_a_load_is_selected_by_its_condition() {
        let mut tuned = sample();
        let beside = Winner { neighbours: Neighbours::Compute, ..tuned.tasks[0].winners[0].clone() };
        tuned.tasks[0].winners.push(beside);
        let header = header(&tuned).unwrap();
        assert!(header.contains("#if defined(FRACTUNE_SELECT_SGEMM_SQUARE_50_COMPUTE)\n"), "{header}");
        assert!(header.contains("/* sgemm / square at 50 % beside Compute"), "{header}");
    }
}

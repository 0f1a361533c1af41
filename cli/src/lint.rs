//! `lint`: jobs, checked without running anything.

use std::fmt::Write as _;
use std::path::PathBuf;

use fractune_agent::tune::{Plan, exit};
use fractune_crds::{Checked, Fleet, LoadError, booleans_to_kubectl, load_all};
use fractune_tuner::Violation;
use fractune_tuner::kernel::Language;
use fractune_tuner::space::count_in_words;

use crate::commands::{is_cuda, print};
use crate::error::CliError;
use crate::job::{name, read_bytes};

/// Checks jobs, and prints what they would tune.
///
/// # Errors
/// [`CliError`], with every problem of every job.
pub fn lint(paths: &[PathBuf]) -> Result<u8, CliError> {
    let mut files = Vec::new();
    for path in paths {
        let bytes = read_bytes(path).map_err(|source| CliError::Io { path: name(path), source })?;
        files.push((name(path), bytes));
    }
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let (text, error) = check(&files);
    print(&text)?;
    error.map_or(Ok(exit::DONE), Err)
}

/// What there is to tell of the jobs that are well, and what is wrong with the others. Files come with their names.
fn check(files: &[(&str, &[u8])]) -> (String, Option<CliError>) {
    let fleet = load_all(&files.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>());
    let (several_jobs, several_files) = (fleet.jobs.len() > 1, files.len() > 1);
    let mut text = String::new();
    for checked in &fleet.jobs {
        let Ok((job, tasks)) = &checked.outcome else { continue };
        let prefix = if several_jobs { format!("{}: ", checked.name) } else { String::new() };
        let manifest = files.get(checked.file).map_or(&[][..], |(_, bytes)| bytes);
        let booleans = booleans_to_kubectl(&String::from_utf8_lossy(manifest), job);
        describe(&mut text, &prefix, &Plan::new(job.clone(), tasks.clone()));
        for name in booleans {
            let _ = writeln!(
                text,
                "{prefix}note: kubectl reads the name {name} as a boolean; write it in quotes: \"{name}\""
            );
        }
    }
    for document in &fleet.ignored {
        let _ = writeln!(text, "note: {document} is not used");
    }
    let file = |number: usize| files.get(number).map_or("", |(name, _)| name);
    let error = if several_jobs || several_files {
        let title = |checked: &Checked| {
            if several_files {
                format!("{}: {}", file(checked.file), checked.name)
            } else {
                checked.name.clone()
            }
        };
        wrong_ones(&fleet, &file, &title)
    } else {
        the_only_one(fleet, file(0))
    };
    (text, error)
}

fn describe(text: &mut String, prefix: &str, plan: &Plan) {
    for task in &plan.tasks {
        let space = &task.space;
        let valid = count_in_words(space.len() as u64);
        let _ = write!(text, "{prefix}{}: {valid} valid configurations of {}", task.name(), space.raw());
        if space.undefined() > 0 {
            let _ =
                write!(text, ", {} left out because a constraint has no value for them", space.undefined());
        }
        let _ = writeln!(text, "; default {}", space.configuration(task.default));
    }
    if is_cuda(plan) && plan.tasks.iter().any(|task| task.kernel.language != Language::Cuda) {
        let _ = writeln!(
            text,
            "{prefix}note: kernels in C and in CUDA; a local run needs a job for each language"
        );
    }
}

/// What is wrong with the one job of one file, in the words of every other command that takes one.
fn the_only_one(fleet: Fleet, file: &str) -> Option<CliError> {
    if let Some((_, error)) = fleet.unreadable.into_iter().next() {
        return Some(CliError::Unreadable { file: file.to_owned(), message: error.to_string() });
    }
    let violations = fleet.jobs.into_iter().next()?.outcome.err()?;
    Some(CliError::Invalid { file: file.to_owned(), violations })
}

fn wrong_ones<'a>(
    fleet: &Fleet,
    file: &impl Fn(usize) -> &'a str,
    title: &impl Fn(&Checked) -> String,
) -> Option<CliError> {
    let unreadable = |(number, error): &(usize, LoadError)| format!("{}: {error}", file(*number));
    let mut problems: Vec<String> = fleet.unreadable.iter().map(unreadable).collect();
    let wrong = |checked: &Checked| {
        let violations = checked.outcome.as_ref().err()?;
        let line = |violation: &Violation| format!("{}: {violation}", title(checked));
        Some(violations.iter().map(line).collect::<Vec<_>>())
    };
    let invalid: Vec<Vec<String>> = fleet.jobs.iter().filter_map(wrong).collect();
    let wrong = invalid.len();
    problems.extend(invalid.into_iter().flatten());
    (!problems.is_empty()).then_some(CliError::InvalidJobs {
        wrong,
        jobs: fleet.jobs.len(),
        unreadable: fleet.unreadable.len(),
        problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, shares: &str) -> String {
        format!(
            r#"
apiVersion: fractune.dev/v1alpha1
kind: TuneJob
metadata: {{name: {name}}}
spec:
  shares: {shares}
  kernels:
    - name: k
      language: C
      source: {{inline: "void f(float *c, int len) {{}} void g(float *c, int len) {{}}"}}
      entrypoint: f
      problems: [{{name: p, sizes: {{len: 64}}}}]
      arguments:
        - buffer: {{name: c, type: f32, length: "len", output: true}}
        - scalar: {{name: len, type: i32, value: "len"}}
      parameters: [{{name: x, values: [1, 2]}}]
      verify: {{entrypoint: g}}
"#
        )
    }

    fn said(files: &[(&str, &str)]) -> (String, String) {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        let (text, error) = check(&files);
        (text, error.map_or_else(String::new, |error| error.to_string()))
    }

    #[test]
    fn one_job_is_told_without_its_name() {
        let (text, error) = said(&[("a.yaml", &job("a", "[50]"))]);
        assert_eq!((text.as_str(), error.as_str()), ("k/p: 2 valid configurations of 2; default x=1\n", ""));
        let (text, error) = said(&[("a.yaml", &job("a", "[0]"))]);
        assert!(text.is_empty() && error.starts_with("a.yaml is not valid:\n  spec.shares[0]: "), "{error}");
    }

    #[test]
    fn problems_of_several_jobs_begin_with_the_job_and_good_ones_are_told_all_the_same() {
        let fleet = [job("a", "[50]"), job("b", "[0, 101]"), job("c", "[50]")].join("---");
        let (text, error) = said(&[("fleet.yaml", &fleet)]);
        assert!(text.contains("a: k/p: 2 valid") && text.contains("c: k/p: 2 valid"), "{text}");
        assert!(error.starts_with("1 of 3 jobs is not valid:\n  b: spec.shares[0]: "), "{error}");
        assert!(error.contains("\n  b: spec.shares[1]: "), "{error}");
        let (text, error) = said(&[("x.yaml", &fleet), ("y.yaml", "a: [1"), ("z.yaml", &job("d", "[1, 1]"))]);
        assert!(text.contains("a: k/p: 2 valid"), "{text}");
        assert!(
            error.starts_with("2 of 4 jobs are not valid, and 1 file cannot be read:\n  y.yaml: "),
            "{error}"
        );
        assert!(error.contains("\n  x.yaml: b: spec.shares[0]: "), "{error}");
        assert!(error.contains("\n  z.yaml: d: spec.shares[1]: "), "{error}");
    }
}

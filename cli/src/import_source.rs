//! A kernel's source with the files that it includes from beside it: a job holds one text.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use fractune_tuner::formats::t1::MAX_SOURCE_BYTES;

/// Deepest nesting of includes.
const MAX_DEPTH: usize = 16;

/// Why a source cannot be put together.
#[derive(Debug)]
pub(crate) struct SourceError {
    /// The file.
    pub(crate) path: PathBuf,
    /// What is wrong with it.
    pub(crate) message: String,
}

/// The text of a source in which `#include "file"` is replaced by the file, where there is one beside the
/// file that includes it. Other includes are left to the compiler. With `within`, no file outside of that
/// folder is read.
pub(crate) fn with_includes(path: &Path, within: Option<&Path>) -> Result<String, SourceError> {
    let mut joining =
        Joining { text: String::new(), within, once: Vec::new(), open: Vec::new(), conditions: 0 };
    joining.append(path)?;
    Ok(joining.text)
}

struct Joining<'a> {
    text: String,
    within: Option<&'a Path>,
    once: Vec<Once>,
    /// The files that are being put in, each included by the one before it.
    open: Vec<PathBuf>,
    /// How many `#if`s the text is in.
    conditions: usize,
}

/// A file with `#pragma once`.
struct Once {
    file: PathBuf,
    /// Whether it stands in the text under no condition, so that it need not stand there again.
    for_good: bool,
}

impl Joining<'_> {
    fn append(&mut self, path: &Path) -> Result<(), SourceError> {
        let fail = |message: String| SourceError { path: path.into(), message };
        if self.open.len() > MAX_DEPTH {
            return Err(fail(format!(
                "files include each other deeper than {MAX_DEPTH} levels; make them one"
            )));
        }
        let bytes = std::fs::read(path)
            .map_err(|error| fail(format!("the source cannot be read ({error}); name it with --source")))?;
        let content = String::from_utf8(bytes)
            .map_err(|_| fail("the source is not UTF-8 text; save it as UTF-8".into()))?;
        let content = content.replace("\r\n", "\n");
        let file = path.canonicalize().unwrap_or_else(|_| path.into());
        if self.within.is_some_and(|folder| !file.starts_with(folder)) {
            return Err(fail(
                "is included from outside the folder of the T1 file and the one above it; move it there, or name the source with --source to allow this"
                    .into(),
            ));
        }
        // A macro keeps such a file from counting twice. Left out is only what stands there for sure: an
        // earlier place may be in a branch of an `#if` that is not taken.
        let is_once = content.lines().any(is_pragma_once) && !self.open.is_empty();
        if is_once {
            let known = self.once.iter().position(|once| once.file == file);
            let number = known.unwrap_or(self.once.len());
            if known.is_some_and(|number| self.once.get(number).is_some_and(|once| once.for_good))
                || self.open.contains(&file)
            {
                return Ok(());
            }
            let for_good = self.conditions == 0;
            match self.once.get_mut(number) {
                Some(once) => once.for_good = for_good,
                None => self.once.push(Once { file: file.clone(), for_good }),
            }
            let guard = format!("FRACTUNE_ONCE_{number}");
            let _ = write!(self.text, "#ifndef {guard}\n#define {guard}\n");
        }
        let conditions_outside = self.conditions;
        self.open.push(file);
        for line in content.lines() {
            if is_pragma_once(line) {
                continue;
            }
            let included = included(line).map(|name| path.with_file_name(name)).filter(|path| path.is_file());
            match included {
                Some(included) => self.append(&included)?,
                None => self.text.push_str(line),
            }
            match directive(line) {
                Some(directive) if directive.starts_with("if") => self.conditions += 1,
                Some("endif") => self.conditions = self.conditions.saturating_sub(1).max(conditions_outside),
                _ => {}
            }
            if !self.text.ends_with('\n') {
                self.text.push('\n');
            }
            // The length is refused where it is known what for; this only bounds files that double.
            if self.text.len() > 16 * MAX_SOURCE_BYTES {
                return Err(fail("the source and what it includes are larger than 2 MiB; shorten it".into()));
            }
        }
        self.open.pop();
        self.conditions = conditions_outside;
        if is_once {
            self.text.push_str("#endif\n");
        }
        Ok(())
    }
}

/// What follows the `#` of a preprocessor's line, up to the first character that is no letter.
fn directive(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start();
    rest.split(|c: char| !c.is_ascii_alphabetic()).next()
}

fn is_pragma_once(line: &str) -> bool {
    let pragma =
        line.trim_start().strip_prefix('#').and_then(|rest| rest.trim_start().strip_prefix("pragma"));
    pragma.is_some_and(|rest| rest.split_whitespace().next() == Some("once"))
}

/// The file that a line includes in quotes.
fn included(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")?;
    rest.trim_start().strip_prefix('"')?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn files_beside_the_source_are_put_in_and_others_left() {
        let dir = folder(&[
            ("k.cu", "#include <cuda.h>\n# include \"a.h\"\n#include \"a.h\"\n#include \"gone.h\"\nint k;"),
            ("a.h", "#pragma once\nint a;\n#include \"b.h\"\n"),
            ("b.h", "int b;\r\n"),
        ]);
        let text = with_includes(&dir.path().join("k.cu"), None).unwrap();
        let a = "#ifndef FRACTUNE_ONCE_0\n#define FRACTUNE_ONCE_0\nint a;\nint b;\n#endif\n";
        assert_eq!(text, format!("#include <cuda.h>\n{a}#include \"gone.h\"\nint k;\n"));
    }

    #[test]
    fn a_header_is_in_every_branch_that_includes_it() {
        let dir = folder(&[
            (
                "k.cu",
                "#if A\n#include \"a.h\"\n#else\n# include \"a.h\"\n#endif\n#include \"a.h\"\n#include \"a.h\"\n",
            ),
            ("a.h", "# pragma  once // always\n#include \"b.h\"\nint a;\n"),
            ("b.h", "#pragma once\n#include \"a.h\"\n#ifndef X\n#define X\n#endif\n"),
        ]);
        let text = with_includes(&dir.path().join("k.cu"), None).unwrap();
        let (branches, after) = text
            .split_once(
                "#endif\n#ifndef FRACTUNE_ONCE_0\n#define FRACTUNE_ONCE_0\n#ifndef FRACTUNE_ONCE_1\n#define",
            )
            .unwrap();
        assert!(branches.contains("#else"), "{text}");
        assert!(text.starts_with("#if A\n#ifndef FRACTUNE_ONCE_0\n"), "{text}");
        assert_eq!((text.matches("int a;").count(), after.matches("int a;").count()), (3, 1), "{text}");
        assert!(!text.contains("pragma"), "{text}");
    }

    #[test]
    fn files_outside_the_folder_are_not_read() {
        let dir = folder(&[("secret.h", "int secret;\n")]);
        let inner = dir.path().canonicalize().unwrap().join("in");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("k.cu"), "#include \"../secret.h\"\n").unwrap();
        let error = with_includes(&inner.join("k.cu"), Some(&inner)).unwrap_err();
        assert!(error.path.ends_with("secret.h") && error.message.contains("--source"), "{}", error.message);
        assert_eq!(with_includes(&inner.join("k.cu"), None).unwrap(), "int secret;\n");
    }

    #[test]
    fn files_that_include_each_other_end() {
        let dir = folder(&[("a.h", "#include \"b.h\"\n"), ("b.h", "#include \"a.h\"\n")]);
        assert!(with_includes(&dir.path().join("a.h"), None).unwrap_err().message.contains("deeper"));
        let twice = "#include \"b.h\"\n".repeat(2);
        let dir = folder(&[("a.h", &twice), ("b.h", &("x".repeat(1_500_000) + "\n"))]);
        assert!(with_includes(&dir.path().join("a.h"), None).unwrap_err().message.contains("2 MiB"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = folder(&[("latin.cu", "")]);
        std::fs::write(dir.path().join("latin.cu"), b"// caf\xe9\n").unwrap();
        assert!(with_includes(&dir.path().join("latin.cu"), None).unwrap_err().message.contains("UTF-8"));
        let error = with_includes(&dir.path().join("absent.cu"), None).unwrap_err();
        assert!(error.message.contains("--source") && error.path.ends_with("absent.cu"));
    }
}

//! A kernel's source with the files that it includes from beside it: a job holds one text.

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
/// file that includes it. Other includes are left to the compiler.
pub(crate) fn with_includes(path: &Path) -> Result<String, SourceError> {
    let mut text = String::new();
    let mut once = Vec::new();
    append(path, &mut text, &mut once, 0)?;
    Ok(text)
}

fn append(path: &Path, text: &mut String, once: &mut Vec<PathBuf>, depth: usize) -> Result<(), SourceError> {
    let fail = |message: String| SourceError { path: path.into(), message };
    if depth > MAX_DEPTH {
        return Err(fail(format!("files include each other deeper than {MAX_DEPTH} levels; make them one")));
    }
    let bytes = std::fs::read(path)
        .map_err(|error| fail(format!("the source cannot be read ({error}); name it with --source")))?;
    let content = String::from_utf8(bytes)
        .map_err(|_| fail("the source is not UTF-8 text; save it as UTF-8".into()))?;
    let same_file = path.canonicalize().unwrap_or_else(|_| path.into());
    if once.contains(&same_file) {
        return Ok(());
    }
    let content = content.replace("\r\n", "\n");
    for line in content.lines() {
        if line.trim() == "#pragma once" {
            once.push(same_file.clone());
            continue;
        }
        let included = included(line).map(|name| path.with_file_name(name)).filter(|path| path.is_file());
        match included {
            Some(included) => append(&included, text, once, depth + 1)?,
            None => text.push_str(line),
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        // The length is refused where it is known what for; this only bounds files that double.
        if text.len() > 16 * MAX_SOURCE_BYTES {
            return Err(fail("the source and what it includes are larger than 2 MiB; shorten it".into()));
        }
    }
    Ok(())
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
        let text = with_includes(&dir.path().join("k.cu")).unwrap();
        assert_eq!(text, "#include <cuda.h>\nint a;\nint b;\n#include \"gone.h\"\nint k;\n");
    }

    #[test]
    fn files_that_include_each_other_end() {
        let dir = folder(&[("a.h", "#include \"b.h\"\n"), ("b.h", "#include \"a.h\"\n")]);
        assert!(with_includes(&dir.path().join("a.h")).unwrap_err().message.contains("deeper"));
        let twice = "#include \"b.h\"\n".repeat(2);
        let dir = folder(&[("a.h", &twice), ("b.h", &("x".repeat(1_500_000) + "\n"))]);
        assert!(with_includes(&dir.path().join("a.h")).unwrap_err().message.contains("2 MiB"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = folder(&[("latin.cu", "")]);
        std::fs::write(dir.path().join("latin.cu"), b"// caf\xe9\n").unwrap();
        assert!(with_includes(&dir.path().join("latin.cu")).unwrap_err().message.contains("UTF-8"));
        let error = with_includes(&dir.path().join("absent.cu")).unwrap_err();
        assert!(error.message.contains("--source") && error.path.ends_with("absent.cu"));
    }
}

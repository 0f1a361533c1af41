//! What a source may include, so that the key of what runs share has the headers' contents in it.
//!
//! Neither compiler tells what it has included before it has compiled, and NVRTC not even then. So every `#include` in
//! a text counts, also one in a comment or under a condition that does not hold: too much only makes two keys differ.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

use crate::lock::lock;

/// Headers of one source that are looked at; one with more is not shared.
const MOST: usize = 10_000;
/// Largest header in bytes.
const LARGEST: u64 = 16 << 20;

/// The headers in some folders.
#[derive(Debug)]
pub(super) struct Headers {
    folders: Vec<PathBuf>,
    /// What was found of every file that was looked at.
    files: Mutex<HashMap<PathBuf, File>>,
    /// Digests by source, because all configurations of a kernel have the same.
    digests: Mutex<HashMap<String, Option<String>>>,
}

/// A file that may be included.
#[derive(Clone, Debug)]
enum File {
    Missing,
    /// It includes what cannot be told by looking at it.
    Opaque,
    Text {
        digest: String,
        includes: Vec<Include>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Include {
    name: String,
    /// In quotes: it may lie beside the file that includes it.
    quoted: bool,
}

impl Headers {
    /// Headers that are looked for in these folders.
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, files: Mutex::default(), digests: Mutex::default() }
    }

    /// Digest of everything that the source may include, and of what it names that is not there. None if that cannot be
    /// told: it includes what a macro names, or bytes that are not source.
    pub(super) fn digest(&self, source: &str) -> Option<String> {
        if let Some(known) = lock(&self.digests).get(source) {
            return known.clone();
        }
        let digest = self.look(source);
        lock(&self.digests).insert(source.to_owned(), digest.clone());
        digest
    }

    fn look(&self, source: &str) -> Option<String> {
        let mut found: BTreeMap<PathBuf, String> = BTreeMap::new();
        let mut open: Vec<(Option<PathBuf>, Include)> =
            includes_of(source)?.into_iter().map(|include| (None, include)).collect();
        while let Some((beside, include)) = open.pop() {
            // All places, not only the first: `include_next` takes another one.
            let beside = beside.filter(|_| include.quoted);
            for folder in self.folders.iter().chain(&beside) {
                let path = folder.join(&include.name);
                if found.contains_key(&path) {
                    continue;
                }
                if found.len() >= MOST {
                    return None;
                }
                match self.file(&path) {
                    File::Missing => drop(found.insert(path, String::new())),
                    File::Opaque => return None,
                    File::Text { digest, includes } => {
                        let beside = path.parent().map(Path::to_path_buf);
                        open.extend(includes.into_iter().map(|include| (beside.clone(), include)));
                        found.insert(path, digest);
                    }
                }
            }
        }
        let mut hash = Sha256::new();
        for (path, digest) in &found {
            super::part(&mut hash, path.as_os_str().as_encoded_bytes());
            super::part(&mut hash, digest.as_bytes());
        }
        Some(super::hex(hash))
    }

    fn file(&self, path: &Path) -> File {
        if let Some(known) = lock(&self.files).get(path) {
            return known.clone();
        }
        let file = read(path);
        lock(&self.files).insert(path.to_path_buf(), file.clone());
        file
    }
}

fn read(path: &Path) -> File {
    match std::fs::metadata(path) {
        Ok(about) if about.is_file() && about.len() <= LARGEST => {}
        Ok(about) if about.is_file() => return File::Opaque,
        // The compilers pass over folders.
        _ => return File::Missing,
    }
    let Ok(contents) = std::fs::read(path) else { return File::Missing };
    match includes_of(&String::from_utf8_lossy(&contents)) {
        Some(includes) => File::Text { digest: super::hex(Sha256::new_with_prefix(&contents)), includes },
        None => File::Opaque,
    }
}

/// Every file that a text includes by its name; none if it includes something in another way.
fn includes_of(text: &str) -> Option<Vec<Include>> {
    // The assembler's own ways, and other ways to write `#` and the end of a line.
    if [".incbin", ".include", "??=", "??/"].iter().any(|way| text.contains(way)) {
        return None;
    }
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim().to_owned();
        while line.ends_with('\\') {
            line.pop();
            line.push_str(lines.next().unwrap_or_default().trim_end());
        }
        if let Some(directive) = directive(&line) {
            found.extend(included(directive).ok()?);
        }
    }
    Some(found)
}

/// What a line tells the preprocessor.
fn directive(line: &str) -> Option<&str> {
    let (before, directive) =
        ["#", "%:"].iter().filter_map(|sign| line.split_once(sign)).min_by_key(|(b, _)| b.len())?;
    let before = before.trim_end();
    // Nothing may stand before it but the end of a comment.
    (before.is_empty() || before.ends_with("*/")).then(|| directive.trim_start())
}

/// A directive includes what it does not name.
struct Unnamed;

/// What a directive includes, if anything.
fn included(directive: &str) -> Result<Option<Include>, Unnamed> {
    // A comment may stand before the word; `embed` includes what is no source.
    if directive.starts_with("/*") || directive.starts_with("embed") {
        return Err(Unnamed);
    }
    let word: String = directive.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if !["include", "include_next", "import"].contains(&word.as_str()) {
        return Ok(None);
    }
    let name = directive.get(word.len()..).unwrap_or_default().trim_start();
    let between = |open, close| name.strip_prefix(open)?.split_once(close).map(|(name, _)| name.to_owned());
    match (between('<', '>'), between('"', '"')) {
        (Some(name), _) => Ok(Some(Include { name, quoted: false })),
        (None, Some(name)) => Ok(Some(Include { name, quoted: true })),
        (None, None) => Err(Unnamed),
    }
}

/// Whether an option makes a compiler read or write a file that the option itself names, which no key can have in it.
pub(super) fn names_a_file(option: &str) -> bool {
    const NAMING: [&str; 13] = [
        "-o",
        "-l",
        "-L",
        "-B",
        "-T",
        "-I",
        "-i",
        "-specs",
        "-fplugin",
        "-fprofile-use",
        "-fauto-profile",
        "-Wl",
        "-Xlinker",
    ];
    // `--include-path` and `--pre-include` are NVRTC's. What has no dash is an input, or belongs to the option before.
    !option.starts_with('-')
        || option.contains('/')
        || option.contains("include")
        || option.contains("pch")
        || NAMING.iter().any(|naming| option.starts_with(naming))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn digest(folder: &tempfile::TempDir, source: &str) -> Option<String> {
        Headers::new(vec![folder.path().to_path_buf()]).digest(source)
    }

    #[test]
    fn every_header_that_may_be_included_counts_and_no_other() {
        let folder =
            folder(&[("a.h", "#include \"sub/b.h\"\n"), ("sub/b.h", "#include \"c.h\"\n"), ("sub/c.h", "1")]);
        let source = "#if 0\n/* */ # in\\\nclude <a.h> // why\n#endif\n// was #included";
        let before = digest(&folder, source);
        assert!(before.is_some());
        std::fs::write(folder.path().join("other.h"), "x").unwrap();
        assert_eq!(digest(&folder, source), before);
        std::fs::write(folder.path().join("sub/c.h"), "2").unwrap();
        let changed = digest(&folder, source);
        assert_ne!(changed, before, "found beside the one that includes it");
        std::fs::write(folder.path().join("c.h"), "").unwrap();
        assert_ne!(digest(&folder, source), changed, "what was not there");
    }

    #[test]
    fn headers_that_include_each_other_come_to_an_end() {
        let folder = folder(&[("a.h", "#include <b.h>"), ("b.h", "#include <a.h>\n#include_next <b.h>")]);
        assert!(digest(&folder, "#include <a.h>").is_some());
    }

    #[test]
    fn what_cannot_be_told_is_not_shared() {
        let folder = folder(&[("macro.h", "#include FILE"), ("fine.h", "/* if you #include it */")]);
        for source in [
            "#include NAME",
            "#include <macro.h>",
            "# /**/ include <x>",
            "#\\\ninclude NAME",
            "  /* why */ #inc\\ \nlude NAME",
            "%:include NAME",
            "asm(\".incbin \\\"x\\\"\");",
            "#embed \"x\"",
        ] {
            assert_eq!(digest(&folder, source), None, "{source}");
        }
        assert!(
            digest(
                &folder,
                "#include <fine.h>\nx #include NAME #define y \"100%: a\"\nint z; // #pragma once"
            )
            .is_some()
        );
    }

    #[test]
    fn the_headers_of_usual_kernels_can_be_told() {
        let headers = Headers::new(vec!["/usr/include/x86_64-linux-gnu".into(), "/usr/include".into()]);
        let usual = ["math.h", "stdio.h", "stdlib.h", "string.h", "stdint.h"];
        let source = usual.map(|name| format!("#include <{name}>\n")).concat();
        assert!(headers.digest(&source).is_some());
    }

    #[test]
    fn options_that_name_files_are_known() {
        for option in [
            "-O3",
            "-march=native",
            "-fopenmp",
            "-ffast-math",
            "--use_fast_math",
            "-std=c11",
            "-funroll-loops",
            "-DX=1",
            "-mavx2",
            "--maxrregcount=32",
            "-Wno-unused",
        ] {
            assert!(!names_a_file(option), "{option}");
        }
        for option in [
            "helper.c",
            "@options",
            "-I.",
            "-include",
            "-imacros",
            "-lblas",
            "-specs=x",
            "-fplugin=x",
            "-ox",
            "--include-path=x",
            "-fprofile-use=x",
            "--use-pch=x",
            "-Wl,-T,x",
            "-DX=a/b",
        ] {
            assert!(names_a_file(option), "{option}");
        }
    }
}

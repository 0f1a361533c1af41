//! What a C compiler makes an object of beside what it is given: itself, its programs and startup files, the CPU that
//! `native` stands for, and headers.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::headers::{Headers, names_a_file};
use crate::lock::lock;

/// A compiler that only tells of itself does so within this time.
const TELL: Duration = Duration::from_secs(20);
/// What changes the meaning of options, of `#include` or of what is linked.
const VARIABLES: [&str; 7] = [
    "COMPILER_PATH",
    "GCC_EXEC_PREFIX",
    "CPATH",
    "C_INCLUDE_PATH",
    "LIBRARY_PATH",
    "SOURCE_DATE_EPOCH",
    "CCC_OVERRIDE_OPTIONS",
];
/// Programs that a compiler starts, and files that it links into every shared object.
const PARTS: [(&str, &[&str]); 2] = [
    ("-print-prog-name", &["cc1", "as", "ld"]),
    ("-print-file-name", &["crti.o", "crtbeginS.o", "crtendS.o", "crtn.o", "libgcc.a", "libm.so", "libc.so"]),
];

/// A C compiler as it is installed here.
#[derive(Debug)]
pub(super) struct Toolchain {
    program: PathBuf,
    /// The programs and files, the environment and the CPU.
    installed: String,
    /// What it says of each list of options; none where that cannot be told.
    by_options: Mutex<HashMap<Vec<String>, Option<Arc<Described>>>>,
}

/// A compiler with its options.
#[derive(Debug)]
struct Described {
    digest: String,
    headers: Headers,
}

impl Toolchain {
    /// Looks at the compiler that `program` names.
    pub(super) async fn look(program: &Path) -> Self {
        let mut hash = Sha256::new();
        let mut part = |text: &str| super::part(&mut hash, text.as_bytes());
        part(&stamp(program));
        for (question, names) in PARTS {
            for name in names {
                let mut command = asking(program);
                command.arg(format!("{question}={name}"));
                let (_, said, _) = said(command).await.unwrap_or_default();
                part(&stamp(Path::new(said.trim())));
            }
        }
        for name in VARIABLES {
            part(name);
            part(&std::env::var_os(name).unwrap_or_default().to_string_lossy());
        }
        part(&processor(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()));
        Self { program: program.to_path_buf(), installed: super::hex(hash), by_options: Mutex::default() }
    }

    /// Digest of everything beside source, options and macros that an object depends on. None if that cannot be told.
    pub(super) async fn digest(&self, options: &[String], source: &str) -> Option<String> {
        let described = self.described(options).await?;
        let headers = described.headers.digest(source)?;
        let mut hash = Sha256::new();
        for part in [&self.installed, &described.digest, &headers] {
            super::part(&mut hash, part.as_bytes());
        }
        Some(super::hex(hash))
    }

    async fn described(&self, options: &[String]) -> Option<Arc<Described>> {
        let known = || lock(&self.by_options);
        if let Some(described) = known().get(options) {
            return described.clone();
        }
        let described = self.describe(options).await.map(Arc::new);
        known().insert(options.to_vec(), described.clone());
        described
    }

    /// Has the compiler say what it makes of options: GCC and Clang tell with `-v` which commands they run, where `native`
    /// is a CPU and its features, and where headers are looked for; with `-dM` the macros that they define.
    async fn describe(&self, options: &[String]) -> Option<Described> {
        if options.iter().any(|option| names_a_file(option)) {
            return None;
        }
        let mut command = asking(&self.program);
        command.args(options).args(["-v", "-E", "-dM", "-x", "c", "/dev/null"]);
        let (success, macros, commands) = said(command).await?;
        let mut hash = Sha256::new();
        for part in [&macros, &commands] {
            super::part(&mut hash, part.as_bytes());
        }
        Some(Described { digest: super::hex(hash), headers: Headers::new(searched(&commands)?) })
            .filter(|_| success)
    }
}

fn asking(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Whether a command succeeded, and what it wrote on standard output and standard error.
async fn said(mut command: Command) -> Option<(bool, String, String)> {
    let output = tokio::time::timeout(TELL, command.output()).await.ok()?.ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

/// The folders that headers are looked for in, by what a compiler says with `-v`.
fn searched(commands: &str) -> Option<Vec<PathBuf>> {
    let (_, rest) = commands.split_once("#include \"...\" search starts here:\n")?;
    let (folders, _) = rest.split_once("End of search list.")?;
    Some(folders.lines().filter_map(|line| line.strip_prefix(' ')).map(PathBuf::from).collect())
}

/// A file's place, size and time of change, which tell two versions apart; what was named where there is no such file.
pub(super) fn stamp(file: &Path) -> String {
    let found = if file.components().count() == 1 { on_the_path(file) } else { None };
    let file = found.as_deref().unwrap_or(file);
    let file = file.canonicalize().unwrap_or_else(|_| file.to_path_buf());
    let about = file.metadata().ok();
    let changed = about.as_ref().and_then(|about| about.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    let bytes = about.map(|about| about.len());
    format!("{} {bytes:?} {:?}", file.display(), changed.map(|changed| changed.as_nanos()))
}

fn on_the_path(program: &Path) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Model and features of the first processor: what may not run, or be meant, on another one.
fn processor(cpuinfo: &str) -> String {
    const TELLING: [&str; 9] = [
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "flags",
        "Features",
        "CPU implementer",
        "CPU variant",
        "CPU part",
    ];
    let mut text = std::env::consts::ARCH.to_owned();
    for line in cpuinfo.lines().take_while(|line| !line.trim().is_empty()) {
        if let Some((name, value)) = line.split_once(':').filter(|(name, _)| TELLING.contains(&name.trim())) {
            let _ = write!(text, "\n{}:{}", name.trim(), value.trim());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(options: &str) -> Vec<String> {
        options.split_whitespace().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn one_installation_has_one_digest_and_options_have_their_own() {
        let (one, other) = (Toolchain::look(Path::new("cc")).await, Toolchain::look(Path::new("cc")).await);
        let source = "#include <math.h>";
        let plain = one.digest(&options("-O2"), source).await;
        assert!(plain.is_some());
        assert_eq!(other.digest(&options("-O2"), source).await, plain);
        assert_ne!(one.digest(&options("-O2 -mavx2"), source).await, plain);
        assert_ne!(one.digest(&options("-O2"), "").await, plain, "math.h counts");
    }

    #[tokio::test]
    async fn native_is_spelt_out() {
        let cc = Toolchain::look(Path::new("cc")).await;
        let (native, plain) = (cc.describe(&options("-march=native")).await, cc.describe(&[]).await);
        assert_ne!(native.unwrap().digest, plain.unwrap().digest);
    }

    #[tokio::test]
    async fn a_compiler_that_does_not_tell_shares_nothing() {
        let cc = Toolchain::look(Path::new("cc")).await;
        assert_eq!(cc.digest(&options("-lblas"), "").await, None);
        assert_eq!(cc.digest(&options("--no-such-option"), "").await, None);
        for other in ["true", "no-such-program"] {
            let other = Toolchain::look(Path::new(other)).await;
            assert_eq!(other.digest(&[], "").await, None);
        }
    }

    #[test]
    fn another_processor_is_told_by_its_model_and_features_and_not_by_its_clock() {
        let cpu = |flags: &str, mhz: &str| {
            format!("processor : 0\nmodel name\t: A\nflags\t: {flags}\ncpu MHz : {mhz}\n\nprocessor : 1\n")
        };
        assert_eq!(processor(&cpu("fpu avx2", "1")), processor(&cpu("fpu avx2", "2")));
        assert_ne!(processor(&cpu("fpu avx2", "1")), processor(&cpu("fpu avx512f", "1")));
    }

    #[test]
    fn a_program_that_is_replaced_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cc");
        let missing = stamp(&file);
        std::fs::write(&file, "1").unwrap();
        let first = stamp(&file);
        std::fs::write(&file, "22").unwrap();
        assert_ne!(first, missing);
        assert_ne!(stamp(&file), first);
        assert!(stamp(Path::new("sh")).contains("Some("), "found on the path");
    }
}

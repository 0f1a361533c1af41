//! Compiling C candidates with the system's compiler into shared objects, once for all problems and shares.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use fractune_tuner::trial::Outcome;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::cache::Entry;
use super::store::Store;
use super::toolchain::Toolchain;
use super::{Artifact, CompileFailure, Unit, from_first_error, too_late};
use crate::process::{Group, Limits, spawn_limited};

/// The symbol of every artifact: `void fractune_call(void **arguments)`.
pub const SYMBOL: &str = "fractune_call";

/// A compiler that is flooding a disk is stopped at this size of a file.
const LARGEST_FILE: u64 = 256 << 20;
/// A compiler that is eating the machine's memory is stopped at this address space.
const LARGEST_MEMORY: u64 = 4 << 30;
/// A disk with fewer bytes left than this is full, whatever the compiler says.
const DISK_IS_FULL: u64 = 256 << 10;
/// What the compiler driver says when one of its programs was killed.
const KILLED: &str = "Killed signal terminated program";
/// Bytes of a compiler's message that are read; a hostile source can make it say gigabytes.
const MESSAGE_BYTES: u64 = 64 << 10;

/// The system's C compiler.
#[derive(Debug)]
pub struct Compiler {
    program: PathBuf,
    version: String,
    store: Store,
    timeout: Duration,
    /// What objects depend on beside their units, where they are shared.
    toolchain: Option<Toolchain>,
}

impl Compiler {
    /// Finds the compiler: `$CC`, else `cc`. Artifacts will be kept in `store`.
    ///
    /// # Errors
    /// [`CompileFailure::Machine`] if there is none or it does not run, with what to install.
    pub async fn find(store: &Store, timeout: Duration) -> Result<Self, CompileFailure> {
        let program =
            PathBuf::from(std::env::var_os("CC").filter(|cc| !cc.is_empty()).unwrap_or("cc".into()));
        let shown = program.display().to_string();
        let output = Command::new(&program).arg("--version").output().await.map_err(|error| {
            CompileFailure::Machine(format!(
                "the C compiler {shown:?} does not start ({error}); install one (Debian: gcc) or set CC"
            ))
        })?;
        let version =
            String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or(&shown).trim().to_string();
        let toolchain = if store.is_shared() { Some(Toolchain::look(&program).await) } else { None };
        Ok(Self { program, version, store: store.clone(), timeout, toolchain })
    }

    /// First line of the compiler's `--version`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Compiles `unit` on the given CPUs (all if empty), unless its artifact is there already.
    ///
    /// # Errors
    /// [`CompileFailure`], either the candidate's or the machine's.
    pub async fn build(&self, unit: &Unit<'_>, cpus: &[usize]) -> Result<Artifact, CompileFailure> {
        let text = unit.text();
        let key = self.key(unit, &text);
        let path = self.store.objects().join(format!("{key}.so"));
        if path.exists() {
            return Ok(Artifact { path, compile_ns: 0 });
        }
        let shared = self.shared_key(&key, unit).await;
        if let Some(shared) = &shared
            && let Some(Entry { image, symbols: _ }) = self.store.borrow(shared).await
        {
            self.store.keep(&path, &image).map_err(|e| machine(&path, &e))?;
            return Ok(Artifact { path, compile_ns: 0 });
        }
        let started = Instant::now();
        let mut result = self.compile(unit, &text, &path, cpus).await;
        if matches!(&result, Err(CompileFailure::Candidate { message, .. }) if message.contains(KILLED)) {
            // Something else ran out of memory, or nothing will help: the second time tells.
            result = self.compile(unit, &text, &path, cpus).await;
        }
        let compile_ns = started.elapsed().as_nanos() as u64;
        match result {
            Ok(()) => {
                if let Some(shared) = &shared {
                    let image = std::fs::read(&path).map_err(|e| machine(&path, &e))?;
                    self.store.lend(shared, Entry { image, symbols: Vec::new() }).await;
                }
                Ok(Artifact { path, compile_ns })
            }
            Err(CompileFailure::Candidate { outcome, message, .. }) => {
                Err(CompileFailure::Candidate { outcome, message, compile_ns })
            }
            Err(failure) => Err(failure),
        }
    }

    /// Compiles in a folder of its own, and moves the object to `path` when it is whole.
    async fn compile(
        &self,
        unit: &Unit<'_>,
        text: &str,
        path: &Path,
        cpus: &[usize],
    ) -> Result<(), CompileFailure> {
        let objects = self.store.objects();
        std::fs::create_dir_all(objects).map_err(|e| machine(objects, &e))?;
        let folder = tempfile::tempdir_in(objects).map_err(|e| machine(objects, &e))?;
        let (source, built) = (folder.path().join("unit.c"), folder.path().join("unit.so"));
        std::fs::write(&source, text).map_err(|e| machine(&source, &e))?;
        let mut command = Command::new(&self.program);
        command.args(["-shared", "-fPIC"]).args(unit.options);
        command.args(unit.macros.iter().map(|(name, value)| format!("-D{name}={value}")));
        command.arg("-o").arg(&built).arg(&source).arg("-lm");
        command.env("LC_ALL", "C").env("TMPDIR", folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let cpu_seconds = self.timeout.as_secs().max(1);
        let limits = Limits { file_bytes: LARGEST_FILE, memory_bytes: LARGEST_MEMORY, cpu_seconds };
        let mut group = spawn_limited(&mut command, cpus, limits)
            .map_err(|error| CompileFailure::Machine(format!("{}: {error}", self.program.display())))?;
        let candidate = |outcome, message| CompileFailure::Candidate { outcome, message, compile_ns: 0 };
        match tokio::time::timeout(self.timeout, finish(&mut group)).await {
            Ok(Ok((true, _))) if built.exists() => {
                std::fs::rename(&built, path).map_err(|e| machine(path, &e))
            }
            Ok(Ok((true, _))) => {
                let message = "the compiler wrote no object; check compile.options".into();
                Err(candidate(Outcome::CompileError, message))
            }
            Ok(Ok((false, _))) if self.disk_is_full() => {
                Err(CompileFailure::Machine(format!("{}: no space left on device", objects.display())))
            }
            Ok(Ok((false, message))) => {
                let message = message.replace(&source.display().to_string(), &format!("{}.c", unit.name));
                Err(candidate(Outcome::CompileError, from_first_error(&message)))
            }
            Ok(Err(error)) => Err(CompileFailure::Machine(error.to_string())),
            Err(_) => {
                group.kill().await;
                Err(candidate(Outcome::CompileTimeout, too_late(self.timeout)))
            }
        }
    }

    fn disk_is_full(&self) -> bool {
        rustix::fs::statvfs(self.store.objects())
            .is_ok_and(|disk| disk.f_bavail * disk.f_frsize < DISK_IS_FULL)
    }

    fn key(&self, unit: &Unit<'_>, text: &str) -> String {
        let mut hash = Sha256::new();
        let mut part = |text: &str| super::part(&mut hash, text.as_bytes());
        part(&self.version);
        part(text);
        unit.options.iter().for_each(|option| part(option));
        part("macros");
        unit.macros.iter().for_each(|(name, value)| {
            part(name);
            part(value);
        });
        super::hex(hash)
    }

    /// The key under which other runs, on other machines, find what has `key` in this one. None if it is not shared, or
    /// may depend on what cannot be told.
    async fn shared_key(&self, key: &str, unit: &Unit<'_>) -> Option<String> {
        let environment = self.toolchain.as_ref()?.digest(unit.options, unit.source).await?;
        Some(super::shared_key(key, &environment))
    }
}

/// Waits for the end of a compiler: whether it succeeded, and the beginning of what it said.
async fn finish(group: &mut Group) -> io::Result<(bool, String)> {
    let mut said = Vec::new();
    if let Some(stderr) = group.child.stderr.take() {
        let mut limited = stderr.take(MESSAGE_BYTES);
        limited.read_to_end(&mut said).await?;
        // The rest is thrown away, so that the compiler is not stopped by a full pipe.
        tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await?;
    }
    let status = group.child.wait().await?;
    Ok((status.success(), String::from_utf8_lossy(&said).into_owned()))
}

fn machine(path: &Path, error: &io::Error) -> CompileFailure {
    CompileFailure::Machine(format!("{}: {error}", path.display()))
}

impl Unit<'_> {
    /// The source with a function behind it that takes the arguments as an array of pointers, so that any
    /// signature can be called and the compiler checks the call against the job's arguments.
    fn text(&self) -> String {
        let mut call = String::new();
        for (i, (buffer, element)) in self.arguments.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let star = if *buffer { "*" } else { "" };
            let _ = write!(call, "{comma}*({} {star}*)fractune_arguments_[{i}]", element.c_name());
        }
        format!(
            "#line 1 \"{name}.c\"\n{source}\n#line 1 \"arguments of {name}\"\n\
             __attribute__((visibility(\"default\"))) void {SYMBOL}(void **fractune_arguments_) {{ {entry}({call}); }}\n",
            name = self.name,
            source = self.source,
            entry = self.entry,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fractune_tuner::kernel::ElementType;

    use super::super::Cache;
    use super::*;

    fn unit(source: &str) -> Unit<'_> {
        Unit {
            name: "k",
            source,
            entry: "f",
            arguments: vec![(true, ElementType::F32), (false, ElementType::I32)],
            options: &[],
            macros: vec![("x".into(), "3".into())],
        }
    }

    async fn compiler(dir: &Path, seconds: u64) -> Compiler {
        Compiler::find(&Store::new(dir, None), Duration::from_secs(seconds)).await.unwrap()
    }

    /// A compiler of another run, with the cache in `cache`.
    async fn of_another_run(dir: &Path, cache: &Path) -> (tempfile::TempDir, Compiler) {
        let objects = tempfile::tempdir_in(dir).unwrap();
        let store = Store::new(objects.path(), Some(Arc::new(Cache::open(cache))));
        let compiler = Compiler::find(&store, Duration::from_mins(1)).await.unwrap();
        (objects, compiler)
    }

    #[tokio::test]
    async fn compiles_once_and_answers_from_the_cache_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let compiler = compiler(dir.path(), 60).await;
        let unit = unit("void f(const float *a, int n) { (void)a; (void)n; (void)x; }");
        let first = compiler.build(&unit, &[]).await.unwrap();
        let second = compiler.build(&unit, &[]).await.unwrap();
        assert_eq!(first.path, second.path);
        assert!(first.compile_ns > 0);
        assert_eq!(second.compile_ns, 0);
    }

    #[tokio::test]
    async fn what_one_run_compiled_another_one_takes_into_its_own_folder() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let unit = unit("#include <math.h>\nvoid f(const float *a, int n) { (void)a; (void)n; (void)x; }");
        let (_one, compiler) = of_another_run(dir.path(), &cache).await;
        let first = compiler.build(&unit, &[]).await.unwrap();
        assert!(first.compile_ns > 0);
        let (other, compiler) = of_another_run(dir.path(), &cache).await;
        let second = compiler.build(&unit, &[]).await.unwrap();
        assert_eq!(second.compile_ns, 0);
        assert!(second.path.starts_with(other.path()), "nobody else can write there");
        assert_eq!(std::fs::read(first.path).unwrap(), std::fs::read(second.path).unwrap());
        let other = Unit { macros: vec![("x".into(), "4".into())], ..unit };
        assert!(compiler.build(&other, &[]).await.unwrap().compile_ns > 0);
    }

    #[tokio::test]
    async fn what_was_damaged_is_compiled_again_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let unit = unit("void f(const float *a, int n) { (void)a; (void)n; (void)x; }");
        let (_one, compiler) = of_another_run(dir.path(), &cache).await;
        compiler.build(&unit, &[]).await.unwrap();
        let entry = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(&entry).unwrap();
        std::fs::write(&entry, &whole[..whole.len() - 1]).unwrap();
        let (_other, compiler) = of_another_run(dir.path(), &cache).await;
        assert!(compiler.build(&unit, &[]).await.unwrap().compile_ns > 0);
        let (_third, compiler) = of_another_run(dir.path(), &cache).await;
        assert_eq!(compiler.build(&unit, &[]).await.unwrap().compile_ns, 0);
    }

    #[tokio::test]
    async fn what_depends_on_files_that_no_key_has_in_it_is_not_shared() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let options = ["-lm".to_string()];
        let (_one, compiler) = of_another_run(dir.path(), &cache).await;
        let unit = Unit { options: &options, ..unit("void f(float *a, int n) { (void)a; (void)n; }") };
        compiler.build(&unit, &[]).await.unwrap();
        assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_cache_that_cannot_be_written_costs_no_compilation() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let (_one, compiler) = of_another_run(dir.path(), &file).await;
        let unit = unit("void f(const float *a, int n) { (void)a; (void)n; (void)x; }");
        assert!(compiler.build(&unit, &[]).await.unwrap().compile_ns > 0);
        assert_eq!(compiler.build(&unit, &[]).await.unwrap().compile_ns, 0, "in its own folder");
    }

    #[tokio::test]
    async fn an_error_names_the_kernel_and_its_line_not_our_files() {
        let dir = tempfile::tempdir().unwrap();
        let compiler = compiler(dir.path(), 60).await;
        let failure = compiler.build(&unit("\nvoid f(float *a, int n) { oops }"), &[]).await.unwrap_err();
        let CompileFailure::Candidate { outcome, message, .. } = failure else { panic!("{failure}") };
        assert_eq!(outcome, Outcome::CompileError);
        assert!(message.starts_with("k.c:2:"), "{message}");
    }

    #[tokio::test]
    async fn a_call_that_does_not_fit_the_signature_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let compiler = compiler(dir.path(), 60).await;
        let failure = compiler.build(&unit("void f(float *a) { (void)a; }"), &[]).await.unwrap_err();
        assert!(failure.to_string().contains("too many arguments"), "{failure}");
    }

    #[tokio::test]
    async fn a_compiler_that_writes_nothing_is_the_candidate_s_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let compiler = compiler(dir.path(), 60).await;
        let options = ["-fsyntax-only".to_string()];
        let unit = Unit { options: &options, ..unit("void f(float *a, int n) { (void)a; (void)n; }") };
        let failure = compiler.build(&unit, &[]).await.unwrap_err();
        assert!(failure.to_string().contains("compile.options"), "{failure}");
        let claim = "\n#error \"No space left on device\"\nvoid f(float *a, int n);";
        let failure = compiler.build(&super::tests::unit(claim), &[]).await.unwrap_err();
        assert!(matches!(failure, CompileFailure::Candidate { .. }), "{failure}");
    }

    #[tokio::test]
    async fn an_endless_compilation_is_stopped_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let compiler = compiler(dir.path(), 1).await;
        let source = "#define A(y) y y y y y y y y y y\n#define B(y) A(A(A(A(y))))\n\
                      void f(float *a, int n) { B(B(a[n]++;)) }";
        let failure = compiler.build(&unit(source), &[]).await.unwrap_err();
        let CompileFailure::Candidate { outcome, .. } = failure else { panic!("{failure}") };
        assert_eq!(outcome, Outcome::CompileTimeout);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

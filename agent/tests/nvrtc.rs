//! The compiler pool with the real NVRTC, which needs no GPU.
#![expect(clippy::unwrap_used, reason = "a failure to set up is a failed test")]

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fractune_agent::compile::nvrtc::Pool;
use fractune_agent::compile::{Cache, CompileFailure, Store, Unit};
use fractune_agent::worker::WorkerCommand;
use fractune_tuner::kernel::Language;
use fractune_tuner::task::TaskArgument;
use fractune_tuner::trial::Outcome;

const KERNEL: &str = "template <class T, int N> __global__ void add(T *x) { x[threadIdx.x] += N; }\n\
                      extern \"C\" __global__ void plain(float *x) { x[0] = 1; }\n";

fn unit(source: &str) -> Unit<'_> {
    Unit { name: "k", source, entry: "plain", arguments: vec![], options: &[], macros: vec![] }
}

/// Where NVRTC is. It is installed where it is missing; where it cannot be, that is said past the test runner's
/// capture, and is an error where `CI` is set.
fn nvrtc() -> Option<&'static str> {
    static FOLDER: OnceLock<Option<String>> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let output = Command::new(repository().join("scripts/nvrtc")).output().unwrap();
            if output.status.success() {
                return Some(String::from_utf8(output.stdout).unwrap().trim().to_owned());
            }
            let reason = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(69) && std::env::var_os("CI").is_none(), "{reason}");
            let _ = writeln!(std::io::stderr(), "\nSKIPPED: what needs the real NVRTC. {reason}");
            None
        })
        .as_deref()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A pool of compilers for an H100.
async fn pool(objects: &Path, limit: Duration) -> Option<Pool> {
    pool_of(&Store::new(objects, None), limit).await
}

/// A pool whose artifacts are in a folder below `folder`, and in the cache `cache`.
async fn sharing(folder: &Path, own: &str, cache: &Path) -> Option<Pool> {
    let cache = Arc::new(Cache::open(cache));
    pool_of(&Store::new(&folder.join(own), Some(cache)), LONG).await
}

async fn pool_of(store: &Store, limit: Duration) -> Option<Pool> {
    // The environment is this process's own, and other tests read it: so the variable is set by `env`.
    let agent = env!("CARGO_BIN_EXE_fractune-agent");
    let args = [format!("FRACTUNE_NVRTC={}", nvrtc()?), agent.into(), "compile".into()];
    let command = WorkerCommand { program: "env".into(), args: args.map(Into::into).to_vec() };
    let mut pool = Pool::start(command, 2, store, limit).await.unwrap();
    pool.target([9, 0]);
    Some(pool)
}

fn refused(failure: CompileFailure) -> (Outcome, String) {
    let CompileFailure::Candidate { outcome, message, .. } = failure else {
        unreachable!("no machine's fault: {failure}")
    };
    (outcome, message)
}

const LONG: Duration = Duration::from_mins(2);

#[tokio::test]
async fn a_kernel_becomes_a_cubin_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pool) = pool(folder.path(), LONG).await else { return };
    let (first, symbols) = pool.build(&unit(KERNEL), &[]).await.unwrap();
    assert_eq!(symbols.entry, "plain");
    assert_eq!(std::fs::read(&first.path).unwrap().get(..4), Some(b"\x7fELF".as_slice()));
    let (second, _) = pool.build(&unit(KERNEL), &[]).await.unwrap();
    assert_eq!((first.path, second.compile_ns), (second.path, 0));
    assert!(first.compile_ns > 0);
}

#[tokio::test]
async fn what_one_run_compiled_another_one_takes_with_its_symbols() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let source = format!("namespace w {{ __constant__ float filter[9]; }}\n{KERNEL}");
    let macros = vec![("count".to_string(), "3".to_string())];
    let unit = Unit { entry: "add<float, count>", macros, ..unit(&source) };
    let variables = ["w::filter".to_string()];
    let Some(one) = sharing(folder.path(), "one", &cache).await else { return };
    let (first, symbols) = one.build(&unit, &variables).await.unwrap();
    assert!(first.compile_ns > 0);
    let other = sharing(folder.path(), "other", &cache).await.unwrap();
    let (second, same) = other.build(&unit, &variables).await.unwrap();
    assert_eq!((second.compile_ns, same), (0, symbols));
    assert!(second.path.starts_with(folder.path().join("other")), "nobody else can write there");
    assert_eq!(std::fs::read(first.path).unwrap(), std::fs::read(second.path).unwrap());
    let (again, _) = other.build(&unit, &variables).await.unwrap();
    assert_eq!(again.compile_ns, 0);

    let entry = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&entry).unwrap();
    std::fs::write(&entry, &whole[..whole.len() / 2]).unwrap();
    let third = sharing(folder.path(), "third", &cache).await.unwrap();
    assert!(third.build(&unit, &variables).await.unwrap().0.compile_ns > 0, "it was cut off");
    assert_eq!(std::fs::read(&entry).unwrap().len(), whole.len(), "and is whole again");
    let mut older = sharing(folder.path(), "fourth", &cache).await.unwrap();
    older.target([8, 0]);
    assert!(older.build(&unit, &variables).await.unwrap().0.compile_ns > 0, "for another GPU");
}

#[tokio::test]
async fn templates_and_variables_are_found_by_their_names_with_parameters_filled_in() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pool) = pool(folder.path(), LONG).await else { return };
    let source = format!("namespace w {{ __constant__ float filter[9]; }}\n{KERNEL}");
    let macros = vec![("count".to_string(), "3".to_string())];
    let unit = Unit { entry: "add<float, count>", macros, ..unit(&source) };
    let (_, symbols) = pool.build(&unit, &["w::filter".into()]).await.unwrap();
    assert_eq!(symbols.entry, "_Z3addIfLi3EEvPT_");
    assert_eq!(symbols.variables, ["_ZN1w6filterE"]);
}

#[tokio::test]
async fn errors_are_the_candidate_s_and_name_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pool) = pool(folder.path(), LONG).await else { return };
    let (outcome, message) =
        refused(pool.build(&unit("\n__global__ void plain() { oops; }"), &[]).await.unwrap_err());
    assert_eq!(outcome, Outcome::CompileError);
    assert!(message.starts_with("k.cu(2): error: identifier \"oops\""), "{message}");
    let unit = Unit { entry: "absent", ..unit(KERNEL) };
    let (_, message) = refused(pool.build(&unit, &[]).await.unwrap_err());
    assert!(message.contains("\"absent\" is undefined"), "{message}");
    let options = ["--no-such-option".to_string()];
    let unit = Unit { options: &options, ..self::unit(KERNEL) };
    let (_, message) = refused(pool.build(&unit, &[]).await.unwrap_err());
    assert!(message.contains("--no-such-option"), "{message}");
}

#[tokio::test]
async fn a_macro_that_breaks_the_compiler_s_headers_is_told_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pool) = pool(folder.path(), LONG).await else { return };
    let unit = Unit { macros: vec![("width".to_string(), "3".to_string())], ..unit(KERNEL) };
    let (_, message) = refused(pool.build(&unit, &[]).await.unwrap_err());
    assert!(
        message.starts_with("a parameter or size has the name of something in CUDA's headers"),
        "{message}"
    );
}

#[tokio::test]
async fn a_source_sees_no_file_but_headers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pool) = pool(folder.path(), LONG).await else { return };
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "password").unwrap();
    let source = format!("#include \"{}\"\n{KERNEL}", secret.display());
    let (_, message) = refused(pool.build(&unit(&source), &[]).await.unwrap_err());
    assert!(!message.contains("password"), "{message}");
    assert!(message.contains("ermission denied"), "{message}");
}

#[tokio::test]
async fn an_endless_compilation_is_stopped_and_the_next_one_works() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pool) = pool(folder.path(), Duration::from_secs(3)).await else { return };
    // Two instantiations of each depth: 2^60 of them.
    let endless = "template <int N, int M> struct A { static const int v = A<N - 1, 2 * M>::v + A<N - 1, 2 * M + 1>::v; };\n\
                   template <int M> struct A<0, M> { static const int v = M; };\n\
                   extern \"C\" __global__ void plain(int *x) { x[0] = A<28, 1>::v; }";
    let (outcome, message) = refused(pool.build(&unit(endless), &[]).await.unwrap_err());
    assert_eq!(outcome, Outcome::CompileTimeout, "{message}");
    assert!(pool.build(&unit(KERNEL), &[]).await.is_ok());
}

#[tokio::test]
async fn the_examples_and_their_references_compile() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pool) = pool(folder.path(), LONG).await else { return };
    let mut jobs = 0;
    for place in ["examples", "tests/gpu"] {
        for entry in std::fs::read_dir(repository().join(place)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let (_, tasks) = fractune_crds::load(&std::fs::read(&path).unwrap(), |_| ()).unwrap();
            let task = tasks.first().unwrap();
            if task.kernel.language != Language::Cuda {
                continue;
            }
            let variables: Vec<String> = task
                .arguments
                .iter()
                .filter_map(|argument| match argument {
                    TaskArgument::Buffer { symbol, .. } => symbol.clone(),
                    TaskArgument::Scalar { .. } => None,
                })
                .collect();
            for entry in
                [Some(&task.kernel.entrypoint), task.kernel.verify.entrypoint.as_ref()].into_iter().flatten()
            {
                let unit = Unit {
                    name: &task.kernel.name,
                    source: &task.source,
                    entry,
                    arguments: vec![],
                    options: &task.kernel.compile.options,
                    macros: task.macros(task.default),
                };
                let built = pool.build(&unit, &variables).await;
                assert!(built.is_ok(), "{}: {}", path.display(), built.unwrap_err());
            }
            jobs += 1;
        }
    }
    assert!(jobs >= 6, "{jobs}");
}

#[tokio::test]
async fn the_checks_of_outputs_compile_with_a_kernel_for_every_type() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pool) = pool(folder.path(), LONG).await else { return };
    for element in ["f16", "bf16", "f32", "f64", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"] {
        let entry = format!("differ_{element}");
        let unit = Unit { entry: &entry, ..unit(fractune_agent::backend::cuda::CHECKS) };
        assert_eq!(pool.build(&unit, &[]).await.unwrap().1.entry, entry);
    }
}

#[tokio::test]
async fn the_loads_that_run_beside_compile_for_every_architecture_that_is_supported() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut pool) = pool(folder.path(), LONG).await else { return };
    for architecture in [[7, 5], [8, 0], [8, 6], [8, 9], [9, 0], [10, 0], [12, 0]] {
        pool.target(architecture);
        for entry in ["fractune_compute", "fractune_memory"] {
            let unit = Unit { entry, ..unit(fractune_agent::backend::cuda::LOADS) };
            assert_eq!(pool.build(&unit, &[]).await.unwrap().1.entry, entry, "{architecture:?}");
        }
    }
}

//! The compiler pool with the real NVRTC, which needs no GPU: `make test` installs it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fractune_agent::compile::nvrtc::Pool;
use fractune_agent::compile::{CompileFailure, Unit};
use fractune_agent::worker::WorkerCommand;
use fractune_tuner::trial::Outcome;

const KERNEL: &str = "template <class T, int N> __global__ void add(T *x) { x[threadIdx.x] += N; }\n\
                      extern \"C\" __global__ void plain(float *x) { x[0] = 1; }\n";

fn unit(source: &str) -> Unit<'_> {
    Unit { name: "k", source, entry: "plain", arguments: vec![], options: &[], macros: vec![] }
}

/// A pool for an H100; none, said out loud, where NVRTC is not installed.
async fn pool(objects: &Path, limit: Duration) -> Option<Pool> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_fractune-agent"));
    let command = WorkerCommand { program, args: vec!["compile".into()] };
    match Pool::start(command, objects, limit).await {
        Ok(mut pool) => {
            pool.target([9, 0]);
            Some(pool)
        }
        Err(why) => {
            assert!(why.to_string().contains("FRACTUNE_NVRTC"), "{why}");
            eprintln!("SKIPPED: {why}");
            None
        }
    }
}

fn refused(failure: CompileFailure) -> (Outcome, String) {
    match failure {
        CompileFailure::Candidate { outcome, message, .. } => (outcome, message),
        CompileFailure::Machine(message) => panic!("{message}"),
    }
}

const LONG: Duration = Duration::from_secs(120);

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
async fn templates_and_variables_are_found_by_their_names_with_parameters_filled_in() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pool) = pool(folder.path(), LONG).await else { return };
    let source = format!("namespace w {{ __constant__ float filter[9]; }}\n{KERNEL}");
    let macros = vec![("width".to_string(), "3".to_string())];
    let unit = Unit { entry: "add<float, width>", macros, ..unit(&source) };
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

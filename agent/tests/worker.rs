//! Candidates that do their worst, in a real worker: each costs one trial and nothing else.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fractune_agent::worker::client::{Failure, Worker, WorkerCommand, WorkerError};
use fractune_agent::worker::protocol::{Argument, Buffer, Init, Load, Scalar, Tolerance, VERSION};
use fractune_tuner::kernel::{ElementType, Init as Contents};
use fractune_tuner::settings::CacheState;
use fractune_tuner::trial::Outcome;

const LENGTH: u64 = 1000;
const LIMIT: Duration = Duration::from_mins(1);
const RIGHT: &str = "for (int i = 0; i < n; i++) C[i] = 2 * A[i];";

/// Compiled candidates of one test.
struct Workbench {
    folder: tempfile::TempDir,
    /// The right candidate, and the reference.
    right: Load,
}

impl Workbench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let right = compile(folder.path(), "right", "", RIGHT, &[]);
        Self { folder, right }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Compiles a candidate with the given body, which sees `A`, `C` and `n`.
    fn compile(&self, name: &str, body: &str) -> Load {
        self.compile_with(name, "", body, &[])
    }

    fn compile_with(&self, name: &str, head: &str, body: &str, options: &[&str]) -> Load {
        compile(self.path(), name, head, body, options)
    }

    fn init(&self) -> Init {
        Init {
            protocol: VERSION,
            seed: 1,
            share: 100,
            cpus: vec![0],
            arguments: vec![
                Argument::Buffer(buffer("A", false)),
                Argument::Buffer(buffer("C", true)),
                Argument::Scalar(Scalar { name: "n".into(), element: ElementType::I32 }),
            ],
            reference: Some(self.right.clone()),
            cache: CacheState::Cold,
            memory_limit_bytes: 512 << 20,
            gpu: None,
        }
    }

    async fn worker(&self) -> Worker {
        start(&self.init()).await.unwrap()
    }

    /// What verifying a candidate with this body gives; then, that a worker (the same one, if it lives on)
    /// still finds a right candidate right.
    async fn verdict(&self, body: &str, limit: Duration) -> Result<(), Failure> {
        let candidate = self.compile("candidate", body);
        let mut worker = self.worker().await;
        let result = async {
            worker.load(1, &candidate, limit).await?;
            worker.verify(1, limit).await
        }
        .await;
        if !matches!(result, Ok(()) | Err(Failure::Refused { .. })) {
            worker = self.worker().await;
        }
        worker.load(2, &self.right, LIMIT).await.unwrap();
        worker.verify(2, LIMIT).await.unwrap();
        worker.stop().await;
        result
    }

    async fn died(&self, body: &str) -> String {
        match self.verdict(body, LIMIT).await {
            Err(Failure::Died { message }) => message,
            other => panic!("{other:?}"),
        }
    }

    async fn refused(&self, body: &str) -> (Outcome, String) {
        match self.verdict(body, LIMIT).await {
            Err(Failure::Refused { outcome, message }) => (outcome, message),
            other => panic!("{other:?}"),
        }
    }
}

/// Compiles a candidate into `folder`.
fn compile(folder: &Path, name: &str, head: &str, body: &str, options: &[&str]) -> Load {
    let source = folder.join(format!("{name}.c"));
    let artifact = folder.join(format!("{name}.so"));
    let text = format!(
        "#define _GNU_SOURCE\n#include <errno.h>\n#include <fcntl.h>\n#include <math.h>\n#include <pthread.h>\n#include <sched.h>\n\
         #include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
         #include <sys/ioctl.h>\n#include <sys/mman.h>\n#include <sys/prctl.h>\n#include <sys/resource.h>\n#include <sys/socket.h>\n\
         #include <sys/stat.h>\n#include <sys/wait.h>\n#include <unistd.h>\n{head}\n\
         static void kernel(float *A, float *C, int n) {{ {body} }}\n\
         void fractune_call(void **a) {{ kernel(*(float **)a[0], *(float **)a[1], *(int *)a[2]); }}\n"
    );
    fs::write(&source, text).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-w", "-shared", "-fPIC", "-o"]).arg(&artifact).arg(&source).args(options);
    assert!(cc.status().unwrap().success(), "{name} does not compile");
    Load { artifact, symbol: "fractune_call".into(), scalars: vec![LENGTH.to_string()], ..Load::default() }
}

fn buffer(name: &str, output: bool) -> Buffer {
    Buffer {
        name: name.into(),
        element: ElementType::F32,
        length: LENGTH,
        init: None,
        output,
        scratch: false,
        symbol: None,
        tolerance: None,
    }
}

async fn start(init: &Init) -> Result<Worker, WorkerError> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_fractune-agent"));
    let command = WorkerCommand { program, args: vec!["worker".into()] };
    let env = [("OMP_NUM_THREADS".to_owned(), "2".into())];
    Worker::start(&command, init, &env, LIMIT).await
}

#[tokio::test]
async fn a_right_candidate_passes_and_is_timed() {
    let bench = Workbench::new();
    let load = bench.right.clone();
    let init = bench.init();
    let begun = Instant::now();
    let mut worker = start(&init).await.unwrap();
    assert_eq!((worker.ready().protocol, worker.ready().units), (VERSION, 1));
    assert!(!worker.ready().product.is_empty());
    println!("a worker is up in {:?}", begun.elapsed());
    worker.reference(LIMIT).await.unwrap();
    worker.load(7, &load, LIMIT).await.unwrap();
    worker.verify(7, LIMIT).await.unwrap();
    let times = worker.run(7, 5, false, LIMIT).await.unwrap();
    assert!(times.times_ns.len() == 5 && times.times_ns.iter().all(|&t| t > 0), "{times:?}");
    worker.unload(7, LIMIT).await.unwrap();
    // Requests that make no sense are answered, and the worker lives on.
    let gone = worker.verify(7, LIMIT).await.unwrap_err();
    assert!(matches!(&gone, Failure::Fatal { message } if message.contains("7 is not loaded")), "{gone:?}");
    worker.load(7, &load, LIMIT).await.unwrap();
    assert!(matches!(worker.load(7, &load, LIMIT).await, Err(Failure::Fatal { .. })));
    assert!(matches!(worker.run(7, 0, false, LIMIT).await, Err(Failure::Fatal { .. })));
    let here = worker.relocate(LIMIT).await.unwrap_err();
    assert!(matches!(&here, Failure::Fatal { message } if message.contains("a GPU's memory")), "{here:?}");
    worker.verify(7, LIMIT).await.unwrap();
    worker.stop().await;
}

#[tokio::test]
async fn wrong_outputs_are_wrong_answers() {
    let bench = Workbench::new();
    let (outcome, message) = bench.refused("for (int i = 0; i < n; i++) C[i] = i == 5 ? 9 : 2 * A[i];").await;
    assert_eq!(outcome, Outcome::WrongAnswer);
    assert!(
        message.starts_with("C[5] is 9, the reference has ") && message.contains("1 of 1000"),
        "{message}"
    );
    let (outcome, message) =
        bench.refused("for (int i = 0; i < n; i++) C[i] = i == 5 ? NAN : 2 * A[i];").await;
    assert_eq!(outcome, Outcome::WrongAnswer);
    assert!(message.contains("C[5] is NaN"), "{message}");
    let (outcome, message) = bench.refused("for (int i = 1; i < n; i++) C[i] = 2 * A[i];").await;
    assert_eq!(outcome, Outcome::WrongAnswer);
    assert!(message.contains("C[0] is not written"), "{message}");
}

#[tokio::test]
async fn scratch_may_be_written_and_must_be_left_as_the_next_run_needs_it() {
    let bench = Workbench::new();
    let mut init = bench.init();
    let scratch = Buffer { scratch: true, init: Some(Contents::Uniform), ..buffer("A", false) };
    init.arguments[0] = Argument::Buffer(scratch);
    let mut worker = start(&init).await.unwrap();
    let clean = bench.compile("clean", "for (int i = 0; i < n; i++) { A[i] *= 2; C[i] = A[i]; A[i] /= 2; }");
    worker.load(1, &clean, LIMIT).await.unwrap();
    worker.verify(1, LIMIT).await.unwrap();
    let once = bench.compile("once", "for (int i = 0; i < n; i++) { C[i] = 2 * A[i]; A[i] = 0; }");
    worker.load(2, &once, LIMIT).await.unwrap();
    let error = worker.verify(2, LIMIT).await.unwrap_err();
    assert!(
        matches!(&error, Failure::Refused { outcome: Outcome::WrongAnswer, message }
        if message.ends_with("when it is run again")),
        "{error:?}"
    );
    worker.verify(1, LIMIT).await.unwrap();
    worker.stop().await;
}

#[tokio::test]
async fn crashes_and_exits_are_told_in_words() {
    let bench = Workbench::new();
    assert_eq!(bench.died("*(volatile int *)8 = 1;").await, "killed by signal 11 (SIGSEGV)");
    assert_eq!(bench.died("abort();").await, "killed by signal 6 (SIGABRT)");
    assert_eq!(bench.died("exit(3);").await, "called exit(3)");
    assert_eq!(bench.died("_exit(0);").await, "called exit(0)");
    assert_eq!(
        bench.died("for (int i = 3; i < 5000; i++) close(i); for (;;) pause();").await,
        "closed its pipe"
    );
    let forged = r#"for (int i = 3; i < 200; i++) write(i, "{\"x\":1}\n", 8); pause();"#;
    assert!(bench.died(forged).await.contains("spoke out of protocol"));
}

#[tokio::test]
async fn an_endless_loop_ends_at_its_limit() {
    let bench = Workbench::new();
    let limit = Duration::from_millis(300);
    let result = bench.verdict("for (;;) { __asm__ volatile(\"\"); }", limit).await;
    assert_eq!(result, Err(Failure::TimedOut { limit }));
    let result = bench.verdict("for (;;) puts(\"gigabytes\");", limit).await;
    assert_eq!(result, Err(Failure::TimedOut { limit }));
}

#[tokio::test]
async fn a_hundred_megabytes_on_stdout_harm_nobody() {
    let bench = Workbench::new();
    let print =
        "static char block[1 << 20]; for (int i = 0; i < 100; i++) fwrite(block, 1, sizeof block, stdout);";
    bench.verdict(&format!("{print} {RIGHT}"), LIMIT).await.unwrap();
}

#[tokio::test]
async fn writes_outside_of_the_buffers_are_found() {
    let bench = Workbench::new();
    let (outcome, message) = bench.refused(&format!("{RIGHT} C[n] = 1;")).await;
    assert_eq!((outcome, message.as_str()), (Outcome::RuntimeError, "writes after the end of C"));
    let (outcome, message) = bench.refused(&format!("{RIGHT} C[-1] = 1;")).await;
    assert_eq!((outcome, message.as_str()), (Outcome::RuntimeError, "writes before the start of C"));
    assert!(bench.died(&format!("{RIGHT} C[n + 16] = 1;")).await.contains("SIGSEGV"));
    for far in ["C[-2000]", "C[-200000]", "C[n + 200000]"] {
        assert!(bench.died(&format!("{RIGHT} {far} = 1;")).await.contains("SIGSEGV"), "{far}");
    }
    assert!(bench.died(&format!("{RIGHT} A[0] = 1;")).await.contains("SIGSEGV"));
    assert!(bench.died(&format!("{RIGHT} volatile float x = A[n + 16];")).await.contains("SIGSEGV"));
}

#[tokio::test]
async fn a_candidate_that_eats_all_memory_fails_alone() {
    let bench = Workbench::new();
    let eats = "for (;;) { char *p = malloc(64 << 20); memset(p, 1, 64 << 20); }";
    assert!(bench.died(eats).await.contains("SIGSEGV"));
    let raises = "struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY }; setrlimit(RLIMIT_AS, &all); \
                  prlimit(0, RLIMIT_AS, &all, 0);";
    assert!(bench.died(&format!("{raises} {eats}")).await.contains("SIGSEGV"));
}

#[tokio::test]
async fn candidates_are_confined() {
    let bench = Workbench::new();
    let (folder, parent) = (bench.path().display(), std::process::id());
    let file = bench.path().join("there");
    fs::write(&file, "contents").unwrap();
    let attempts = [
        format!("open(\"{folder}/new\", O_WRONLY | O_CREAT, 0600) >= 0"),
        format!("open(\"{folder}/there\", O_WRONLY) >= 0"),
        format!("truncate(\"{folder}/there\", 0) == 0"),
        format!("unlink(\"{folder}/there\") == 0"),
        format!("chmod(\"{folder}/there\", 0777) == 0"),
        format!("mkdir(\"{folder}/made\", 0777) == 0"),
        "socket(AF_INET, SOCK_STREAM, 0) >= 0".to_owned(),
        "socket(AF_UNIX, SOCK_STREAM, 0) >= 0".to_owned(),
        "fork() >= 0".to_owned(),
        "vfork() >= 0".to_owned(),
        "system(\"true\") == 0".to_owned(),
        "execl(\"/bin/true\", \"true\", (char *)0) == 0".to_owned(),
        format!("kill({parent}, 0) == 0"),
        "kill(-1, 0) == 0".to_owned(),
        "memfd_create(\"m\", 0) >= 0".to_owned(),
        "setpriority(PRIO_PROCESS, 0, -5) == 0".to_owned(),
        "({ cpu_set_t s; CPU_ZERO(&s); CPU_SET(0, &s); sched_setaffinity(0, sizeof s, &s) == 0; })"
            .to_owned(),
        "({ struct rlimit r = {1, 1}; setrlimit(RLIMIT_CPU, &r) == 0; })".to_owned(),
        "({ struct rlimit r; getrlimit(RLIMIT_STACK, &r) != 0; })".to_owned(),
        "prctl(PR_SET_PDEATHSIG, 0) == 0".to_owned(),
        "(ioctl(0, TIOCSTI, \"x\"), errno != EPERM)".to_owned(),
    ];
    let mut worker = bench.worker().await;
    assert_eq!(worker.ready().notes, Vec::<String>::new(), "this system cannot confine");
    for (id, attempt) in attempts.iter().enumerate() {
        let id = id as u32;
        let load = bench.compile(&format!("attempt{id}"), &format!("{RIGHT} if ({attempt}) C[0] = 1000;"));
        worker.load(id, &load, LIMIT).await.unwrap();
        assert_eq!(worker.verify(id, LIMIT).await, Ok(()), "{attempt}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "contents");
    worker.load(100, &bench.right, LIMIT).await.unwrap();
    worker.verify(100, LIMIT).await.unwrap();
}

#[tokio::test]
async fn threads_work_under_confinement_and_outlive_their_candidate() {
    let bench = Workbench::new();
    let body = "int most = 0;\n#pragma omp parallel for schedule(static) num_threads(2) reduction(max : most)\n\
                for (int i = 0; i < n; i++) { C[i] = 2 * A[i]; if (omp_get_thread_num() > most) most = \
                omp_get_thread_num(); }\nif (most != 1) C[0] = 1000;";
    let mut worker = bench.worker().await;
    for id in 0..3 {
        let name = format!("parallel{id}");
        let load = bench.compile_with(&name, "#include <omp.h>", body, &["-fopenmp"]);
        worker.load(id, &load, LIMIT).await.unwrap();
        worker.verify(id, LIMIT).await.unwrap();
        worker.run(id, 3, false, LIMIT).await.unwrap();
        worker.unload(id, LIMIT).await.unwrap();
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_killed_from_outside_is_reported_dead() {
    let bench = Workbench::new();
    let load = bench.right.clone();
    let mut worker = bench.worker().await;
    let pid = worker.pid().unwrap().to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let dead = Failure::Died { message: "killed by signal 9 (SIGKILL)".into() };
    assert_eq!(worker.load(1, &load, LIMIT).await, Err(dead.clone()));
    // And stays dead.
    assert_eq!(worker.verify(1, LIMIT).await, Err(dead));
    assert_eq!(worker.pid(), None);
}

#[tokio::test]
async fn a_bad_reference_is_nobodys_wrong_answer() {
    let bench = Workbench::new();
    for (body, expected) in [
        ("for (int i = 0; i < n; i++) C[i] = i == 5 ? NAN : 1;", "the reference writes NaN at C[5]"),
        ("", "the reference writes nothing to C"),
        ("for (int i = 0; i <= n; i++) C[i] = 1;", "the reference writes after the end of C"),
    ] {
        let init = Init { reference: Some(bench.compile("bad", body)), ..bench.init() };
        let mut worker = start(&init).await.unwrap();
        let failure = worker.reference(LIMIT).await.unwrap_err();
        assert!(
            matches!(&failure, Failure::Fatal { message } if message.starts_with(expected)),
            "{failure:?}"
        );
        assert_eq!(failure.outcome(), None);
        worker.load(1, &bench.right, LIMIT).await.unwrap();
        assert!(matches!(worker.verify(1, LIMIT).await, Err(Failure::Fatal { .. })));
    }
}

#[tokio::test]
async fn outputs_with_contents_are_restored_before_every_run() {
    let bench = Workbench::new();
    let adds = "for (int i = 0; i < n; i++) C[i] += A[i]; if (C[0] != A[0] + 1) exit(9);";
    let mut init = Init { reference: Some(bench.compile("adds", adds)), ..bench.init() };
    let exact = Some(Tolerance { relative: 0.0, absolute: None });
    init.arguments[1] =
        Argument::Buffer(Buffer { init: Some(Contents::Ones), tolerance: exact, ..buffer("C", true) });
    let candidate = bench.compile("candidate", adds);
    let mut worker = start(&init).await.unwrap();
    worker.load(1, &candidate, LIMIT).await.unwrap();
    worker.verify(1, LIMIT).await.unwrap();
    worker.run(1, 5, false, LIMIT).await.unwrap();
    worker.verify(1, LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_candidate_with_fast_math_changes_nobody_elses_arithmetic() {
    let bench = Workbench::new();
    let tiny = "for (int i = 0; i < n; i++) { volatile float x = 1e-30f; C[i] = x * 1e-10f; }";
    let init = Init { reference: Some(bench.compile("tiny", tiny)), ..bench.init() };
    // What linking with `-ffast-math` does, on x86: denormal numbers become zero.
    let head = "#ifdef __x86_64__\n__attribute__((constructor)) static void fast(void) {\
                __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040); }\n#endif";
    let fast = bench.compile_with("fast", head, tiny, &[]);
    let strict = bench.compile("strict", tiny);
    let mut worker = start(&init).await.unwrap();
    worker.load(1, &fast, LIMIT).await.unwrap();
    worker.load(2, &strict, LIMIT).await.unwrap();
    if cfg!(target_arch = "x86_64") {
        let own = worker.verify(1, LIMIT).await.unwrap_err();
        assert_eq!(own.outcome(), Some(Outcome::WrongAnswer), "{own:?}");
    }
    worker.verify(2, LIMIT).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_loaded_or_set_up_is_explained() {
    let bench = Workbench::new();
    let mut worker = bench.worker().await;
    let mut load = bench.right.clone();
    load.symbol = "absent".into();
    let error = worker.load(1, &load, LIMIT).await.unwrap_err();
    assert!(
        matches!(&error, Failure::Refused { outcome: Outcome::RuntimeError, message }
        if message.contains("absent")),
        "{error:?}"
    );
    load.artifact = "/absent.so".into();
    let error = worker.load(1, &load, LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("/absent.so"), "{error}");

    let other = VERSION + 1;
    let error = start(&Init { protocol: other, ..bench.init() }).await.unwrap_err().to_string();
    assert!(error.contains(&format!("protocol {VERSION}, not {other}")), "{error}");
    let error = start(&Init { cpus: vec![999], ..bench.init() }).await.unwrap_err().to_string();
    assert!(error.contains("999"), "{error}");
    let mut huge = bench.init();
    huge.arguments[0] = Argument::Buffer(Buffer { length: 1 << 50, ..buffer("A", false) });
    let error = start(&huge).await.unwrap_err().to_string();
    assert!(error.contains("buffer A of 1125899906842624 elements"), "{error}");

    for speech in ["echo hello", "echo '{\"reply\":\"ok\"}'", "head -c 70000000 /dev/zero"] {
        let script = format!("read line; {speech}; read line");
        let command = WorkerCommand { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
        let error = Worker::start(&command, &bench.init(), &[], LIMIT).await.unwrap_err();
        assert!(error.to_string().contains("spoke out of protocol"), "{speech}: {error}");
    }
    let command = WorkerCommand { program: "/absent".into(), args: vec![] };
    let error = Worker::start(&command, &bench.init(), &[], LIMIT).await.unwrap_err();
    assert!(matches!(error, WorkerError::Spawn { .. }), "{error}");
}

#[tokio::test]
async fn a_request_given_up_by_the_caller_costs_the_worker() {
    let bench = Workbench::new();
    let load = bench.compile("endless", "for (;;) { __asm__ volatile(\"\"); }");
    let mut worker = bench.worker().await;
    worker.load(1, &load, LIMIT).await.unwrap();
    let gave_up = tokio::time::timeout(Duration::from_millis(100), worker.verify(1, LIMIT)).await;
    assert!(gave_up.is_err());
    assert!(matches!(worker.verify(1, LIMIT).await, Err(Failure::Died { .. })));
}

//! A private MPS daemon ends with its parent, in whatever way that ends, and leaves nothing behind; a daemon
//! that the environment names is left alone. NVIDIA's control program is played by a shell script.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fractune_agent::mps::{GuardCommand, Mps, MpsError, ServerStatus};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

const GPU: &str = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6";

/// Plays `nvidia-cuda-mps-control`: with `-f` the daemon, with one server from the beginning, else the program
/// that asks it. `SIMULATED_MPS` says how it misbehaves.
const SIMULATED_CONTROL: &str = r#"#!/bin/sh
pipe=$CUDA_MPS_PIPE_DIRECTORY
if [ "$1" = -f ]; then
    [ "$SIMULATED_MPS" != refusing ] || { echo "out of luck"; exit 1; }
    [ "$SIMULATED_MPS" != stubborn ] || trap '' TERM
    echo "gpu $CUDA_VISIBLE_DEVICES share $CUDA_MPS_ACTIVE_THREAD_PERCENTAGE" >"$CUDA_MPS_LOG_DIRECTORY/control.log"
    sleep 1000 &
    echo $! >"$pipe/server"
    echo $$ >"$pipe/new" && mv "$pipe/new" "$pipe/pid"
    until [ -e "$pipe/quit" ] && [ "$SIMULATED_MPS" != stubborn ]; do sleep 0.02; done
    kill "$(cat "$pipe/server")"
    exit 0
fi
[ "$SIMULATED_MPS" != silent ] || exec sleep 1000
read -r command
pid=$(cat "$pipe/pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null || {
    echo "Cannot find MPS control daemon process"
    exit 1
}
echo "$command" >>"$pipe/commands"
case $command in
get_server_list) cat "$pipe/server" ;;
get_client_list*) printf '71\n72\n' ;;
get_server_status*) echo ACTIVE ;;
quit*) : >"$pipe/quit" ;;
esac
"#;

/// A folder with the simulated program, which is also the user's runtime folder.
struct Stage {
    folder: tempfile::TempDir,
    behaviour: &'static str,
}

impl Stage {
    fn new(behaviour: &'static str) -> Self {
        // Short, as sockets need it.
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let program = folder.path().join("bin/nvidia-cuda-mps-control");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::create_dir(folder.path().join("run")).unwrap();
        fs::write(&program, SIMULATED_CONTROL).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        Self { folder, behaviour }
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let folder = self.folder.path().display();
        vec![
            ("PATH", format!("{folder}/bin:/usr/bin:/bin")),
            ("XDG_RUNTIME_DIR", format!("{folder}/run")),
            ("SIMULATED_MPS", self.behaviour.to_owned()),
            // Must not get to the daemon.
            ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "7".to_owned()),
        ]
    }

    /// A guardian that sees this stage's environment.
    fn guard(&self) -> GuardCommand {
        let variables = self.environment().into_iter().map(|(name, value)| format!("{name}={value}").into());
        let own = [env!("CARGO_BIN_EXE_fractune-agent").into(), "mps-guard".into()];
        GuardCommand { program: "/usr/bin/env".into(), arguments: variables.chain(own).collect() }
    }

    /// Starts a process of its own in this stage's environment, that has a daemon and then waits, unless
    /// `then` says otherwise. Returns what it says of the daemon.
    fn parent(&self, directory: &Path, then: &str) -> (Child, String) {
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "parent"])
            .envs(self.environment())
            .env("CUDA_MPS_PIPE_DIRECTORY", directory)
            .env("THEN", then)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
        let said = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("MPS: ").map(str::to_owned));
        (parent, said.unwrap())
    }

    /// A daemon of somebody else's.
    fn foreign_daemon(&self) -> (Child, PathBuf) {
        let pipe = self.folder.path().join("foreign");
        fs::create_dir(&pipe).unwrap();
        let daemon = Command::new(self.folder.path().join("bin/nvidia-cuda-mps-control"))
            .arg("-f")
            .envs(self.environment())
            .env("CUDA_MPS_PIPE_DIRECTORY", &pipe)
            .env("CUDA_MPS_LOG_DIRECTORY", &pipe)
            .spawn()
            .unwrap();
        eventually("the daemon runs", || pipe.join("pid").exists());
        (daemon, pipe)
    }

    /// What is left of private daemons.
    fn leftovers(&self) -> usize {
        fs::read_dir(self.folder.path().join("run")).unwrap().count()
    }
}

/// The parent of a guardian, for tests that end it.
#[tokio::test]
#[ignore = "the other tests start it"]
async fn parent() {
    let guard = GuardCommand {
        program: env!("CARGO_BIN_EXE_fractune-agent").into(),
        arguments: vec!["mps-guard".into()],
    };
    let mps = match Mps::adopt_or_start(GPU, &guard).await {
        Ok(mps) => mps,
        Err(error) => {
            println!("\nMPS: {error}");
            return;
        }
    };
    let directory = mps.pipe_directory();
    println!("\nMPS: {} {}", if mps.private() { "private" } else { "adopted" }, directory.display());
    match std::env::var("THEN").unwrap().as_str() {
        "panic" => panic!("as the test wants it"),
        "return" => {}
        "stop" => mps.stop().await,
        _ => std::future::pending().await,
    }
}

/// Waits for something that other processes do.
fn eventually(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < deadline, "not seen within a minute: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The daemon and its server.
fn family(pipe: &Path) -> [Pid; 2] {
    ["pid", "server"].map(|file| {
        let number = fs::read_to_string(pipe.join(file)).unwrap();
        Pid::from_raw(number.trim().parse().unwrap()).unwrap()
    })
}

/// Whether a process runs: one that has ended and is not waited for does not.
fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

fn parent_of(pid: Pid) -> Pid {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    let parent = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(1).unwrap();
    Pid::from_raw(parent.parse().unwrap()).unwrap()
}

fn assert_gone(stage: &Stage, family: [Pid; 2]) {
    eventually("the daemon and its server have ended", || !family.into_iter().any(runs));
    eventually("the folder is gone", || stage.leftovers() == 0);
}

#[tokio::test]
async fn a_private_daemon_serves_one_gpu_and_stops_without_a_trace() {
    let stage = Stage::new("");
    let mps = Mps::start(GPU, &stage.guard()).await.unwrap();
    let pipe = mps.pipe_directory();
    assert!(mps.private() && pipe.starts_with(stage.folder.path().join("run")), "{}", pipe.display());
    let family = family(&pipe);
    assert_eq!(mps.servers().await.unwrap(), [family[1].as_raw_nonzero().get().cast_unsigned()]);
    let environment = mps.client_environment(25);
    let value = |name| environment.iter().find(|(n, _)| n == name).unwrap().1.to_str().unwrap();
    assert_eq!(Path::new(value("CUDA_MPS_PIPE_DIRECTORY")), pipe);
    assert_eq!(value("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"), "25");
    assert_eq!(value("CUDA_VISIBLE_DEVICES"), GPU);
    let log = fs::read_to_string(Path::new(value("CUDA_MPS_LOG_DIRECTORY")).join("control.log")).unwrap();
    assert_eq!(log.trim_end(), format!("gpu {GPU} share"));
    mps.stop().await;
    assert_eq!(family.map(runs), [false; 2]);
    assert_eq!(stage.leftovers(), 0);
}

#[tokio::test]
async fn questions_reach_the_daemon_as_commands() {
    let stage = Stage::new("");
    let mps = Mps::start(GPU, &stage.guard()).await.unwrap();
    assert_eq!(mps.clients(9).await.unwrap(), [71, 72]);
    assert_eq!(mps.server_status(9).await.unwrap(), ServerStatus::Active);
    mps.terminate_client(9, 72).await.unwrap();
    let commands = fs::read_to_string(mps.pipe_directory().join("commands")).unwrap();
    assert!(
        commands.ends_with("get_client_list 9\nget_server_status 9\nterminate_client 9 72\n"),
        "{commands}"
    );
    mps.stop().await;
}

#[tokio::test]
async fn a_dropped_daemon_goes_as_well() {
    let stage = Stage::new("");
    let mps = Mps::start(GPU, &stage.guard()).await.unwrap();
    let family = family(&mps.pipe_directory());
    drop(mps);
    assert_gone(&stage, family);
}

#[tokio::test]
async fn a_daemon_that_ignores_quit_and_sigterm_is_killed_with_its_server() {
    let stage = Stage::new("stubborn");
    let mps = Mps::start(GPU, &stage.guard()).await.unwrap();
    let family = family(&mps.pipe_directory());
    mps.stop().await;
    assert_eq!(family.map(runs), [false; 2]);
    assert_eq!(stage.leftovers(), 0);
}

#[tokio::test]
async fn a_daemon_that_does_not_start_says_why_and_leaves_nothing() {
    let stage = Stage::new("refusing");
    let refused = Mps::start(GPU, &stage.guard()).await.unwrap_err();
    assert!(matches!(refused, MpsError::Start(_)));
    assert!(refused.to_string().contains("exit status: 1, and said: out of luck"), "{refused}");
    eventually("the folder is gone", || stage.leftovers() == 0);
}

#[tokio::test]
async fn a_guardian_that_is_none_is_told() {
    for program in ["/nowhere/agent", "/bin/true", "/bin/cat"] {
        let guard = GuardCommand { program: program.into(), arguments: vec![] };
        let refused = Mps::start(GPU, &guard).await.unwrap_err();
        assert!(refused.to_string().contains(program), "{refused}");
    }
}

#[tokio::test]
async fn a_daemon_that_dies_is_noticed_and_its_server_ended_and_can_be_had_again() {
    let stage = Stage::new("");
    let mps = Mps::start(GPU, &stage.guard()).await.unwrap();
    let (first, pipe) = (family(&mps.pipe_directory()), mps.pipe_directory());
    assert_eq!(mps.death(), None);
    kill_process(first[0], Signal::KILL).unwrap();
    let how = mps.died().await;
    assert!(how.contains("SIGKILL"), "{how}");
    assert_eq!(mps.death(), Some(how));
    // Two at once have one daemon.
    let (one, other) = tokio::join!(mps.restart(), mps.restart());
    one.and(other).unwrap();
    assert_eq!(first.map(runs), [false; 2]);
    assert_ne!(mps.pipe_directory(), pipe);
    assert_eq!(stage.leftovers(), 1);
    let second = family(&mps.pipe_directory());
    assert_eq!(second.map(runs), [true; 2]);
    mps.restart().await.unwrap();
    assert_eq!(family(&mps.pipe_directory()), second, "a daemon that runs is not started again");
    mps.stop().await;
    assert_gone(&stage, second);
}

#[tokio::test]
async fn a_killed_guardian_is_noticed_and_what_it_kept_is_cleared_up() {
    let stage = Stage::new("");
    let mps = Mps::start(GPU, &stage.guard()).await.unwrap();
    let family = family(&mps.pipe_directory());
    kill_process(parent_of(family[0]), Signal::KILL).unwrap();
    assert!(mps.died().await.contains("guardian"));
    mps.stop().await;
    assert_gone(&stage, family);
}

#[test]
fn a_daemon_ends_with_its_parent_however_that_ends() {
    for signal in [Signal::KILL, Signal::INT, Signal::TERM, Signal::HUP] {
        let stage = Stage::new("");
        let (mut parent, said) = stage.parent(Path::new(""), "wait");
        let family = family(Path::new(said.strip_prefix("private ").unwrap()));
        assert_eq!(family.map(runs), [true; 2]);
        // As a terminal does it.
        kill_process_group(Pid::from_child(&parent), signal).unwrap();
        parent.wait().unwrap();
        assert_gone(&stage, family);
    }
    for end in ["panic", "return", "stop"] {
        let stage = Stage::new("");
        let (mut parent, said) = stage.parent(Path::new(""), end);
        assert!(said.starts_with("private "), "{said}");
        parent.wait().unwrap();
        eventually("the folder is gone", || stage.leftovers() == 0);
    }
}

#[test]
fn a_guardian_does_not_heed_signals_while_its_parent_lives() {
    let stage = Stage::new("");
    let (mut parent, said) = stage.parent(Path::new(""), "wait");
    let family = family(Path::new(said.strip_prefix("private ").unwrap()));
    let guardian = parent_of(family[0]);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill_process(guardian, signal).unwrap();
    }
    // A guardian that heeded one would have ended the daemon by the time that it answers the parent's end.
    let (mut other, _) = stage.parent(Path::new(""), "stop");
    other.wait().unwrap();
    assert!(runs(guardian) && family.into_iter().all(runs));
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_gone(&stage, family);
}

#[test]
fn a_daemon_that_the_environment_names_is_used_and_left_alone() {
    let stage = Stage::new("");
    let (mut daemon, pipe) = stage.foreign_daemon();
    let family = family(&pipe);
    for end in ["wait", "return", "stop"] {
        let (mut parent, said) = stage.parent(&pipe, end);
        assert_eq!(said, format!("adopted {}", pipe.display()));
        if end == "wait" {
            parent.kill().unwrap();
        }
        parent.wait().unwrap();
        assert_eq!(family.map(runs), [true; 2]);
    }
    let commands = fs::read_to_string(pipe.join("commands")).unwrap();
    assert!(!commands.contains("quit"), "{commands}");
    assert_eq!(stage.leftovers(), 0, "no private daemon was started");
    fs::write(pipe.join("quit"), "").unwrap();
    daemon.wait().unwrap();
}

#[test]
fn a_named_daemon_that_is_not_there_or_does_not_answer_is_an_error_with_the_way_out() {
    for (behaviour, reason) in
        [("", "Cannot find MPS control daemon process"), ("silent", "no answer within 5 s")]
    {
        let stage = Stage::new(behaviour);
        let directory = stage.folder.path().join("nobody");
        let (mut parent, said) = stage.parent(&directory, "wait");
        parent.wait().unwrap();
        let named = format!("CUDA_MPS_PIPE_DIRECTORY={}", directory.display());
        assert!(said.contains(&named) && said.contains(reason) && said.contains("unset"), "{said}");
        assert_eq!(stage.leftovers(), 0);
    }
}

#[cfg(feature = "node")]
mod of_a_node {
    use fractune_agent::mps::Home;
    use fractune_agent::node::board::Board;
    use fractune_agent::node::daemon::Keeper;
    use fractune_agent::node::gpu::simulated;
    use fractune_agent::node::metrics::Metrics;
    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn a_daemon_at_a_home_is_started_there_again_and_leaves_the_folder() {
        let stage = Stage::new("");
        let folder = stage.folder.path().join("home");
        let home = Home { folder: folder.clone() };
        let mps = Mps::start_at(GPU, &stage.guard(), Some(home)).await.unwrap();
        assert_eq!(mps.pipe_directory(), folder.join("pipe"));
        let first = family(&folder.join("pipe"));
        kill_process(first[0], Signal::KILL).unwrap();
        mps.died().await;
        mps.restart().await.unwrap();
        assert_eq!(
            mps.pipe_directory(),
            folder.join("pipe"),
            "it is mounted elsewhere, and stays where it was"
        );
        let second = family(&folder.join("pipe"));
        assert_ne!(first[0], second[0]);
        assert_eq!(first.map(runs), [false; 2]);
        mps.stop().await;
        assert_eq!(second.map(runs), [false; 2]);
        assert!(folder.join("pipe").is_dir());
    }

    #[tokio::test]
    async fn a_nodes_daemon_that_dies_is_started_again_and_its_slots_are_unhealthy_meanwhile() {
        let stage = Stage::new("");
        let (board, metrics, guard) = (Board::default(), Metrics::new(false).unwrap(), stage.guard());
        let gpu = simulated("NVIDIA-H200:1").unwrap().remove(0);
        let run = stage.folder.path().join("home");
        let pipe = run.join("mps").join(&gpu.uuid).join("pipe");
        let keeper = Keeper { gpu: &gpu, run: &run, guard: &guard, board: &board, metrics: &metrics };
        let (stop, stopped) = watch::channel(false);
        let test = async {
            let mut changes = board.watch();
            changes.wait_for(std::collections::BTreeMap::is_empty).await.unwrap();
            let first = family(&pipe);
            kill_process(first[0], Signal::KILL).unwrap();
            let troubled = changes.wait_for(|troubles| !troubles.is_empty()).await.unwrap().clone();
            let words = troubled.values().next().unwrap();
            assert!(words.contains("the MPS control daemon has died"), "{words}");
            assert!(!board.is_healthy(&gpu.uuid));
            changes.wait_for(std::collections::BTreeMap::is_empty).await.unwrap();
            let second = family(&pipe);
            assert_ne!(first[0], second[0]);
            stop.send_replace(true);
            second
        };
        let ((), second) = tokio::join!(keeper.keep(stopped), test);
        assert_eq!(second.map(runs), [false; 2], "nothing is left of it");
        let page = String::from_utf8(metrics.text().unwrap()).unwrap();
        let restarts = format!("fractune_mps_restarts_total{{gpu=\"{}\"}} 1", gpu.uuid);
        assert!(page.contains(&restarts), "{page}");
    }

    #[tokio::test]
    async fn a_daemon_that_does_not_start_is_told_in_its_own_words_and_tried_again() {
        let stage = Stage::new("refusing");
        let (board, metrics, guard) = (Board::default(), Metrics::new(false).unwrap(), stage.guard());
        let gpu = simulated("NVIDIA-H200:1").unwrap().remove(0);
        let run = stage.folder.path().join("home");
        let keeper = Keeper { gpu: &gpu, run: &run, guard: &guard, board: &board, metrics: &metrics };
        let (stop, stopped) = watch::channel(false);
        let test = async {
            let mut changes = board.watch();
            let said = changes
                .wait_for(|troubles| troubles.values().any(|words| words.contains("out of luck")))
                .await;
            drop(said.unwrap());
            stop.send_replace(true);
        };
        tokio::join!(keeper.keep(stopped), test);
        assert!(!board.is_healthy(&gpu.uuid));
    }
}

//! Talking to a control daemon: `nvidia-cuda-mps-control` takes a command on its standard input.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// The control program; with `-f` it is the daemon itself.
const PROGRAM: &str = "nvidia-cuda-mps-control";
/// Where it lies, if not in `PATH`.
const PLACES: [&str; 2] = ["/usr/local/nvidia/bin", "/usr/bin"];
/// How long the daemon may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// How long others may keep the daemon from taking a call.
const ENGAGED: Duration = Duration::from_secs(2);
/// How often a daemon that starts or ends is asked whether it answers.
pub(super) const POLL: Duration = Duration::from_millis(20);
/// Ends a daemon, whose servers give their clients two seconds.
pub(super) const QUIT: &str = "quit -t 2";
/// Environment variable that names a daemon.
pub(crate) const PIPE_DIRECTORY: &str = "CUDA_MPS_PIPE_DIRECTORY";
/// Environment variable that names the folder of a daemon's logs.
pub(super) const LOG_DIRECTORY: &str = "CUDA_MPS_LOG_DIRECTORY";

/// The control program is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{PROGRAM} is not found (looked in PATH and in {}); it comes with NVIDIA's driver: install the package \
     nvidia-compute-utils-<driver> (Ubuntu), nvidia-cuda-mps (Debian) or nvidia-driver-cuda (RPM)",
    PLACES.join(", ")
)]
pub struct ProgramMissing;

/// Why a command was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no program to ask with.
    #[error(transparent)]
    Program(#[from] ProgramMissing),
    /// The program could not be run.
    #[error("{PROGRAM} cannot be run: {0}")]
    Run(#[from] io::Error),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The daemon is not there, or refused. Holds what the program said.
    #[error("{0}")]
    Refused(String),
}

/// A daemon's ear.
#[derive(Clone, Debug)]
pub(super) struct Control {
    program: Result<PathBuf, ProgramMissing>,
    pipe: PathBuf,
}

impl Control {
    /// The daemon of this pipe directory, asked with `program`.
    pub(super) fn new(program: Result<PathBuf, ProgramMissing>, pipe: PathBuf) -> Self {
        Self { program, pipe }
    }

    /// The daemon's pipe directory.
    pub(super) fn pipe(&self) -> &Path {
        &self.pipe
    }

    /// As [`Control::ask`], for a daemon that should be there: while another asks it, it takes no call, and is called again.
    pub(super) async fn insist(&self, command: &str) -> Result<String, ControlError> {
        let started = Instant::now();
        loop {
            match self.ask(command, ANSWER).await {
                Err(ControlError::Refused(_)) if started.elapsed() < ENGAGED => sleep(POLL).await,
                answer => return answer,
            }
        }
    }

    /// Gives the daemon a command, and returns what it prints.
    pub(super) async fn ask(&self, command: &str, limit: Duration) -> Result<String, ControlError> {
        let program = self.program.as_ref().map_err(Clone::clone)?;
        let exchange = async {
            let mut child = Command::new(program)
                .env(PIPE_DIRECTORY, &self.pipe)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            if let Some(mut input) = child.stdin.take() {
                // A program that finds no daemon does not read; what it prints says why.
                let _ = input.write_all(format!("{command}\n").as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let output = timeout(limit, exchange).await.map_err(|_| ControlError::TimedOut(limit))??;
        answer(&output)
    }
}

/// What a command printed, if it went well.
fn answer(output: &Output) -> Result<String, ControlError> {
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && !printed.contains("Cannot find MPS control daemon") {
        return Ok(printed.into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = printed.lines().chain(complaint.lines()).map(str::trim).collect();
    let said = said.join("; ");
    Err(ControlError::Refused(if said.is_empty() { output.status.to_string() } else { said }))
}

/// Finds the control program in the directories of `path`, then where drivers put it.
pub(super) fn find_program(path: Option<&OsStr>) -> Result<PathBuf, ProgramMissing> {
    let listed = path.map(std::env::split_paths).into_iter().flatten();
    let mut files = listed.chain(PLACES.iter().map(PathBuf::from)).map(|folder| folder.join(PROGRAM));
    // The daemon runs in another directory, to which a relative path would lead elsewhere.
    files.find(|file| is_program(file)).and_then(|file| std::path::absolute(file).ok()).ok_or(ProgramMissing)
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Reads a list of processes, as `get_server_list` and `get_client_list` print it: a number a line.
pub(super) fn processes(printed: &str) -> Result<Vec<u32>, ControlError> {
    let lines = printed.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| line.parse().map_err(|_| ControlError::Refused(line.to_owned()))).collect()
}

/// What an MPS server is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerStatus {
    /// It starts, or starts again after a fault.
    Initializing,
    /// It serves.
    Active,
    /// A client has met a fatal fault. Every client of the GPU gets an error, and new ones are refused
    /// (error 807, not ready) until all of them have exited.
    Fault,
    /// A word that this program does not know.
    Other(String),
}

/// Reads what `get_server_status` prints: one word.
pub(super) fn server_status(printed: &str) -> Result<ServerStatus, ControlError> {
    match printed.trim() {
        "INITIALIZING" => Ok(ServerStatus::Initializing),
        "ACTIVE" => Ok(ServerStatus::Active),
        "FAULT" => Ok(ServerStatus::Fault),
        word if !word.is_empty() && !word.contains(char::is_whitespace) => {
            Ok(ServerStatus::Other(word.to_owned()))
        }
        complaint => Err(ControlError::Refused(complaint.to_owned())),
    }
}

/// Reads what `terminate_client` prints: words only if it refuses, with exit code 0 all the same.
pub(super) fn termination(printed: &str) -> Result<(), ControlError> {
    processes(printed).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    fn said(code: i32, stdout: &str, stderr: &str) -> Result<String, ControlError> {
        answer(&Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: stderr.into(),
        })
    }

    #[test]
    fn lists_of_processes_are_read() {
        assert_eq!(processes("6472\n").unwrap(), [6472]);
        assert_eq!(processes("9741\n9742\n").unwrap(), [9741, 9742]);
        assert_eq!(processes("").unwrap(), [] as [u32; 0]);
        assert_eq!(processes("\n").unwrap(), [] as [u32; 0]);
    }

    #[test]
    fn a_complaint_is_not_taken_for_an_answer_though_the_exit_code_is_0() {
        let complaint = "Server 4242 not found\n";
        let words = complaint.trim_end();
        assert_eq!(processes(complaint).unwrap_err().to_string(), words);
        assert_eq!(server_status(complaint).unwrap_err().to_string(), words);
        assert!(server_status("").is_err());
        let unknown_server = "Server 4242 not found\nServer 4242 not found!\n1\n";
        assert_eq!(termination(unknown_server).unwrap_err().to_string(), words);
        assert_eq!(
            termination("Invalid process 4243!\n1\n").unwrap_err().to_string(),
            "Invalid process 4243!"
        );
        assert!(termination("").is_ok() && termination("0\n").is_ok());
    }

    #[test]
    fn the_status_of_a_server_is_read() {
        assert_eq!(server_status("ACTIVE\n").unwrap(), ServerStatus::Active);
        assert_eq!(server_status("INITIALIZING\n").unwrap(), ServerStatus::Initializing);
        assert_eq!(server_status("FAULT\n").unwrap(), ServerStatus::Fault);
        assert_eq!(server_status("DRAINING\n").unwrap(), ServerStatus::Other("DRAINING".into()));
    }

    #[test]
    fn a_missing_daemon_is_a_refusal_in_its_words_whatever_the_exit_code() {
        let words = "Cannot find MPS control daemon process\n";
        for (code, stdout, stderr) in [(0, words, ""), (1, words, ""), (1, "", words)] {
            let refused = said(code, stdout, stderr).unwrap_err();
            assert_eq!(refused.to_string(), words.trim(), "exit code {code}");
        }
        assert_eq!(said(3, "", "").unwrap_err().to_string(), "exit status: 3");
        assert_eq!(said(0, "6472\n", "").unwrap(), "6472\n");
    }

    #[test]
    fn the_program_is_found_in_the_path_if_it_can_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(PROGRAM);
        std::fs::write(&file, "").unwrap();
        let path = std::env::join_paths([Path::new("/nowhere"), folder.path()]).unwrap();
        assert_ne!(find_program(Some(&path)), Ok(file.clone()));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(find_program(Some(&path)), Ok(file));
        assert!(ProgramMissing.to_string().contains("/usr/local/nvidia/bin, /usr/bin"));
    }
}

//! A private daemon, as the run sees it: a guardian, and where the daemon lives.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use super::control::{ANSWER, Control, POLL, QUIT};
use super::error::MpsError;
use super::protocol::{GuardCommand, Home, Place, Report, Request};

/// How long the guardian may take until the daemon answers, or has failed to.
const START: Duration = Duration::from_secs(30);
/// How long the guardian may take to end the daemon: longer than all of its own limits.
const END: Duration = Duration::from_secs(25);
/// How long a daemon that has lost its guardian may take to end.
const UNGUARDED_END: Duration = Duration::from_secs(10);
/// A guardian says less than this, in bytes.
const MOST_SAID: u64 = 1 << 20;

type Reports = Lines<BufReader<tokio::io::Take<ChildStdout>>>;

/// A private daemon. When this is dropped, its guardian sees the end of its input, and ends it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) control: Control,
    place: Place,
    /// How the daemon ended, if it has.
    death: watch::Receiver<Option<String>>,
    /// Holds the guardian's standard input: the lifeline.
    guardian: Mutex<Child>,
}

impl Session {
    /// Starts a guardian, and with it a daemon for one GPU, at its home if it has one. Must be called on a tokio
    /// runtime, which then listens to the guardian.
    pub(super) async fn start(
        command: &GuardCommand,
        gpu: &str,
        home: Option<&Home>,
    ) -> Result<Self, MpsError> {
        let failed = |source| MpsError::Guard { program: command.program.clone(), source };
        let mut guardian = Command::new(&command.program)
            .args(&command.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let Some(output) = guardian.stdout.take() else {
            return Err(failed(io::Error::other("it has no output")));
        };
        let mut reports = BufReader::new(output.take(MOST_SAID)).lines();
        let handshake = async {
            ask(&mut guardian, Request { gpu: gpu.to_owned(), home: home.cloned() }).await?;
            next(&mut reports).await
        };
        let place = match timeout(START, handshake).await {
            Ok(Ok(Some(Report::Ready(place)))) => place,
            Ok(Ok(Some(Report::Failed { message } | Report::Died { message }))) => {
                return Err(MpsError::Start(message));
            }
            Ok(Ok(None)) => return Err(failed(io::Error::other("it ended without a word"))),
            Ok(Err(error)) => return Err(failed(error)),
            Err(_) => {
                return Err(failed(io::Error::other(format!("it said nothing for {} s", START.as_secs()))));
            }
        };
        let (dead, death) = watch::channel(None);
        tokio::spawn(async move {
            let message = match next(&mut reports).await {
                Ok(Some(Report::Died { message })) => message,
                _ => "its guardian has ended".to_owned(),
            };
            dead.send_replace(Some(message));
        });
        let control = Control::new(Ok(place.program.clone()), place.pipe.clone());
        Ok(Self { control, place, death, guardian: Mutex::new(guardian) })
    }

    /// The folder of the daemon's logs.
    pub(super) fn log(&self) -> &Path {
        &self.place.log
    }

    /// How the daemon ended; none while it runs.
    pub(super) fn death(&self) -> Option<String> {
        self.death.borrow().clone()
    }

    /// Resolves, with how, when the daemon has ended by itself.
    pub(super) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.death.clone()
    }

    /// Ends the daemon and waits until nothing of it is left.
    pub(super) async fn end(&self) {
        let mut guardian = self.guardian.lock().await;
        drop(guardian.stdin.take());
        let in_order = matches!(timeout(END, guardian.wait()).await, Ok(Ok(status)) if status.success());
        if !in_order && self.place.folder.exists() {
            // The guardian was killed: what it would have done, as far as that can be done from here.
            let _ = timeout(UNGUARDED_END, self.quit()).await;
            if self.place.temporary {
                let _ = std::fs::remove_dir_all(&self.place.folder);
            }
        }
    }

    async fn quit(&self) {
        let _ = self.control.ask(QUIT, ANSWER).await;
        while self.control.ask("get_server_list", ANSWER).await.is_ok() {
            sleep(POLL).await;
        }
    }
}

async fn ask(guardian: &mut Child, request: Request) -> io::Result<()> {
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    match &mut guardian.stdin {
        Some(input) => input.write_all(&line).await,
        None => Err(io::Error::other("it has no input")),
    }
}

/// The guardian's next report; none when it has ended.
async fn next(reports: &mut Reports) -> io::Result<Option<Report>> {
    match reports.next_line().await? {
        None => Ok(None),
        Some(line) => serde_json::from_str(&line)
            .map(Some)
            .map_err(|_| io::Error::other(format!("it said {line:?}, which is no report of a guardian"))),
    }
}

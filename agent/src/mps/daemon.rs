//! A private daemon, as its guardian sees it: a child in the foreground, and a folder.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::control::{Control, ControlError, LOG_DIRECTORY, PIPE_DIRECTORY, POLL, QUIT, find_program};
use super::family;
use super::place;
use super::protocol::{Place, Request};

/// How long a daemon may take to answer for the first time.
const START: Duration = Duration::from_secs(15);
/// How long the command, and then the daemon, may take for that.
const QUIT_LIMIT: Duration = Duration::from_secs(5);
/// How long a daemon may take to end after a signal.
const GRACE: Duration = Duration::from_secs(2);
/// What the daemon prints goes there, in its log folder.
const PRINTED: &str = "printed.log";
/// The daemon's own log.
const CONTROL_LOG: &str = "control.log";
/// So many last lines of each log are told.
const LINES: usize = 4;

pub(super) struct Daemon {
    child: Child,
    control: Control,
    place: Place,
    /// None where the folder stays.
    folder: Option<TempDir>,
}

impl Daemon {
    /// Starts a daemon for one GPU.
    pub(super) fn spawn(request: &Request) -> Result<Self, String> {
        let Request { gpu, home } = request;
        let program = find_program(std::env::var_os("PATH").as_deref()).map_err(|error| error.to_string())?;
        let folders = match home {
            Some(home) => place::prepare(home, &program).map(|place| (None, place)),
            None => place::create(&place::bases(), &program).map(|(folder, place)| (Some(folder), place)),
        };
        let (folder, place) =
            folders.map_err(|error| format!("no folder for its sockets can be created: {error}"))?;
        let child = start(&place, gpu)
            .map_err(|error| format!("{} cannot be run: {error}", place.program.display()))?;
        let control = Control::new(Ok(place.program.clone()), place.pipe.clone());
        Ok(Self { child, control, place, folder })
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Waits until the daemon answers.
    pub(super) async fn ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.last_words(status));
            }
            match self.control.ask("get_server_list", START).await {
                Ok(_) => return Ok(()),
                Err(ControlError::Refused(_)) if Instant::now() < deadline => sleep(POLL).await,
                Err(error) => return Err(format!("it runs, but does not answer: {error}")),
            }
        }
    }

    /// Waits until the daemon ends by itself. Says how.
    pub(super) async fn died(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => self.last_words(status),
            Err(error) => format!("it cannot be waited for: {error}"),
        }
    }

    /// Ends the daemon and its servers, whatever state they are in, and removes the folder if that was made for it.
    pub(super) async fn end(mut self) {
        if !self.has_ended() {
            let _ = self.control.ask(QUIT, QUIT_LIMIT).await;
            let _ = timeout(QUIT_LIMIT, self.child.wait()).await;
        }
        if !self.has_ended() {
            if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let _ = timeout(GRACE, self.child.wait()).await;
        }
        if !self.has_ended() {
            let _ = timeout(GRACE, self.child.kill()).await;
        }
        family::end_children().await;
        // A folder that cannot be removed is no reason to stay.
        let _ = self.folder.map(TempDir::close);
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn last_words(&self, status: ExitStatus) -> String {
        let said: Vec<_> = [PRINTED, CONTROL_LOG]
            .iter()
            .filter_map(|name| std::fs::read(self.place.log.join(name)).ok())
            .flat_map(|log| last_lines(&String::from_utf8_lossy(&log)))
            .collect();
        if said.is_empty() {
            format!("it ended with {status}")
        } else {
            format!("it ended with {status}, and said: {}", said.join("; "))
        }
    }
}

fn start(place: &Place, gpu: &str) -> io::Result<Child> {
    let printed = File::create(place.log.join(PRINTED))?;
    let mut command = Command::new(&place.program);
    // Settings for clients, such as a share, would bind all clients of the daemon.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"CUDA_MPS_") {
            command.env_remove(name);
        }
    }
    command
        .arg("-f")
        .env(PIPE_DIRECTORY, &place.pipe)
        .env(LOG_DIRECTORY, &place.log)
        .env("CUDA_VISIBLE_DEVICES", gpu)
        .current_dir(Path::new("/"))
        .stdin(Stdio::null())
        .stdout(printed.try_clone()?)
        .stderr(printed)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn last_lines(log: &str) -> Vec<String> {
    let lines: Vec<_> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(LINES)).map(|&line| line.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_log_are_told() {
        assert_eq!(last_lines("a\n\nb\nc\nd\n  e\n"), ["b", "c", "d", "e"]);
        assert_eq!(last_lines("one"), ["one"]);
        assert!(last_lines("\n").is_empty());
    }
}

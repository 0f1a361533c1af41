//! NVIDIA's Multi-Process Service (MPS): what gives a worker a share of a GPU's SMs.
//!
//! A control daemon starts a server, and programs that find the daemon's pipe directory in their environment
//! become clients of it. A daemon that the environment names is used and left alone; otherwise [`Mps`] starts
//! a private one, which a guardian process ([`guard()`]) ends when this process ends, in whatever way.
//!
//! A program that does not reach the daemon runs without MPS, on the whole GPU and without any error: who
//! measures a share checks `CU_DEVICE_ATTRIBUTE_MPS_ENABLED` and the number of SMs.

mod control;
mod daemon;
mod error;
mod family;
mod guard;
mod place;
mod protocol;
mod session;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use tokio::net::UnixStream;
use tokio::time::timeout;

pub use control::{ControlError, ProgramMissing, ServerStatus};
pub use error::MpsError;
pub use guard::guard;
pub use protocol::{GuardCommand, Home};

pub(crate) use control::PIPE_DIRECTORY;
use control::{ANSWER, Control, LOG_DIRECTORY, processes, server_status, termination};
use session::Session;

use crate::lock::lock;

/// The control program, in `PATH` or where drivers put it.
///
/// # Errors
/// [`ProgramMissing`].
pub fn find_program() -> Result<PathBuf, ProgramMissing> {
    control::find_program(std::env::var_os("PATH").as_deref())
}

/// An MPS control daemon. A private one ends when this is dropped, soon afterwards: [`Mps::stop`] waits.
#[derive(Debug)]
pub struct Mps {
    /// UUID of the GPU.
    gpu: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Somebody else's.
    Adopted { control: Control, log: Option<OsString> },
    /// Ours.
    Private {
        guard: GuardCommand,
        home: Option<Home>,
        current: Mutex<Arc<Session>>,
        /// Held by the one who starts the daemon again.
        restarting: tokio::sync::Mutex<()>,
    },
}

impl Mps {
    /// The daemon for the GPU of this UUID: the one that `CUDA_MPS_PIPE_DIRECTORY` names, or else a private
    /// one with a guardian started by `guard`. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// [`MpsError::NoAnswer`] if the daemon of the environment does not answer; [`MpsError::Start`] or
    /// [`MpsError::Guard`] if a private one cannot be had.
    pub async fn adopt_or_start(uuid: &str, guard: &GuardCommand) -> Result<Self, MpsError> {
        match std::env::var_os(PIPE_DIRECTORY).filter(|directory| !directory.is_empty()) {
            Some(directory) => Self::adopt(uuid, Path::new(&directory)).await,
            None => Self::start(uuid, guard).await,
        }
    }

    /// The running daemon of a pipe directory. It is never stopped.
    ///
    /// Where the control program is not there, as in a container that has the driver's libraries only, the
    /// daemon's socket is tried instead, and the methods that need the program fail.
    ///
    /// # Errors
    /// [`MpsError::NoAnswer`].
    pub async fn adopt(uuid: &str, directory: &Path) -> Result<Self, MpsError> {
        let no_answer = |reason| MpsError::NoAnswer { directory: directory.to_owned(), reason };
        let pipe = std::path::absolute(directory).map_err(|error| no_answer(error.to_string()))?;
        let control = Control::new(find_program(), pipe);
        match control.insist("get_server_list").await {
            Ok(_) => {}
            Err(ControlError::Program(_)) => knock(control.pipe()).await.map_err(no_answer)?,
            Err(error) => return Err(no_answer(error.to_string())),
        }
        let kind = Kind::Adopted { control, log: std::env::var_os(LOG_DIRECTORY) };
        Ok(Self { gpu: uuid.to_owned(), kind })
    }

    /// The running daemon of a pipe directory, of which this process may be a client and not the master: it is asked
    /// nothing, only whether it listens.
    ///
    /// # Errors
    /// [`MpsError::NoAnswer`].
    pub async fn join(uuid: &str, directory: &Path) -> Result<Self, MpsError> {
        let no_answer = |reason| MpsError::NoAnswer { directory: directory.to_owned(), reason };
        knock(directory).await.map_err(no_answer)?;
        let control = Control::new(find_program(), directory.to_owned());
        Ok(Self { gpu: uuid.to_owned(), kind: Kind::Adopted { control, log: None } })
    }

    /// A private daemon for the GPU of this UUID. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// [`MpsError::Start`] or [`MpsError::Guard`].
    pub async fn start(uuid: &str, guard: &GuardCommand) -> Result<Self, MpsError> {
        Self::start_at(uuid, guard, None).await
    }

    /// The same at a home: a folder that stays, so that others can mount it.
    ///
    /// # Errors
    /// As [`Mps::start`].
    pub async fn start_at(uuid: &str, guard: &GuardCommand, home: Option<Home>) -> Result<Self, MpsError> {
        let session = Session::start(guard, uuid, home.as_ref()).await?;
        let kind = Kind::Private {
            guard: guard.clone(),
            home,
            current: Mutex::new(Arc::new(session)),
            restarting: tokio::sync::Mutex::default(),
        };
        Ok(Self { gpu: uuid.to_owned(), kind })
    }

    /// Whether the daemon is this run's own.
    #[must_use]
    pub fn private(&self) -> bool {
        matches!(self.kind, Kind::Private { .. })
    }

    /// Where the daemon's sockets are. Another directory after a [`Mps::restart`].
    #[must_use]
    pub fn pipe_directory(&self) -> PathBuf {
        self.control().pipe().to_owned()
    }

    /// What a client needs in its environment to have `share` percent of the GPU's SMs. Ask again after a
    /// [`Mps::restart`].
    ///
    /// The GPU is named by its UUID: its number would be counted among the daemon's GPUs.
    #[must_use]
    pub fn client_environment(&self, share: u32) -> Vec<(String, OsString)> {
        let (pipe, log) = match &self.kind {
            Kind::Adopted { control, log } => (control.pipe().to_owned(), log.clone()),
            Kind::Private { current, .. } => {
                let session = now(current);
                (session.control.pipe().to_owned(), Some(session.log().into()))
            }
        };
        [
            (PIPE_DIRECTORY, pipe.into_os_string()),
            ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", share.to_string().into()),
            ("CUDA_VISIBLE_DEVICES", self.gpu.clone().into()),
        ]
        .into_iter()
        .chain(log.map(|log| (LOG_DIRECTORY, log)))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// The daemon's servers: none before the first client has come.
    ///
    /// # Errors
    /// [`MpsError::Control`].
    pub async fn servers(&self) -> Result<Vec<u32>, MpsError> {
        self.ask("get_server_list".to_owned(), processes).await
    }

    /// The clients of a server, as process numbers where the daemon runs.
    ///
    /// # Errors
    /// [`MpsError::Control`].
    pub async fn clients(&self, server: u32) -> Result<Vec<u32>, MpsError> {
        self.ask(format!("get_client_list {server}"), processes).await
    }

    /// What a server is about.
    ///
    /// # Errors
    /// [`MpsError::Control`].
    pub async fn server_status(&self, server: u32) -> Result<ServerStatus, MpsError> {
        self.ask(format!("get_server_status {server}"), server_status).await
    }

    /// Takes a client off the GPU, also one whose kernel never ends, without harm to other clients. The
    /// process lives on and gets an error (810) from its CUDA calls: kill it afterwards. Killed first, in the
    /// middle of a kernel, it takes every other client down with an illegal access (700).
    ///
    /// # Errors
    /// [`MpsError::Control`], also if it is no client (any more).
    pub async fn terminate_client(&self, server: u32, client: u32) -> Result<(), MpsError> {
        self.ask(format!("terminate_client {server} {client}"), termination).await
    }

    /// How a private daemon ended by itself; none while it runs, and for one that is not this run's own.
    #[must_use]
    pub fn death(&self) -> Option<String> {
        self.session().and_then(|session| session.death())
    }

    /// Waits until a private daemon has ended by itself, and says how. Never resolves for one that is not
    /// this run's own, nor after [`Mps::restart`] for the one before.
    pub async fn died(&self) -> String {
        if let Some(mut death) = self.session().map(|session| session.watch())
            && let Ok(death) = death.wait_for(Option::is_some).await
        {
            return death.clone().unwrap_or_default();
        }
        std::future::pending().await
    }

    /// Starts a private daemon that has died again, at a new place or its home; does nothing if it runs. Of several calls
    /// at once one starts it. For a daemon that is not this run's own, checks that it answers.
    ///
    /// # Errors
    /// As [`Mps::adopt_or_start`].
    pub async fn restart(&self) -> Result<(), MpsError> {
        match &self.kind {
            Kind::Adopted { control, .. } => Self::adopt(&self.gpu, control.pipe()).await.map(|_| ()),
            Kind::Private { guard, home, current, restarting } => {
                let _one = restarting.lock().await;
                let session = now(current);
                if session.death().is_none() {
                    return Ok(());
                }
                session.end().await;
                let started = Session::start(guard, &self.gpu, home.as_ref()).await?;
                *lock(current) = Arc::new(started);
                Ok(())
            }
        }
    }

    /// Ends a private daemon with its servers, and waits until nothing is left of it. One that is not this
    /// run's own is left as it is.
    pub async fn stop(self) {
        if let Some(session) = self.session() {
            session.end().await;
        }
    }

    /// Gives the daemon a command, and reads what it prints.
    async fn ask<T>(
        &self,
        command: String,
        read: impl FnOnce(&str) -> Result<T, ControlError>,
    ) -> Result<T, MpsError> {
        let answer = self.control().insist(&command).await.and_then(|printed| read(&printed));
        answer.map_err(|source| MpsError::Control { command, source })
    }

    fn control(&self) -> Control {
        match &self.kind {
            Kind::Adopted { control, .. } => control.clone(),
            Kind::Private { current, .. } => now(current).control.clone(),
        }
    }

    fn session(&self) -> Option<Arc<Session>> {
        match &self.kind {
            Kind::Adopted { .. } => None,
            Kind::Private { current, .. } => Some(now(current)),
        }
    }
}

fn now(current: &Mutex<Arc<Session>>) -> Arc<Session> {
    Arc::clone(&lock(current))
}

/// Whether somebody listens at the socket of a pipe directory.
async fn knock(pipe: &Path) -> Result<(), String> {
    let socket = pipe.join("control");
    match timeout(ANSWER, UnixStream::connect(&socket)).await {
        Ok(Ok(_)) => Ok(()),
        // The daemon's socket is of another kind. The system says so only if somebody has it open, and the
        // daemon is not disturbed.
        Ok(Err(error)) if error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => Ok(()),
        Ok(Err(error)) => Err(format!("{}: {error}", socket.display())),
        Err(_) => Err(format!("{}: nobody takes the call", socket.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    #[tokio::test]
    async fn a_socket_answers_while_somebody_has_it_open_whatever_its_kind() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        assert!(knock(folder.path()).await.unwrap_err().contains("control"));
        let socket = folder.path().join("control");
        let listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(knock(folder.path()).await, Ok(()));
        drop(listener);
        assert!(knock(folder.path()).await.is_err(), "nobody has it open");
        std::fs::remove_file(&socket).unwrap();
        let other_kind = UnixDatagram::bind(&socket).unwrap();
        assert_eq!(knock(folder.path()).await, Ok(()));
        drop(other_kind);
        assert!(knock(folder.path()).await.is_err(), "nobody has it open");
    }
}

//! Who serves the gate: whoever comes first. The others join.
//!
//! The server holds a lock on the file `PATH.lock` for as long as it serves. So a socket that nobody listens
//! at and whose lock is free was left behind, and may be replaced; the system frees the lock however its
//! holder ends.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::core::Capacity;
use super::error::GateError;
use super::protocol::{Lines, Reply, VERSION};
use super::server::{self, serve};

/// How long a server may take to answer, or to come or go.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one that only joins waits for a server that has gone: a node's program may be replaced meanwhile.
const LONG_PATIENCE: Duration = Duration::from_mins(2);
/// How long to wait before another attempt.
const PAUSE: Duration = Duration::from_millis(5);
/// Only the user who runs the gate may use it.
const PRIVATE: u32 = 0o600;
/// What a socket's address holds, less its final zero and the ending of the name it is made under.
const MAX_PATH_BYTES: usize = 107 - NEW.len();
const NEW: &str = ".new";
const LOCK: &str = ".lock";

/// A connection to the server of a gate, and that server where it is this process.
pub(super) struct Connection {
    pub(super) lines: Lines<BufReader<OwnedReadHalf>>,
    pub(super) writer: OwnedWriteHalf,
    _server: Option<Server>,
}

/// The task that serves a gate; dropping this ends it.
struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether this process may serve the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It serves where nobody else does.
    Any,
    /// It only joins: another program serves.
    Guest,
    /// The same, once it has been a member: the server went, and will come back.
    ReturningGuest,
}

impl Role {
    /// What it is when it has lost the connection.
    pub(super) fn again(self) -> Self {
        if self == Role::Guest { Role::ReturningGuest } else { self }
    }

    fn patience(self) -> Duration {
        if self == Role::ReturningGuest { LONG_PATIENCE } else { PATIENCE }
    }
}

/// Joins the gate that is served at `path`, or serves it, where the role allows that, and then joins that.
pub(super) async fn elect(path: &Path, capacity: &Capacity, role: Role) -> Result<Connection, GateError> {
    if path.as_os_str().len() > MAX_PATH_BYTES {
        return Err(GateError::PathTooLong { path: path.to_owned(), limit: MAX_PATH_BYTES });
    }
    let patience = role.patience();
    let mut absent = false;
    timeout(patience, attempt_until_joined(path, capacity, role, &mut absent)).await.unwrap_or_else(|_| {
        let (path, seconds) = (path.to_owned(), patience.as_secs());
        Err(if absent {
            GateError::NotServed { path, seconds }
        } else {
            GateError::Unresponsive { path, seconds }
        })
    })
}

/// `absent` says at any time whether nobody listened the last time.
async fn attempt_until_joined(
    path: &Path,
    capacity: &Capacity,
    role: Role,
    absent: &mut bool,
) -> Result<Connection, GateError> {
    let mut server = None;
    loop {
        *absent = false;
        match UnixStream::connect(path).await {
            Ok(stream) => {
                let (reader, writer) = stream.into_split();
                let mut lines = Lines::new(BufReader::new(reader));
                if greeted(&mut lines, path, capacity).await? {
                    return Ok(Connection { lines, writer, _server: server });
                }
            }
            Err(error) if nobody_listens(&error) => {
                if role != Role::Any {
                    *absent = true;
                } else if let Some(seat) = Seat::take(path, None)? {
                    let capacity = capacity.clone();
                    server = Some(Server(tokio::spawn(async move {
                        serve(&seat.listener, capacity, server::unobserved()).await;
                    })));
                    continue;
                }
            }
            Err(error) if in_passing(&error) => {}
            Err(error) => return Err(socket_error(path, &error)),
        }
        sleep(PAUSE).await;
    }
}

fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Whether to try again: the server has more to accept than fits into its queue, or ended as we connected.
fn in_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}

/// Whether the server at `path` has greeted us; not, if it has just ended.
async fn greeted(
    lines: &mut Lines<BufReader<OwnedReadHalf>>,
    path: &Path,
    capacity: &Capacity,
) -> Result<bool, GateError> {
    let protocol = |reason: String| GateError::Protocol { path: path.to_owned(), version: VERSION, reason };
    let line = match lines.next().await {
        Ok(Some(line)) => line,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(protocol(error.to_string())),
        Ok(None) | Err(_) => return Ok(false),
    };
    match serde_json::from_slice(&line) {
        Ok(Reply::Hello { version: VERSION, capacity: theirs }) if theirs == *capacity => Ok(true),
        Ok(Reply::Hello { version: VERSION, capacity: theirs }) => {
            Err(GateError::OtherCapacity { path: path.to_owned(), theirs, ours: capacity.clone() })
        }
        Ok(Reply::Hello { version, .. }) => Err(protocol(format!("it speaks version {version}"))),
        Ok(_) => Err(protocol("it does not say hello first".to_owned())),
        Err(error) => Err(protocol(format!("its first line: {error}"))),
    }
}

/// The right to serve a gate, and the socket to serve it at. The socket's file goes when this is dropped,
/// before the lock does.
pub(super) struct Seat {
    pub(super) listener: UnixListener,
    path: PathBuf,
    _lock: File,
}

impl Seat {
    /// Takes the seat, unless somebody has it. The socket belongs to `owner` (a user), or else to this process' user.
    pub(super) fn take(path: &Path, owner: Option<u32>) -> Result<Option<Self>, GateError> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(GateError::NotASocket { path: path.to_owned() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(socket_error(path, &error)),
        }
        let lock_path = with_ending(path, LOCK);
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(PRIVATE).open(&lock_path);
        let lock = lock.map_err(|error| socket_error(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(socket_error(&lock_path, &error)),
        }
        let listener = listen(path, owner).map_err(|error| socket_error(path, &error))?;
        Ok(Some(Self { listener, path: path.to_owned(), _lock: lock }))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Where this fails, the next server replaces what is left.
        let _ = fs::remove_file(&self.path);
    }
}

/// Listens at `path`, in place of what was left there. The socket is made under another name, and appears
/// at `path` only once nobody else may use it and it accepts.
fn listen(path: &Path, owner: Option<u32>) -> io::Result<UnixListener> {
    let new = with_ending(path, NEW);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, Permissions::from_mode(PRIVATE))?;
    if owner.is_some() {
        chown(&new, owner, None)?;
    }
    fs::rename(&new, path)?;
    Ok(listener)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn socket_error(path: &Path, error: &io::Error) -> GateError {
    GateError::Socket { path: path.to_owned(), reason: error.to_string() }
}

//! Why the gate could not be used.

use std::path::PathBuf;

use super::core::{Capacity, NeedError};

/// Why the gate could not be joined, or did not grant a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// The request could never be granted.
    #[error(transparent)]
    Need(#[from] NeedError),
    /// The process that serves the gate refused the request.
    #[error("the gate refused the request: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// A lease needs a timer, and there is no runtime to run it on.
    #[error("a lease needs a tokio runtime with a timer; ask from within one, or without a lease")]
    NoRuntime,
    /// The lease ended before the task that asked for it ran again.
    #[error("the lease was over before it could be used; ask for a longer one, or block the runtime less")]
    LeaseOver,
    /// A file beside or at the socket's path cannot be used.
    #[error("{}: {reason}; choose a path in a directory that exists and that you may write to", path.display())]
    Socket {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Something else lies where the socket should be.
    #[error("{}: is not a socket, and is left alone; remove it or choose another path", path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The path does not fit into a socket's address.
    #[error("{}: is longer than the {limit} bytes that a gate's socket may have; choose a shorter path", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// The most bytes it may have.
        limit: usize,
    },
    /// The gate that is served there is another one.
    #[error(
        "{}: the gate served there has {theirs:?}, not {ours:?}; run with the same units or CPUs, or choose another path",
        path.display()
    )]
    OtherCapacity {
        /// The socket.
        path: PathBuf,
        /// What is served there.
        theirs: Capacity,
        /// What was asked for.
        ours: Capacity,
    },
    /// What listens there is not a gate of a version that we speak.
    #[error("{}: what listens there does not speak version {version} of the gate's protocol ({reason}); choose another path", path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// The version that we speak.
        version: u32,
        /// What was wrong.
        reason: String,
    },
    /// Somebody has the gate's lock or socket, but does not answer.
    #[error("{}: the process that serves the gate has not answered for {seconds} s; end it or choose another path", path.display())]
    Unresponsive {
        /// The socket.
        path: PathBuf,
        /// How long we waited, in seconds.
        seconds: u64,
    },
    /// Nobody serves a gate that this process may only join.
    #[error("{}: nobody has served the gate there for {seconds} s", path.display())]
    NotServed {
        /// The socket.
        path: PathBuf,
        /// How long we waited, in seconds.
        seconds: u64,
    },
    /// The runtime on which the gate was opened has ended.
    #[error("the gate is closed: the runtime on which it was opened has ended; open it again")]
    Closed,
}

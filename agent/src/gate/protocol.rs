//! What is said over the gate's socket: JSON, one message a line. `docs/gate-protocol.md` is its description.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::core::{Capacity, Need};

/// Version of the protocol. It grows when an old client could misunderstand a new server.
pub const VERSION: u32 = 1;
/// The longest line that is read, in bytes, its end not counted.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
/// The most requests that one connection may have waiting and holding.
pub const MAX_CLAIMS: usize = 4096;

/// From client to server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// Ask for something.
    Acquire {
        /// The client's number for this request; never used twice on a connection.
        id: u64,
        /// What is asked for.
        need: Need,
        /// For how long at most, in milliseconds from the grant; without end unless set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease_ms: Option<u64>,
    },
    /// Give it back, or stop waiting for it.
    Release {
        /// The number of the request.
        id: u64,
    },
}

/// From server to client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// The first line of every connection.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// What the gate has to give.
        capacity: Capacity,
    },
    /// A request holds what it asked for.
    Granted {
        /// The number of the request.
        id: u64,
        /// The lanes that it holds; empty at a gate of units.
        lanes: Vec<usize>,
    },
    /// A request holds nothing any more: its lease is over.
    Revoked {
        /// The number of the request.
        id: u64,
    },
    /// A message was refused.
    Error {
        /// The number of the request that is refused for good; none where the message could not be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// What is wrong and what to send instead.
        message: String,
    },
}

/// Reads lines of bounded length.
pub(super) struct Lines<R> {
    source: R,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, line: Vec::new() }
    }

    /// The next line without its end; none at the end of the stream, where an unfinished line is dropped.
    /// May be cancelled: what was read is kept for the next call.
    ///
    /// # Errors
    /// `InvalidData` for a line over [`MAX_LINE_BYTES`]; the stream cannot be read on from there.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let chunk = self.source.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let mut parts = chunk.splitn(2, |byte| *byte == b'\n');
            let part = parts.next().unwrap_or_default();
            let (length, ended) = (part.len(), parts.next().is_some());
            if self.line.len() + length > MAX_LINE_BYTES {
                let message = format!("a line is over {MAX_LINE_BYTES} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            self.line.extend_from_slice(part);
            self.source.consume(length + usize::from(ended));
            if ended {
                return Ok(Some(std::mem::take(&mut self.line)));
            }
        }
    }
}

/// Appends one message to `buffer`, as a line.
pub(super) fn append(buffer: &mut Vec<u8>, message: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *buffer, message)?;
    buffer.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(message: &impl Serialize) -> String {
        serde_json::to_string(message).unwrap()
    }

    #[test]
    fn messages_are_written_as_documented() {
        let acquire = Request::Acquire { id: 1, need: Need::Units(25), lease_ms: Some(2000) };
        assert_eq!(written(&acquire), r#"{"acquire":{"id":1,"need":{"units":25},"leaseMs":2000}}"#);
        let acquire = Request::Acquire { id: 2, need: Need::AnyLane, lease_ms: None };
        assert_eq!(written(&acquire), r#"{"acquire":{"id":2,"need":"anyLane"}}"#);
        assert_eq!(written(&Request::Release { id: 1 }), r#"{"release":{"id":1}}"#);
        let hello = Reply::Hello { version: 1, capacity: Capacity::Lanes(vec![0, 1]) };
        assert_eq!(written(&hello), r#"{"hello":{"version":1,"capacity":{"lanes":[0,1]}}}"#);
        let granted = Reply::Granted { id: 1, lanes: vec![] };
        assert_eq!(written(&granted), r#"{"granted":{"id":1,"lanes":[]}}"#);
        assert_eq!(written(&Reply::Revoked { id: 1 }), r#"{"revoked":{"id":1}}"#);
    }

    #[tokio::test]
    async fn lines_are_split_and_bounded() {
        let mut lines = Lines::new(&b"one\n\ntwo\nunfinished"[..]);
        assert_eq!(lines.next().await.unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(lines.next().await.unwrap().as_deref(), Some(&b""[..]));
        assert_eq!(lines.next().await.unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(lines.next().await.unwrap(), None);

        let mut exact = vec![b'x'; MAX_LINE_BYTES];
        exact.push(b'\n');
        assert_eq!(Lines::new(&exact[..]).next().await.unwrap().map(|line| line.len()), Some(MAX_LINE_BYTES));
        exact.insert(0, b'x');
        let error = Lines::new(&exact[..]).next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

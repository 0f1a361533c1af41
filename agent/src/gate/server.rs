//! Serves a gate over a Unix socket.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::core::{Capacity, Need};
use super::desk::{Desk, Sink, Stage};
use super::protocol::{Lines, MAX_CLAIMS, Reply, Request, VERSION, append};
use super::waits::NeedKind;

#[cfg(test)]
mod tests;

/// How long to leave off accepting when that fails, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most characters of a reader's complaint that are sent back.
const COMPLAINT_CHARS: usize = 200;

/// Hears of each granted request how long it waited, counted from when it was read.
pub(super) type Observer = Arc<dyn Fn(NeedKind, Duration) + Send + Sync>;

/// Nobody wants to hear.
pub(super) fn unobserved() -> Observer {
    Arc::new(|_, _| {})
}

/// Serves `listener` until the future is dropped; every connection ends with it.
pub(super) async fn serve(listener: &UnixListener, capacity: Capacity, observer: Observer) {
    let desk = Desk::new(capacity.clone());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let claims = Claims::new(Arc::clone(&desk), Arc::clone(&observer));
                    connections.spawn(converse(stream, claims, capacity.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the gate cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until it closes. What it holds and waits for ends with it.
async fn converse(stream: UnixStream, claims: Claims, capacity: Capacity) {
    let (reader, writer) = stream.into_split();
    let (tell, mut news) = mpsc::unbounded_channel();
    let mut connection = Connection { writer, claims, tell };
    let mut lines = Lines::new(BufReader::new(reader));
    if let Err(error) = connection.run(&mut lines, &mut news, capacity).await {
        tracing::debug!(%error, "a connection to the gate broke");
    }
}

/// A stage that the request with this number at the desk has reached.
type News = (u64, Stage);

struct Connection {
    writer: OwnedWriteHalf,
    claims: Claims,
    tell: mpsc::UnboundedSender<News>,
}

impl Connection {
    /// Replies are written before the next line is read, so that a client that does not read them is not
    /// read either, and cannot fill this process's memory.
    async fn run(
        &mut self,
        lines: &mut Lines<BufReader<OwnedReadHalf>>,
        news: &mut mpsc::UnboundedReceiver<News>,
        capacity: Capacity,
    ) -> io::Result<()> {
        self.say(&Reply::Hello { version: VERSION, capacity }).await?;
        loop {
            tokio::select! {
                line = lines.next() => match line {
                    Ok(Some(line)) => self.hear(&line).await?,
                    Ok(None) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        return self.refuse(None, &format!("{error}; the connection is closed")).await;
                    }
                    Err(error) => return Err(error),
                },
                Some((desk_id, stage)) = news.recv() => self.pass_on(desk_id, stage).await?,
            }
        }
    }

    async fn hear(&mut self, line: &[u8]) -> io::Result<()> {
        match serde_json::from_slice(line) {
            Ok(Request::Acquire { id, need, lease_ms }) => {
                let lease = lease_ms.map(Duration::from_millis);
                match self.claims.request(id, &need, lease, &self.tell) {
                    Ok(()) => Ok(()),
                    Err(message) => self.refuse(Some(id), &message).await,
                }
            }
            Ok(Request::Release { id }) => {
                self.claims.release(id);
                Ok(())
            }
            Err(error) => {
                let complaint: String = error.to_string().chars().take(COMPLAINT_CHARS).collect();
                let way_out = r#"send {"acquire":{"id":1,"need":{"units":25}}} or {"release":{"id":1}}"#;
                self.refuse(None, &format!("not a request: {complaint}; {way_out}")).await
            }
        }
    }

    /// Tells the client what became of a request, unless it has left the line in the meantime.
    async fn pass_on(&mut self, desk_id: u64, stage: Stage) -> io::Result<()> {
        let Some(id) = self.claims.client_id(desk_id) else { return Ok(()) };
        match stage {
            Stage::Granted(lanes) => self.say(&Reply::Granted { id, lanes }).await,
            Stage::Revoked => {
                self.claims.release(id);
                self.say(&Reply::Revoked { id }).await
            }
            Stage::Waiting | Stage::Failed(_) => Ok(()),
        }
    }

    async fn refuse(&mut self, id: Option<u64>, message: &str) -> io::Result<()> {
        self.say(&Reply::Error { id, message: message.to_owned() }).await
    }

    async fn say(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = Vec::new();
        append(&mut line, reply)?;
        self.writer.write_all(&line).await
    }
}

/// What one connection holds and waits for, by the client's numbers and by the desk's.
struct Claims {
    desk: Arc<Desk>,
    observer: Observer,
    by_client: BTreeMap<u64, u64>,
    by_desk: BTreeMap<u64, u64>,
}

impl Claims {
    fn new(desk: Arc<Desk>, observer: Observer) -> Self {
        Self { desk, observer, by_client: BTreeMap::new(), by_desk: BTreeMap::new() }
    }

    fn request(
        &mut self,
        id: u64,
        need: &Need,
        lease: Option<Duration>,
        tell: &mpsc::UnboundedSender<News>,
    ) -> Result<(), String> {
        if self.by_client.contains_key(&id) {
            return Err(format!("id: {id}: waits or holds already; use an id that was not used before"));
        }
        if self.by_client.len() >= MAX_CLAIMS {
            return Err(format!("this connection has {MAX_CLAIMS} requests already; release some first"));
        }
        let (kind, since, observer) = (NeedKind::from(need), Instant::now(), Arc::clone(&self.observer));
        let sink = |desk_id: u64| -> Sink {
            let tell = tell.clone();
            Box::new(move |stage| {
                if matches!(stage, Stage::Granted(_)) {
                    observer(kind, since.elapsed());
                }
                // Fails only when the connection has ended, and then there is nobody to tell.
                let _ = tell.send((desk_id, stage));
            })
        };
        let desk_id = self.desk.request(need, lease, sink).map_err(|error| error.to_string())?;
        self.by_client.insert(id, desk_id);
        self.by_desk.insert(desk_id, id);
        Ok(())
    }

    fn release(&mut self, id: u64) {
        if let Some(desk_id) = self.by_client.remove(&id) {
            self.by_desk.remove(&desk_id);
            self.desk.release(desk_id);
        }
    }

    fn client_id(&self, desk_id: u64) -> Option<u64> {
        self.by_desk.get(&desk_id).copied()
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        // The last in line first: else what an earlier one gives back would be granted to a later one.
        for desk_id in self.by_desk.keys().rev() {
            self.desk.release(*desk_id);
        }
    }
}

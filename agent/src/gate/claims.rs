//! What one process asks of a gate that it shares with others, also across a change of the server.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::core::{Capacity, Need};
use super::desk::Stage;
use super::election::{Connection, Role, elect};
use super::error::GateError;
use super::protocol::{Reply, Request, append};
use crate::lock::lock;

/// How long to wait before joining again: a server that drops us at once must not keep this process busy.
const PAUSE: Duration = Duration::from_millis(10);

/// A process's membership in a shared gate. Dropping it leaves the gate, and ends the server if this
/// process serves.
pub(super) struct Member {
    capacity: Capacity,
    claims: Arc<Mutex<Claims>>,
    task: JoinHandle<()>,
}

impl Member {
    /// Joins the gate at `path`, or begins to serve it where the role allows that.
    pub(super) async fn join(path: &Path, capacity: Capacity, role: Role) -> Result<Self, GateError> {
        let capacity = sorted(capacity);
        let connection = elect(path, &capacity, role).await?;
        let claims = Arc::new(Mutex::new(Claims::default()));
        let gate = (path.to_owned(), capacity.clone(), role.again());
        let task = tokio::spawn(stay(gate, connection, Closing(Arc::clone(&claims))));
        Ok(Self { capacity, claims, task })
    }

    /// Asks for `need` and says the request's number; `stage` hears what becomes of it.
    pub(super) fn request(
        &self,
        mut need: Need,
        lease: Option<Duration>,
        stage: watch::Sender<Stage>,
    ) -> Result<u64, GateError> {
        self.capacity.check(&need)?;
        if let Need::Lanes(lanes) = &mut need {
            // A list with many repetitions might not fit into a line.
            lanes.sort_unstable();
            lanes.dedup();
        }
        lock(&self.claims).request(Claim { need, lease, waiting: true, stage })
    }

    /// Gives back what request `id` holds, or stops waiting for it.
    pub(super) fn release(&self, id: u64) {
        lock(&self.claims).release(id);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn sorted(capacity: Capacity) -> Capacity {
    match capacity {
        Capacity::Units(_) => capacity,
        Capacity::Lanes(mut lanes) => {
            lanes.sort_unstable();
            lanes.dedup();
            Capacity::Lanes(lanes)
        }
    }
}

/// What this process waits for and holds. Numbers are never used twice, so that they stay clear when
/// another server takes over.
#[derive(Default)]
struct Claims {
    next_id: u64,
    by_id: BTreeMap<u64, Claim>,
    link: Link,
}

struct Claim {
    need: Need,
    lease: Option<Duration>,
    waiting: bool,
    stage: watch::Sender<Stage>,
}

#[derive(Default)]
enum Link {
    /// A server is being looked for; what waits is sent to it as soon as it is found.
    #[default]
    Down,
    /// Messages go to the server.
    Up(mpsc::UnboundedSender<Request>),
    /// There will be no server any more.
    Closed(GateError),
}

impl Link {
    fn send(&self, request: Request) {
        if let Self::Up(outbox) = self {
            // Fails only when the connection has just ended; then the next server is asked.
            let _ = outbox.send(request);
        }
    }
}

impl Claims {
    fn request(&mut self, claim: Claim) -> Result<u64, GateError> {
        if let Link::Closed(error) = &self.link {
            return Err(error.clone());
        }
        let id = self.next_id;
        self.next_id += 1;
        self.link.send(claim.acquire(id));
        self.by_id.insert(id, claim);
        Ok(id)
    }

    fn release(&mut self, id: u64) {
        if self.by_id.remove(&id).is_some() {
            self.link.send(Request::Release { id });
        }
    }

    /// A server was found: it is asked for everything that waits, in the order in which it was asked first.
    fn link_up(&mut self) -> mpsc::UnboundedReceiver<Request> {
        let (outbox, requests) = mpsc::unbounded_channel();
        self.link = Link::Up(outbox);
        for (id, claim) in self.by_id.iter().filter(|(_, claim)| claim.waiting) {
            self.link.send(claim.acquire(*id));
        }
        requests
    }

    fn hear(&mut self, reply: Reply) {
        match reply {
            Reply::Hello { .. } => {}
            Reply::Granted { id, lanes } => self.reach(id, Stage::Granted(lanes)),
            Reply::Revoked { id } => self.reach(id, Stage::Revoked),
            Reply::Error { id: Some(id), message } => {
                self.reach(id, Stage::Failed(GateError::Refused { reason: message }));
            }
            Reply::Error { id: None, message } => tracing::warn!(message, "the gate refused a message"),
        }
    }

    fn reach(&mut self, id: u64, stage: Stage) {
        if let Some(claim) = self.by_id.get_mut(&id) {
            claim.waiting = false;
            claim.stage.send_replace(stage);
        }
    }

    fn close(&mut self, error: &GateError) {
        if matches!(self.link, Link::Closed(_)) {
            return;
        }
        self.link = Link::Closed(error.clone());
        for claim in self.by_id.values_mut().filter(|claim| claim.waiting) {
            claim.waiting = false;
            claim.stage.send_replace(Stage::Failed(error.clone()));
        }
    }
}

impl Claim {
    fn acquire(&self, id: u64) -> Request {
        let milliseconds =
            |lease: Duration| u64::try_from(lease.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Request::Acquire { id, need: self.need.clone(), lease_ms: self.lease.map(milliseconds) }
    }
}

/// Closes the claims when the task that serves them ends in any way, so that nobody waits for ever.
struct Closing(Arc<Mutex<Claims>>);

impl Drop for Closing {
    fn drop(&mut self) {
        lock(&self.0).close(&GateError::Closed);
    }
}

/// Stays a member of the gate: whenever the connection is lost, joins again or serves.
async fn stay(gate: (PathBuf, Capacity, Role), mut connection: Connection, claims: Closing) {
    let (path, capacity, role) = gate;
    loop {
        let requests = lock(&claims.0).link_up();
        if let Err(error) = converse(&mut connection, requests, &claims.0).await {
            tracing::debug!(%error, "the connection to the gate broke");
        }
        lock(&claims.0).link = Link::Down;
        // If the server was ours, it has to go before there can be another.
        drop(connection);
        sleep(PAUSE).await;
        connection = match elect(&path, &capacity, role).await {
            Ok(connection) => connection,
            Err(error) => return lock(&claims.0).close(&error),
        };
    }
}

/// Passes messages both ways until the connection ends. Reading never waits for writing: two ends that both
/// write and do not read would wait for each other.
async fn converse(
    connection: &mut Connection,
    mut requests: mpsc::UnboundedReceiver<Request>,
    claims: &Mutex<Claims>,
) -> io::Result<()> {
    let Connection { lines, writer, .. } = connection;
    let speak = async {
        while let Some(request) = requests.recv().await {
            let mut lines = Vec::new();
            append(&mut lines, &request)?;
            // What else is there goes with it: a release is mostly followed by the next request.
            while let Ok(request) = requests.try_recv() {
                append(&mut lines, &request)?;
            }
            writer.write_all(&lines).await?;
        }
        Ok(())
    };
    let listen = async {
        while let Some(line) = lines.next().await? {
            let reply = serde_json::from_slice(&line)?;
            lock(claims).hear(reply);
        }
        Ok(())
    };
    tokio::select! {
        ended = speak => ended,
        ended = listen => ended,
    }
}

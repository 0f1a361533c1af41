//! The state machine with a clock and a way to tell those who wait: what one process serves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::core::{Capacity, Core, Event, Need};
use super::error::GateError;
use crate::lock::lock;

/// How far a request has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// In the line.
    Waiting,
    /// Holds what it asked for: these lanes, at a gate of lanes.
    Granted(Vec<usize>),
    /// Was past its lease.
    Revoked,
    /// Will never be granted.
    Failed(GateError),
}

/// Is told each new stage of one request. It is called with the desk locked: it must not block, nor call
/// the desk.
pub(super) type Sink = Box<dyn Fn(Stage) + Send>;

/// A gate within this process.
pub(super) struct Desk {
    book: Mutex<Book>,
    start: Instant,
    /// Wakes the timer: a deadline may have come nearer, or the desk is gone.
    wake: Arc<Notify>,
}

struct Book {
    core: Core,
    sinks: BTreeMap<u64, Sink>,
    next_id: u64,
    /// The task that ends leases; there is none until the first lease.
    timer: Option<JoinHandle<()>>,
}

impl Desk {
    /// A gate that nobody holds.
    pub(super) fn new(capacity: Capacity) -> Arc<Self> {
        let book = Book { core: Core::new(capacity), sinks: BTreeMap::new(), next_id: 0, timer: None };
        Arc::new(Self { book: Mutex::new(book), start: Instant::now(), wake: Arc::new(Notify::new()) })
    }

    /// Puts a request at the end of the line and says its number; `sink` hears of everything after that,
    /// and of a grant even before this returns.
    pub(super) fn request(
        self: &Arc<Self>,
        need: &Need,
        lease: Option<Duration>,
        sink: impl FnOnce(u64) -> Sink,
    ) -> Result<u64, GateError> {
        let mut book = lock(&self.book);
        if lease.is_some() {
            self.keep_time(&mut book)?;
        }
        let id = book.next_id;
        let lease_ms = lease.map(milliseconds);
        book.core.request(id, need, lease_ms, self.now_ms())?;
        book.next_id += 1;
        book.sinks.insert(id, sink(id));
        self.tell(&mut book);
        Ok(id)
    }

    /// Takes back what `id` holds, or takes it out of the line; nobody is told of it any more.
    pub(super) fn release(&self, id: u64) {
        let mut book = lock(&self.book);
        book.sinks.remove(&id);
        book.core.release(id, self.now_ms());
        self.tell(&mut book);
    }

    fn tell(&self, book: &mut Book) {
        let events = book.core.take_events();
        if book.timer.is_some() && !events.is_empty() {
            self.wake.notify_one();
        }
        for event in events {
            match event {
                Event::Granted { id, lanes } => {
                    if let Some(sink) = book.sinks.get(&id) {
                        sink(Stage::Granted(lanes));
                    }
                }
                Event::Revoked { id } => {
                    if let Some(sink) = book.sinks.remove(&id) {
                        sink(Stage::Revoked);
                    }
                }
            }
        }
    }

    fn now_ms(&self) -> u64 {
        milliseconds_down(self.start.elapsed())
    }

    /// Makes sure that a task ends leases: also when the runtime of the one before has ended.
    fn keep_time(self: &Arc<Self>, book: &mut Book) -> Result<(), GateError> {
        if book.timer.as_ref().is_none_or(JoinHandle::is_finished) {
            let runtime = Handle::try_current().map_err(|_| GateError::NoRuntime)?;
            let timer = end_leases(Arc::downgrade(self), Arc::clone(&self.wake));
            book.timer = Some(runtime.spawn(timer));
        }
        Ok(())
    }

    /// Ends the leases that are over, and says when the next one will be.
    fn expire(&self) -> Option<Instant> {
        let mut book = lock(&self.book);
        if !book.core.expire(self.now_ms()).is_empty() {
            self.tell(&mut book);
        }
        let deadline = book.core.next_deadline()?;
        self.start.checked_add(Duration::from_millis(deadline))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

async fn end_leases(desk: Weak<Desk>, wake: Arc<Notify>) {
    while let Some(deadline) = desk.upgrade().map(|desk| desk.expire()) {
        match deadline {
            Some(deadline) => tokio::select! {
                () = sleep_until(deadline) => {}
                () = wake.notified() => {}
            },
            None => wake.notified().await,
        }
    }
}

/// A lease in milliseconds: at least one, rounded up, so that nobody loses a unit too early.
fn milliseconds(lease: Duration) -> u64 {
    u64::try_from(lease.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
}

fn milliseconds_down(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_rounded_up() {
        assert_eq!(milliseconds(Duration::from_micros(1)), 1);
        assert_eq!(milliseconds(Duration::ZERO), 1);
        assert_eq!(milliseconds(Duration::from_micros(2001)), 3);
        assert_eq!(milliseconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn a_lease_without_a_runtime_is_an_error_and_leaves_nothing_behind() {
        let desk = Desk::new(Capacity::Units(100));
        let sink = |_| -> Sink { Box::new(|_| {}) };
        let lease = Some(Duration::from_secs(1));
        assert_eq!(desk.request(&Need::Quiet, lease, sink), Err(GateError::NoRuntime));
        assert_eq!(desk.request(&Need::Quiet, None, sink), Ok(0));
    }
}

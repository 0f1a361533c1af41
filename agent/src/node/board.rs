//! What is wrong with which GPU: written by those who look after them, read by those who offer their slots.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info};

/// Who found something wrong. What one finds does not hide what another does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The MPS daemon is not there.
    Daemon,
    /// The gate is not served.
    Gate,
    /// The driver does not reach the card.
    Lost,
    /// The card reported an error that is not a program's (Xid).
    Xid,
}

type Troubles = BTreeMap<(String, Cause), String>;

/// The board. Clones are the same board.
#[derive(Clone, Debug)]
pub struct Board(Arc<watch::Sender<Troubles>>);

impl Default for Board {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Troubles::new())))
    }
}

impl Board {
    /// Says that something is wrong with a GPU. Said again in other words, the latest words count.
    pub fn trouble(&self, gpu: &str, cause: Cause, words: &str) {
        let changed = self.0.send_if_modified(|troubles| {
            let before = troubles.insert((gpu.to_owned(), cause), words.to_owned());
            before.as_deref() != Some(words)
        });
        if changed {
            error!(gpu, ?cause, "its slots are unhealthy: {words}");
        }
    }

    /// Says that it is right again.
    pub fn settled(&self, gpu: &str, cause: Cause) {
        if self.0.send_if_modified(|troubles| troubles.remove(&(gpu.to_owned(), cause)).is_some()) {
            info!(gpu, ?cause, "well again");
        }
    }

    /// Whether a GPU's slots can be used.
    #[must_use]
    pub fn is_healthy(&self, gpu: &str) -> bool {
        !self.0.borrow().keys().any(|(of, _)| of == gpu)
    }

    /// Resolves whenever something has changed since it was asked for the last time.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Troubles> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_healthy_when_nobody_finds_anything_wrong() {
        let board = Board::default();
        let mut watch = board.watch();
        assert!(board.is_healthy("a"));
        board.trouble("a", Cause::Daemon, "starting");
        board.trouble("a", Cause::Xid, "Xid 79");
        assert!(!board.is_healthy("a") && board.is_healthy("b"));
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        board.trouble("a", Cause::Xid, "Xid 79");
        assert!(!watch.has_changed().unwrap(), "the same words are no news");
        board.settled("a", Cause::Daemon);
        assert!(!board.is_healthy("a"));
        board.settled("a", Cause::Xid);
        assert!(board.is_healthy("a"));
        watch.mark_unchanged();
        board.settled("a", Cause::Xid);
        assert!(!watch.has_changed().unwrap());
    }
}

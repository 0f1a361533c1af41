//! A gate that one program serves and others only join: a node's, for its pods.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::core::Capacity;
use super::election::Seat;
use super::error::GateError;
use super::server::serve;
use super::waits::NeedKind;

/// The right to serve a gate at a socket, and the socket. Its file goes when this is dropped.
pub struct Service {
    seat: Seat,
    path: PathBuf,
}

impl Service {
    /// Listens at `path`, whose socket is for the user `owner` alone, or else for this process' user.
    ///
    /// # Errors
    /// [`GateError::Unresponsive`] if another process serves there, or what [`super::Gate::shared`] says of paths.
    pub fn bind(path: &Path, owner: Option<u32>) -> Result<Self, GateError> {
        match Seat::take(path, owner)? {
            Some(seat) => Ok(Self { seat, path: path.to_owned() }),
            None => Err(GateError::Unresponsive { path: path.to_owned(), seconds: 0 }),
        }
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until the future is dropped. `granted` hears how long each granted request waited.
    pub async fn serve(
        self,
        capacity: Capacity,
        granted: impl Fn(NeedKind, Duration) + Send + Sync + 'static,
    ) {
        serve(&self.seat.listener, capacity, Arc::new(granted)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::{Gate, Need};
    use super::*;
    use crate::lock::lock;

    #[tokio::test]
    async fn a_guest_passes_a_served_gate_and_its_waits_are_heard_of() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let path = folder.path().join("gate.sock");
        let service = Service::bind(&path, None).unwrap();
        assert!(Service::bind(&path, None).is_err(), "one serves");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let served = service.serve(Capacity::Units(100), move |kind, _| lock(&ear).push(kind));
        let task = tokio::spawn(served);
        let gate = Gate::joined(&path, Capacity::Units(100)).await.unwrap();
        let half = gate.acquire(Need::Units(50), None).await.unwrap();
        drop(half);
        gate.acquire(Need::Quiet, None).await.map(drop).unwrap();
        assert_eq!(*lock(&heard), [NeedKind::Units, NeedKind::Quiet]);
        task.abort();
        let _ = task.await;
        assert!(!path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_never_serves_and_says_that_nobody_does() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let path = folder.path().join("gate.sock");
        let refused = Gate::joined(&path, Capacity::Units(100)).await.map(drop).unwrap_err();
        assert!(matches!(refused, GateError::NotServed { seconds: 10, .. }), "{refused}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made there");
    }

    #[tokio::test]
    async fn a_guest_goes_on_when_the_server_comes_back() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let path = folder.path().join("gate.sock");
        let serve = || {
            let service = Service::bind(&path, None).unwrap();
            tokio::spawn(service.serve(Capacity::Units(100), |_, _| {}))
        };
        let first = serve();
        let gate = Gate::joined(&path, Capacity::Units(100)).await.unwrap();
        gate.acquire(Need::Quiet, None).await.map(drop).unwrap();
        first.abort();
        let _ = first.await;
        let waiting = gate.acquire(Need::Quiet, None);
        let again = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            [serve()]
        };
        let (granted, [second]) = tokio::join!(waiting, again);
        assert!(granted.is_ok());
        second.abort();
    }
}

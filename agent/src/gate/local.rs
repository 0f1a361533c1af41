//! What a run holds in its hands: the gate, and permits to pass it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::claims::Member;
use super::core::{Capacity, Need};
use super::desk::{Desk, Stage};
use super::election::Role;
use super::error::GateError;
use super::waits::{NeedKind, Waits, record};
use crate::lock::lock;

#[cfg(test)]
mod tests;

/// The units of a GPU: one for each percent of its SMs.
const GPU_UNITS: u32 = 100;

/// A gate. Clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    seat: Seat,
    waits: Arc<Mutex<BTreeMap<NeedKind, Waits>>>,
}

#[derive(Clone)]
enum Seat {
    /// The gate is of this process alone.
    Alone(Arc<Desk>),
    /// The gate is shared with other processes.
    Member(Arc<Member>),
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate of these CPUs, for this process alone.
    #[must_use]
    pub fn cpus(cpus: Vec<usize>) -> Self {
        Self::alone(Capacity::Lanes(cpus))
    }

    /// A gate of a GPU's 100 units, for this process alone.
    #[must_use]
    pub fn gpu() -> Self {
        Self::alone(Capacity::Units(GPU_UNITS))
    }

    /// A gate of `capacity`, shared by all processes of this machine that name the same socket `path`.
    ///
    /// The first to come serves it, on the current runtime; the others join. When the serving process ends,
    /// one of the others takes over: what they wait for is asked for again, and what they hold is known to
    /// themselves only, until they give it back. The gate works while this runtime runs.
    ///
    /// # Errors
    /// A path that cannot be used, another gate or something else at that path, or a serving process that
    /// does not answer.
    pub async fn shared(path: &Path, capacity: Capacity) -> Result<Self, GateError> {
        let member = Member::join(path, capacity, Role::Any).await?;
        Ok(Self::seated(Seat::Member(Arc::new(member))))
    }

    /// The gate of `capacity` that another program serves at the socket `path`; this process never serves it. A
    /// server that goes away later is waited for, for up to two minutes.
    ///
    /// # Errors
    /// As [`Gate::shared`], and [`GateError::NotServed`] if nobody serves it within ten seconds.
    pub async fn joined(path: &Path, capacity: Capacity) -> Result<Self, GateError> {
        let member = Member::join(path, capacity, Role::Guest).await?;
        Ok(Self::seated(Seat::Member(Arc::new(member))))
    }

    fn alone(capacity: Capacity) -> Self {
        Self::seated(Seat::Alone(Desk::new(capacity)))
    }

    fn seated(seat: Seat) -> Self {
        Self { seat, waits: Arc::default() }
    }

    /// Waits in line until `need` is granted. The permit holds it until it is dropped, or until `lease` is
    /// over, counted from the grant. Dropping the future leaves the line.
    ///
    /// # Errors
    /// A need that could never be met, a lease where no runtime can time it, or a shared gate that broke.
    pub async fn acquire(&self, need: Need, lease: Option<Duration>) -> Result<Permit, GateError> {
        let (kind, since) = (NeedKind::from(&need), Instant::now());
        let (stage, mut watched) = watch::channel(Stage::Waiting);
        let ticket = self.request(need, lease, stage)?;
        let reached = match watched.wait_for(|stage| *stage != Stage::Waiting).await {
            Ok(reached) => reached.clone(),
            Err(_) => Stage::Failed(GateError::Closed),
        };
        let lanes = match reached {
            Stage::Granted(lanes) => lanes,
            Stage::Failed(error) => return Err(error),
            Stage::Revoked | Stage::Waiting => return Err(GateError::LeaseOver),
        };
        record(&mut lock(&self.waits), kind, since.elapsed());
        Ok(Permit { lanes, watched, _ticket: ticket })
    }

    /// How long the requests granted to this gate and its clones waited, by kind of need.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<NeedKind, Waits> {
        lock(&self.waits).clone()
    }

    fn request(
        &self,
        need: Need,
        lease: Option<Duration>,
        stage: watch::Sender<Stage>,
    ) -> Result<Ticket, GateError> {
        let id = match &self.seat {
            Seat::Alone(desk) => desk.request(&need, lease, |_| {
                Box::new(move |reached| {
                    stage.send_replace(reached);
                })
            }),
            Seat::Member(member) => member.request(need, lease, stage),
        }?;
        Ok(Ticket { seat: self.seat.clone(), id })
    }
}

/// A place in the line, and then a hold. Dropping it ends either.
struct Ticket {
    seat: Seat,
    id: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        match &self.seat {
            Seat::Alone(desk) => desk.release(self.id),
            Seat::Member(member) => member.release(self.id),
        }
    }
}

/// What the gate granted. Dropping it, from any thread, gives it back.
#[must_use = "what was granted is given back as soon as the permit is dropped"]
pub struct Permit {
    lanes: Vec<usize>,
    watched: watch::Receiver<Stage>,
    _ticket: Ticket,
}

impl Permit {
    /// The lanes that are held (CPU numbers, ascending); empty at a gate of units.
    #[must_use]
    pub fn lanes(&self) -> &[usize] {
        &self.lanes
    }

    /// Whether the lease is over, so that others may hold what this permit stood for.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        *self.watched.borrow() == Stage::Revoked
    }

    /// Waits until the lease is over; for ever, if there is none.
    pub async fn revoked(&self) {
        let mut watched = self.watched.clone();
        if watched.wait_for(|stage| *stage == Stage::Revoked).await.is_err() {
            // Nobody is left to revoke it.
            std::future::pending::<()>().await;
        }
    }
}

//! How the measurements of a run pass the gate: each alone, or beside others.

use std::sync::Mutex;
use std::time::Instant;

use fractune_tuner::settings::Sharing;

use super::core::Need;
use super::crowding::Crowding;
use super::error::GateError;
use super::local::{Gate, Permit};
use crate::lock::lock;

/// What a run's measurements pass the gate by, while it searches.
#[derive(Debug)]
pub(crate) struct Access<'a> {
    gate: &'a Gate,
    sharing: Sharing,
    crowding: Mutex<Crowding>,
    started: Instant,
}

/// A measurement's hold on the gate, until it is dropped.
#[must_use = "the gate is given back as soon as this is dropped"]
pub(crate) struct Admission<'a> {
    // In the order in which they are dropped: the gate is free before its hold is counted as over.
    _permit: Permit,
    _place: Place<'a>,
    is_alone: bool,
}

/// A measurement as [`Crowding`] counts it.
#[derive(Debug)]
struct Place<'a> {
    access: &'a Access<'a>,
    holds: bool,
}

impl<'a> Access<'a> {
    pub(crate) fn new(gate: &'a Gate, sharing: Sharing) -> Self {
        Self { gate, sharing, crowding: Mutex::new(Crowding::new()), started: Instant::now() }
    }

    /// Waits in line until a measurement may begin that needs `share` where it shares the gate, and everything where
    /// it does not.
    ///
    /// # Errors
    /// As [`Gate::acquire`].
    pub(crate) async fn enter(&'a self, share: Need) -> Result<Admission<'a>, GateError> {
        let is_crowded = lock(&self.crowding).comes(self.started.elapsed());
        let mut place = Place { access: self, holds: false };
        let shares = match self.sharing {
            Sharing::Auto => is_crowded,
            Sharing::Shared => true,
            Sharing::Exclusive => false,
        };
        let need = if shares { share } else { Need::Quiet };
        let is_alone = need == Need::Quiet;
        let permit = self.gate.acquire(need, None).await?;
        place.enter();
        Ok(Admission { _permit: permit, _place: place, is_alone })
    }
}

impl Admission<'_> {
    /// Whether nobody else measures meanwhile, whatever the share.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_alone
    }
}

impl Place<'_> {
    fn enter(&mut self) {
        self.holds = true;
        lock(&self.access.crowding).enters(self.access.started.elapsed());
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let now = self.access.started.elapsed();
        let mut crowding = lock(&self.access.crowding);
        if self.holds { crowding.leaves(now) } else { crowding.gives_up(now) }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Whether two quarters of the GPU are measured on at once, and whether the first knew to be alone.
    async fn overlap(sharing: Sharing) -> (bool, bool) {
        let gate = Gate::gpu();
        let access = Access::new(&gate, sharing);
        let first = access.enter(Need::Units(25)).await.unwrap();
        let mut second = pin!(access.enter(Need::Units(25)));
        let polled = second.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let (both, is_alone) = (polled.is_ready(), first.is_alone());
        drop((first, polled));
        if !both {
            drop(second.await.unwrap());
        }
        drop(gate.acquire(Need::Quiet, None).await.unwrap());
        (both, is_alone)
    }

    #[tokio::test]
    async fn measurements_overlap_where_they_share_and_only_there() {
        assert_eq!(overlap(Sharing::Shared).await, (true, false));
        assert_eq!(overlap(Sharing::Exclusive).await, (false, true));
        assert_eq!(overlap(Sharing::Auto).await, (false, true), "a run begins quietly");
    }

    #[tokio::test]
    async fn each_measurement_is_counted_once_also_when_it_does_not_wait_to_the_end() {
        let gate = Gate::gpu();
        let access = Access::new(&gate, Sharing::Auto);
        let first = access.enter(Need::Units(25)).await.unwrap();
        {
            let mut second = pin!(access.enter(Need::Units(25)));
            let polled = second.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Pending));
            assert_eq!(lock(&access.crowding).counts(), (1, 1));
        }
        assert_eq!(lock(&access.crowding).counts(), (0, 1));
        drop(first);
        assert_eq!(lock(&access.crowding).counts(), (0, 0));
    }
}

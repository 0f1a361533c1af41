//! Of several operators, the one that holds the lease writes.
//!
//! Who holds it is judged by the times in the Lease, so the operators' clocks must agree within [`GRACE`] seconds, as those
//! of a cluster's nodes do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use kube::Client;
use kube_lease_manager::{
    DurationSeconds, LeaseManager, LeaseManagerBuilder, LeaseManagerError, LeaseParams,
};
use tracing::info;

use crate::args::Arguments;

/// A lease that was not renewed for so long is free for another operator.
const DURATION: DurationSeconds = 12;
/// It is renewed so long before that.
const GRACE: DurationSeconds = 6;
/// An operator that did not run for so long (a suspended machine, a starved CPU) asks again before it writes: the lease
/// may be another's by now.
const FROZEN: Duration = Duration::from_secs(3);
/// How often an operator notes that it runs.
const TICK: Duration = Duration::from_millis(500);

/// Whether this operator may write. Cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct Leadership {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    leads: AtomicBool,
    /// Both clocks: one stands still while a machine sleeps, the other may be set.
    began: (Instant, SystemTime),
    /// Milliseconds after `began` at which the operator last ran.
    ticked_ms: AtomicU64,
}

/// This operator does not hold the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this operator does not hold the lease, so it writes nothing")]
pub struct NotLeading;

impl Default for Leadership {
    fn default() -> Self {
        let state = State {
            leads: AtomicBool::new(false),
            began: (Instant::now(), SystemTime::now()),
            ticked_ms: AtomicU64::new(0),
        };
        Self { state: Arc::new(state) }
    }
}

impl Leadership {
    /// Asked before every write.
    ///
    /// # Errors
    /// [`NotLeading`] where the lease is another's, or may be.
    pub fn check(&self) -> Result<(), NotLeading> {
        let ticked = Duration::from_millis(self.state.ticked_ms.load(Ordering::Acquire));
        let still = self.since_began().saturating_sub(ticked);
        if self.state.leads.load(Ordering::Acquire) && still < FROZEN { Ok(()) } else { Err(NotLeading) }
    }

    /// Says that the lease was won or lost.
    pub fn set(&self, leads: bool) {
        self.tick();
        self.state.leads.store(leads, Ordering::Release);
    }

    fn since_began(&self) -> Duration {
        let (instant, time) = self.state.began;
        instant.elapsed().max(time.elapsed().unwrap_or_default())
    }

    fn tick(&self) {
        let now = u64::try_from(self.since_began().as_millis()).unwrap_or(u64::MAX);
        self.state.ticked_ms.store(now, Ordering::Release);
    }

    /// Gives the lease back, so that another operator need not wait for its end.
    ///
    /// # Errors
    /// When the API server does not take it back.
    pub async fn give_back(&self, client: Client, arguments: &Arguments) -> Result<(), LeaseManagerError> {
        self.set(false);
        manager(client, arguments).await?.release().await
    }

    /// Waits for the lease, keeps it, and returns once it is lost. `won` is called when it is won.
    ///
    /// # Errors
    /// When the API server refuses the lease, or does not answer in time to keep it.
    pub async fn keep(
        &self,
        client: Client,
        arguments: &Arguments,
        won: impl FnOnce(),
    ) -> Result<LeaseManager, LeaseManagerError> {
        // Without this line the log of an operator that never leads would be empty.
        info!(
            "fractune-operator {} stands by for lease {} in namespace {}, as {}",
            env!("CARGO_PKG_VERSION"),
            arguments.lease_name,
            arguments.lease_namespace,
            arguments.identity
        );
        let lease = manager(client, arguments).await?;
        while !lease.changed().await? {}
        info!(lease = arguments.lease_name, identity = arguments.identity, "this operator leads");
        self.set(true);
        won();
        let ticking = async {
            loop {
                tokio::time::sleep(TICK).await;
                if self.check().is_err() {
                    // What the lease manager last knew may be old. To ask again is to start again.
                    return;
                }
                self.tick();
            }
        };
        let changed = tokio::select! {
            changed = lease.changed() => changed.map(|_| ()),
            () = ticking => Ok(()),
        };
        self.set(false);
        changed.map(|()| lease)
    }
}

async fn manager(client: Client, arguments: &Arguments) -> Result<LeaseManager, LeaseManagerError> {
    LeaseManagerBuilder::new(client, arguments.lease_name.clone())
        .with_namespace(arguments.lease_namespace.clone())
        .with_parameters(LeaseParams::new(arguments.identity.clone(), DURATION, GRACE))
        .build()
        .await
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use clap::Parser as _;

    use super::*;
    use crate::script::{Answer, Script};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_operator_that_only_waits_for_the_lease_says_so() {
        let log = Log::default();
        let kept = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || kept.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let script = Script::new(|_, _| Some(Answer::Never));
        let arguments =
            Arguments::parse_from(["fractune-operator", "--agent-image", "a", "--identity", "operator-b"]);
        let leadership = Leadership::default();
        let asks = async {
            while script.asked().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = leadership.keep(script.client.clone(), &arguments, || ()) => unreachable!("nobody gave the lease"),
            () = asks => {}
        }
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let expected = concat!(
            "fractune-operator ",
            env!("CARGO_PKG_VERSION"),
            " stands by for lease fractune-operator in namespace default, as operator-b"
        );
        assert!(log.contains(expected), "{log}");
    }

    #[test]
    fn who_does_not_lead_or_was_frozen_writes_nothing() {
        let leadership = Leadership::default();
        assert_eq!(leadership.check(), Err(NotLeading));
        leadership.set(true);
        assert_eq!(leadership.check(), Ok(()));
        let long_ago = Instant::now().checked_sub(FROZEN * 2).unwrap();
        let frozen = State {
            leads: AtomicBool::new(true),
            began: (long_ago, SystemTime::now()),
            ticked_ms: AtomicU64::new(0),
        };
        assert_eq!(Leadership { state: Arc::new(frozen) }.check(), Err(NotLeading));
    }
}

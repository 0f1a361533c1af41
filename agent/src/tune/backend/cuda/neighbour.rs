//! A known load on the rest of the GPU while something is measured, as neighbours do it when a kernel is served.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use fractune_tuner::condition::Neighbours;
use fractune_tuner::measure::median;
use fractune_tuner::results;
use fractune_tuner::task::Task;
use futures::channel::oneshot;
use futures::future;

use super::Cuda;
use super::known::{ANSWER, Known, Size};
use crate::tune::plan::RunError;
use crate::worker::{Failure, Times, Worker};

/// A launch is worth about 2 ms on an H100; what streams, 192 MiB in and out, is more than any second-level cache.
const SIZE: Size = Size { waves: 40, streamed: 12 << 20 };
/// One request is worth about this much time: launches follow each other without a gap within it.
const REQUEST: Duration = Duration::from_millis(60);
/// Runs that say how long a launch takes.
const FIRST_RUNS: u32 = 8;

/// A worker that keeps its share of the GPU busy while something else is measured.
#[derive(Debug)]
pub(in crate::tune) struct Neighbour {
    worker: Worker,
    /// Number of its candidate.
    id: u32,
    share: u8,
    units: u32,
    /// Operations or bytes of a launch.
    work: f64,
    alone_per_second: f64,
    /// Runs of one request.
    runs: u32,
}

impl Cuda {
    /// Starts a load at what a share leaves of the GPU, and measures how much it does alone: the whole gate must be held.
    /// None where there is nothing to start.
    pub(in crate::tune) async fn start_neighbour(
        &self,
        task: &Task,
        neighbours: Neighbours,
        beside: u8,
    ) -> Result<Option<Neighbour>, RunError> {
        let share = 100_u8.saturating_sub(beside);
        if neighbours.is_quiet() || share == 0 {
            return Ok(None);
        }
        let Known { mut worker, units, loaded } = self.start_known(task, share, &[neighbours], SIZE).await?;
        let Some(&(id, work)) = loaded.first() else { return Ok(None) };
        let failed = |why: &dyn std::fmt::Display| {
            RunError::Machine(format!("the {neighbours} load at {share} % ({units} SMs): {why}"))
        };
        let times = worker.run(id, FIRST_RUNS, ANSWER).await.map_err(|failure| failed(&failure))?;
        let alone_per_second = rate(work, &times.times_ns).ok_or_else(|| failed(&"no time was taken"))?;
        let runs = runs_of_a_request(&times);
        Ok(Some(Neighbour { worker, id, share, units, work, alone_per_second, runs }))
    }
}

impl Neighbour {
    /// Keeps the load going while something is measured, from before its start until after its end. Returns what the
    /// measuring gave and how much the load did meanwhile.
    ///
    /// # Errors
    /// [`Failure`] where the load ended before its time: what was measured then had no neighbour, or a part of the time.
    pub(in crate::tune) async fn beside<T>(
        &mut self,
        measure: impl Future<Output = T>,
    ) -> Result<(T, results::Load), Failure> {
        let Self { worker, id, share, units, work, alone_per_second, runs } = self;
        let (result, times) =
            beside(measure, async || Ok(worker.run(*id, *runs, ANSWER).await?.times_ns)).await?;
        let load = results::Load {
            share: *share,
            units: *units,
            alone_per_second: *alone_per_second,
            beside_per_second: rate(*work, &times).unwrap_or(0.0),
        };
        Ok((result, load))
    }

    /// Ends its worker.
    pub(in crate::tune) async fn stop(self) {
        self.worker.stop().await;
    }
}

/// Repeats `work` from before the start of `measure` until its end; what the one gave, and all times of the other
/// but the first time's.
async fn beside<T>(
    measure: impl Future<Output = T>,
    mut work: impl AsyncFnMut() -> Result<Vec<u64>, Failure>,
) -> Result<(T, Vec<u64>), Failure> {
    let over = Cell::new(false);
    let (under_way, begun) = oneshot::channel();
    let working = async {
        let mut times = Vec::new();
        work().await?;
        // Nobody waits any more where the measuring was given up.
        let _ = under_way.send(());
        while !over.get() {
            times.extend(work().await?);
        }
        Ok(times)
    };
    let measuring = async {
        begun.await.ok()?;
        let result = measure.await;
        over.set(true);
        Some(result)
    };
    match future::join(measuring, working).await {
        (Some(result), Ok(times)) => Ok((result, times)),
        (_, Err(failure)) => Err(failure),
        (None, Ok(_)) => Err(Failure::Died { message: "the load never began".into() }),
    }
}

/// Work per second at the median time of a launch.
fn rate(work: f64, times_ns: &[u64]) -> Option<f64> {
    let ns = median(times_ns).filter(|ns| *ns > 0)?;
    Some(work * 1e9 / ns as f64)
}

fn runs_of_a_request(times: &Times) -> u32 {
    let run = median(&times.times_ns).unwrap_or(0).saturating_mul(times.launches.into()).max(1);
    (REQUEST.as_nanos() as u64 / run).clamp(1, 10_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_load_runs_from_before_the_measuring_until_after_it() {
        let rounds = Cell::new(0_u64);
        let work = async || {
            tokio::task::yield_now().await;
            rounds.set(rounds.get() + 1);
            Ok(vec![rounds.get()])
        };
        let measure = async {
            let before = rounds.get();
            while rounds.get() < before + 5 {
                tokio::task::yield_now().await;
            }
            before
        };
        let (before, times) = beside(measure, work).await.unwrap();
        assert!(before >= 1, "a round was over before the measuring began");
        assert!(times.len() >= 5 && !times.contains(&1), "{times:?}");
    }

    #[tokio::test]
    async fn a_load_that_dies_spoils_what_was_measured_beside_it() {
        let rounds = Cell::new(0);
        let work = async || {
            tokio::task::yield_now().await;
            rounds.set(rounds.get() + 1);
            if rounds.get() < 3 { Ok(vec![1]) } else { Err(Failure::Died { message: "killed".into() }) }
        };
        let error = beside(async { tokio::task::yield_now().await }, work).await;
        // Over before the third round: fine. Else the death is told.
        assert!(error.is_ok() || error.is_err_and(|failure| failure.to_string().contains("killed")));
        let dead = async || Err(Failure::Died { message: "no start".into() });
        let error = beside(async { unreachable!("never begun") }, dead).await.map(|((), _)| ()).unwrap_err();
        assert!(error.to_string().contains("no start"), "{error}");
    }

    #[test]
    fn a_request_is_worth_its_time_and_rates_are_per_second() {
        let times = Times { times_ns: vec![2_000_000; 3], launches: 1, throttled: None };
        assert_eq!(runs_of_a_request(&times), 30);
        assert_eq!(runs_of_a_request(&Times { launches: 2, ..times.clone() }), 15);
        assert_eq!(runs_of_a_request(&Times { times_ns: vec![], ..times }), 10_000);
        assert!((rate(4e8, &[200_000]).unwrap() - 2e12).abs() < 1.0);
        assert_eq!(rate(1.0, &[]), None);
    }
}

//! A known load on the rest of the GPU while something is measured, as neighbours do it when a kernel is served.

use std::cell::Cell;
use std::future::Future;
use std::time::{Duration, Instant};

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

/// A launch is worth about a millisecond on an H100, as a layer of a model is; what streams, 192 MiB in and out, is
/// more than any second-level cache.
const SIZE: Size = Size { waves: 8, streamed: 12 << 20 };
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
    /// Once that was measured.
    alone_per_second: f64,
    /// Runs of one request.
    runs: u32,
}

impl Cuda {
    /// Starts a load at what a share leaves of the GPU. None where there is nothing to start.
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
        let Known { worker, units, loaded } = self.start_known(task, share, &[neighbours], SIZE).await?;
        let loaded = loaded.first();
        Ok(loaded.map(|&(id, work)| Neighbour {
            worker,
            id,
            share,
            units,
            work,
            alone_per_second: 0.0,
            runs: 1,
        }))
    }
}

impl Neighbour {
    /// Measures how much it does with nothing beside it: the whole gate must be held.
    ///
    /// # Errors
    /// [`Failure`] where it cannot.
    pub(in crate::tune) async fn measure_alone(&mut self) -> Result<(), Failure> {
        let times = self.worker.run(self.id, FIRST_RUNS, false, ANSWER).await?;
        self.alone_per_second = rate(self.work, &times.times_ns).unwrap_or(0.0);
        self.runs = runs_of_a_request(&times);
        Ok(())
    }

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
        let (result, launches, elapsed) =
            beside(measure, async || worker.run(*id, *runs, false, ANSWER).await).await?;
        let load = results::Load {
            share: *share,
            units: *units,
            alone_per_second: *alone_per_second,
            beside_per_second: *work * launches as f64 / elapsed.as_secs_f64().max(1e-9),
        };
        Ok((result, load))
    }

    /// Ends its worker.
    pub(in crate::tune) async fn stop(self) {
        self.worker.stop().await;
    }
}

/// Repeats `work` from before the start of `measure` until its end; what the one gave, and how many launches of the other
/// ended in which time.
async fn beside<T>(
    measure: impl Future<Output = T>,
    mut work: impl AsyncFnMut() -> Result<Times, Failure>,
) -> Result<(T, u64, Duration), Failure> {
    let over = Cell::new(false);
    let (under_way, begun) = oneshot::channel();
    let working = async {
        work().await?;
        let started = Instant::now();
        // Nobody waits any more where the measuring was given up.
        let _ = under_way.send(());
        let mut launches = 0;
        while !over.get() {
            let times = work().await?;
            launches += times.times_ns.len() as u64 * u64::from(times.launches);
        }
        Ok((launches, started.elapsed()))
    };
    let measuring = async {
        begun.await.ok()?;
        let result = measure.await;
        over.set(true);
        Some(result)
    };
    match future::join(measuring, working).await {
        (Some(result), Ok((launches, elapsed))) => Ok((result, launches, elapsed)),
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

    fn of(time_ns: u64) -> Times {
        Times { times_ns: vec![time_ns], launches: 2, throttled: None }
    }

    #[tokio::test]
    async fn the_load_runs_from_before_the_measuring_until_after_it() {
        let rounds = Cell::new(0_u64);
        let work = async || {
            tokio::task::yield_now().await;
            rounds.set(rounds.get() + 1);
            Ok(of(rounds.get()))
        };
        let measure = async {
            let before = rounds.get();
            while rounds.get() < before + 5 {
                tokio::task::yield_now().await;
            }
            before
        };
        let (before, launches, _) = beside(measure, work).await.unwrap();
        assert!(before >= 1, "a round was over before the measuring began");
        assert_eq!(launches, (rounds.get() - 1) * 2, "without the first, two of each");
    }

    #[tokio::test]
    async fn a_load_that_dies_spoils_what_was_measured_beside_it() {
        let rounds = Cell::new(0);
        let work = async || {
            tokio::task::yield_now().await;
            rounds.set(rounds.get() + 1);
            if rounds.get() < 3 { Ok(of(1)) } else { Err(Failure::Died { message: "killed".into() }) }
        };
        let error = beside(async { tokio::task::yield_now().await }, work).await;
        // Over before the third round: fine. Else the death is told.
        assert!(error.is_ok() || error.is_err_and(|failure| failure.to_string().contains("killed")));
        let dead = async || Err(Failure::Died { message: "no start".into() });
        let error = beside(async { unreachable!("never begun") }, dead).await.map(|((), ..)| ()).unwrap_err();
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

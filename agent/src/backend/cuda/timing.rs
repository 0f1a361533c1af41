//! Taking times: events round each launch, or round a graph of many where a launch is short.

use std::rc::Rc;
use std::time::{Duration, Instant};

use fractune_tuner::measure::median;
use fractune_tuner::settings::CacheState;

use super::driver::{Context, DriverError, Event, Function, Graph, Memory};
use crate::worker::protocol::Launch;

/// Launches queued before they are waited for. Queued ahead, the GPU never waits for the CPU.
const CHUNK: usize = 32;
/// Hot launches shorter than this are timed several at once, in a graph: two events cost about 2.5 us, which is no
/// longer small beside them. A kernel near this limit is timed in either way by chance: so far up, that is worth 0.3 %
/// of its time (at 50 us it was 5 %).
const SHORT_NS: u64 = 500_000;
/// Runs that decide whether a candidate is short.
const FIRST_RUNS: usize = 3;
/// A graph is worth about this time.
const GRAPH_NS: u64 = 200_000;
/// Launches of a graph, at least and at most.
const GRAPH: (u32, u32) = (2, 512);
/// A device that was idle for so long has lowered its clocks...
pub(crate) const IDLE: Duration = Duration::from_millis(500);
/// ...and is kept busy for so long before anything is timed.
const WARM_UP: Duration = Duration::from_millis(30);

/// A candidate that can be launched.
#[derive(Debug)]
pub(super) struct Launchable {
    /// Before the function: a graph of its launches goes first.
    graph: Option<(Graph, u32)>,
    pub(super) function: Function,
    pub(super) launch: Launch,
    pub(super) parameters: Vec<u64>,
    /// The median of its first times in nanoseconds: whether it is short is decided once.
    first_ns: Option<u64>,
}

impl Launchable {
    pub(super) fn new(function: Function, launch: Launch, parameters: Vec<u64>) -> Self {
        Self { function, launch, parameters, first_ns: None, graph: None }
    }

    /// Queues one launch.
    pub(super) fn queue(&mut self, context: &Context) -> Result<(), DriverError> {
        context.launch(&self.function, &self.launch, &mut self.parameters)
    }
}

/// Takes times on one context.
#[derive(Debug)]
pub(super) struct Timer {
    context: Rc<Context>,
    events: Vec<(Event, Event)>,
    /// Written over before a cold run: as large as the second-level cache, which is what nvbench does.
    flush: Option<Memory>,
    last_used: Instant,
}

impl Timer {
    pub(super) fn new(
        context: &Rc<Context>,
        cache: CacheState,
        l2_bytes: usize,
    ) -> Result<Self, DriverError> {
        let flush = match cache {
            CacheState::Cold => Some(context.allocate(l2_bytes)?),
            CacheState::Hot => None,
        };
        let events = (0..CHUNK).map(|_| Ok((context.event()?, context.event()?)));
        Ok(Self {
            context: context.clone(),
            events: events.collect::<Result<_, DriverError>>()?,
            flush,
            // Nothing has run yet.
            last_used: Instant::now().checked_sub(IDLE).unwrap_or_else(Instant::now),
        })
    }

    /// Times of `runs` runs in nanoseconds, and of how many launches each is the mean. `restore` queues what must happen
    /// before each of them, if anything must. The device `is_warm` if others used it until just now.
    pub(super) fn times(
        &mut self,
        candidate: &mut Launchable,
        runs: u32,
        is_warm: bool,
        restore: Option<&dyn Fn() -> Result<(), DriverError>>,
    ) -> Result<(Vec<u64>, u32), DriverError> {
        if !is_warm && self.last_used.elapsed() >= IDLE {
            self.warm_up(candidate, restore)?;
        }
        let mut times = Vec::with_capacity(runs as usize);
        if candidate.first_ns.is_none() {
            let first = self.singly(candidate, FIRST_RUNS, restore)?;
            candidate.first_ns = median(&first);
            times.extend(first);
            times.truncate(runs as usize);
        }
        let short = candidate.first_ns.is_some_and(|first| first < SHORT_NS);
        let grouped = short && self.flush.is_none() && restore.is_none();
        if grouped {
            // Taken singly, they would not be of the same kind as those that follow.
            times.clear();
        }
        while times.len() < runs as usize {
            let count = (runs as usize - times.len()).min(CHUNK);
            times.extend(if grouped {
                self.grouped(candidate, count)?
            } else {
                self.singly(candidate, count, restore)?
            });
        }
        self.last_used = Instant::now();
        let launches = candidate.graph.as_ref().filter(|_| grouped).map_or(1, |(_, launches)| *launches);
        Ok((times, launches))
    }

    /// Keeps the device busy with the candidate until its clocks are up.
    fn warm_up(
        &self,
        candidate: &mut Launchable,
        restore: Option<&dyn Fn() -> Result<(), DriverError>>,
    ) -> Result<(), DriverError> {
        let started = Instant::now();
        while started.elapsed() < WARM_UP {
            restore.map_or(Ok(()), |restore| restore())?;
            candidate.queue(&self.context)?;
            self.context.wait()?;
        }
        Ok(())
    }

    /// Each run between two events of its own.
    fn singly(
        &self,
        candidate: &mut Launchable,
        count: usize,
        restore: Option<&dyn Fn() -> Result<(), DriverError>>,
    ) -> Result<Vec<u64>, DriverError> {
        if self.flush.is_none() {
            // Keeps the device busy while the first timed run is queued.
            restore.map_or(Ok(()), |restore| restore())?;
            candidate.queue(&self.context)?;
        }
        for (start, end) in self.events.iter().take(count) {
            restore.map_or(Ok(()), |restore| restore())?;
            if let Some(flush) = &self.flush {
                flush.fill(0, flush.bytes(), 0)?;
            }
            start.record()?;
            candidate.queue(&self.context)?;
            end.record()?;
        }
        self.context.wait()?;
        self.events.iter().take(count).map(|(start, end)| end.since(start)).collect()
    }

    /// Each time is the mean of a graph's launches, one right behind the other.
    fn grouped(&self, candidate: &mut Launchable, count: usize) -> Result<Vec<u64>, DriverError> {
        let (graph, launches) = if let Some(made) = candidate.graph.take() {
            made
        } else {
            let first = candidate.first_ns.unwrap_or(SHORT_NS).max(1);
            let launches = u32::try_from(GRAPH_NS.div_ceil(first)).unwrap_or(GRAPH.1).clamp(GRAPH.0, GRAPH.1);
            let queue = || (0..launches).try_for_each(|_| candidate.queue(&self.context));
            (self.context.record(queue)?, launches)
        };
        graph.launch()?;
        for (start, end) in self.events.iter().take(count) {
            start.record()?;
            graph.launch()?;
            end.record()?;
        }
        self.context.wait()?;
        candidate.graph = Some((graph, launches));
        self.events
            .iter()
            .take(count)
            .map(|(start, end)| Ok(end.since(start)? / u64::from(launches)))
            .collect()
    }
}

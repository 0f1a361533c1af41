//! When a report of a task is seen in its `TuneJob`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use fractune_crds::TuneJob;
use futures::StreamExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::task::JoinHandle;

use crate::fleet::Place;

/// Reports under way: by job, the sum of trials that its status will have, and since when.
#[derive(Debug, Default)]
struct Waiting {
    sums: HashMap<Place, i64>,
    reports: HashMap<Place, VecDeque<(i64, Instant)>>,
    seen: Vec<Duration>,
}

/// Where the runner says what it reports.
#[derive(Clone)]
pub(crate) struct Sent(Arc<Mutex<Waiting>>);

impl Sent {
    /// A task is about to report so many trials more.
    pub(crate) fn report(&self, task: &Place, more: i64) {
        let job = task.name.rsplit_once('-').map_or(task.name.as_str(), |(job, _)| job);
        let job = Place { namespace: task.namespace.clone(), name: job.to_owned() };
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = waiting.sums.entry(job.clone()).or_default();
        *sum += more;
        let sum = *sum;
        waiting.reports.entry(job).or_default().push_back((sum, Instant::now()));
    }
}

/// A watch of all jobs that takes the times.
pub(crate) struct Latencies {
    waiting: Arc<Mutex<Waiting>>,
    watching: JoinHandle<Result<()>>,
}

/// What was seen.
pub(crate) struct Seen {
    times: Vec<Duration>,
    /// Reports that no status told of.
    pub(crate) missing: usize,
}

impl Seen {
    /// A quantile in seconds.
    pub(crate) fn at(&self, quantile: f64) -> Option<f64> {
        let last = self.times.len().checked_sub(1)?;
        Some(self.times[(last as f64 * quantile).round() as usize].as_secs_f64())
    }
}

impl Latencies {
    /// Begins to watch.
    pub(crate) async fn watch(client: Client) -> Result<Self> {
        let api: Api<TuneJob> = Api::all(client);
        let list = api.list_metadata(&ListParams::default().limit(1)).await?;
        let from = list.metadata.resource_version.unwrap_or_default();
        let waiting: Arc<Mutex<Waiting>> = Arc::default();
        let seen = waiting.clone();
        let watching = tokio::spawn(async move {
            let mut events = api.watch(&WatchParams::default(), &from).await?.boxed();
            while let Some(event) = events.next().await {
                match event? {
                    WatchEvent::Modified(job) => tell(&seen, &job),
                    WatchEvent::Error(error) => anyhow::bail!("the watch ended: {}", error.message),
                    _ => {}
                }
            }
            Ok(())
        });
        Ok(Self { waiting, watching })
    }

    /// Where the runner says what it reports.
    pub(crate) fn sent(&self) -> Sent {
        Sent(self.waiting.clone())
    }

    /// Waits up to `patience` for what is under way, and ends the watch.
    pub(crate) async fn end(self, patience: Duration) -> Result<Seen> {
        let started = Instant::now();
        let missing = || {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.reports.values().map(VecDeque::len).sum::<usize>()
        };
        while missing() > 0 && started.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let missing = missing();
        if self.watching.is_finished() {
            self.watching.await??;
            anyhow::bail!("the watch ended before its time");
        }
        self.watching.abort();
        let mut times = std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).seen);
        times.sort_unstable();
        Ok(Seen { times, missing })
    }
}

fn tell(waiting: &Mutex<Waiting>, job: &TuneJob) {
    let place = Place { namespace: job.namespace().unwrap_or_default(), name: job.name_any() };
    let trials = job.status.as_ref().map_or(0, |status| status.trials);
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let mut times = Vec::new();
    if let Some(reports) = waiting.reports.get_mut(&place) {
        while let Some((_, since)) = reports.pop_front_if(|(sum, _)| *sum <= trials) {
            times.push(since.elapsed());
        }
    }
    waiting.seen.append(&mut times);
}

//! When passes are made: whenever a job, or anything that it owns or names, has changed.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use fractune_crds::{TuneJob, TuneTask, labels, names};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tracing::trace;

use crate::args::Arguments;
use crate::fetch::{Caches, references};
use crate::reconcile::{Context, is_managed_here, on_error, reconcile};

/// A job as it is watched.
pub type Guarded = DeserializeGuard<TuneJob>;

/// Watches that are set up, and the caches behind them.
pub struct Watches {
    /// The caches.
    pub caches: Caches,
    controller: Controller<Guarded>,
}

impl Watches {
    /// Sets watches up for one namespace, or for all.
    #[must_use]
    pub fn new(client: &Client, arguments: &Arguments) -> Self {
        let namespace = arguments.namespace.as_deref();
        let controller = Controller::new(scoped::<Guarded>(client, namespace), watcher::Config::default())
            .with_config(Config::default().concurrency(arguments.concurrency));
        let jobs = controller.store();
        // Every one of them, also where somebody took a label away or has made one: so a name is known to be free.
        let all = watcher::Config::default();
        let tasks = scoped::<DeserializeGuard<TuneTask>>(client, namespace);
        let (tasks, task_changes) = cached(tasks, all, |task| {
            if let Ok(task) = &mut task.0
                && let Some(status) = &mut task.status
            {
                // It is for the next pod, and large.
                status.checkpoint = None;
            }
        });
        let labelled = || watcher::Config::default().labels(labels::JOB);
        let (batches, batch_changes) = cached(scoped::<Job>(client, namespace), labelled(), |_| ());
        let (pods, pod_changes) = cached(scoped::<Pod>(client, namespace), labelled(), |pod| pod.spec = None);
        let (config_maps, config_map_changes) =
            cached(scoped::<ConfigMap>(client, namespace), labelled(), |map| map.data = None);
        // Why a Job cannot create pods is said nowhere else.
        let of_jobs = watcher::Config::default().fields("involvedObject.kind=Job,reason=FailedCreate");
        let (refusals, refused) = cached(scoped::<Event>(client, namespace), of_jobs, |_| ());
        let sources =
            watcher(scoped::<PartialObjectMeta<ConfigMap>>(client, namespace), watcher::Config::default());
        let sources = sources.default_backoff().touched_objects();
        let (named_by, held_up) = (jobs.clone(), jobs.clone());
        let controller = controller
            .owns_stream(task_changes)
            .owns_stream(batch_changes)
            .owns_stream(config_map_changes)
            .watches_stream(pod_changes, move |pod| {
                job_of(&pod.namespace()?, pod.labels().get(labels::JOB)?, &jobs)
            })
            .watches_stream(refused, move |event: Event| {
                let batch = &event.involved_object;
                job_of(batch.namespace.as_deref()?, batch.name.as_deref()?, &held_up)
            })
            .watches_stream(sources, move |map: PartialObjectMeta<ConfigMap>| naming(&map, &named_by));
        Self { caches: Caches::new(tasks, batches, pods, config_maps, refusals), controller }
    }

    /// The cache of jobs.
    #[must_use]
    pub fn jobs(&self) -> Store<Guarded> {
        self.controller.store()
    }

    /// Makes passes until `stop` is resolved, and lets those under way end.
    pub async fn run(self, context: Arc<Context>, stop: oneshot::Receiver<()>) {
        let stop = async move {
            let _ = stop.await;
        };
        let passes = self.controller.graceful_shutdown_on(stop).run(reconcile, on_error, context);
        // Failures are told where they are counted.
        passes.for_each(|pass| async move { trace!(?pass, "pass") }).await;
    }
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// A cache, and the stream that fills it.
fn cached<K>(
    api: Api<K>,
    which: watcher::Config,
    trim: impl Fn(&mut K) + Send + Sync + 'static,
) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + 'static)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    let (reader, writer) = store();
    let stream = watcher(api, which)
        .default_backoff()
        .modify(move |object| {
            object.managed_fields_mut().clear();
            trim(object);
        })
        .reflect(writer)
        .touched_objects();
    (reader, stream)
}

/// The job whose objects' names begin with `base`.
fn job_of(namespace: &str, base: &str, jobs: &Store<Guarded>) -> Option<ObjectRef<Guarded>> {
    // Nearly always the job's own name.
    let direct = ObjectRef::new(base).within(namespace);
    if jobs.get(&direct).is_some() {
        return Some(direct);
    }
    let of = |job: &Arc<Guarded>| {
        job.namespace().as_deref() == Some(namespace) && names::base(&job.name_any()) == base
    };
    jobs.state().iter().find(|job| of(job)).map(|job| ObjectRef::from_obj(&**job))
}

/// The jobs whose sources name a `ConfigMap`.
fn naming(map: &PartialObjectMeta<ConfigMap>, jobs: &Store<Guarded>) -> Vec<ObjectRef<Guarded>> {
    let name = map.name_any();
    let names = |job: &Guarded| {
        job.namespace() == map.namespace()
            && job.0.as_ref().is_ok_and(|job| references(job).any(|reference| reference == name))
    };
    jobs.state().iter().filter(|job| names(job)).map(|job| ObjectRef::from_obj(&**job)).collect()
}

/// Counts of jobs and tasks for metrics, from the caches. Jobs that are managed elsewhere, or being deleted, are not
/// counted.
pub fn count(metrics: &crate::metrics::Metrics, jobs: &Store<Guarded>, caches: &Caches) {
    let mut jobs = jobs.state();
    jobs.retain(|job| {
        job.meta().deletion_timestamp.is_none() && job.0.as_ref().map_or(true, is_managed_here)
    });
    let states = jobs.iter().map(|job| {
        job.0.as_ref().map_or(Some(fractune_crds::State::Stalled), |job| job.status.as_ref()?.state)
    });
    let waits = |job: &TuneJob| {
        let spoken_of = job.status.as_ref().and_then(|status| status.observed_generation);
        spoken_of != job.metadata.generation
    };
    let waiting = jobs.iter().filter(|job| job.0.as_ref().is_ok_and(waits)).count();
    metrics.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    let tasks = caches.tasks.state();
    metrics.count(states, tasks.iter().filter_map(|task| task.0.as_ref().ok()));
}

//! The first step: what the API server knows of a job. Reads, from caches where it can.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fractune_crds::{TuneJob, TuneTask, labels, names};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Resource, ResourceExt as _};

use crate::offers::Offers;
use crate::status::batch;

/// Labels by which Kueue takes a Job into a queue.
const KUEUE: [&str; 2] = ["kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"];
/// The Job controller says again that it cannot create pods before this time has passed.
const REFUSALS_REPEAT: SignedDuration = SignedDuration::from_mins(12);

/// Caches of what jobs own, kept by watches.
#[derive(Clone, Debug)]
pub struct Caches {
    /// Tasks.
    pub tasks: Store<DeserializeGuard<TuneTask>>,
    /// Batch Jobs.
    pub jobs: Store<Job>,
    /// Pods.
    pub pods: Store<Pod>,
    /// `ConfigMap`s.
    pub config_maps: Store<ConfigMap>,
    /// Why batch Jobs, whosever they are, could not create pods.
    pub refusals: Store<Event>,
    /// What nodes offer.
    pub offers: Offers,
    ready: Shared<BoxFuture<'static, bool>>,
}

impl Caches {
    /// The caches of a set of watches.
    #[must_use]
    pub fn new(
        tasks: Store<DeserializeGuard<TuneTask>>,
        jobs: Store<Job>,
        pods: Store<Pod>,
        config_maps: Store<ConfigMap>,
        refusals: Store<Event>,
    ) -> Self {
        let stores = (tasks.clone(), jobs.clone(), pods.clone(), config_maps.clone(), refusals.clone());
        let ready = async move {
            let (tasks, jobs, pods, config_maps, refusals) = stores;
            tasks.wait_until_ready().await.is_ok()
                && jobs.wait_until_ready().await.is_ok()
                && pods.wait_until_ready().await.is_ok()
                && config_maps.wait_until_ready().await.is_ok()
                && refusals.wait_until_ready().await.is_ok()
        };
        Self {
            tasks,
            jobs,
            pods,
            config_maps,
            refusals,
            offers: Offers::default(),
            ready: ready.boxed().shared(),
        }
    }

    /// Waits until each was filled once; false where a watch has ended, which it does with the operator.
    pub async fn filled(&self) -> bool {
        // A store wakes the last of those that wait for it alone: hence one that waits, and is shared.
        self.ready.clone().await
    }
}

/// Data of the `ConfigMap`s that a job's sources name; none where there is no such `ConfigMap`.
pub type Sources = BTreeMap<String, Option<BTreeMap<String, String>>>;

/// Everything that a pass over a job looks at.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The job.
    pub job: Arc<TuneJob>,
    /// Its tasks by index.
    pub tasks: BTreeMap<usize, Arc<TuneTask>>,
    /// `TuneTask`s that have the names of its tasks and are not its own, by the index of those.
    pub foreign_tasks: BTreeMap<usize, ObjectMeta>,
    /// Its batch Job.
    pub batch: Option<Arc<Job>>,
    /// Its pods.
    pub pods: Vec<Arc<Pod>>,
    /// Its `ConfigMap`s.
    pub config_maps: Vec<Arc<ConfigMap>>,
    /// What its sources name.
    pub sources: Sources,
    /// Why Kubernetes creates no pods, in its own words.
    pub pods_refused: Option<String>,
    /// What nodes offer of the resource that pods wait for, in words; none where nothing waits.
    pub offers: Option<String>,
    /// Whether the namespace is being deleted and waits for a pod that the batch Job holds.
    pub namespace_ends: bool,
    /// When this was read.
    pub now: Timestamp,
}

impl Observed {
    /// Name of the job.
    #[must_use]
    pub fn name(&self) -> &str {
        self.job.metadata.name.as_deref().unwrap_or_default()
    }

    /// Start of the names of what the job owns.
    #[must_use]
    pub fn base(&self) -> String {
        names::base(self.name())
    }

    /// Whether an object is the job's own.
    #[must_use]
    pub fn owns(&self, object: &impl Resource) -> bool {
        self.owns_by(object.meta())
    }

    /// Whether an object is the job's own, by its metadata.
    #[must_use]
    pub fn owns_by(&self, metadata: &ObjectMeta) -> bool {
        let uid = self.job.metadata.uid.as_deref();
        metadata.owner_references.iter().flatten().any(|owner| Some(owner.uid.as_str()) == uid)
    }

    /// The job's labels that mean a queue, which are passed on to its batch Job.
    #[must_use]
    pub fn queue_labels(&self) -> BTreeMap<String, String> {
        let labels = self.job.labels();
        KUEUE.iter().filter_map(|key| Some(((*key).to_owned(), labels.get(*key)?.clone()))).collect()
    }

    /// Whether a queue decides when the job runs.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        !self.queue_labels().is_empty()
    }

    /// The batch Job, if it is the job's own.
    #[must_use]
    pub fn own_batch(&self) -> Option<&Job> {
        self.batch.as_deref().filter(|batch| self.owns(*batch))
    }
}

/// Reads everything about a job.
///
/// # Errors
/// When the API server does not answer what no cache knows.
pub async fn fetch(client: &Client, caches: &Caches, job: Arc<TuneJob>) -> Result<Observed, kube::Error> {
    let namespace = job.namespace().unwrap_or_default();
    let base = names::base(&job.name_any());
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let owned = |meta: &ObjectMeta| meta.owner_references.iter().flatten().any(|owner| owner.uid == uid);
    // Names are derived, so most is looked up and not searched for.
    let number = task_count(&job);
    let (mut tasks, mut foreign_tasks) = (BTreeMap::new(), BTreeMap::new());
    for index in 0..number {
        let known = caches.tasks.get(&ObjectRef::new(&names::task(&base, index)).within(&namespace));
        let Some(known) = known else { continue };
        match &known.0 {
            Ok(task) if owned(&task.metadata) => {
                tasks.insert(index, Arc::new(task.clone()));
            }
            _ => {
                foreign_tasks.insert(index, known.meta().clone());
            }
        }
    }
    let config_map = |name: String| {
        let known = caches.config_maps.get(&ObjectRef::new(&name).within(&namespace))?;
        owned(&known.metadata).then_some(known)
    };

    let batch = caches.jobs.get(&ObjectRef::new(&base).within(&namespace));
    let of_job = |pod: &Pod| {
        let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(labels::JOB));
        pod.metadata.namespace.as_deref() == Some(&namespace) && label == Some(&base)
    };
    let pods: Vec<_> = caches.pods.state().into_iter().filter(|pod| of_job(pod)).collect();
    let config_maps =
        [names::manifest(&base), names::tuned(&base)].into_iter().filter_map(config_map).collect();
    let sources = sources(client, &namespace, &job).await?;
    let mut observed = Observed {
        job,
        tasks,
        foreign_tasks,
        batch,
        pods,
        config_maps,
        sources,
        pods_refused: None,
        offers: None,
        namespace_ends: false,
        now: Timestamp::now(),
    };
    if wants_pods(&observed) {
        observed.pods_refused = refusal(&caches.refusals, &observed);
    }
    if waiting(&observed) {
        observed.offers = Some(caches.offers.in_words(client).await);
    }
    if observed.pods.iter().any(|pod| crate::status::pods::is_held(pod)) {
        observed.namespace_ends = namespace_ends(client, &namespace).await?;
    }
    Ok(observed)
}

async fn sources(client: &Client, namespace: &str, job: &TuneJob) -> Result<Sources, kube::Error> {
    let names: BTreeSet<&str> = references(job).collect();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let mut sources = Sources::new();
    for name in names {
        let map = api.get_opt(name).await?;
        sources.insert(name.to_owned(), map.map(|map| map.data.unwrap_or_default()));
    }
    Ok(sources)
}

/// Tasks of a job: one for each kernel and problem.
#[must_use]
pub fn task_count(job: &TuneJob) -> usize {
    job.spec.kernels.iter().map(|kernel| kernel.problems.len()).sum()
}

/// Names of the `ConfigMap`s that a job's sources name.
pub fn references(job: &TuneJob) -> impl Iterator<Item = &str> {
    job.spec
        .kernels
        .iter()
        .filter_map(|kernel| kernel.source.config_map_key_ref.as_ref())
        .map(|reference| reference.name.as_str())
}

/// Whether the batch Job runs, wants pods, and has had none for a while.
fn wants_pods(observed: &Observed) -> bool {
    let Some(batch) = observed.own_batch() else { return false };
    !batch::is_suspended(batch) && batch::active(batch) == 0 && !batch::is_finished(batch)
}

/// The latest word of the Job controller on why it could not create pods.
fn refusal(refusals: &Store<Event>, observed: &Observed) -> Option<String> {
    let uid = observed.own_batch()?.metadata.uid.as_ref()?;
    let events = refusals.state().into_iter().filter(|event| event.involved_object.uid.as_ref() == Some(uid));
    // Kubernetes repeats itself as long as it is so. What it said before the newest pod was made is past.
    let newest_pod = observed.pods.iter().filter_map(|pod| pod.metadata.creation_timestamp.as_ref()).max();
    let long_ago = observed.now - REFUSALS_REPEAT;
    let past = newest_pod.map_or(long_ago, |time| time.0.max(long_ago));
    let times = events.filter_map(|event| Some((event.last_timestamp.as_ref()?.0, event)));
    let latest = times.filter(|(time, _)| *time > past).max_by_key(|(time, _)| *time);
    latest.and_then(|(_, event)| event.message.clone())
}

async fn namespace_ends(client: &Client, namespace: &str) -> Result<bool, kube::Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    match api.get_metadata_opt(namespace).await {
        Ok(namespace) => Ok(namespace.is_none_or(|found| found.metadata.deletion_timestamp.is_some())),
        // An administrator may have taken the right away: jobs go on without it.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a pod of the job cannot be scheduled.
fn waiting(observed: &Observed) -> bool {
    observed.pods.iter().any(|pod| crate::status::pods::unschedulable(pod).is_some())
}

//! The fourth step, and the writing of the status: the only code of the operator that writes.
//!
//! Architecture invariant: nothing is written without the lease, and what belongs to somebody else is never touched.

use std::num::NonZeroU32;
use std::sync::Arc;

use fractune_crds::conditions::reason;
use fractune_crds::{API_VERSION, TuneJobStatus, TuneTask, managers, names};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use kube::core::Status;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::debug;

use crate::fetch::Observed;
use crate::leadership::{Leadership, NotLeading};
use crate::metrics::Metrics;
use crate::plan::{Object, Plan, Scale};
use crate::validate::Stalled;

/// Field manager of what may change while a batch Job lives. It is merged, not applied: an apply would take away what
/// the one before it set, and the Job itself is applied once, for its template may not be applied again.
const SCALE_MANAGER: &str = "fractune.dev/operator-scale";

/// Why a plan was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Another operator leads.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// Somebody has to change something first.
    #[error(transparent)]
    Stalled(#[from] Stalled),
    /// An object of an earlier job of the same name is still there.
    #[error("{0} of an earlier TuneJob of this name waits to be deleted")]
    Leftover(String),
    /// The API server does not answer, or answers that it should be asked again.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Writes to the API server.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    leadership: Leadership,
    limiter: Arc<DefaultDirectRateLimiter>,
    metrics: Metrics,
}

impl Writer {
    /// A writer that makes `qps` requests a second at most, after a burst.
    #[must_use]
    pub fn new(client: Client, leadership: Leadership, qps: u32, burst: u32, metrics: Metrics) -> Self {
        let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(qps)).allow_burst(at_least_one(burst));
        Self { client, leadership, limiter: Arc::new(RateLimiter::direct(quota)), metrics }
    }

    /// Carries out a plan, in its order; stops at the first failure, so that no pod starts without what it needs.
    ///
    /// # Errors
    /// [`ApplyError`]; a later pass goes on where this one stopped.
    pub async fn apply(&self, observed: &Observed, plan: &Plan) -> Result<(), ApplyError> {
        // All names are looked at before anything is written: where one is taken, nothing is half-made.
        let mut there = Vec::with_capacity(plan.apply.len());
        for object in &plan.apply {
            there.push(match object {
                Object::ServiceAccount(account) => self.is_there(observed, account).await?,
                Object::RoleBinding(binding) => self.is_there(observed, binding).await?,
                Object::ConfigMap(map) => self.is_there(observed, map).await?,
                Object::Task(task) => self.task_is_there(observed, task).await?,
                Object::Batch(batch) => self.is_there(observed, &**batch).await?,
                Object::Scale(_) => false,
            });
        }
        // What is there though the cache did not know it is not applied again.
        let absent = plan.apply.iter().zip(there).filter(|(_, there)| !there);
        for (object, _) in absent {
            match object {
                Object::ServiceAccount(account) => self.patch(observed, account).await?,
                Object::RoleBinding(binding) => self.patch(observed, binding).await?,
                Object::ConfigMap(map) => self.patch(observed, map).await?,
                Object::Task(task) => self.patch(observed, &**task).await?,
                Object::Batch(batch) => self.patch(observed, &**batch).await?,
                Object::Scale(scale) => self.scale(observed, scale).await?,
            }
        }
        if plan.delete_batch {
            let finished = observed.own_batch().and_then(|batch| batch.metadata.uid.as_deref());
            self.delete::<Job>(observed, &observed.base(), finished).await?;
        }
        if plan.clean_up {
            self.clean_up(observed).await?;
        }
        Ok(())
    }

    /// Whether a task is there and need not be applied. All `TuneTask`s are watched, so the cache knows the names that are
    /// taken; it may lag behind once the batch Job, which comes last, is there.
    async fn task_is_there(&self, observed: &Observed, task: &TuneTask) -> Result<bool, ApplyError> {
        let index = index(task);
        if observed.tasks.contains_key(&index) {
            return Ok(false);
        }
        match observed.foreign_tasks.get(&index) {
            Some(foreign) => self.is_own::<TuneTask>(observed, foreign).await,
            None if observed.own_batch().is_none() => Ok(false),
            None => self.is_there(observed, task).await,
        }
    }

    /// Whether an object is there, as the job's own. Results count as never there: they are applied again.
    async fn is_there<K>(&self, observed: &Observed, object: &K) -> Result<bool, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let name = object.name_any();
        let api: Api<K> = self.api(observed);
        self.limiter.until_ready().await;
        let Some(there) = api.get_metadata_opt(&name).await? else { return Ok(false) };
        let own = self.is_own::<K>(observed, &there.metadata).await?;
        Ok(own && name != names::tuned(&observed.base()))
    }

    /// Whether what is there is the job's own; what is left of an earlier one is removed.
    async fn is_own<K>(&self, observed: &Observed, there: &ObjectMeta) -> Result<bool, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let (kind, name) = (K::kind(&()), there.name.as_deref().unwrap_or_default());
        let goes = there.deletion_timestamp.is_some();
        if observed.owns_by(there) && !goes {
            return Ok(true);
        }
        let namesakes = is_namesakes(there, observed);
        if namesakes && !goes {
            // The garbage collector may have missed that the TuneJob was replaced.
            self.remove::<K>(observed, there).await?;
        }
        if namesakes || goes {
            return Err(ApplyError::Leftover(format!("{kind} {name}")));
        }
        let message = format!(
            "there is a {kind} {name} already, which is not this TuneJob's. Delete it, or make the TuneJob under another \
             name."
        );
        Err(Stalled::new(reason::NAME_TAKEN, message).into())
    }

    /// Applies an object.
    async fn patch<K>(&self, observed: &Observed, object: &K) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Serialize
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let api: Api<K> = self.api(observed);
        let parameters = PatchParams::apply(managers::OPERATOR).force();
        self.may_write(&K::kind(&())).await?;
        let applied = api.patch(&object.name_any(), &parameters, &Patch::Apply(object)).await;
        applied.map(|_| ()).map_err(|error| refused(&K::kind(&()), &object.name_any(), error))
    }

    async fn scale(&self, observed: &Observed, scale: &Scale) -> Result<(), ApplyError> {
        let Scale { name, parallelism, suspend } = scale;
        let mut spec = serde_json::Map::new();
        spec.extend(parallelism.map(|parallelism| ("parallelism".to_owned(), json!(parallelism))));
        spec.extend(suspend.map(|suspend| ("suspend".to_owned(), json!(suspend))));
        let api: Api<Job> = self.api(observed);
        let parameters =
            PatchParams { field_manager: Some(SCALE_MANAGER.to_owned()), ..PatchParams::default() };
        self.may_write("Job").await?;
        let applied = api.patch(name, &parameters, &Patch::Merge(json!({"spec": spec}))).await;
        applied.map(|_| ()).map_err(|error| refused("Job", name, error))
    }

    /// Deletes what the job owns, but for its results.
    async fn clean_up(&self, observed: &Observed) -> Result<(), ApplyError> {
        let base = observed.base();
        self.delete::<Job>(observed, &base, None).await?;
        self.delete::<ConfigMap>(observed, &names::manifest(&base), None).await?;
        self.delete::<RoleBinding>(observed, &names::agent(&base), None).await?;
        self.delete::<ServiceAccount>(observed, &names::agent(&base), None).await?;
        // Last: as long as there are tasks, a later pass knows that there is something to delete.
        for task in observed.tasks.values() {
            self.delete::<TuneTask>(observed, &task.name_any(), None).await?;
        }
        Ok(())
    }

    /// Deletes an object if it is there and the job's own; only that of this UID, where one is given.
    async fn delete<K>(&self, observed: &Observed, name: &str, uid: Option<&str>) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let api: Api<K> = self.api(observed);
        self.limiter.until_ready().await;
        let Some(there) = api.get_metadata_opt(name).await?.filter(|there| observed.owns(there)) else {
            return Ok(());
        };
        if uid.is_some_and(|uid| there.metadata.uid.as_deref() != Some(uid)) {
            return Ok(());
        }
        self.remove::<K>(observed, &there.metadata).await
    }

    /// Deletes the very object that was read.
    async fn remove<K>(&self, observed: &Observed, there: &ObjectMeta) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let preconditions = kube::api::Preconditions { uid: there.uid.clone(), resource_version: None };
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        self.may_write(&K::kind(&())).await?;
        let api: Api<K> = self.api(observed);
        match api.delete(there.name.as_deref().unwrap_or_default(), &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a job's status, if it differs from what is there: that of the very job that was read. `manager` is whose
    /// fields they are.
    ///
    /// # Errors
    /// [`ApplyError`]; a conflict where the job has changed since it was read.
    pub async fn status(
        &self,
        job: &ObjectMeta,
        manager: &str,
        before: Option<&TuneJobStatus>,
        status: &impl Serialize,
    ) -> Result<bool, ApplyError> {
        let status = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
        let before = before.map(serde_json::to_value).transpose().map_err(kube::Error::SerdeError)?;
        if before.as_ref() == Some(&status) {
            return Ok(false);
        }
        let name = job.name.as_deref().unwrap_or_default();
        let namespace = job.namespace.as_deref().unwrap_or_default();
        let patch = json!({
            "apiVersion": API_VERSION,
            "kind": "TuneJob",
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": job.resource_version},
            "status": status,
        });
        let api: Api<kube::api::DynamicObject> = Api::namespaced_with(
            self.client.clone(),
            namespace,
            &kube::api::ApiResource::erase::<fractune_crds::TuneJob>(&()),
        );
        let parameters = PatchParams::apply(manager).force();
        self.may_write("TuneJob/status").await?;
        match api.patch_status(name, &parameters, &Patch::Apply(&patch)).await {
            Ok(_) => Ok(true),
            // Deleted in the meantime.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn api<K>(&self, observed: &Observed) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &observed.job.namespace().unwrap_or_default())
    }

    async fn may_write(&self, kind: &str) -> Result<(), NotLeading> {
        self.limiter.until_ready().await;
        self.leadership.check()?;
        self.metrics.writes.with_label_values(&[kind]).inc();
        debug!(kind, "write");
        Ok(())
    }
}

fn index(task: &TuneTask) -> usize {
    usize::try_from(task.spec.index).unwrap_or_default()
}

/// Whether an object is that of an earlier `TuneJob` of the same name: the garbage collector comes for it.
fn is_namesakes(there: &ObjectMeta, observed: &Observed) -> bool {
    let owners = there.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.kind == "TuneJob" && owner.name == observed.name())
}

/// What the API server refuses for good stalls the job: to ask again would not help.
fn refused(kind: &str, name: &str, error: kube::Error) -> ApplyError {
    match error {
        kube::Error::Api(status) if is_refusal(&status) => {
            let message = format!("the API server refuses {kind} {name}: {}", status.message);
            Stalled::new(reason::REFUSED, message).into()
        }
        error => error.into(),
    }
}

fn is_refusal(status: &Status) -> bool {
    let passing = [
        // A namespace that is being deleted refuses everything, and takes the job with it.
        "being terminated",
        // Who may be an owner is checked by kinds that the API server learns of some seconds after their definition.
        "cannot find RESTMapping",
    ];
    let passes = passing.iter().any(|words| status.message.contains(words));
    matches!(status.code, 400 | 403 | 413 | 422) && !passes
}

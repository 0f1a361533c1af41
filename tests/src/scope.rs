//! A test's own namespace: writing to it, looking at it, and saying what was in it when the test failed.

use std::fmt::Debug;

use anyhow::{Context as _, Result, bail};
use fractune_crds::{State, TuneJob, TuneJobStatus, TuneTask};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::fixture::Fixture;
use crate::install::{Installation, OPERATOR_PODS, SYSTEM};
use crate::wait::until;

/// Lines of each log that are shown when a test failed.
const TAIL: &str = "--tail=60";

/// A test's namespace.
pub struct Scope<'a> {
    installation: &'a Installation,
    namespace: String,
}

impl<'a> Scope<'a> {
    /// Makes a namespace, which demands the restricted Pod Security Standard.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn new(installation: &'a Installation, namespace: &str) -> Result<Self> {
        let object: Namespace = serde_json::from_value(json!({
            "metadata": {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }))?;
        let api: Api<Namespace> = Api::all(installation.cluster.client());
        api.create(&kube::api::PostParams::default(), &object).await?;
        let scope = Self { installation, namespace: namespace.to_owned() };
        // Kubernetes' own controllers may be half a minute late where the API server was away in the test before.
        until("the namespace's default service account", 120, async || {
            let account =
                scope.api::<k8s_openapi::api::core::v1::ServiceAccount>().get_opt("default").await?;
            Ok(account.map(|_| ()))
        })
        .await?;
        Ok(scope)
    }

    /// Deletes the namespace, without waiting for its end.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn remove(self) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.cluster().client());
        // It may be gone: deleting it is part of a test.
        if api.get_opt(&self.namespace).await?.is_some() {
            api.delete(&self.namespace, &DeleteParams::background()).await?;
        }
        Ok(())
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &'a Cluster {
        &self.installation.cluster
    }

    /// The chart's installation.
    #[must_use]
    pub fn installation(&self) -> &'a Installation {
        self.installation
    }

    /// Its name.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Objects of a kind.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster().client(), &self.namespace)
    }

    /// All objects of a kind.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn list<K>(&self) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        Ok(self.api::<K>().list(&ListParams::default()).await?.items)
    }

    /// Applies an object, as `kubectl apply` does.
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply(&self, object: &Fixture) -> Result<()> {
        self.apply_value(object.value())
    }

    /// Applies any object.
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply_value(&self, object: &Value) -> Result<()> {
        let words = ["apply", "--namespace", &self.namespace, "-f", "-"];
        self.cluster().kubectl(&words, Some(&object.to_string())).map(|_| ())
    }

    /// Applies an object that must be refused; what is said then.
    ///
    /// # Errors
    /// When it is taken.
    pub fn refused(&self, object: &Value) -> Result<String> {
        match self.apply_value(object) {
            Ok(()) => bail!("{object} was not refused"),
            Err(error) => Ok(error.to_string()),
        }
    }

    /// Changes the spec of a job.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn change(&self, job: &str, spec: Value) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.api::<TuneJob>().patch(job, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Waits until a job is as it is asked to be.
    ///
    /// # Errors
    /// When it is not in time; says how it is then.
    pub async fn job(
        &self,
        name: &str,
        what: &str,
        seconds: u64,
        is: impl Fn(&TuneJob, &TuneJobStatus) -> bool,
    ) -> Result<TuneJob> {
        let api = self.api::<TuneJob>();
        until(&format!("TuneJob {name}: {what}"), seconds, async || {
            let job = api.get(name).await?;
            let status = job.status.clone().unwrap_or_default();
            if is(&job, &status) {
                return Ok(Some(job));
            }
            bail!("it is {:?} after {} trials; {}", status.state, status.trials, told(&status.conditions))
        })
        .await
    }

    /// Waits until a job is in a state that speaks of its spec as it stands.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn state(&self, name: &str, state: State, seconds: u64) -> Result<TuneJob> {
        self.job(name, &format!("{state:?}"), seconds, |job, status| {
            status.state == Some(state) && status.observed_generation == job.metadata.generation
        })
        .await
    }

    /// Waits until a job is Stalled for a reason; the message.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn stalled(&self, name: &str, reason: &str, seconds: u64) -> Result<String> {
        let is = |status: &TuneJobStatus| {
            let stalled = status.conditions.iter().find(|c| c.type_ == "Stalled" && c.status == "True");
            stalled.filter(|condition| condition.reason == reason).map(|c| c.message.clone())
        };
        let what = format!("Stalled because of {reason}");
        let job = self.job(name, &what, seconds, |_, status| is(status).is_some()).await?;
        job.status.as_ref().and_then(is).context("a condition that went away")
    }

    /// Waits until a job's task has a number of trials at least.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn trials(&self, task: &str, least: i64, seconds: u64) -> Result<TuneTask> {
        let api = self.api::<TuneTask>();
        until(&format!("{least} trials of {task}"), seconds, async || {
            let task = api.get(task).await?;
            let trials = task.status.as_ref().map_or(0, |status| status.trials.total);
            Ok((trials >= least).then_some(task))
        })
        .await
    }

    /// Waits for a job's pod of an index that runs and was not there before.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn pod(&self, job: &str, index: u32, other_than: &[&Pod]) -> Result<Pod> {
        let start = format!("{job}-{index}-");
        until(&format!("a running pod {start}*"), 60, async || {
            let pods = self.list::<Pod>().await?;
            let running = |pod: &Pod| {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                phase == Some("Running") && pod.metadata.deletion_timestamp.is_none() && tuning(pod)
            };
            let new = |pod: &Pod| !other_than.iter().any(|other| other.uid() == pod.uid());
            Ok(pods.into_iter().find(|pod| pod.name_any().starts_with(&start) && running(pod) && new(pod)))
        })
        .await
    }

    /// Batch Jobs, for checks that there is one.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn batches(&self) -> Result<Vec<Job>> {
        self.list().await
    }

    /// A `ConfigMap`'s data.
    ///
    /// # Errors
    /// When there is none.
    pub async fn data(&self, config_map: &str) -> Result<std::collections::BTreeMap<String, String>> {
        Ok(self.api::<ConfigMap>().get(config_map).await?.data.unwrap_or_default())
    }

    /// Everything that helps to understand why a test failed.
    #[must_use]
    pub fn describe(&self) -> String {
        let namespace = self.namespace.as_str();
        let kinds = "tunejobs,tunetasks,jobs,pods,configmaps,resourcequotas";
        let fields = "custom-columns=KIND:.kind,NAME:.metadata.name,STATUS:.status";
        let own = ["--namespace", namespace];
        let system = ["--namespace", SYSTEM];
        let mut text = String::new();
        let mut show = |words: Vec<&str>| {
            let said = self.cluster().kubectl(&words, None).unwrap_or_else(|error| format!("{error:#}"));
            // A checkpoint is of no use to a reader.
            let lines = said.lines().map(|line| line.chars().take(2000).collect::<String>() + "\n");
            text.extend(
                ["--- kubectl ".to_owned(), words.join(" "), "\n".to_owned()].into_iter().chain(lines),
            );
        };
        show([&own[..], &["get", kinds, "-o", "wide"]].concat());
        show([&own[..], &["get", "tunejobs,jobs", "-o", fields]].concat());
        show([&own[..], &["get", "events", "--sort-by=.metadata.creationTimestamp"]].concat());
        show([&own[..], &["logs", "-l", "fractune.dev/job", "--all-containers", "--prefix", TAIL]].concat());
        show([&system[..], &["get", "pods", "-o", "wide"]].concat());
        show([&system[..], &["logs", "-l", OPERATOR_PODS, "--prefix", TAIL]].concat());
        text
    }
}

/// Whether the tuning container of a pod runs.
fn tuning(pod: &Pod) -> bool {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let running = |state: &k8s_openapi::api::core::v1::ContainerStatus| {
        state.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    containers.is_some_and(|containers| containers.iter().all(running))
}

fn told(conditions: &[Condition]) -> String {
    let word = |c: &Condition| format!("{}={} ({}: {})", c.type_, c.status, c.reason, c.message);
    conditions.iter().map(word).collect::<Vec<_>>().join("; ")
}

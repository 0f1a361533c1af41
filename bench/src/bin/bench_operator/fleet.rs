//! The jobs.

use std::time::{Duration, Instant};

use anyhow::Result;
use fractune_crds::TuneJob;
use fractune_tests::{Cluster, Fixture, until};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// Namespaces that the jobs are spread over.
const NAMESPACES: u32 = 10;
/// Requests at once.
pub(crate) const AT_ONCE: usize = 16;

/// Jobs of a small C kernel, each with as many problems as it has tasks.
pub(crate) struct Fleet {
    client: Client,
    jobs: u32,
    tasks_each: u32,
    job: Value,
}

/// A job's place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Fleet {
    /// Makes the namespaces and the definitions.
    pub(crate) fn prepare(cluster: &Cluster, jobs: u32, tasks_each: u32) -> Result<Self> {
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds");
        cluster.kubectl(&["apply", "--server-side", "-f", crds], None)?;
        cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", crds], None)?;
        for number in 0..NAMESPACES {
            cluster.kubectl(&["create", "namespace", &namespace(number)], None)?;
        }
        let problem =
            |number: u32| json!({"name": format!("p{number}"), "sizes": {"len": 1000 + number, "rounds": 1}});
        let problems: Vec<Value> = (0..tasks_each).map(problem).collect();
        let job = Fixture::new("saxpy", "job")?.trials(200).with("/spec/parallelism", tasks_each);
        let job = job.with("/spec/kernels/0/problems", problems).value().clone();
        Ok(Self { client: cluster.client(), jobs, tasks_each, job })
    }

    /// Number of jobs.
    pub(crate) fn jobs(&self) -> u32 {
        self.jobs
    }

    /// Number of tasks.
    pub(crate) fn tasks(&self) -> u32 {
        self.jobs * self.tasks_each
    }

    /// Where a job is.
    pub(crate) fn place(&self, number: u32) -> Place {
        let number = number % self.jobs;
        Place { namespace: namespace(number % NAMESPACES), name: format!("job-{number}") }
    }

    /// Creates the jobs as fast as the API server takes them.
    pub(crate) async fn create(&self) -> Result<()> {
        let create = |number: u32| async move {
            let Place { namespace, name } = self.place(number);
            let mut job = self.job.clone();
            job["metadata"]["name"] = json!(name);
            let api: Api<TuneJob> = Api::namespaced(self.client.clone(), &namespace);
            api.create(&PostParams::default(), &serde_json::from_value(job)?).await?;
            anyhow::Ok(())
        };
        stream::iter(0..self.jobs).map(create).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Waits for every batch Job; how long that took.
    pub(crate) async fn batch_jobs(&self, started: Instant) -> Result<Duration> {
        let api: Api<Job> = Api::all(self.client.clone());
        let one = ListParams::default().limit(1);
        until("every batch Job", 900, async || {
            let list = api.list_metadata(&one).await?;
            let more = list.metadata.remaining_item_count.unwrap_or_default();
            let there = i64::try_from(list.items.len())? + more;
            if there < i64::from(self.jobs) {
                tokio::time::sleep(Duration::from_millis(350)).await;
                return Ok(None);
            }
            Ok(Some(started.elapsed()))
        })
        .await
    }
}

fn namespace(number: u32) -> String {
    format!("team-{number}")
}

//! A job that is disturbed, and what must hold of it at its end all the same.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use fractune_crds::{State, TuneTask};
use fractune_tests::{Checkpoint, Fixture, Follow, Scope, trials_in, until};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt as _;

/// Trials of a task that is disturbed: enough for the disturbance to come in the midst of them.
pub(crate) const TRIALS: u32 = 40;
/// What makes a trial take a quarter of a second, also on a fast machine that does nothing else.
const ROUNDS: u32 = 800;
/// Trials after which it is disturbed.
const BEFORE: usize = 5;
/// The job, and its one task.
pub(crate) const JOB: &str = "saxpy";
pub(crate) const TASK: &str = "saxpy-0";

/// A job under way, with its pod and the pod's log.
pub(crate) struct Running {
    pub(crate) pod: Pod,
    pub(crate) log: Follow,
}

/// Starts a job of one task, and waits for its first trials.
pub(crate) async fn start(scope: &Scope<'_>, job: Fixture) -> Result<Running> {
    scope.apply(&job)?;
    let pod = scope.pod(JOB, 0, &[]).await?;
    let log = Follow::start(scope, &pod.name_any())?;
    until("the first trials", 60, async || Ok((trials_in(&log.text()?).len() >= BEFORE).then_some(())))
        .await?;
    let trials = trials_in(&log.text()?).len();
    ensure!(trials < TRIALS as usize, "the job was done before it could be disturbed");
    Ok(Running { pod, log })
}

/// The usual job to be disturbed, whose trials take long enough for that.
pub(crate) fn job() -> Result<Fixture> {
    let rounds = "/spec/kernels/0/problems/0/sizes/rounds";
    Ok(Fixture::new("saxpy", JOB)?.trials(TRIALS).with("/spec/measure/minTimeMs", 20).with(rounds, ROUNDS))
}

/// Waits for the end of the usual job, and checks what must hold of it however it was disturbed.
pub(crate) async fn completes(scope: &Scope<'_>) -> Result<TuneTask> {
    scope.state(JOB, State::Complete, 120).await?;
    let found = End::of(scope, JOB).await?;
    ensure!(found == End::expected(JOB, 1, TRIALS), "{found:#?}");
    Ok(scope.api::<TuneTask>().get(TASK).await?)
}

/// What is there at the end of a job of the fixture's kernel, in words that do not depend on times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    conditions: BTreeMap<String, String>,
    /// Trials of each task, and those in its checkpoint.
    tasks: BTreeMap<String, (i64, usize)>,
    results: BTreeSet<(String, u8)>,
    batches: Vec<String>,
    config_maps: BTreeSet<String>,
}

impl End {
    /// Looks at a job. No trial is there twice in what it finds.
    pub(crate) async fn of(scope: &Scope<'_>, name: &str) -> Result<Self> {
        let job = scope.api::<fractune_crds::TuneJob>().get(name).await?;
        let status = job.status.context("no status")?;
        let mut tasks = BTreeMap::new();
        for task in scope.list::<TuneTask>().await? {
            let checkpoint = Checkpoint::of(&task)?;
            checkpoint.is_kept_in(&checkpoint)?;
            let trials = task.status.as_ref().map_or(0, |status| status.trials.total);
            tasks.insert(task.name_any(), (trials, checkpoint.0.len()));
        }
        let condition = |c: k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| (c.type_, c.status);
        Ok(Self {
            conditions: status.conditions.into_iter().map(condition).collect(),
            tasks,
            results: status.results.into_iter().map(|result| (result.problem, result.share)).collect(),
            batches: scope.list::<Job>().await?.iter().map(Job::name_any).collect(),
            config_maps: scope.list::<ConfigMap>().await?.iter().map(ConfigMap::name_any).collect(),
        })
    }

    /// What a job that nothing disturbed leaves: with `problems` called small, p1, p2 and so on.
    pub(crate) fn expected(name: &str, problems: usize, trials: u32) -> Self {
        let word = |text: &str| text.to_owned();
        let conditions = [("Complete", "True"), ("Reconciling", "False"), ("Stalled", "False")];
        let each = (i64::from(trials), trials as usize);
        let shares = |problem: usize| {
            let problem = if problem == 0 { word("small") } else { format!("p{problem}") };
            [(problem.clone(), 50), (problem, 100)]
        };
        Self {
            conditions: conditions.map(|(kind, status)| (word(kind), word(status))).into(),
            tasks: (0..problems).map(|index| (format!("{name}-{index}"), each)).collect(),
            results: (0..problems).flat_map(shares).collect(),
            batches: vec![word(name)],
            config_maps: [format!("{name}-job"), format!("{name}-tuned"), word("kube-root-ca.crt")].into(),
        }
    }

    /// The same, had the job been suspended on its way.
    pub(crate) fn once_suspended(mut self) -> Self {
        self.conditions.insert("Suspended".to_owned(), "False".to_owned());
        self
    }
}

/// Adds problems p1, p2 and so on to the fixture.
pub(crate) fn with_problems(job: Fixture, problems: usize) -> Fixture {
    (1..problems).fold(job, |job, n| {
        let problem = serde_json::json!({"name": format!("p{n}"), "sizes": {"len": 10_000 + n, "rounds": 1}});
        job.with("/spec/kernels/0/problems/-", problem)
    })
}

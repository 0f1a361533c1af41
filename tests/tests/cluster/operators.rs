//! Operators that die, and operators that are two.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fractune_crds::State;
use fractune_crds::conditions::reason;
use fractune_tests::{AGENT_IMAGE, Fixture, Installation, LEASE, SYSTEM, Scope, until};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::running::{End, JOB, with_problems};

/// How long it may take until another operator leads.
const FAILOVER: Duration = Duration::from_secs(20);
/// Tasks of the job that operators die over.
const PROBLEMS: usize = 3;
/// Trials of each.
const TRIALS: u32 = 10;
/// An operator is killed after a random time up to this: it writes its first objects after about a third of a second.
const LONGEST_LIFE_MS: u64 = 2000;

/// How often operators are killed: `FRACTUNE_KILLS`, or ten times.
fn kills() -> Result<u32> {
    std::env::var("FRACTUNE_KILLS").map_or(Ok(10), |text| text.parse().context("FRACTUNE_KILLS"))
}

/// Runs a test without the chart's own operators, which come back whatever happens.
async fn without_operators(scope: &Scope<'_>, test: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    scale(scope, 0).await?;
    let result = test().await;
    scale(scope, 1).await?;
    result
}

async fn scale(scope: &Scope<'_>, replicas: usize) -> Result<()> {
    let words = ["scale", "--namespace", SYSTEM, "deployment", LEASE, &format!("--replicas={replicas}")];
    scope.cluster().kubectl(&words, None)?;
    until("the operators' number", 60, async || {
        Ok((scope.installation().operators().await?.len() == replicas).then_some(()))
    })
    .await
}

/// An operator outside the cluster with the rights of those inside: it can be killed at any time and is started again
/// at once, which Kubernetes would put off longer and longer.
struct Outside {
    folder: tempfile::TempDir,
    program: std::path::PathBuf,
    child: Option<Child>,
}

impl Outside {
    fn new(scope: &Scope<'_>) -> Result<Self> {
        let cluster = scope.cluster();
        let words = ["create", "token", LEASE, "--namespace", SYSTEM, "--duration", "2h"];
        let token = cluster.kubectl(&words, None)?;
        let mut config: Value =
            serde_json::from_str(&cluster.kubectl(&["config", "view", "--raw", "-o", "json"], None)?)?;
        config["users"][0]["user"] = json!({"token": token.trim()});
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("kubeconfig"), config.to_string())?;
        Ok(Self { folder, program: scope.installation().operator.clone(), child: None })
    }

    fn start(&mut self) -> Result<()> {
        self.start_with(AGENT_IMAGE)
    }

    /// Starts it with an image for the pods.
    fn start_with(&mut self, image: &str) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        let mut command = Command::new(&self.program);
        command.args(["--agent-image", image, "--agent-image-pull-policy", "Never"]);
        command.args(["--lease-name", LEASE, "--lease-namespace", SYSTEM, "--identity", "outside"]);
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Every Job and task that ever was in a namespace, by watching it.
struct Witness {
    child: Child,
    file: tempfile::NamedTempFile,
}

impl Witness {
    fn start(scope: &Scope<'_>) -> Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        let script = r#"for kind in jobs tunetasks; do
            "$0" --kubeconfig "$1" --namespace "$2" get "$kind" --watch --no-headers \
                -o custom-columns=KIND:.kind,NAME:.metadata.name,UID:.metadata.uid & done; wait"#;
        let cluster = scope.cluster();
        let mut command = Command::new("setsid");
        command.args(["--wait", "sh", "-c", script]).arg(cluster.folder().join("bin/kubectl"));
        command.arg(cluster.kubeconfig()).arg(scope.namespace()).stdin(Stdio::null());
        let child = command.stdout(File::create(file.path())?).stderr(Stdio::null()).spawn()?;
        Ok(Self { child, file })
    }

    fn seen(&self) -> Result<BTreeSet<String>> {
        let text = std::fs::read_to_string(self.file.path())?;
        Ok(text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
    }
}

pub(crate) async fn an_operator_killed_again_and_again_changes_nothing(scope: &Scope<'_>) -> Result<()> {
    without_operators(scope, async || {
        let mut outside = Outside::new(scope)?;
        let mut left = kills()?;
        let mut round = 0;
        while left > 0 {
            let name = format!("round{round}");
            let job = with_problems(Fixture::new("saxpy", &name)?.trials(TRIALS), PROBLEMS);
            let done = a_round(scope, &mut outside, &job, &name, &mut left).await;
            done.with_context(|| format!("round {round}; the operator's log:\n{}", outside.log()))?;
            round += 1;
        }
        Ok(())
    })
    .await
}

/// One job, over which operators are killed until it is complete.
async fn a_round(
    scope: &Scope<'_>,
    outside: &mut Outside,
    job: &Fixture,
    name: &str,
    left: &mut u32,
) -> Result<()> {
    let witness = Witness::start(scope)?;
    scope.apply(job)?;
    while *left > 0 {
        outside.start()?;
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..LONGEST_LIFE_MS))).await;
        outside.kill()?;
        *left -= 1;
        let now: fractune_crds::TuneJob = scope.api().get(name).await?;
        if now.status.is_some_and(|status| status.state == Some(State::Complete)) {
            break;
        }
    }
    outside.start()?;
    scope.state(name, State::Complete, 180).await?;
    let end = End::of(scope, name).await?;
    outside.kill()?;
    ensure!(end == End::expected(name, PROBLEMS, TRIALS), "{end:#?}");
    let seen = witness.seen()?;
    ensure!(seen.len() == 1 + PROBLEMS, "there were: {seen:#?}");
    // The next round begins with nothing.
    let api = scope.api::<fractune_crds::TuneJob>();
    api.delete(name, &DeleteParams::default()).await?;
    until("the end of the round's objects", 60, async || {
        let tasks = scope.list::<fractune_crds::TuneTask>().await?.len();
        let maps = scope.data(&format!("{name}-tuned")).await.is_ok();
        Ok((tasks + scope.batches().await?.len() == 0 && !maps).then_some(()))
    })
    .await
}

pub(crate) async fn a_job_of_a_wrong_image_goes_on_when_the_image_is_mended(scope: &Scope<'_>) -> Result<()> {
    without_operators(scope, async || {
        let mut outside = Outside::new(scope)?;
        outside.start_with("localhost/fractune/agent:none")?;
        scope.apply(&Fixture::new("saxpy", JOB)?.trials(3))?;
        let told = scope.stalled(JOB, reason::PODS_REFUSED, 60).await?;
        ensure!(told.contains("localhost/fractune/agent:none"), "{told}");
        outside.kill()?;
        outside.start()?;
        scope.state(JOB, State::Complete, 120).await?;
        ensure!(scope.batches().await?.len() == 1);
        Ok(())
    })
    .await
}

impl Drop for Witness {
    fn drop(&mut self) {
        // Its own session, so its own group: kubectl goes with it.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Names of the operators that say they lead. More than one is what must never be.
async fn leaders(installation: &Installation) -> Result<Vec<String>> {
    let mut leaders = Vec::new();
    for pod in installation.operators().await? {
        // One that does not answer does not lead, as far as one can see.
        if let Ok(Some(value)) = installation.metric(&pod.name_any(), "fractune_leader").await
            && value > 0.0
        {
            leaders.push(pod.name_any());
        }
    }
    ensure!(leaders.len() <= 1, "{leaders:?} lead");
    Ok(leaders)
}

async fn holder(scope: &Scope<'_>) -> Result<Option<String>> {
    let api: Api<Lease> = Api::namespaced(scope.cluster().client(), SYSTEM);
    Ok(api.get(LEASE).await?.spec.and_then(|spec| spec.holder_identity))
}

/// Waits until exactly one operator leads that is not `former`; its name, and how long that took.
async fn next_leader(scope: &Scope<'_>, former: Option<&str>) -> Result<(String, Duration)> {
    let started = Instant::now();
    let name = until("another leader", 60, async || {
        let leaders = leaders(scope.installation()).await?;
        let leader = leaders.into_iter().next().filter(|leader| Some(leader.as_str()) != former);
        let holder = holder(scope).await?;
        Ok(leader.filter(|leader| holder.as_ref() == Some(leader)))
    })
    .await?;
    Ok((name, started.elapsed()))
}

pub(crate) async fn of_two_operators_one_writes_and_the_other_takes_over(scope: &Scope<'_>) -> Result<()> {
    scope.installation().helm("upgrade", &["operator.replicas=2"])?;
    let result = taking_over(scope).await;
    scope.installation().helm("upgrade", &[])?;
    result
}

async fn taking_over(scope: &Scope<'_>) -> Result<()> {
    let (first, _) = next_leader(scope, None).await?;
    scope.apply(&Fixture::new("saxpy", "before")?.trials(3).with("/spec/suspend", true))?;
    scope.state("before", State::Suspended, 30).await?;
    writes_alone(scope, &first).await?;

    // Its process is killed: the kubelet starts it again, or the other one takes over.
    let api: Api<Pod> = Api::namespaced(scope.cluster().client(), SYSTEM);
    scope.cluster().kill(&api.get(&first).await?, &["/usr/bin/fractune-operator"])?;
    let (second, took) = next_leader(scope, None).await?;
    ensure!(took < FAILOVER, "{took:?} until {second} led after {first} was killed");

    // Its pod is gone from one moment to the next.
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    api.delete(&second, &at_once).await?;
    let (third, took) = next_leader(scope, Some(&second)).await?;
    ensure!(took < FAILOVER, "{took:?} until {third} led after {second} was deleted");
    scope.apply(&Fixture::new("saxpy", "after")?.trials(3).with("/spec/suspend", true))?;
    scope.state("after", State::Suspended, 30).await?;
    writes_alone(scope, &third).await?;

    // It is told to stop, and gives the lease back.
    api.delete(&third, &DeleteParams::default()).await?;
    let (fourth, took) = next_leader(scope, Some(&third)).await?;
    ensure!(took < FAILOVER, "{took:?} until {fourth} led after {third} was told to stop");
    Ok(())
}

/// Checks that of all operators only this one has written.
async fn writes_alone(scope: &Scope<'_>, leader: &str) -> Result<()> {
    let installation = scope.installation();
    for pod in installation.operators().await? {
        let name = pod.name_any();
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{name}:8080/proxy/metrics");
        let text = until("the metrics", 30, async || Ok(Some(installation.get(&path).await?))).await?;
        let writes = text.lines().filter(|line| line.starts_with("fractune_api_writes_total{")).count();
        ensure!((writes > 0) == (name == leader), "{leader} leads, and {name} has {writes} kinds of writes");
    }
    Ok(())
}

//! The kubectl plugin on a cluster: docs/plugin.md.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use fractune_crds::{State, TuneJob};
use fractune_tests::{Fixture, SYSTEM, Scope, until};
use serde_json::{Value, json};

const JOB: &str = "saxpy";
/// A name that no other test's job has: it is looked for in all namespaces, and those of earlier tests end slowly.
const WATCHED: &str = "watched";
/// The operator's role, as the chart names it.
const ROLE: &str = "fractune-operator";

/// Runs the plugin in the test's namespace.
fn fractune(scope: &Scope<'_>, words: &[&str]) -> Result<Output> {
    command(scope, words).output().context("kubectl-fractune")
}

fn command(scope: &Scope<'_>, words: &[&str]) -> Command {
    let mut command = Command::new(plugin(scope));
    command.args(words).arg("--kubeconfig").arg(scope.cluster().kubeconfig());
    command.args(["--namespace", scope.namespace()]).stdin(Stdio::null());
    command
}

fn plugin(scope: &Scope<'_>) -> PathBuf {
    scope.installation().operator.with_file_name("kubectl-fractune")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What the plugin prints when it ends with this exit code.
fn says(scope: &Scope<'_>, code: i32, words: &[&str]) -> Result<String> {
    let output = fractune(scope, words)?;
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.code() == Some(code), "{words:?}: {}\n{out}{error}", output.status);
    Ok(out + &error)
}

/// What the plugin prints to be read by programs: notes beside it go to standard error.
fn prints(scope: &Scope<'_>, words: &[&str]) -> Result<String> {
    let output = fractune(scope, words)?;
    ensure!(output.status.success(), "{words:?}: {}\n{}", output.status, text(&output.stderr));
    Ok(text(&output.stdout))
}

/// A kernel whose best configuration is beyond doubt: every other one does its work several times.
fn job() -> Result<Fixture> {
    let source = "
        void saxpy(const float *x, float *out, float a, int len, int rounds) {
          for (int round = 0; round < rounds * WASTE; round++) {
            for (int i = 0; i < len; i++) out[i] = a * x[i];
            __asm__ volatile(\"\" ::: \"memory\");
          }
        }
        void reference(const float *x, float *out, float a, int len, int rounds) {
          for (int i = 0; i < len; i++) out[i] = a * x[i];
        }";
    let parameters = json!([{"name": "WASTE", "values": [1, 4, 16], "default": 4}]);
    let job = Fixture::new("saxpy", WATCHED)?.trials(3);
    let job = job.with("/spec/kernels/0/parameters", parameters);
    Ok(job.with("/spec/kernels/0/source/inline", source).with("/spec/kernels/0/problems/0/sizes/rounds", 20))
}

pub(crate) async fn a_job_is_watched_to_its_end_and_its_results_are_those_of_a_local_run(
    scope: &Scope<'_>,
) -> Result<()> {
    let job = job()?;
    scope.apply(&job)?;
    let watched = says(scope, 0, &["watch", WATCHED, "--timeout", "120s"])?;
    ensure!(watched.contains(&format!("{WATCHED}: Complete")) && watched.contains("WASTE=1"), "{watched}");

    // What pods mount is what is printed.
    let data = scope.data(&format!("{WATCHED}-tuned")).await?;
    let published = data.get("tuned.json").context("no JSON")?;
    let printed = prints(scope, &["results", WATCHED, "-o", "json"])?;
    ensure!(printed.trim() == published.trim(), "{printed}\n{published}");
    let header = prints(scope, &["results", WATCHED, "-o", "header"])?;
    ensure!(header.trim() == data.get("tuned.h").context("no header")?.trim(), "{header}");
    let exported = prints(scope, &["export", WATCHED, "--format", "json"])?;
    ensure!(exported == printed, "{exported}");
    let trials = prints(scope, &["export", "--job", WATCHED, "--format", "t4", "--share", "100"])?;
    let trials: Value = serde_json::from_str(&trials)?;
    ensure!(trials["results"].as_array().is_some_and(|results| results.len() == 3), "{trials}");

    let folder = tempfile::tempdir()?;
    let page = folder.path().join("report.html");
    says(scope, 0, &["report", WATCHED, "--output", &page.to_string_lossy()])?;
    let page = std::fs::read_to_string(page)?;
    for expected in [format!("Tuning report: {WATCHED}").as_str(), "Winning configurations", "WASTE", "<svg"]
    {
        ensure!(page.contains(expected), "{expected} is not in the report");
    }

    for (words, expected) in
        [(&["logs", WATCHED][..], "trial"), (&["logs", WATCHED, "--reporter", "--task", "0"], "status")]
    {
        // Kubelet itself learns about a second late that a container has started.
        let told = async || Ok(says(scope, 0, words)?.contains(expected).then_some(()));
        until(&format!("{expected} in {words:?}"), 15, told).await?;
    }
    local_run_agrees(scope, &job, &printed)?;
    nothing_of_that_name(scope)
}

/// The same job, tuned by the same program without a cluster.
fn local_run_agrees(scope: &Scope<'_>, job: &Fixture, cluster: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, out) = (folder.path().join("job.json"), folder.path().join("out"));
    std::fs::write(&file, job.value().to_string())?;
    let mut run = Command::new(plugin(scope));
    run.arg("run").arg(&file).arg("--out").arg(&out).arg("--quiet").stdin(Stdio::null());
    run.env("FRACTUNE_GATE", folder.path().join("gate"));
    let ran = run.output()?;
    ensure!(ran.status.success(), "{}", text(&ran.stderr));
    let exported = Command::new(plugin(scope)).arg("export").arg(&out).output()?;
    ensure!(exported.status.success(), "{}", text(&exported.stderr));
    let shape = |json: &str| -> Result<Vec<String>> {
        let winners: Vec<Value> = serde_json::from_str(json)?;
        let winner = |winner: &Value| {
            let keys: BTreeSet<&String> = winner.as_object().map(|w| w.keys().collect()).unwrap_or_default();
            format!(
                "{} {} {} {} {keys:?}",
                winner["kernel"], winner["problem"], winner["share"], winner["configuration"]
            )
        };
        Ok(winners.iter().map(winner).collect())
    };
    let (local, cluster) = (shape(&text(&exported.stdout))?, shape(cluster)?);
    ensure!(local == cluster && local.len() == 2, "{local:#?}\n{cluster:#?}");
    Ok(())
}

/// What is not there is told in one line, with what may have been meant.
fn nothing_of_that_name(scope: &Scope<'_>) -> Result<()> {
    let said = says(scope, 66, &["results", "watchet"])?;
    ensure!(said.contains("did you mean watched?") && said.trim().lines().count() == 1, "{said}");
    let mut elsewhere = Command::new(plugin(scope));
    elsewhere
        .args(["watch", WATCHED, "--namespace", "default", "--kubeconfig"])
        .arg(scope.cluster().kubeconfig());
    let output = elsewhere.output()?;
    let said = text(&output.stderr);
    ensure!(output.status.code() == Some(66), "{said}");
    ensure!(said.contains(&format!("add -n {}", scope.namespace())), "{said}");
    let said = says(scope, 77, &["watch", WATCHED, "--as", "nobody"])?;
    ensure!(said.contains("\"nobody\" cannot get resource \"tunejobs\""), "{said}");
    let said = says(scope, 78, &["watch", WATCHED, "--context", "nowhere"])?;
    ensure!(said.contains("no context \"nowhere\""), "{said}");
    Ok(())
}

pub(crate) async fn a_job_is_suspended_and_resumed_by_a_manager_of_its_own(scope: &Scope<'_>) -> Result<()> {
    let rounds = "/spec/kernels/0/problems/0/sizes/rounds";
    scope.apply(
        &Fixture::new("saxpy", JOB)?.trials(40).with("/spec/measure/minTimeMs", 20).with(rounds, 800),
    )?;
    scope.pod(JOB, 0, &[]).await?;
    let said = says(scope, 0, &["suspend", JOB, "--wait"])?;
    ensure!(said.contains("tunejob/saxpy suspended") && said.contains("saxpy is Suspended"), "{said}");
    let job = scope.state(JOB, State::Suspended, 5).await?;
    let managers = job.metadata.managed_fields.clone().unwrap_or_default();
    let own = managers.iter().find(|entry| entry.manager.as_deref() == Some("kubectl-fractune"));
    let fields = serde_json::to_value(own.context("no manager of its own")?)?;
    ensure!(fields["fieldsV1"] == json!({"f:spec": {"f:suspend": {}}}), "{fields}");
    let said = says(scope, 0, &["suspend", JOB])?;
    ensure!(said.contains("suspended already"), "{said}");
    let said = says(scope, 0, &["resume", JOB, "--wait"])?;
    ensure!(said.contains("tunejob/saxpy resumed") && said.contains("saxpy is Running"), "{said}");
    ensure!(!scope.api::<TuneJob>().get(JOB).await?.spec.suspend);
    let said = says(scope, 1, &["results", JOB])?;
    ensure!(said.contains("no results yet"), "{said}");
    let said = says(scope, 75, &["watch", JOB, "--timeout", "1s"])?;
    ensure!(said.contains("it goes on"), "{said}");
    Ok(())
}

/// The findings of `doctor`, by name, each with its verdict and message.
fn findings(scope: &Scope<'_>, code: i32) -> Result<Vec<(String, String, String)>> {
    let output = fractune(scope, &["doctor", "-o", "json"])?;
    let said = text(&output.stdout);
    ensure!(output.status.code() == Some(code), "{}\n{said}{}", output.status, text(&output.stderr));
    let found: Value = serde_json::from_str(&said)?;
    let word = |check: &Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
    let checks = found["checks"].as_array().context("no checks")?;
    Ok(checks
        .iter()
        .map(|check| (word(check, "name"), word(check, "verdict"), word(check, "message")))
        .collect())
}

pub(crate) async fn the_doctor_finds_nothing_wrong_and_then_the_verb_that_was_cut(
    scope: &Scope<'_>,
) -> Result<()> {
    let well = findings(scope, 0)?;
    ensure!(well.iter().all(|(_, verdict, _)| verdict == "ok"), "{well:#?}");
    let names: BTreeSet<&str> = well.iter().map(|(name, ..)| name.as_str()).collect();
    let expected = [
        "agent role",
        "cluster",
        "definitions",
        "jobs",
        "leader",
        "namespace",
        "node agent",
        "nodes",
        "operator",
        "policies",
        "quotas",
        "rights",
        "your rights",
    ];
    ensure!(names == BTreeSet::from(expected), "{names:?}");

    let role = scope.cluster().kubectl(&["get", "clusterrole", ROLE, "-o", "json"], None)?;
    let whole: Value = serde_json::from_str(&role)?;
    let mut cut = whole.clone();
    for rule in cut["rules"].as_array_mut().context("no rules")? {
        if rule["resources"] == json!(["jobs"])
            && let Some(verbs) = rule["verbs"].as_array_mut()
        {
            verbs.retain(|verb| verb != "create");
        }
    }
    let put = |role: &Value| {
        let mut role = role.clone();
        if let Some(metadata) = role["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        scope.cluster().kubectl(&["replace", "-f", "-"], Some(&role.to_string())).map(|_| ())
    };
    put(&cut)?;
    let found = until("the doctor to see it", 20, async || {
        let found = findings(scope, 1)?;
        Ok(found.into_iter().find(|(name, verdict, _)| name == "rights" && verdict == "fail"))
    })
    .await;
    put(&whole)?;
    let (.., message) = found?;
    ensure!(message.contains(&format!("{SYSTEM}/{ROLE} may not: create jobs.batch;")), "{message}");
    until("the doctor to be content", 20, async || Ok(findings(scope, 0).is_ok().then_some(()))).await
}

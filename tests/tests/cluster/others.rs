//! What a job must not be able to do: stand in the way of others, or lend its pods rights that are not theirs.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use fractune_crds::State;
use fractune_crds::conditions::reason;
use fractune_tests::{Fixture, Scope, kubernetes, until};
use serde_json::{Value, json};

const DEFINITION: &str = "tunejobs.fractune.dev";

/// A table of attempts with tokens of agents and of others, on a cluster of its own: `tests/cluster/policies`.
pub(crate) async fn an_agents_token_writes_the_status_of_its_own_task_and_nothing_else(
    _: &Scope<'_>,
) -> Result<()> {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/policies"));
    command.args(["--kubernetes", &kubernetes()]).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{said}{errors}", output.status);
    Ok(())
}

/// Makes the definition of `TuneJobs` take any spec, or puts it back.
fn define(scope: &Scope<'_>, definition: &Value) -> Result<()> {
    let words = ["replace", "-f", "-"];
    scope.cluster().kubectl(&words, Some(&definition.to_string())).map(|_| ())
}

fn definition(scope: &Scope<'_>) -> Result<Value> {
    let text = scope.cluster().kubectl(&["get", "crd", DEFINITION, "-o", "json"], None)?;
    let mut definition: Value = serde_json::from_str(&text)?;
    if let Value::Object(metadata) = &mut definition["metadata"] {
        metadata.remove("resourceVersion");
    }
    Ok(definition)
}

pub(crate) async fn a_job_that_cannot_be_read_does_not_stall_others(scope: &Scope<'_>) -> Result<()> {
    let strict = definition(scope)?;
    let mut lax = strict.clone();
    let schema = &mut lax["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    // Rules speak of fields that are no longer defined.
    schema["x-kubernetes-validations"] = json!([]);
    define(scope, &lax)?;
    let spoilt = Fixture::new("saxpy", "spoilt")?.with("/spec/shares", "all");
    let stored = until("the lax definition", 30, async || {
        scope.apply(&spoilt)?;
        Ok(Some(()))
    })
    .await;
    define(scope, &strict)?;
    stored?;
    until("the strict definition", 30, async || {
        let refused = scope.refused(spoilt.clone().with("/metadata/name", "another").value());
        if refused.is_err() {
            scope.cluster().kubectl(&["delete", "tunejob", "another", "-n", scope.namespace()], None)?;
        }
        Ok(refused.ok())
    })
    .await?;

    scope.apply(&Fixture::new("saxpy", "good")?.trials(3))?;
    scope.state("good", State::Complete, 120).await?;
    // And the other one is told of.
    until("a word on the job that cannot be read", 15, async || {
        let words = ["get", "tunejob", "spoilt", "-n", scope.namespace(), "-o", "json"];
        let job: Value = serde_json::from_str(&scope.cluster().kubectl(&words, None)?)?;
        let conditions = job["status"]["conditions"].as_array().context("no conditions")?;
        Ok(conditions.iter().any(|c| c["reason"] == reason::INVALID_OBJECT).then_some(()))
    })
    .await
}

//! The two requests of a reporter: reading its `TuneTask`, and applying its status.

use std::time::Duration;

use fractune_crds::{TuneTask, TuneTaskSpec, TuneTaskStatus, managers};
use kube::api::{GetParams, Patch, PatchParams};
use kube::client::Body;
use kube::core::Request;
use kube::{Client, Resource as _};
use serde_json::{Value, json};

/// Name of the response's field that says when to come back.
const RETRY_AFTER: &str = "retry-after";
/// Characters of an answer that is no status object.
const MAX_ANSWER: usize = 512;

/// A task as the server has it.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) uid: String,
    pub(super) generation: i64,
    pub(super) spec: TuneTaskSpec,
    /// None where there is none, or none of this form.
    pub(super) status: Option<TuneTaskStatus>,
}

/// Why a request was not granted.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The task is gone, or another one has its name.
    Gone(String),
    /// The next time may be another.
    Later {
        /// How long the server wants to be left alone.
        after: Option<Duration>,
        /// What it said.
        message: String,
        /// Whether it will say so until somebody changes something.
        lasting: bool,
    },
}

impl Refusal {
    /// The whole chain: kube's own errors leave out what happened on the connection.
    fn later(error: impl std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Refusal::unanswered(message)
    }

    fn unanswered(message: String) -> Self {
        Refusal::Later { after: None, message, lasting: false }
    }
}

/// The API server, as far as one task goes.
pub(super) struct Server {
    client: Client,
    namespace: String,
    name: String,
    /// The longest that an answer is waited for.
    timeout: Duration,
}

impl Server {
    pub(super) fn new(client: Client, namespace: String, name: String, timeout: Duration) -> Self {
        Self { client, namespace, name, timeout }
    }

    fn request(&self) -> Request {
        Request::new(TuneTask::url_path(&(), Some(&self.namespace)))
    }

    /// The task.
    pub(super) async fn get(&self) -> Result<Task, Refusal> {
        let request = self.request().get(&self.name, &GetParams::default()).map_err(Refusal::later)?;
        let answer = self.send(request.map(Body::from)).await?;
        let object: Value = serde_json::from_slice(&answer).map_err(Refusal::later)?;
        task(object).map_err(|message| Refusal::Later { after: None, message, lasting: true })
    }

    /// Makes the status what is given, whatever others wrote there.
    pub(super) async fn apply(&self, uid: &str, status: &TuneTaskStatus) -> Result<(), Refusal> {
        let object = json!({
            "apiVersion": TuneTask::api_version(&()),
            "kind": TuneTask::kind(&()),
            // With the UID, the status of a task that was made anew under the same name is not touched.
            "metadata": {"name": self.name, "namespace": self.namespace, "uid": uid},
            "status": status,
        });
        let parameters = PatchParams::apply(managers::AGENT).force();
        let request = self
            .request()
            .patch_subresource("status", &self.name, &parameters, &Patch::Apply(object))
            .map_err(Refusal::later)?;
        self.send(request.map(Body::from)).await.map(drop)
    }

    /// The body of a granted request.
    async fn send(&self, request: http::Request<Body>) -> Result<Vec<u8>, Refusal> {
        let exchange = async {
            let response = self.client.send(request).await.map_err(Refusal::later)?;
            let code = response.status().as_u16();
            let after =
                response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let body = response.into_body().collect_bytes().await.map_err(Refusal::later)?;
            match code {
                200..300 => Ok(body.to_vec()),
                _ => Err(refusal(code, after, &body)),
            }
        };
        let late = |_| Refusal::unanswered(format!("no answer within {:?}", self.timeout));
        tokio::time::timeout(self.timeout, exchange).await.map_err(late)?
    }
}

/// What an answer other than success means.
fn refusal(code: u16, after_seconds: Option<u64>, body: &[u8]) -> Refusal {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = || String::from_utf8_lossy(body).chars().take(MAX_ANSWER).collect();
    let said = status.get("message").and_then(Value::as_str).map_or_else(text, str::to_owned);
    let message = format!("{code}: {said}");
    // An object of another UID is refused as a conflict or as a change of what cannot be changed.
    if matches!(code, 404 | 409) || (code == 422 && said.contains("uid")) {
        return Refusal::Gone(message);
    }
    let in_body = || status.pointer("/details/retryAfterSeconds").and_then(Value::as_u64);
    let after = after_seconds.or_else(in_body).map(Duration::from_secs);
    Refusal::Later { after, message, lasting: matches!(code, 400 | 403 | 413 | 415 | 422) }
}

/// The parts of an object that matter. An error is a sentence.
fn task(mut object: Value) -> Result<Task, String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let uid = text("/metadata/uid").ok_or("the TuneTask has no metadata.uid")?;
    let generation =
        object.pointer("/metadata/generation").and_then(Value::as_i64).ok_or("it has no generation")?;
    let spec = object.get_mut("spec").map(Value::take).unwrap_or_default();
    let spec = serde_json::from_value(spec).map_err(|error| format!("the TuneTask's spec: {error}"))?;
    let status = object.get_mut("status").map(Value::take);
    let status = status.and_then(|status| serde_json::from_value(status).ok());
    Ok(Task { uid, generation, spec, status })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(message: &str) -> Vec<u8> {
        json!({"kind": "Status", "message": message, "details": {"retryAfterSeconds": 3}}).to_string().into()
    }

    #[test]
    fn a_missing_task_or_another_of_its_name_is_gone_and_all_else_is_tried_again() {
        assert!(matches!(refusal(404, None, &body("not found")), Refusal::Gone(_)));
        assert!(matches!(refusal(409, None, &body("uid mismatch")), Refusal::Gone(_)));
        assert!(matches!(refusal(422, None, &body("metadata.uid: Invalid value")), Refusal::Gone(_)));
        let of = |code, after| match refusal(code, after, &body("no")) {
            Refusal::Later { after, message, lasting } => {
                (after.map(|after| after.as_secs()), message, lasting)
            }
            Refusal::Gone(message) => unreachable!("{message}"),
        };
        assert_eq!(of(429, Some(9)), (Some(9), "429: no".into(), false));
        assert_eq!(of(500, None), (Some(3), "500: no".into(), false));
        assert!(of(403, None).2 && of(422, None).2);
        let Refusal::Later { message, .. } = refusal(429, None, b"Too many requests") else {
            unreachable!("tried again")
        };
        assert_eq!(message, "429: Too many requests");
    }

    #[test]
    fn a_status_of_another_form_does_not_hide_the_task() {
        let spec = json!({"jobName": "j", "kernel": "k", "problem": "p", "shares": [100], "index": 0,
            "maxTrials": 9, "digest": "d"});
        let object =
            json!({"metadata": {"uid": "u", "generation": 2}, "spec": spec, "status": {"trials": "many"}});
        let found = task(object.clone()).unwrap();
        assert_eq!((found.generation, found.spec.max_trials, found.status), (2, 9, None));
        let mut broken = object;
        broken["spec"]["maxTrials"] = json!("many");
        assert!(task(broken).unwrap_err().contains("spec"));
        assert!(task(Value::Null).is_err());
    }
}

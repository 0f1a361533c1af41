//! The two requests of a reporter: reading its `TuneTask`, and applying its status.

use std::time::Duration;

use fractune_crds::conditions::COMPLETE;
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
    pub(super) resource_version: String,
    pub(super) generation: i64,
    pub(super) spec: TuneTaskSpec,
    /// None where there is none, or none of this form.
    pub(super) status: Option<TuneTaskStatus>,
}

impl Task {
    /// Whether an earlier pod has done all that the spec asks for: its winners were measured again at the end.
    pub(super) fn is_done(&self) -> bool {
        let conditions = self.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|condition| {
            condition.type_ == COMPLETE
                && condition.status == "True"
                && condition.observed_generation == Some(self.generation)
        })
    }
}

/// Why a request was not granted.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The task is gone, or another one has its name.
    Gone(String),
    /// It is not what it was when it was last seen.
    Changed(String),
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

    /// Makes the status of the task, as it was last seen, what is given. Returns its new resource version.
    pub(super) async fn apply(&self, seen: &str, status: &TuneTaskStatus) -> Result<String, Refusal> {
        let object = json!({
            "apiVersion": TuneTask::api_version(&()),
            "kind": TuneTask::kind(&()),
            // Without a version, the status of a task that was made anew under the same name would be overwritten: the
            // server compares no UID here.
            "metadata": {"name": self.name, "namespace": self.namespace, "resourceVersion": seen},
            "status": status,
        });
        let parameters = PatchParams::apply(managers::AGENT).force();
        let request = self
            .request()
            .patch_subresource("status", &self.name, &parameters, &Patch::Apply(object))
            .map_err(Refusal::later)?;
        let answer = self.send(request.map(Body::from)).await?;
        let object: Value = serde_json::from_slice(&answer).map_err(Refusal::later)?;
        // One that cannot be read is taken for a change, the next time.
        Ok(text(&object, "/metadata/resourceVersion").unwrap_or_else(|| seen.to_owned()))
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
    match code {
        404 => return Refusal::Gone(message),
        409 => return Refusal::Changed(message),
        _ => {}
    }
    let in_body = || status.pointer("/details/retryAfterSeconds").and_then(Value::as_u64);
    let after = after_seconds.or_else(in_body).map(Duration::from_secs);
    Refusal::Later { after, message, lasting: matches!(code, 400 | 403 | 413 | 415 | 422) }
}

/// The parts of an object that matter. An error is a sentence.
fn task(mut object: Value) -> Result<Task, String> {
    let uid = text(&object, "/metadata/uid").ok_or("the TuneTask has no metadata.uid")?;
    let resource_version = text(&object, "/metadata/resourceVersion").ok_or("it has no resourceVersion")?;
    let generation =
        object.pointer("/metadata/generation").and_then(Value::as_i64).ok_or("it has no generation")?;
    let spec = object.get_mut("spec").map(Value::take).unwrap_or_default();
    let spec = serde_json::from_value(spec).map_err(|error| format!("the TuneTask's spec: {error}"))?;
    let status = object.get_mut("status").map(Value::take);
    let status = status.and_then(|status| serde_json::from_value(status).ok());
    Ok(Task { uid, resource_version, generation, spec, status })
}

fn text(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(message: &str) -> Vec<u8> {
        json!({"kind": "Status", "message": message, "details": {"retryAfterSeconds": 3}}).to_string().into()
    }

    #[test]
    fn a_missing_task_is_gone_a_conflict_is_a_change_and_all_else_is_tried_again() {
        assert!(matches!(refusal(404, None, &body("not found")), Refusal::Gone(_)));
        assert!(matches!(refusal(409, None, &body("the object has been modified")), Refusal::Changed(_)));
        let of = |code, after| match refusal(code, after, &body("no")) {
            Refusal::Later { after, message, lasting } => {
                (after.map(|after| after.as_secs()), message, lasting)
            }
            other => unreachable!("{other:?}"),
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
        let object = json!({"metadata": {"uid": "u", "generation": 2, "resourceVersion": "5"}, "spec": spec,
            "status": {"trials": "many"}});
        let found = task(object.clone()).unwrap();
        assert_eq!((found.generation, found.spec.max_trials, found.status), (2, 9, None));
        let mut broken = object;
        broken["spec"]["maxTrials"] = json!("many");
        assert!(task(broken).unwrap_err().contains("spec"));
        assert!(task(Value::Null).is_err());
    }
}

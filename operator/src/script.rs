//! A scripted API server, for tests: it answers as told, otherwise as an API server with nothing in it that takes every
//! write, and it keeps what it was asked.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

/// A request that was made.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) uri: String,
    pub(crate) body: Value,
}

impl Asked {
    /// `PATCH tunetasks/demo-0`, namespaces and query left out.
    pub(crate) fn short(&self) -> String {
        let path = self.uri.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').collect();
        let rest =
            parts.iter().position(|part| *part == "namespaces").map_or(&parts[..], |at| &parts[at + 2..]);
        format!("{} {}", self.method, rest.join("/"))
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A status code and a body.
    Is(u16, Value),
    /// The connection is lost.
    Lost,
    /// None ever comes, as from a watch in which nothing happens.
    Never,
}

/// The server.
pub(crate) struct Script {
    pub(crate) client: Client,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Script {
    /// Answers by `rule` where it has an answer; it is also told how often it was asked this before.
    pub(crate) fn new(rule: impl Fn(&Asked, usize) -> Option<Answer> + Send + 'static) -> Self {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = asked.clone();
        tokio::spawn(async move {
            let mut never = Vec::new();
            while let Some((request, send)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                let asked = Asked {
                    method: parts.method.to_string(),
                    uri: parts.uri.to_string(),
                    body: serde_json::from_slice(&bytes).unwrap_or_default(),
                };
                let before = log.lock().unwrap().iter().filter(|b| b.short() == asked.short()).count();
                let answer = rule(&asked, before).unwrap_or_else(|| willing(&asked));
                log.lock().unwrap().push(asked);
                match answer {
                    Answer::Is(status, body) => {
                        let text = match body {
                            Value::String(text) => text,
                            body => body.to_string(),
                        };
                        send.send_response(
                            Response::builder().status(status).body(Body::from(text.into_bytes())).unwrap(),
                        );
                    }
                    Answer::Lost => send.send_error("the connection was lost"),
                    Answer::Never => never.push(send),
                }
            }
        });
        Self { client: Client::new(service, "team"), asked }
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Every write so far, in short.
    pub(crate) fn writes(&self) -> Vec<String> {
        let asked = self.asked();
        let writes = asked.iter().filter(|asked| asked.method != "GET" && !asked.uri.contains("/events"));
        writes.map(Asked::short).collect()
    }
}

/// A refusal by the API server.
pub(crate) fn refusal(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message
    });
    Answer::Is(code, status)
}

fn willing(asked: &Asked) -> Answer {
    if asked.method == "GET" && asked.uri.contains("/events") {
        return Answer::Is(200, list("Event", &[]));
    }
    if asked.method == "GET" {
        return refusal(404, "NotFound", "not found");
    }
    Answer::Is(200, asked.body.clone())
}

/// A list of objects.
pub(crate) fn list(kind: &str, items: &[Value]) -> Value {
    json!({"kind": format!("{kind}List"), "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
}

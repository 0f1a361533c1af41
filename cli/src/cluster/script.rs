//! A scripted API server, for tests: it answers as told, otherwise as one with nothing in it that takes every write.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

use super::connect::Session;

/// A request that was made.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) uri: String,
    pub(crate) body: Value,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A status code and a body.
    Is(u16, Value),
    /// The connection is lost.
    Lost,
}

/// The server.
pub(crate) struct Script {
    client: Client,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Script {
    /// Answers by `rule` where it has an answer.
    pub(crate) fn new(rule: impl Fn(&Asked) -> Option<Answer> + Send + 'static) -> Self {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = asked.clone();
        tokio::spawn(async move {
            while let Some((request, send)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                let asked = Asked {
                    method: parts.method.to_string(),
                    uri: parts.uri.to_string(),
                    body: serde_json::from_slice(&bytes).unwrap_or_default(),
                };
                let answer = rule(&asked).unwrap_or_else(|| willing(&asked));
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
                }
            }
        });
        Self { client: Client::new(service, "team"), asked }
    }

    /// A session with it.
    pub(crate) fn session(&self) -> Session {
        Session {
            client: self.client.clone(),
            namespace: "team".to_owned(),
            place: "https://server (context test)".to_owned(),
            timeout: Duration::from_secs(10),
        }
    }

    /// Every write so far.
    pub(crate) fn writes(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap().clone();
        asked.into_iter().filter(|asked| asked.method != "GET").collect()
    }
}

/// A refusal by the API server.
pub(crate) fn refusal(code: u16, message: &str, name: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message,
        "details": {"name": name},
    });
    Answer::Is(code, status)
}

fn willing(asked: &Asked) -> Answer {
    if asked.method == "GET" {
        refusal(404, "not found", "something")
    } else {
        Answer::Is(200, asked.body.clone())
    }
}

/// A list of objects.
pub(crate) fn list(kind: &str, items: &[Value]) -> Value {
    json!({"kind": format!("{kind}List"), "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
}

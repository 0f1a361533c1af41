//! Probes, metrics, and the log level.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, put};

use crate::metrics::Metrics;
use crate::telemetry::LogLevel;

/// Whether the operator has read everything once, and whether it still works.
#[derive(Clone, Debug, Default)]
pub struct Health {
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Says that the caches are filled.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }
}

/// `/healthz`, `/readyz` and `/metrics`. `count` brings the gauges up to date.
pub fn public(health: Health, metrics: Metrics, count: impl Fn() + Clone + Send + Sync + 'static) -> Router {
    let ready = move || async move {
        if health.ready.load(Ordering::Acquire) {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the first reading of the cluster is under way")
        }
    };
    let text = move || async move {
        count();
        match metrics.text() {
            Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    };
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(text))
}

/// `PUT /log-level` with directives as its body. For the pod's own loopback alone.
pub fn admin(level: LogLevel) -> Router {
    let set = move |body: Bytes| async move {
        let text = String::from_utf8_lossy(&body).trim().to_owned();
        match level.set(&text) {
            Ok(()) => (StatusCode::OK, format!("log level: {text}\n")),
            Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    };
    Router::new().route("/log-level", put(set))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::body::Body;
    use http::Request;
    use tower_test::mock::Spawn;

    use super::*;

    #[tokio::test]
    async fn a_level_that_is_none_is_refused_and_the_one_before_stays() {
        let set: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = set.clone();
        let level = LogLevel::with(move |filter| kept.lock().unwrap().push(filter.to_string()));
        let put = async |text: &str| {
            let mut service = Spawn::new(admin(level.clone()));
            let request = Request::put("/log-level").body(Body::from(text.to_owned())).unwrap();
            service.call(request).await.unwrap().status()
        };
        assert_eq!(put("verbose").await, StatusCode::BAD_REQUEST);
        assert!(set.lock().unwrap().is_empty());
        assert_eq!(put("debug\n").await, StatusCode::OK);
        assert_eq!(*set.lock().unwrap(), ["debug"]);
    }
}

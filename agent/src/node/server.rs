//! Probes and metrics over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;

/// What has to be done before the node's slots can be used.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<AtomicUsize>);

impl Readiness {
    /// So many things are to be done.
    #[must_use]
    pub fn of(things: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(things)))
    }

    /// One of them is done. To be called once for each.
    pub fn done(&self) {
        // Never below zero, whoever calls it too often.
        let less = |left: usize| left.checked_sub(1);
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// `/healthz`, `/readyz` and `/metrics`. `count` brings the gauges up to date.
pub fn router(
    ready: Readiness,
    metrics: Metrics,
    count: impl Fn() + Clone + Send + Sync + 'static,
) -> Router {
    let readyz = move || async move {
        match ready.left() {
            0 => (StatusCode::OK, "ok".to_owned()),
            left => {
                let words = format!("{left} resources are not registered with kubelet yet");
                (StatusCode::SERVICE_UNAVAILABLE, words)
            }
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
        .route("/readyz", get(readyz))
        .route("/metrics", get(text))
}

/// Listens there.
///
/// # Errors
/// A sentence.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| format!("--listen {address}: {error}; choose an address that is free"))
}

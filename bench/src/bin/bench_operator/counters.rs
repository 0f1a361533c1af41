//! What the API server counts.

use anyhow::Result;
use fractune_tests::Cluster;
use kube::Client;

/// Requests that the API server got, of all clients.
pub(crate) struct Requests {
    client: Client,
}

/// What it has counted so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Total {
    /// Requests, but for the reading of metrics itself.
    pub(crate) requests: f64,
    /// Seconds of a CPU that it has used.
    pub(crate) cpu_seconds: f64,
}

impl Total {
    /// The difference from an earlier reading.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { requests: self.requests - before.requests, cpu_seconds: self.cpu_seconds - before.cpu_seconds }
    }
}

impl Requests {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self { client: cluster.client() }
    }

    /// Those so far.
    pub(crate) async fn read(&self) -> Result<Total> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await?;
        let counted = text
            .lines()
            .filter(|line| line.starts_with("apiserver_request_total{") && !line.contains(",resource=\"\""));
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        let cpu = text.lines().find(|line| line.starts_with("process_cpu_seconds_total")).and_then(value);
        Ok(Total { requests: counted.filter_map(value).sum(), cpu_seconds: cpu.unwrap_or_default() })
    }
}

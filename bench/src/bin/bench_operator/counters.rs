//! What the API server counts.

use anyhow::Result;
use fractune_tests::Cluster;
use kube::Client;

/// Requests that the API server got, of all clients.
pub(crate) struct Requests {
    client: Client,
}

/// So many requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Total(pub(crate) f64);

impl Total {
    /// How many there were since an earlier reading.
    pub(crate) fn since(self, before: Self) -> f64 {
        self.0 - before.0
    }
}

impl Requests {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self { client: cluster.client() }
    }

    /// Those so far, but for the reading of metrics itself.
    pub(crate) async fn read(&self) -> Result<Total> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await?;
        let counted = text
            .lines()
            .filter(|line| line.starts_with("apiserver_request_total{") && !line.contains(",resource=\"\""));
        Ok(Total(counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()))
    }
}

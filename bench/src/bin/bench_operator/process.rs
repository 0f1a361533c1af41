//! The operator as a process of this machine.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fractune_tests::{Cluster, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A running operator; killed when this is dropped.
pub(crate) struct Operator {
    child: Child,
    address: SocketAddr,
}

/// Writes by kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Writes(BTreeMap<String, f64>);

/// Memory of a process.
pub(crate) struct Memory {
    pub(crate) most_mib: u64,
    pub(crate) now_mib: u64,
}

impl Writes {
    pub(crate) fn total(&self) -> f64 {
        // Not `sum`, whose sum of nothing is -0.
        self.0.values().fold(0.0, |total, count| total + count)
    }
}

impl fmt::Display for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        f.write_str(&words.join(", "))
    }
}

impl Operator {
    /// Starts it. Its log goes to standard error.
    pub(crate) fn start(program: &Path, cluster: &Cluster, qps: Option<u32>) -> Result<Self> {
        let (address, admin) = (free_address()?, free_address()?);
        let mut command = Command::new(program);
        command.env("KUBECONFIG", cluster.kubeconfig()).stdin(Stdio::null()).stdout(Stdio::null());
        command.args(["--agent-image", "simulated", "--log-level", "warn"]);
        command.args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()]);
        if let Some(qps) = qps {
            command.args(["--qps", &qps.to_string(), "--burst", &(2 * qps).to_string()]);
        }
        let child = command.spawn().with_context(|| program.display().to_string())?;
        Ok(Self { child, address })
    }

    /// Waits until it leads.
    pub(crate) async fn leads(&self) -> Result<()> {
        until("the operator to lead", 60, async || {
            Ok((self.metric("fractune_leader").await? == Some(1.0)).then_some(()))
        })
        .await
        .context("the operator did not start")
    }

    /// Everything that it tells Prometheus.
    async fn text(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// A metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> Result<Option<f64>> {
        let text = self.text().await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.trim().parse().context("a metric's value")).transpose()
    }

    /// What it has written since its start.
    pub(crate) async fn writes(&self) -> Result<Writes> {
        Ok(Writes(self.by_label("fractune_api_writes_total").await?))
    }

    async fn by_label(&self, name: &str) -> Result<BTreeMap<String, f64>> {
        let text = self.text().await?;
        let entry = |line: &str| {
            let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once("} ")?;
            let label = labels.split('"').nth(1)?.to_owned();
            Some((label, value.trim().parse().ok()?))
        };
        Ok(text.lines().filter_map(entry).collect())
    }

    /// When it had made so many passes, reckoned from `started`.
    pub(crate) async fn passes_reach(&self, started: Instant, number: u32) -> Result<Duration> {
        until("passes over jobs", 120, async || {
            for _ in 0..10 {
                let passes: f64 = self.by_label("fractune_reconcile_seconds_count").await?.values().sum();
                if passes >= f64::from(number) {
                    return Ok(Some(started.elapsed()));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(None)
        })
        .await
    }

    /// Seconds of a CPU that it has used.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let clock_ticks = 100.0; // USER_HZ, which is part of Linux' ABI
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        let ticks: f64 = after_name.split(' ').skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
        Ok(ticks / clock_ticks)
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such field")?;
            let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?;
            Ok(kib / 1024)
        };
        Ok(Memory { most_mib: field("VmHWM")?, now_mib: field("VmRSS")? })
    }

    /// Ends it as a node would.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status()?;
        if !status.success() {
            bail!("kill -TERM {pid}: {status}");
        }
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listens on.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

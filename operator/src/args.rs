//! The command line.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

/// Reconciles `TuneJobs` into tuning pods.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct Arguments {
    /// Image of the tuning pods: the agent, and a C compiler where C kernels are tuned.
    #[arg(long, env = "FRACTUNE_AGENT_IMAGE")]
    pub agent_image: String,
    /// When nodes pull that image: Always, `IfNotPresent` or Never; Kubernetes' own rule unless set.
    #[arg(long, env = "FRACTUNE_AGENT_IMAGE_PULL_POLICY")]
    pub agent_image_pull_policy: Option<String>,
    /// `ClusterRole` that the reporters of a job are bound to in its namespace.
    #[arg(long, env = "FRACTUNE_AGENT_CLUSTER_ROLE", default_value = "fractune-agent")]
    pub agent_cluster_role: String,
    /// Reconcile this namespace alone; all of them unless set.
    #[arg(long, env = "FRACTUNE_NAMESPACE")]
    pub namespace: Option<String>,
    /// Name of the lease: of several operators, the one that holds it writes.
    #[arg(long, env = "FRACTUNE_LEASE_NAME", default_value = "fractune-operator")]
    pub lease_name: String,
    /// Namespace of the lease.
    #[arg(long, env = "FRACTUNE_LEASE_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,
    /// This operator's name among those that want the lease.
    #[arg(long, env = "POD_NAME", default_value_t = format!("operator-{}", std::process::id()))]
    pub identity: String,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    #[arg(long, env = "FRACTUNE_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Where the log level can be changed: `curl -X PUT -d debug http://127.0.0.1:8081/log-level`.
    #[arg(long, env = "FRACTUNE_ADMIN_LISTEN", default_value = "127.0.0.1:8081")]
    pub admin_listen: SocketAddr,
    /// Jobs that are reconciled at once.
    #[arg(long, env = "FRACTUNE_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub concurrency: u16,
    /// Requests a second that the operator makes of the API server, beside watches.
    #[arg(long, env = "FRACTUNE_QPS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub qps: u32,
    /// Requests that it may make at once before it is held to --qps.
    #[arg(long, env = "FRACTUNE_BURST", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub burst: u32,
    /// How the log is written.
    #[arg(long, env = "FRACTUNE_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or directives such as `info,fractune_operator=debug`.
    #[arg(long, env = "FRACTUNE_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What `fractune-agent node` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How GPUs are cut into slots: a YAML file, such as `layout: {"*": [25, 25, 25, 25]}` (docs/node.md).
    #[arg(long, env = "FRACTUNE_LAYOUT")]
    pub layout: PathBuf,
    /// The node that is labelled; none unless set.
    #[arg(long, env = "FRACTUNE_NODE")]
    pub node: Option<String>,
    /// Offer slots of GPUs that are not there, for development: a product and how many, such as NVIDIA-H200:2.
    #[arg(long, env = "FRACTUNE_SIMULATE")]
    pub simulate: Option<String>,
    /// Where the root that the driver is installed in is seen from here.
    #[arg(long, env = "FRACTUNE_DRIVER_ROOT", default_value = "/")]
    pub driver_root: PathBuf,
    /// Where the same root is on the node itself.
    #[arg(long, env = "FRACTUNE_HOST_DRIVER_ROOT", default_value = "/")]
    pub host_driver_root: PathBuf,
    /// Kubelet's folder of device plugins.
    #[arg(long, env = "FRACTUNE_KUBELET", default_value = "/var/lib/kubelet/device-plugins")]
    pub kubelet: PathBuf,
    /// The folder of CDI specifications that are made at run time: where the toolkit's is looked for and our own written.
    #[arg(long, env = "FRACTUNE_CDI", default_value = "/var/run/cdi")]
    pub cdi: PathBuf,
    /// The folder of CDI specifications that administrators write: where the toolkit's is looked for, too.
    #[arg(long, env = "FRACTUNE_STATIC_CDI", default_value = "/etc/cdi")]
    pub static_cdi: PathBuf,
    /// The folder of MPS daemons and gates, which pods have mounted at the same path.
    #[arg(long, env = "FRACTUNE_RUN", default_value = super::grant::RUN)]
    pub run: PathBuf,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    #[arg(long, env = "FRACTUNE_LISTEN", default_value = "0.0.0.0:8082")]
    pub listen: SocketAddr,
}

//! A cluster of tests/cluster that lives as long as a value of this process.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

/// Exit status of the tool where no cluster can run.
const UNAVAILABLE: i32 = 69;
/// A request that takes longer has failed: a server that went away does not always say so.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Whether clusters can run on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// They can.
    Available,
    /// They cannot, for this reason.
    Unavailable(String),
}

/// The version of Kubernetes that is tested: `newest`, or what `FRACTUNE_KUBERNETES` says.
#[must_use]
pub fn kubernetes() -> String {
    std::env::var("FRACTUNE_KUBERNETES").unwrap_or_else(|_| "newest".to_owned())
}

/// Finds out whether clusters can run here, and builds their programs if they are not in the cache.
///
/// # Errors
/// When the tool cannot be run, or the programs cannot be built though the machine has everything.
pub fn availability() -> Result<Availability> {
    for arguments in [vec!["check"], vec!["build", "--kubernetes", &kubernetes()]] {
        let output = Command::new(tool()).args(&arguments).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("{}", tool().display()))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match output.status.code() {
            Some(0) => {}
            Some(UNAVAILABLE) => return Ok(Availability::Unavailable(said)),
            _ => anyhow::bail!("cluster {} failed:\n{said}", arguments.join(" ")),
        }
    }
    Ok(Availability::Available)
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn tool() -> PathBuf {
    repository().join("tests/cluster/cluster")
}

/// A running cluster. It ends when this is dropped, and also when this process dies.
pub struct Cluster {
    folder: tempfile::TempDir,
    holder: Child,
    client: Client,
}

impl Cluster {
    /// Starts a cluster with images in its nodes.
    ///
    /// # Errors
    /// When it does not start; the tool's words go to standard error.
    pub async fn start(nodes: u8, images: &[PathBuf]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("fractune-e2e-").tempdir()?;
        let mut command = Command::new(tool());
        command.arg("up").arg("--dir").arg(folder.path().join("cluster")).arg("--hold");
        command.args(["--kubernetes", &kubernetes(), "--nodes", &nodes.to_string()]);
        for image in images {
            command.arg("--image").arg(image);
        }
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = holder.stdout.take().context("no pipe")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            let status = holder.wait()?;
            anyhow::bail!("no cluster could be started: {status}; its messages are above");
        }
        let kubeconfig = Kubeconfig::read_from(folder.path().join("cluster/kubeconfig"))?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.read_timeout = Some(REQUEST_TIMEOUT);
        config.connect_timeout = Some(REQUEST_TIMEOUT);
        Ok(Self { client: Client::try_from(config)?, folder, holder })
    }

    /// A client with all rights.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The cluster's own folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    /// The credentials of [`Cluster::client`] as a file.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// Runs a command of the tool, such as `restart etcd`, and returns what it prints.
    ///
    /// # Errors
    /// When it fails, with what it says.
    pub fn tool(&self, command: &str, arguments: &[&str]) -> Result<String> {
        run(Command::new(tool()).arg(command).arg("--dir").arg(self.folder()).args(arguments), None)
    }

    /// Runs kubectl with all rights.
    ///
    /// # Errors
    /// When it fails, with what it says.
    pub fn kubectl<S: AsRef<OsStr>>(&self, arguments: &[S], stdin: Option<&str>) -> Result<String> {
        run(&mut self.kubectl_command(arguments), stdin)
    }

    /// A client with a token, and no other right.
    ///
    /// # Errors
    /// When there is no cluster any more.
    pub async fn client_with_token(&self, token: &str) -> Result<Client> {
        // The administrator's certificate would count for more than the token.
        let mut kubeconfig: Value = serde_yaml::from_str(&std::fs::read_to_string(self.kubeconfig())?)?;
        for user in kubeconfig["users"].as_array_mut().into_iter().flatten() {
            user["user"] = json!({"token": token});
        }
        let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig)?;
        Ok(Client::try_from(
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?,
        )?)
    }

    pub(crate) fn kubectl_command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(self.folder().join("bin/kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        command
    }

    /// Runs helm with all rights.
    ///
    /// # Errors
    /// When it fails, with what it says.
    pub fn helm<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        let mut command = Command::new(self.folder().join("bin/helm"));
        // Nothing of this user's own settings.
        command.env("HELM_CACHE_HOME", self.folder.path().join("helm"));
        command.env("HELM_CONFIG_HOME", self.folder.path().join("helm"));
        run(command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments), None)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Its standard input ends, and with it the cluster.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Runs a command to its end; what it prints.
pub(crate) fn run(command: &mut Command, stdin: Option<&str>) -> Result<String> {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let words = words.join(OsStr::new(" ")).to_string_lossy().into_owned();
    let input = if stdin.is_some() { Stdio::piped() } else { Stdio::null() };
    let child = command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| words.clone())?;
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        pipe.write_all(text.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{words}: {}\n{}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

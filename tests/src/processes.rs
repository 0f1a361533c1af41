//! The processes in pods, as a node sees them: to be killed.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde::Deserialize;

use crate::cluster::Cluster;

/// Prints what runs in a cluster's process namespace, and of which pod it is by its control group.
const LIST: &str = r#"
import json, pathlib, re
found = []
for entry in pathlib.Path("/proc").iterdir():
    if not entry.name.isdigit():
        continue
    try:
        words = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        pod = re.search(r"pod([0-9a-f-]{36})", (entry / "cgroup").read_text())
    except OSError:
        continue
    if pod:
        found.append({"pid": int(entry.name), "words": words, "pod": pod[1]})
print(json.dumps(found))
"#;

/// A process of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Process {
    /// Its number in the cluster's process namespace.
    pub pid: u32,
    /// Its command line.
    pub words: Vec<String>,
    /// UID of its pod.
    pub pod: String,
}

impl Cluster {
    /// The processes of a pod, on whichever node: the nodes share the cluster's process namespace.
    ///
    /// # Errors
    /// When the cluster cannot be entered.
    pub fn processes(&self, pod: &Pod) -> Result<Vec<Process>> {
        let said = self.tool("enter", &["--node", "1", "--", "python3", "-c", LIST])?;
        let all: Vec<Process> = serde_json::from_str(&said)?;
        let uid = pod.uid().context("a pod without a UID")?;
        Ok(all.into_iter().filter(|process| process.pod == uid).collect())
    }

    /// Kills (SIGKILL) the processes of a pod one of whose words is among `words`; how many there were.
    ///
    /// # Errors
    /// When the cluster cannot be entered, or there is no such process.
    pub fn kill(&self, pod: &Pod, words: &[&str]) -> Result<usize> {
        let processes = self.processes(pod)?;
        let of = processes
            .iter()
            .filter(|process| process.words.iter().any(|word| words.contains(&word.as_str())));
        let pids: Vec<String> = of.map(|process| process.pid.to_string()).collect();
        anyhow::ensure!(!pids.is_empty(), "no process {words:?} in pod {}: {processes:?}", pod.name_any());
        let kill = format!("kill -KILL {}", pids.join(" "));
        self.tool("enter", &["--node", "1", "--", "sh", "-c", &kill])?;
        Ok(pids.len())
    }
}

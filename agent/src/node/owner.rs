//! Whether somebody else's MPS control daemon has a GPU: clients of two daemons take turns on it, and none has its share.

use std::fs;
use std::path::Path;

use super::gpu::Gpu;

/// The daemon's name, in its command line.
const PROGRAM: &str = "nvidia-cuda-mps-control";

/// A daemon that runs on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Daemon {
    /// Its process number.
    pub(super) pid: u32,
    /// `CUDA_VISIBLE_DEVICES` in its environment: what it serves. None: every GPU.
    pub(super) visible: Option<String>,
    /// `CUDA_MPS_PIPE_DIRECTORY` in its environment.
    pub(super) pipe: Option<String>,
}

/// The MPS control daemons that can be seen from here. In a PID namespace of its own, a process sees its own only.
pub(super) fn daemons() -> Vec<Daemon> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        is_daemon(&read("cmdline")).then(|| daemon(pid, &read("environ")))
    })
    .collect()
}

/// A command line of a daemon, rather than of the program that asks one.
fn is_daemon(command_line: &[u8]) -> bool {
    let mut words = command_line.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    let named = |word: &str| Path::new(word).file_name().is_some_and(|name| name == PROGRAM);
    words.next().is_some_and(|program| named(&program)) && words.any(|word| word == "-d" || word == "-f")
}

fn daemon(pid: u32, environment: &[u8]) -> Daemon {
    let variable = |name: &str| {
        let mut all = environment.split(|&byte| byte == 0).map(String::from_utf8_lossy);
        all.find_map(|text| text.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    Daemon { pid, visible: variable("CUDA_VISIBLE_DEVICES"), pipe: variable("CUDA_MPS_PIPE_DIRECTORY") }
}

/// Who of the daemons has the GPU, in a sentence; none if nobody has.
pub(super) fn owner(daemons: &[Daemon], gpu: &Gpu) -> Option<String> {
    let found = daemons.iter().find(|daemon| serves(daemon, gpu))?;
    Some(format!(
        "another MPS control daemon has this GPU (process {}, CUDA_MPS_PIPE_DIRECTORY={}): two on one GPU take turns, and \
         no share is true; stop it (`echo quit | nvidia-cuda-mps-control`, or NVIDIA's device plugin with MPS sharing), or \
         leave this GPU out of the layout",
        found.pid,
        found.pipe.as_deref().unwrap_or("/tmp/nvidia-mps")
    ))
}

fn serves(daemon: &Daemon, gpu: &Gpu) -> bool {
    let Some(visible) = &daemon.visible else { return true };
    // Numbers are CUDA's own here, which may differ from nvidia-smi's; then it is better to ask than to share.
    visible
        .split(',')
        .map(str::trim)
        .any(|name| name == gpu.index.to_string() || (name.starts_with("GPU-") && gpu.uuid.starts_with(name)))
}

#[cfg(test)]
mod tests {
    use super::super::gpu::fixtures::h200s;
    use super::*;

    #[test]
    fn a_daemon_has_the_gpus_that_it_sees() {
        let gpus = h200s(2);
        let sees = |visible: Option<&str>| Daemon { pid: 7, visible: visible.map(str::to_owned), pipe: None };
        for (visible, first, second) in [
            (None, true, true),
            (Some("0"), true, false),
            (Some("1, 0"), true, true),
            (Some(gpus[1].uuid.as_str()), false, true),
            (Some("GPU-"), true, true),
            (Some(""), false, false),
            (Some("2"), false, false),
        ] {
            let daemons = [sees(visible)];
            let owned = [0, 1].map(|n: usize| owner(&daemons, &gpus[n]).is_some());
            assert_eq!(owned, [first, second], "{visible:?}");
        }
        let words = owner(&[sees(None)], &gpus[0]).unwrap();
        assert!(words.contains("process 7") && words.contains("/tmp/nvidia-mps"), "{words}");
        assert_eq!(owner(&[], &gpus[0]), None);
    }

    #[test]
    fn daemons_are_told_from_those_who_ask_them() {
        assert!(is_daemon(b"/usr/bin/nvidia-cuda-mps-control\0-d\0"));
        assert!(is_daemon(b"nvidia-cuda-mps-control\0-f\0"));
        assert!(!is_daemon(b"nvidia-cuda-mps-control\0"));
        assert!(!is_daemon(b"grep\0nvidia-cuda-mps-control\0-d\0"));
        assert!(!is_daemon(b""));
    }

    #[test]
    fn a_daemons_environment_says_what_it_serves() {
        let environment = b"PATH=/bin\0CUDA_VISIBLE_DEVICES=GPU-1\0CUDA_MPS_PIPE_DIRECTORY=/tmp/p\0";
        let expected = Daemon { pid: 9, visible: Some("GPU-1".into()), pipe: Some("/tmp/p".into()) };
        assert_eq!(daemon(9, environment), expected);
        assert_eq!(daemon(9, b""), Daemon { pid: 9, ..Daemon::default() });
    }
}

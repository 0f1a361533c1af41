//! What a container with a slot is given: the environment and mounts that kubelet hands to the container runtime.

use std::path::{Path, PathBuf};

use super::api::{CdiDevice, ContainerAllocateResponse, Mount};
use super::gpu::Gpu;
use super::layout::Slot;
use crate::slot;

/// Where the agent and the pods see what the node keeps for them: the same path for both, since an MPS client is told
/// paths by the daemon.
pub(super) const RUN: &str = "/run/fractune";

/// The folder of a GPU's MPS daemon, below `run`; its pipe directory is `pipe` in it.
pub(super) fn daemon_home(run: &Path, gpu: &str) -> PathBuf {
    run.join("mps").join(gpu)
}

/// The folder of a GPU's gate, below `run`.
pub(super) fn gate_folder(run: &Path, gpu: &str) -> PathBuf {
    run.join("gate").join(gpu)
}

/// The gate's socket in its folder.
pub(super) const GATE: &str = "gate.sock";

/// What a container is given for a slot of `gpu`, by the CDI device of this name. `slots` are all of the node's.
pub(super) fn grant(
    slot: &Slot,
    gpu: &Gpu,
    slots: &[Slot],
    run: &Path,
    device: &str,
) -> ContainerAllocateResponse {
    let (pipe, gate) = (daemon_home(run, &gpu.uuid).join("pipe"), gate_folder(run, &gpu.uuid));
    let mut envs = named(slot);
    envs.extend([
        (slot::UID, slot::USER.to_string()),
        (slot::GATE, gate.join(GATE).display().to_string()),
        (slot::PIPE_DIRECTORY, pipe.display().to_string()),
        (slot::SHARE, slot.share.to_string()),
        (slot::MEMORY, format!("0={}M", memory_mib(slot, gpu, slots))),
        // An MPS client's GPUs are counted anew: this one is its number 0.
        (slot::VISIBLE_DEVICES, gpu.uuid.clone()),
    ]);
    // Not read-only: a client talks through sockets in it. They are root's, and nobody else may make or remove files.
    let mounts = [(&pipe, false), (&gate, true)].map(|(folder, read_only)| Mount {
        container_path: folder.display().to_string(),
        host_path: folder.display().to_string(),
        read_only,
    });
    ContainerAllocateResponse {
        envs: texts(envs),
        mounts: mounts.into(),
        cdi_devices: vec![CdiDevice { name: device.to_owned() }],
        ..ContainerAllocateResponse::default()
    }
}

/// What a container is given for a slot without a GPU: that it is one.
pub(super) fn simulated_grant(slot: &Slot, gpu: &Gpu) -> ContainerAllocateResponse {
    let mut envs = named(slot);
    envs.push((slot::SIMULATED, gpu.label()));
    ContainerAllocateResponse { envs: texts(envs), ..ContainerAllocateResponse::default() }
}

fn named(slot: &Slot) -> Vec<(&'static str, String)> {
    vec![(slot::SLOT, slot.id.clone())]
}

fn texts(envs: Vec<(&'static str, String)>) -> std::collections::HashMap<String, String> {
    envs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The slot's part of the GPU's memory. Where slots are more than the GPU, it is divided among all of them.
fn memory_mib(slot: &Slot, gpu: &Gpu, slots: &[Slot]) -> u64 {
    let sum: u64 =
        slots.iter().filter(|other| other.gpu == slot.gpu).map(|other| u64::from(other.share)).sum();
    (gpu.memory_bytes >> 20) * u64::from(slot.share) / sum.max(100)
}

#[cfg(test)]
mod tests {
    use super::super::gpu::fixtures::h200s;
    use super::super::gpu::simulated;
    use super::super::layout::Layout;
    use super::*;

    fn grants(layout: &str) -> Vec<ContainerAllocateResponse> {
        let gpus = h200s(1);
        let slots = Layout::parse(layout).unwrap().slots(&gpus).unwrap();
        slots.iter().map(|slot| grant(slot, &gpus[0], &slots, Path::new(RUN), "fractune.dev/gpu=x")).collect()
    }

    #[test]
    fn a_container_is_given_all_that_a_tuning_pod_looks_for() {
        let granted = &grants("layout: {\"*\": [25, 50]}")[0];
        let uuid = &h200s(1)[0].uuid;
        let expected = [
            ("FRACTUNE_SLOT", format!("{uuid}:25:0")),
            ("FRACTUNE_UID", "65532".to_owned()),
            ("FRACTUNE_GATE", format!("/run/fractune/gate/{uuid}/gate.sock")),
            ("CUDA_MPS_PIPE_DIRECTORY", format!("/run/fractune/mps/{uuid}/pipe")),
            ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "25".to_owned()),
            ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=36096M".to_owned()),
            ("CUDA_VISIBLE_DEVICES", uuid.clone()),
        ];
        assert_eq!(granted.envs, texts(expected.into()));
        let mounts: Vec<_> =
            granted.mounts.iter().map(|m| (m.container_path.as_str(), m.read_only)).collect();
        let (pipe, gate) = (format!("/run/fractune/mps/{uuid}/pipe"), format!("/run/fractune/gate/{uuid}"));
        assert_eq!(mounts, [(pipe.as_str(), false), (gate.as_str(), true)]);
        assert!(granted.mounts.iter().all(|mount| mount.host_path == mount.container_path));
        assert_eq!(granted.cdi_devices[0].name, "fractune.dev/gpu=x");
        // A Unix socket's address holds 107 bytes, and the daemon's sockets have names of up to 40.
        assert!(pipe.len() <= 107 - 40, "{}", pipe.len());
    }

    #[test]
    fn memory_is_divided_by_share_and_never_promised_twice() {
        let limit = |layout: &str| grants(layout)[0].envs["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"].clone();
        assert_eq!(limit("layout: {\"*\": [100]}"), format!("0={}M", 141 * 1024));
        assert_eq!(limit("layout: {\"*\": [50]}"), format!("0={}M", 141 * 1024 / 2));
        let twice = limit("layout: {\"*\": [100, 100]}\noversubscribe: true");
        assert_eq!(twice, format!("0={}M", 141 * 1024 / 2));
    }

    #[test]
    fn a_simulated_slot_gives_nothing_but_the_word_that_it_is_one() {
        let gpus = simulated("NVIDIA-H200:1").unwrap();
        let slots = Layout::parse("layout: {\"*\": [25]}").unwrap().slots(&gpus).unwrap();
        let granted = simulated_grant(&slots[0], &gpus[0]);
        assert_eq!(granted.envs["FRACTUNE_SIMULATED"], "NVIDIA-H200");
        assert_eq!(granted.envs["FRACTUNE_SLOT"], "SIMULATED-NVIDIA-H200-0:25:0");
        assert!(granted.mounts.is_empty() && granted.cdi_devices.is_empty() && granted.devices.is_empty());
    }
}

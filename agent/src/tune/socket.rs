//! Where the runs on one machine meet: the socket of the gate that they share.

use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::PathBuf;

use rustix::process::geteuid;

use super::plan::RunError;
use crate::gate::{Capacity, Gate};
use crate::slot::{self, Slot};

/// Units of a GPU: percent.
const WHOLE_GPU: u32 = 100;

/// The gate of all runs on these CPUs. Where there can be none, one for this run alone, and why.
pub(super) async fn shared_gate(cpus: &[usize]) -> (Gate, Option<String>) {
    match join(&format!("cpus-{}", name(cpus)), Capacity::Lanes(cpus.to_vec())).await {
        Ok(gate) => (gate, None),
        Err(why) => {
            let note =
                format!("other runs on this machine are not kept off these CPUs: no shared gate ({why})");
            (Gate::cpus(cpus.to_vec()), Some(note))
        }
    }
}

/// The gate of all runs on a GPU under one MPS daemon. Where there can be none, one for this run alone, and why.
pub(super) async fn shared_gpu_gate(uuid: &str) -> (Gate, Option<String>) {
    match join(uuid, Capacity::Units(WHOLE_GPU)).await {
        Ok(gate) => (gate, None),
        Err(why) => {
            let note = format!("other runs are not kept off this GPU: no shared gate ({why})");
            (Gate::gpu(), Some(note))
        }
    }
}

/// The gate that the node serves for a slot's GPU. There is no measuring without it.
pub(super) async fn node_gate(slot: &Slot) -> Result<Gate, RunError> {
    let joined = Gate::joined(&slot.gate, Capacity::Units(WHOLE_GPU)).await;
    joined.map_err(|error| RunError::Machine(slot.no_gate(error).to_string()))
}

/// The gate of all runs of this user on a device, whose name every one of them comes to. An error is a sentence.
async fn join(device: &str, capacity: Capacity) -> Result<Gate, String> {
    // The environment may name another socket than one in the user's runtime folder.
    let path = match std::env::var_os(slot::GATE).filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => runtime_folder().map_err(|error| error.to_string())?.join(format!("{device}.sock")),
    };
    Gate::shared(&path, capacity).await.map_err(|error| error.to_string())
}

/// Claims a GPU for a run of this user, for as long as the file is open. Runs under one MPS daemon share it; a
/// run that has a daemon of its own, or none, must be alone: clients of two daemons take turns on the GPU, and
/// what one measures includes the other's turns.
pub(super) fn claim_gpu(uuid: &str, shared: bool) -> Result<File, RunError> {
    let path = runtime_folder()
        .map_err(|error| RunError::Machine(format!("no folder for this user's runs: {error}")))?
        .join(format!("{uuid}.lock"));
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|error| RunError::io(&path, &error))?;
    let locked = if shared { file.try_lock_shared() } else { file.try_lock() };
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::Machine(format!(
            "GPU {uuid} is in use by another run of this user; wait for its end, or have both run under one MPS \
             daemon (CUDA_MPS_PIPE_DIRECTORY)"
        ))),
        Err(TryLockError::Error(error)) => Err(RunError::io(&path, &error)),
    }
}

/// A folder of this user alone.
fn runtime_folder() -> io::Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let user = geteuid().as_raw();
    let folder = match runtime.filter(|path| path.is_dir()) {
        Some(runtime) => runtime.join("fractune"),
        None => std::env::temp_dir().join(format!("fractune-{user}")),
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let found = std::fs::symlink_metadata(&folder)?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
        let reason = format!("{} is not a folder of this user alone", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    Ok(folder)
}

/// A short name for a set of CPUs: one hexadecimal bit mask.
fn name(cpus: &[usize]) -> String {
    let mut mask = vec![0_u8; cpus.iter().max().map_or(1, |last| last / 8 + 1)];
    for cpu in cpus {
        if let Some(byte) = mask.get_mut(cpu / 8) {
            *byte |= 1 << (cpu % 8);
        }
    }
    mask.iter().rev().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_cpus_has_one_name() {
        assert_eq!(name(&[0, 1]), "03");
        assert_eq!(name(&[1, 0]), "03");
        assert_eq!(name(&[8]), "0100");
    }
}

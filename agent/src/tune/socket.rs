//! Where the runs on one machine meet: the socket of the gate that they share.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::PathBuf;

use rustix::process::geteuid;

use crate::gate::{Capacity, Gate};

/// Names the gate's socket, instead of one in the user's runtime folder.
const VARIABLE: &str = "FRACTUNE_GATE";

/// The gate of all runs on these CPUs. Where there can be none, one for this run alone, and why.
pub(super) async fn shared_gate(cpus: &[usize]) -> (Gate, Option<String>) {
    let shared = match socket(cpus) {
        Ok(path) => {
            Gate::shared(&path, Capacity::Lanes(cpus.to_vec())).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    match shared {
        Ok(gate) => (gate, None),
        Err(why) => {
            let note =
                format!("other runs on this machine are not kept off these CPUs: no shared gate ({why})");
            (Gate::cpus(cpus.to_vec()), Some(note))
        }
    }
}

/// A path that every run of this user on the same CPUs comes to.
fn socket(cpus: &[usize]) -> io::Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
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
    Ok(folder.join(format!("cpus-{}.sock", name(cpus))))
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

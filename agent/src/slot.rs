//! A slot: the part of one GPU that a pod may use, as `agent node` gives it to the pod and `agent tune` finds it.
//!
//! What a pod is given is in its environment; docs/node.md lists the variables. A pod in a slot uses the node's MPS
//! daemon and the node's gate, and nothing instead of them: what is missing is told before anything is measured.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// The slot's name. Its presence says that the process is in a slot.
pub const SLOT: &str = "FRACTUNE_SLOT";
/// The product that a simulated slot stands for.
pub const SIMULATED: &str = "FRACTUNE_SIMULATED";
/// The gate's socket.
pub const GATE: &str = "FRACTUNE_GATE";
/// The user that the MPS daemon and the gate are for.
pub const UID: &str = "FRACTUNE_UID";
/// The MPS daemon's pipe directory.
pub const PIPE_DIRECTORY: &str = "CUDA_MPS_PIPE_DIRECTORY";
/// The slot's share in percent.
pub const SHARE: &str = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE";
/// The GPU memory that one process may have.
pub const MEMORY: &str = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT";
/// The GPU's UUID.
pub const VISIBLE_DEVICES: &str = "CUDA_VISIBLE_DEVICES";

/// User and group of every tuning pod: one, so that one MPS server serves them all.
pub const USER: u32 = 65532;

/// `HAMi`'s library, which holds kernels up in time.
const THROTTLE: &str = "libvgpu";

/// Why a process cannot tune in its slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// There is no GPU behind the slot.
    #[error(
        "slot {slot} is simulated: it stands for {product} on a node that runs `fractune-agent node --simulate`, has no \
         GPU behind it, and nothing can be measured in it; keep the job off such nodes (label \
         fractune.dev/simulated=true), or end the simulation"
    )]
    Simulated {
        /// The slot.
        slot: String,
        /// The product that it stands for.
        product: String,
    },
    /// A library holds kernels up.
    #[error(
        "HAMi's {THROTTLE} is preloaded in this container ({place}): it stops kernels now and then to keep them to a \
         share, and every time would be wrong; take the container off HAMi's resources and scheduler, or exclude its \
         namespace from HAMi's webhook"
    )]
    Throttled {
        /// Where it was seen.
        place: String,
    },
    /// The process runs as another user than the node's daemon and gate are for.
    #[error(
        "slot {slot} is for user {expected}, and this process runs as user {found}: set runAsUser: {expected} (one user \
         for every tuning pod, or the MPS server would be started anew for each)"
    )]
    WrongUser {
        /// The slot.
        slot: String,
        /// Whom it is for.
        expected: u32,
        /// Who this is.
        found: u32,
    },
    /// A variable is missing or has no sense.
    #[error(
        "slot {slot}: {variable}={value:?} is not {expected}; the device plugin sets it, so let the pod's spec leave it \
         alone"
    )]
    Variable {
        /// The slot.
        slot: String,
        /// The variable.
        variable: &'static str,
        /// Its value; empty where there is none.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The gate's socket is not there.
    #[error(
        "slot {slot}: the node's gate is not there ({reason}); see whether the node's pod of fractune-agent node runs, and \
         that the container has its folder mounted"
    )]
    NoGate {
        /// The slot.
        slot: String,
        /// What was seen.
        reason: String,
    },
    /// The MPS daemon is not there.
    #[error(
        "slot {slot}: the node's MPS daemon is not there ({reason}); see whether the node's pod of fractune-agent node \
         runs and what it says of this GPU"
    )]
    NoDaemon {
        /// The slot.
        slot: String,
        /// What was seen.
        reason: String,
    },
    /// A share of the job is larger than the slot.
    #[error(
        "slot {slot} is {slot_share} % of its GPU, and the job has a share of {share} %: ask for a slot as large as the \
         largest share (fractune.dev/mps-{share})"
    )]
    TooSmall {
        /// The slot.
        slot: String,
        /// Its share in percent.
        slot_share: u8,
        /// The job's largest share in percent.
        share: u8,
    },
}

/// A slot that is as it should be, as far as can be seen without the GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name: the GPU, the share, and a number.
    pub name: String,
    /// Its share in percent.
    pub share: u8,
    /// The gate's socket.
    pub gate: PathBuf,
    /// The MPS daemon's pipe directory.
    pub pipe: PathBuf,
    /// The GPU memory that a process may have, as MPS is told.
    pub memory: Option<OsString>,
    /// The same in bytes.
    pub memory_bytes: Option<u64>,
}

/// What can be seen of this process without a GPU.
struct Surroundings<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    user: u32,
    /// `/etc/ld.so.preload`.
    preloaded: String,
    /// `/proc/self/maps`.
    mapped: String,
}

impl Surroundings<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.variable)(name)
            .map(|value| value.to_string_lossy().into_owned())
            .filter(|value| !value.is_empty())
    }

    fn throttle(&self) -> Option<SlotError> {
        let environment = self.text("LD_PRELOAD").unwrap_or_default();
        let places =
            [("LD_PRELOAD", &environment), ("/etc/ld.so.preload", &self.preloaded), ("loaded", &self.mapped)];
        let (place, _) = places.into_iter().find(|(_, text)| text.contains(THROTTLE))?;
        Some(SlotError::Throttled { place: place.to_owned() })
    }
}

impl Slot {
    /// The slot that this process is in; none outside of slots.
    ///
    /// # Errors
    /// [`SlotError`] where nothing true could be measured here. [`SlotError::Throttled`] also outside of slots.
    pub fn of_this_process() -> Result<Option<Self>, SlotError> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self::read(&Surroundings {
            variable: &|name| std::env::var_os(name),
            user: geteuid().as_raw(),
            preloaded: read("/etc/ld.so.preload"),
            mapped: read("/proc/self/maps"),
        })
    }

    fn read(around: &Surroundings<'_>) -> Result<Option<Self>, SlotError> {
        let slot = around.text(SLOT);
        if let (Some(slot), Some(product)) = (&slot, around.text(SIMULATED)) {
            return Err(SlotError::Simulated { slot: slot.clone(), product });
        }
        if let Some(throttled) = around.throttle() {
            return Err(throttled);
        }
        let Some(name) = slot else { return Ok(None) };
        let wrong = |variable, expected| SlotError::Variable {
            slot: name.clone(),
            variable,
            value: around.text(variable).unwrap_or_default(),
            expected,
        };
        let number = |variable, expected| {
            around.text(variable).and_then(|text| text.parse().ok()).ok_or_else(|| wrong(variable, expected))
        };
        let path = |variable| {
            let path = (around.variable)(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            path.ok_or_else(|| wrong(variable, "an absolute path"))
        };
        let expected: u32 = number(UID, "the number of a user")?;
        if around.user != expected {
            return Err(SlotError::WrongUser { slot: name, expected, found: around.user });
        }
        let share: u32 = number(SHARE, "a share from 1 to 100")?;
        let share = u8::try_from(share).ok().filter(|share| (1..=100).contains(share));
        let share = share.ok_or_else(|| wrong(SHARE, "a share from 1 to 100"))?;
        let (gate, pipe) = (path(GATE)?, path(PIPE_DIRECTORY)?);
        let memory = (around.variable)(MEMORY).filter(|limit| !limit.is_empty());
        let memory_bytes = match around.text(MEMORY) {
            Some(text) => Some(memory_limit(&text).ok_or_else(|| wrong(MEMORY, "a limit such as 0=4096M"))?),
            None => None,
        };
        Ok(Some(Self { name, share, gate, pipe, memory, memory_bytes }))
    }

    /// Whether the slot is large enough for these shares in percent.
    ///
    /// # Errors
    /// [`SlotError::TooSmall`].
    pub fn check_shares(&self, shares: &[u8]) -> Result<(), SlotError> {
        match shares.iter().copied().max() {
            Some(share) if share > self.share => {
                Err(SlotError::TooSmall { slot: self.name.clone(), slot_share: self.share, share })
            }
            _ => Ok(()),
        }
    }

    /// Whether the gate's socket is there: a container without it would wait in vain, or measure unguarded.
    ///
    /// # Errors
    /// [`SlotError::NoGate`].
    pub fn check_gate(&self) -> Result<(), SlotError> {
        let folder = self.gate.parent().unwrap_or(Path::new("/"));
        // The socket itself goes and comes with the node's program, which is waited for; its folder stays.
        match folder.metadata() {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(self.no_gate(format!("{} is no folder", folder.display()))),
            Err(error) => Err(self.no_gate(format!("{}: {error}", folder.display()))),
        }
    }

    /// The gate is not there, for this reason.
    #[must_use]
    pub fn no_gate(&self, reason: impl std::fmt::Display) -> SlotError {
        SlotError::NoGate { slot: self.name.clone(), reason: reason.to_string() }
    }

    /// The daemon is not there, for this reason.
    #[must_use]
    pub fn no_daemon(&self, reason: impl std::fmt::Display) -> SlotError {
        SlotError::NoDaemon { slot: self.name.clone(), reason: reason.to_string() }
    }
}

/// Bytes of a limit as MPS takes it for one device: `0=4096M` or `0=4G`.
fn memory_limit(text: &str) -> Option<u64> {
    let (_, amount) = text.split_once('=')?;
    let digits = amount.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match amount.get(digits.len()..)? {
        "M" | "MB" => 1 << 20,
        "G" | "GB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_A_SLOT: [(&str, &str); 7] = [
        (SLOT, "GPU-8932f937:25:0"),
        (UID, "65532"),
        (SHARE, "25"),
        (GATE, "/run/fractune/gate/GPU-8932f937/gate.sock"),
        (PIPE_DIRECTORY, "/run/fractune/mps/GPU-8932f937/pipe"),
        (MEMORY, "0=20480M"),
        (VISIBLE_DEVICES, "GPU-8932f937"),
    ];

    fn read(
        changes: &[(&str, &str)],
        user: u32,
        preloaded: &str,
        mapped: &str,
    ) -> Result<Option<Slot>, SlotError> {
        let variable = |name: &str| {
            let all = changes.iter().chain(&IN_A_SLOT);
            all.clone().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        };
        let around =
            Surroundings { variable: &variable, user, preloaded: preloaded.into(), mapped: mapped.into() };
        Slot::read(&around)
    }

    #[test]
    fn a_slot_is_read_from_what_the_device_plugin_sets() {
        let slot = read(&[], USER, "", "").unwrap().unwrap();
        assert_eq!((slot.share, slot.memory_bytes), (25, Some(20480 << 20)));
        assert_eq!(slot.pipe, Path::new("/run/fractune/mps/GPU-8932f937/pipe"));
        assert_eq!(read(&[(SLOT, "")], 0, "", ""), Ok(None), "outside of slots anybody may tune");
        let without = read(&[(MEMORY, "")], USER, "", "").unwrap().unwrap();
        assert_eq!((without.memory, without.memory_bytes), (None, None));
    }

    #[test]
    fn a_simulated_slot_is_refused_as_such_before_anything_else() {
        let refused = read(&[(SIMULATED, "NVIDIA-H200"), (GATE, "")], 0, "", "").unwrap_err().to_string();
        assert!(refused.contains("is simulated") && refused.contains("NVIDIA-H200"), "{refused}");
    }

    #[test]
    fn hamis_library_is_found_wherever_it_is_named_and_also_outside_of_slots() {
        let preload = ("LD_PRELOAD", "/usr/local/vgpu/libvgpu.so");
        let places = [
            (read(&[preload], USER, "", ""), "LD_PRELOAD"),
            (read(&[], USER, "/usr/local/vgpu/libvgpu.so\n", ""), "/etc/ld.so.preload"),
            (read(&[(SLOT, "")], 0, "", "7f00-7f01 r-xp 0 00:1 7 /usr/local/vgpu/libvgpu.so"), "loaded"),
        ];
        for (read, place) in places {
            assert_eq!(read, Err(SlotError::Throttled { place: place.into() }));
        }
    }

    #[test]
    fn another_user_and_variables_without_sense_are_named() {
        let refused = read(&[], 1000, "", "").unwrap_err().to_string();
        assert!(refused.contains("for user 65532") && refused.contains("as user 1000"), "{refused}");
        for (variable, value) in [
            (SHARE, "0"),
            (SHARE, "all"),
            (SHARE, "101"),
            (GATE, ""),
            (PIPE_DIRECTORY, "pipe"),
            (MEMORY, "lots"),
            (UID, ""),
        ] {
            let refused = read(&[(variable, value)], USER, "", "").unwrap_err().to_string();
            assert!(refused.contains(&format!("{variable}={value:?}")), "{refused}");
        }
    }

    #[test]
    fn a_job_with_a_larger_share_than_the_slot_is_refused() {
        let slot = read(&[], USER, "", "").unwrap().unwrap();
        assert_eq!(slot.check_shares(&[10, 25]), Ok(()));
        let refused = slot.check_shares(&[25, 50]).unwrap_err().to_string();
        assert!(refused.contains("fractune.dev/mps-50"), "{refused}");
    }

    #[test]
    fn a_container_without_the_gates_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut slot = read(&[], USER, "", "").unwrap().unwrap();
        let refused = slot.check_gate().unwrap_err().to_string();
        assert!(refused.contains("gate is not there") && refused.contains("/run/fractune/gate"), "{refused}");
        slot.gate = folder.path().join("gate.sock");
        assert_eq!(slot.check_gate(), Ok(()));
    }

    #[test]
    fn limits_of_memory_are_read_as_mps_takes_them() {
        assert_eq!(memory_limit("0=4096M"), Some(4 << 30));
        assert_eq!(memory_limit("0=2G"), Some(2 << 30));
        assert_eq!(memory_limit("0=512MB"), Some(512 << 20));
        for wrong in ["", "4096M", "0=", "0=4", "0=99999999999999G", "0=ä"] {
            assert_eq!(memory_limit(wrong), None, "{wrong}");
        }
    }
}

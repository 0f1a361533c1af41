//! Limits of a worker process that need no sandbox: memory, CPUs, core dumps, the parent's life.

use std::fs;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Address space that threads need beside what they allocate: a stack and an arena of the allocator each.
const PER_CPU_BYTES: u64 = 160 << 20;
/// What the worker itself allocates after its limit is set: messages, and loaded libraries.
const OWN_BYTES: u64 = 256 << 20;

/// Ties the worker's life to its parent's, forbids core dumps, and offers this process first when the
/// machine runs out of memory. Returns a sentence for each part that was refused.
pub(crate) fn lifelines() -> Vec<String> {
    let mut notes = Vec::new();
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        notes.push(format!(
            "the parent's death is not signalled ({error}): an endless candidate may outlive it"
        ));
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        notes.push(format!("core dumps cannot be turned off ({error})"));
    }
    if fs::write("/proc/self/oom_score_adj", "1000").is_err() {
        notes.push("the kernel does not let workers die first when memory runs out".to_owned());
    }
    notes
}

/// Binds the worker and its later threads to `cpus`.
pub(super) fn bind(cpus: &[usize]) -> Result<(), String> {
    if cpus.is_empty() {
        return Err("cpus is empty: a worker needs one CPU at least".to_owned());
    }
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(format!("cpus has {cpu}: numbers must be below {}", CpuSet::MAX_CPU));
        }
        set.set(cpu);
    }
    sched_setaffinity(None, &set)
        .map_err(|e| format!("cpus {cpus:?} are not among those that this process may use ({e})"))
}

/// Limits the address space to what is mapped now, `expected` bytes for the worker's own use, what threads
/// need, and `allowance` bytes for candidates. Returns a sentence if the limit was refused.
pub(super) fn memory(expected: u64, cpus: usize, allowance: u64) -> Option<String> {
    let result = mapped_bytes().and_then(|mapped| {
        let own = mapped.saturating_add(expected).saturating_add(OWN_BYTES);
        let threads = PER_CPU_BYTES.saturating_mul(cpus as u64);
        let limit = own.saturating_add(threads).saturating_add(allowance);
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(Resource::As, limit).map_err(|e| e.to_string())
    });
    result.err().map(|e| format!("memory is not limited ({e}): a candidate can take all of it"))
}

/// Address space of this process in bytes.
fn mapped_bytes() -> Result<u64, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|e| format!("/proc/self/status: {e}"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .map(|kib| kib.saturating_mul(1024))
        .ok_or_else(|| "/proc/self/status has no VmSize".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_that_do_not_exist_are_named() {
        assert!(bind(&[]).unwrap_err().contains("cpus is empty"));
        assert!(bind(&[1 << 20]).unwrap_err().contains("1048576"));
        assert!(bind(&[CpuSet::MAX_CPU - 1]).unwrap_err().contains("not among those"));
    }

    #[test]
    fn the_mapped_size_is_read() {
        assert!(mapped_bytes().unwrap() > 1 << 20);
    }
}

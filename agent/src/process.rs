//! Starting child processes with a CPU set and a limit on file sizes, without code between fork and exec.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, prlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::process::{Child, Command};

/// The CPUs that this process may use, ascending: as many of its CPU set as its control group's quota grants (a pod's
/// limit), at least one. More threads than that would be stopped within each period, and times would mean nothing.
///
/// # Errors
/// What the system answers.
pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect();
    // It knows both versions of control groups.
    let granted = available_parallelism().map_or(cpus.len(), NonZero::get);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Ok(window(&cpus, granted, &host))
}

/// `granted` of the CPUs, in one piece. Pods of one node have different host names, and so, most likely, other CPUs.
fn window(cpus: &[usize], granted: usize, host: &str) -> Vec<usize> {
    let granted = granted.clamp(1, cpus.len().max(1));
    let pieces = (cpus.len() / granted).max(1);
    let mut hash = DefaultHasher::new();
    host.hash(&mut hash);
    let piece = usize::try_from(hash.finish() % pieces as u64).unwrap_or_default();
    cpus.iter().copied().skip(piece * granted).take(granted).collect()
}

/// Starts `command` in a process group of its own, on the given CPUs and within limits. The child takes them
/// from this thread, which gets its own back before this returns.
///
/// # Errors
/// What the system answers: most often that the program does not exist.
pub(crate) fn spawn_limited(command: &mut Command, cpus: &[usize], limits: Limits) -> io::Result<Group> {
    let own_cpus = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU).for_each(|&cpu| set.set(cpu));
    if !cpus.is_empty() {
        sched_setaffinity(None, &set)?;
    }
    let child = with_limit(Resource::Fsize, limits.file_bytes, || {
        with_limit(Resource::As, limits.memory_bytes, || command.process_group(0).kill_on_drop(true).spawn())
    });
    let restored = sched_setaffinity(None, &own_cpus);
    let group = Group { child: child? };
    restored?;
    // Not set on this process in passing, as the others are: it may have used more than that itself. What the
    // child starts takes it over, so that a compiler whose agent was killed ends, too.
    if let Some(pid) = group.pid() {
        let seconds = Rlimit { current: Some(limits.cpu_seconds), maximum: Some(limits.cpu_seconds) };
        // The child may be gone already.
        let _ = prlimit(Some(pid), Resource::Cpu, seconds);
    }
    Ok(group)
}

/// Starts `command` in a process group of its own.
///
/// # Errors
/// What the system answers: most often that the program does not exist.
pub(crate) fn spawn_group(command: &mut Command) -> io::Result<Group> {
    command.process_group(0).kill_on_drop(true).spawn().map(|child| Group { child })
}

/// Limits of each process of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Largest file that it may write, in bytes.
    pub(crate) file_bytes: u64,
    /// Address space in bytes.
    pub(crate) memory_bytes: u64,
    /// CPU time in seconds.
    pub(crate) cpu_seconds: u64,
}

/// Does something with a limit of this process lowered, and puts it back.
fn with_limit<T>(resource: Resource, value: u64, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let own = getrlimit(resource);
    let lowered = own.maximum.map_or(value, |most| most.min(value));
    setrlimit(resource, Rlimit { current: Some(lowered), maximum: own.maximum })?;
    let done = act();
    setrlimit(resource, own)?;
    done
}

/// A child that leads a process group; the whole group is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    /// The group's leader.
    pub(crate) child: Child,
}

impl Group {
    /// Kills every process of the group and waits, briefly, for the leader to be gone.
    pub(crate) async fn kill(&mut self) {
        self.signal_group();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await;
    }

    /// The leader's number; none once it has been waited for, when the number may be another's.
    fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }

    fn signal_group(&self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal_group();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_quota_grants_some_of_the_cpus_and_not_the_same_ones_to_every_pod() {
        let cpus: Vec<usize> = (8..24).collect();
        assert_eq!(window(&cpus, 16, "a"), cpus);
        assert_eq!(window(&cpus, 64, "a"), cpus);
        let of_pods: BTreeSet<Vec<usize>> =
            (0..64).map(|pod| window(&cpus, 3, &format!("sgemm-{pod}"))).collect();
        assert_eq!(of_pods.len(), 5, "{of_pods:?}");
        assert!(of_pods.iter().all(|granted| granted.len() == 3 && granted[2] - granted[0] == 2));
        assert_eq!(window(&cpus, 0, "a").len(), 1);
        assert!(window(&[], 2, "a").is_empty());
    }
}

//! Starting child processes with a CPU set and a limit on file sizes, without code between fork and exec.

use std::io;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, prlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::process::{Child, Command};

/// The CPUs that this process may use, ascending.
///
/// # Errors
/// What the system answers.
pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
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

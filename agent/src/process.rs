//! Starting child processes with a CPU set and a limit on file sizes, without code between fork and exec.

use std::io;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, setrlimit};
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

/// Starts `command` in a process group of its own, on the given CPUs, unable to write a file of more than
/// `file_bytes`. The child takes both from this thread, which gets its own back before this returns.
///
/// # Errors
/// What the system answers: most often that the program does not exist.
pub(crate) fn spawn_limited(command: &mut Command, cpus: &[usize], file_bytes: u64) -> io::Result<Group> {
    let own_cpus = sched_getaffinity(None)?;
    let own_limit = getrlimit(Resource::Fsize);
    let mut set = CpuSet::new();
    cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU).for_each(|&cpu| set.set(cpu));
    if !cpus.is_empty() {
        sched_setaffinity(None, &set)?;
    }
    setrlimit(Resource::Fsize, Rlimit { current: Some(file_bytes), ..own_limit })?;
    let child = command.process_group(0).kill_on_drop(true).spawn();
    setrlimit(Resource::Fsize, own_limit)?;
    sched_setaffinity(None, &own_cpus)?;
    Ok(Group { child: child? })
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

    fn signal_group(&self) {
        // `id` is none once the leader has been waited for: its number may be another's by then.
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal_group();
    }
}

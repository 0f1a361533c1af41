//! How much memory a run may use.

use std::path::Path;

use fractune_tuner::Violation;

use super::plan::Plan;

/// Copies of a task's buffers that one worker keeps: the buffers, what the reference wrote, first contents.
const COPIES: u64 = 3;

/// Refuses tasks whose buffers do not fit into this machine's free memory, for every share at once.
pub(super) fn check(plan: &Plan) -> Option<Violation> {
    let workers = (plan.shares.len() * plan.parallelism.min(plan.tasks.len())).max(1) as u64;
    let limit = available()? / (workers * COPIES);
    plan.tasks.iter().find_map(|task| task.check_memory(&format!("kernel {}", task.name()), limit))
}

/// Memory in bytes that this process can still get; none if the system does not say.
fn available() -> Option<u64> {
    let free = proc_available(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| std::fs::read_to_string(Path::new(path)).ok()?.trim().parse::<u64>().ok());
    Some(group.map_or(free, |limit| limit.min(free)))
}

/// `MemAvailable` of `/proc/meminfo` in bytes.
fn proc_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let meminfo = "MemTotal:       24000 kB\nMemFree:   1 kB\nMemAvailable:   23000 kB\n";
        assert_eq!(proc_available(meminfo), Some(23000 * 1024));
        assert_eq!(proc_available("nothing"), None);
    }
}

//! Ending what a dead daemon leaves behind.
//!
//! The guardian is a subreaper: children of its descendants that lose their parent become its own. So what is
//! left over of its daemon are exactly its children, and nobody else's process is ever in danger.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

/// How long left-over processes may take to end when they are asked to, and again when they are killed. A
/// server frees a GPU's memory meanwhile.
const GRACE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(20);

/// Makes this process inherit the orphans of its descendants.
pub(super) fn adopt_orphans() {
    // Old kernels refuse: then servers that outlive their daemon are left to end by themselves.
    let _ = set_child_subreaper(Some(getpid()));
}

/// Ends every child of this process, and theirs. To be called when no child is wanted any more.
pub(super) async fn end_children() {
    for signal in [Signal::TERM, Signal::KILL] {
        let deadline = Instant::now() + GRACE;
        loop {
            reap();
            let children = children_of(getpid());
            if children.is_empty() {
                return;
            }
            if Instant::now() >= deadline {
                break;
            }
            for child in children {
                // It may have ended by now; its number is not another's before it is waited for.
                let _ = kill_process(child, signal);
            }
            tokio::time::sleep(STEP).await;
        }
    }
}

/// Waits for children that have ended, so that they are not counted.
fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.ok().and_then(|stat| parent_in(&stat)) == Some(parent.as_raw_nonzero().get())
        })
        .filter_map(Pid::from_raw)
        .collect()
}

/// The parent of a process, in its `/proc/PID/stat`: `PID (NAME) STATE PARENT ...`, where a name may hold
/// anything.
fn parent_in(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_a_name_that_looks_like_one() {
        assert_eq!(parent_in("53748 (nvidia-cuda-mps-s) S 17 0 0 0 -1"), Some(17));
        assert_eq!(parent_in("7 (weird) R 1 0) Z 23 0 0"), Some(23));
        assert_eq!(parent_in("7"), None);
    }

    #[test]
    fn a_started_process_is_among_the_children() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let children = children_of(getpid());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(children.contains(&Pid::from_raw(child.id().cast_signed()).unwrap()));
    }
}

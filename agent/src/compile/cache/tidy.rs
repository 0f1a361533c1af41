//! Keeping the cache small: the least recently used entries are deleted.
//!
//! Other runs may do the same at the same time, and read what is deleted: a file that is gone is one that has to be
//! compiled, and an open one stays whole.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{ASIDE, EXTENSION};

/// Bytes of all entries that a run may find without deleting any.
const MOST: u64 = 1 << 30;
/// Bytes that are left when some are deleted, so that not every run has to.
const LEFT: u64 = MOST / 4 * 3;
/// What is not whole after this time never will be.
const UNFINISHED: Duration = Duration::from_hours(1);
/// Characters of a key.
const KEY: usize = 64;

/// A file of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// Deletes what is too much in a cache's folder, and what killed runs left there unfinished. Files that do not have the
/// names of ours are not touched: the folder may turn out to be somebody's data.
pub(super) fn tidy(folder: &Path, now: SystemTime) {
    let mut entries = Vec::new();
    for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(about) = file.metadata() else { continue };
        let (path, Ok(used)) = (file.path(), about.modified()) else { continue };
        if !about.is_file() {
            continue;
        }
        let name = file.file_name();
        let name = name.to_string_lossy();
        if is_entry(&name) {
            entries.push(Found { path, bytes: about.len(), used });
        } else if name.starts_with(ASIDE) && now.duration_since(used).is_ok_and(|age| age > UNFINISHED) {
            let _ = std::fs::remove_file(path);
        }
    }
    for Found { path, .. } in surplus(entries, MOST, LEFT) {
        // Another run may have been faster.
        let _ = std::fs::remove_file(path);
    }
}

fn is_entry(name: &str) -> bool {
    let key = name.strip_suffix(EXTENSION).and_then(|name| name.strip_suffix('.'));
    key.is_some_and(|key| key.len() == KEY && key.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The entries to delete: the least recently used ones until at most `left` bytes are there, if there are more than
/// `most`.
fn surplus(mut entries: Vec<Found>, most: u64, left: u64) -> Vec<Found> {
    let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    if bytes <= most {
        return Vec::new();
    }
    entries.sort_by_key(|entry| entry.used);
    let too_many = |entry: &Found| {
        let more = bytes > left;
        bytes -= entry.bytes;
        more
    };
    entries.into_iter().take_while(too_many).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_least_recently_used_go_first_and_no_more_than_must() {
        let entry = |name: &str, bytes, used| Found { path: PathBuf::from(name), bytes, used: at(used) };
        let all = vec![entry("b", 40, 2), entry("d", 30, 9), entry("a", 5, 1), entry("c", 30, 3)];
        let names = |most, left| {
            let gone = surplus(all.clone(), most, left);
            gone.iter().map(|found| found.path.display().to_string()).collect::<String>()
        };
        assert_eq!(names(105, 50), "", "there is room");
        assert_eq!(names(104, 100), "a");
        assert_eq!(names(104, 60), "ab");
        assert_eq!(names(104, 59), "abc");
        assert_eq!(names(0, 0), "abcd");
    }

    #[test]
    fn entries_and_what_was_left_unfinished_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let key = "0f".repeat(32);
        let file = |name: &str, bytes: u64, used: u64| {
            let file = File::create(folder.path().join(name)).unwrap();
            // Files with holes: nothing is on the disk.
            file.set_len(bytes).unwrap();
            file.set_modified(at(used)).unwrap();
        };
        file(&format!("{key}.kernel"), MOST, 10);
        file(&format!("{}.kernel", "aa".repeat(32)), 1 << 20, 20);
        file("thesis.kernel", MOST, 1);
        file(&format!("{key}.txt"), MOST, 1);
        file(".new-abc", 1, 1);
        file(".new-def", 1, 7200);
        tidy(folder.path(), at(7200));
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort_unstable();
        let kept = [
            ".new-def".into(),
            format!("{key}.txt"),
            format!("{}.kernel", "aa".repeat(32)),
            "thesis.kernel".into(),
        ];
        assert_eq!(left, kept);
    }
}

//! Compiled kernels that runs share: a folder that other processes, and other machines, may read and write too.
//!
//! Nothing in it is trusted to be whole, and nothing that goes wrong with it is an error of a run: what cannot be read
//! is compiled, what cannot be written is kept for the run alone.

mod entry;
mod tidy;

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use rustix::fs::OFlags;

use crate::lock::lock;

pub(crate) use entry::Entry;

/// Largest file in bytes; kernels are of 5 to 100 KiB, and what is larger than this is not shared.
const LARGEST: u64 = 16 << 20;
/// What is written while a folder is tried: more than a full disk's last block has room for.
static TRY: [u8; 64 << 10] = [0; 64 << 10];
/// How the names of files begin that are not whole yet.
const ASIDE: &str = ".new-";
/// How the names of entries end.
const EXTENSION: &str = "kernel";

/// A folder of compiled kernels that runs share.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    reads: AtomicBool,
    writes: AtomicBool,
    /// What has to be said of it and has not been said yet.
    note: Mutex<Option<String>>,
}

impl Cache {
    /// Opens a cache, making the folder where there is none. The least recently used entries are deleted if they are too
    /// many. A folder that cannot be written is a note ([`Cache::take_note`]).
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let cache = Self {
            folder: folder.to_path_buf(),
            reads: AtomicBool::new(true),
            writes: AtomicBool::new(true),
            note: Mutex::default(),
        };
        tidy::tidy(folder, SystemTime::now());
        if let Err(error) = make(folder).and_then(|()| cache.aside(&TRY).map(drop)) {
            cache.write_no_more(&error);
        }
        cache
    }

    /// What its user should know, once: why nothing is added to it.
    #[must_use]
    pub fn take_note(&self) -> Option<String> {
        lock(&self.note).take()
    }

    /// The entry of a key, if there is one that is whole.
    pub(super) fn read(&self, key: &str) -> Option<Entry> {
        if !self.reads.load(Ordering::Relaxed) {
            return None;
        }
        // Whoever may write here may also put a pipe or a link in an entry's place.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.path(key)).ok()?;
        let about = file.metadata().ok()?;
        if !about.is_file() || about.len() > LARGEST {
            return None;
        }
        let mut contents = Vec::with_capacity(about.len() as usize);
        (&file).take(LARGEST).read_to_end(&mut contents).ok()?;
        let entry = Entry::decode(key, &contents)?;
        // For those who delete what was not used for longest; volumes often do not keep access times.
        let _ = file.set_modified(SystemTime::now());
        Some(entry)
    }

    /// Adds an entry, in the place of what was there.
    pub(super) fn write(&self, key: &str, entry: &Entry) {
        let contents = entry.encode(key);
        if contents.len() as u64 > LARGEST || !self.writes.load(Ordering::Relaxed) {
            return;
        }
        let kept = self
            .aside(&contents)
            .and_then(|file| file.persist(self.path(key)).map(drop).map_err(|error| error.error));
        if let Err(error) = kept {
            self.write_no_more(&error);
        }
    }

    /// A file that is whole, and not in its place yet; deleted if it does not get there.
    fn aside(&self, contents: &[u8]) -> io::Result<tempfile::NamedTempFile> {
        let mut file = tempfile::Builder::new().prefix(ASIDE).tempfile_in(&self.folder)?;
        file.write_all(contents)?;
        Ok(file)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(key).with_extension(EXTENSION)
    }

    fn write_no_more(&self, error: &io::Error) {
        if self.writes.swap(false, Ordering::Relaxed) {
            self.say(format!(
                "the cache {} takes no kernels ({}): what it holds is used, and what is compiled is kept for this run alone",
                self.folder.display(),
                // The error's own words end with a name that is nobody's.
                error.kind()
            ));
        }
    }

    /// Leaves the cache alone from now on, and says why.
    pub(super) fn give_up(&self, why: &str) {
        let wrote = self.writes.swap(false, Ordering::Relaxed);
        if self.reads.swap(false, Ordering::Relaxed) || wrote {
            let folder = self.folder.display();
            self.say(format!(
                "the cache {folder} is not used any more ({why}): this run compiles for itself"
            ));
        }
    }

    fn say(&self, note: String) {
        *lock(&self.note) = Some(note);
    }
}

/// Makes a folder where there is none.
fn make(folder: &Path) -> io::Result<()> {
    // A folder of compiled code that others can write would let them choose what runs here.
    match DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::ErrorKind::NotADirectory.into())
        }
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    const KEY: &str = "00ff";

    fn entry(image: &[u8]) -> Entry {
        Entry { image: image.to_vec(), symbols: vec!["f".into()] }
    }

    #[test]
    fn what_one_run_adds_another_one_finds() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("made/for/it");
        let (one, other) = (Cache::open(&place), Cache::open(&place));
        assert_eq!(other.read(KEY), None);
        one.write(KEY, &entry(b"image"));
        assert_eq!(other.read(KEY), Some(entry(b"image")));
        assert_eq!((one.take_note(), other.take_note()), (None, None));
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1, "nothing else is left there");
    }

    #[test]
    fn what_is_not_what_was_written_is_a_miss_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path());
        let at = |key: &str| folder.path().join(format!("{key}.kernel"));
        cache.write("other", &entry(b"other"));
        let swapped = std::fs::read(at("other")).unwrap();
        cache.write(KEY, &entry(b"image"));
        let whole = std::fs::read(at(KEY)).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        for wrong in [&swapped[..], &whole[..whole.len() / 2], b"", b"something else", &changed] {
            std::fs::write(at(KEY), wrong).unwrap();
            assert_eq!(cache.read(KEY), None);
            cache.write(KEY, &entry(b"again"));
            assert_eq!(cache.read(KEY), Some(entry(b"again")));
        }
        assert_eq!(cache.take_note(), None, "and nobody need know");
    }

    #[test]
    fn links_pipes_and_folders_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path());
        let at = folder.path().join(format!("{KEY}.kernel"));
        cache.write(KEY, &entry(b"image"));
        std::fs::rename(&at, folder.path().join("elsewhere")).unwrap();
        symlink(folder.path().join("elsewhere"), &at).unwrap();
        assert_eq!(cache.read(KEY), None);
        std::fs::remove_file(&at).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &at, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(cache.read(KEY), None, "and it is not waited for");
        std::fs::remove_file(&at).unwrap();
        std::fs::create_dir(&at).unwrap();
        assert_eq!(cache.read(KEY), None);
        cache.write(KEY, &entry(b"image"));
        assert!(cache.take_note().unwrap().contains("takes no kernels"));
    }

    #[test]
    fn a_folder_that_takes_nothing_is_a_note_once_and_what_it_holds_is_used() {
        let folder = tempfile::tempdir().unwrap();
        Cache::open(folder.path()).write(KEY, &entry(b"image"));
        // Not even root can make files under a file.
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let cache = Cache::open(&file);
        assert!(cache.take_note().unwrap().contains("/file takes no kernels (not a directory)"));
        cache.write(KEY, &entry(b"image"));
        assert_eq!((cache.read(KEY), cache.take_note()), (None, None));
        // What was opened and then became read-only.
        let cache = Cache::open(folder.path());
        cache.write_no_more(&io::ErrorKind::ReadOnlyFilesystem.into());
        assert!(cache.take_note().unwrap().contains("read-only filesystem"));
        cache.write(KEY, &entry(b"other"));
        assert_eq!((cache.read(KEY), cache.take_note()), (Some(entry(b"image")), None));
    }

    #[test]
    fn a_cache_that_is_given_up_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path());
        cache.write(KEY, &entry(b"image"));
        cache.give_up("it does not answer");
        cache.write(KEY, &entry(b"other"));
        assert!(cache.take_note().unwrap().contains("not used any more (it does not answer)"));
        assert_eq!(cache.read(KEY), None);
        assert_eq!(Cache::open(folder.path()).read(KEY), Some(entry(b"image")));
    }

    #[test]
    fn what_is_too_large_for_a_kernel_is_neither_written_nor_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path());
        let large = entry(&vec![0; LARGEST as usize + 1]);
        cache.write(KEY, &large);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::write(folder.path().join(format!("{KEY}.kernel")), large.encode(KEY)).unwrap();
        assert_eq!((cache.read(KEY), cache.take_note()), (None, None));
    }

    #[test]
    fn what_is_read_counts_as_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path());
        cache.write(KEY, &entry(b"image"));
        let file = std::fs::File::open(folder.path().join(format!("{KEY}.kernel"))).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        file.set_modified(long_ago).unwrap();
        cache.read(KEY).unwrap();
        assert!(file.metadata().unwrap().modified().unwrap() > long_ago);
    }
}

//! Following a file of lines that another process appends to, and that may hold anything.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, open};

use crate::link::open_plain;

/// What is read at a time, and the longest line, in bytes.
const CHUNK: usize = 1 << 20;
/// Chunks of one call: what is left waits for the next.
const CHUNKS: usize = 64;

/// What a file has to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// It is another file than before, or was cut: what it said before counts no more.
    Anew,
    /// A whole line, without its end.
    Line(&'a [u8]),
    /// A line too long to be one of ours.
    TooLong,
}

/// A file in a folder, neither of which is followed as a link.
#[derive(Debug)]
pub(super) struct Tail {
    folder: PathBuf,
    name: &'static str,
    /// Device and inode.
    identity: Option<(u64, u64)>,
    /// End of the last whole line.
    offset: u64,
    /// In the middle of a line that is too long.
    skipping: bool,
}

impl Tail {
    pub(super) fn new(folder: PathBuf, name: &'static str) -> Self {
        Self { folder, name, identity: None, offset: 0, skipping: false }
    }

    /// Whether the file has ever been there.
    pub(super) fn is_there(&self) -> bool {
        self.identity.is_some()
    }

    /// Tells what was appended since the last call, whole lines only.
    pub(super) fn read(&mut self, mut tell: impl FnMut(Said<'_>)) -> io::Result<()> {
        // The folder itself may have been replaced by a link; what is behind it is none of ours.
        let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open(&self.folder, flags, Mode::empty()) {
            Ok(_) => {}
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let Some(mut file) = open_plain(&self.folder.join(self.name))? else { return Ok(()) };
        let found = file.metadata()?;
        let identity = Some((found.dev(), found.ino()));
        if self.identity != identity || found.len() < self.offset {
            (self.identity, self.offset, self.skipping) = (identity, 0, false);
            tell(Said::Anew);
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut buffer = Vec::with_capacity(CHUNK);
        for _ in 0..CHUNKS {
            let room = CHUNK.saturating_sub(buffer.len()) as u64;
            file.by_ref().take(room).read_to_end(&mut buffer)?;
            let is_full = buffer.len() >= CHUNK;
            let consumed = self.lines(&buffer, &mut tell);
            buffer.drain(..consumed);
            if consumed == 0 && is_full {
                if !std::mem::replace(&mut self.skipping, true) {
                    tell(Said::TooLong);
                }
                self.offset += buffer.len() as u64;
                buffer.clear();
            }
            if !is_full {
                break;
            }
        }
        Ok(())
    }

    /// Tells the whole lines of `bytes`; how many bytes they are.
    fn lines(&mut self, bytes: &[u8], tell: &mut impl FnMut(Said<'_>)) -> usize {
        let mut consumed = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let Some(content) = line.strip_suffix(b"\n") else { break };
            consumed += line.len();
            if !std::mem::replace(&mut self.skipping, false) {
                tell(Said::Line(content));
            }
        }
        self.offset += consumed as u64;
        consumed
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::path::Path;

    use super::*;

    fn read(tail: &mut Tail) -> Vec<String> {
        let mut said = Vec::new();
        let told = tail.read(|what| {
            said.push(match what {
                Said::Anew => "ANEW".into(),
                Said::TooLong => "TOO LONG".into(),
                Said::Line(line) => String::from_utf8_lossy(line).into_owned(),
            });
        });
        told.unwrap();
        said
    }

    fn append(path: &Path, text: &[u8]) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text).unwrap();
    }

    #[test]
    fn tells_whole_lines_once_and_a_torn_one_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.p/log");
        let mut tail = Tail::new(dir.path().join("k.p"), "log");
        assert!(read(&mut tail).is_empty() && !tail.is_there());
        std::fs::create_dir(dir.path().join("k.p")).unwrap();
        append(&path, b"one\ntw");
        assert_eq!(read(&mut tail), ["ANEW", "one"]);
        append(&path, b"o\nthree\n");
        assert_eq!(read(&mut tail), ["two", "three"]);
        assert!(read(&mut tail).is_empty());
    }

    #[test]
    fn a_torn_line_that_was_cut_off_and_written_anew_is_told_as_it_is_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut tail = Tail::new(dir.path().into(), "log");
        append(&path, b"one\ntorn");
        read(&mut tail);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(4).unwrap();
        append(&path, b"two\n");
        assert_eq!(read(&mut tail), ["two"]);
    }

    #[test]
    fn a_file_that_was_cut_or_replaced_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut tail = Tail::new(dir.path().into(), "log");
        append(&path, b"one\ntwo\n");
        read(&mut tail);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(4).unwrap();
        assert_eq!(read(&mut tail), ["ANEW", "one"]);
        append(&dir.path().join("other"), b"1\n2\n3\n");
        std::fs::rename(dir.path().join("other"), &path).unwrap();
        assert_eq!(read(&mut tail), ["ANEW", "1", "2", "3"]);
    }

    #[test]
    fn a_line_without_end_is_passed_over_and_kept_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut tail = Tail::new(dir.path().into(), "log");
        append(&path, b"one\n");
        append(&path, &vec![b'x'; 3 * CHUNK + 7]);
        assert_eq!(read(&mut tail), ["ANEW", "one", "TOO LONG"]);
        append(&path, b"x\ntwo\n");
        assert_eq!(read(&mut tail), ["two"]);
    }

    #[test]
    fn no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        append(&dir.path().join("secret"), b"token\n");
        std::os::unix::fs::symlink(dir.path().join("secret"), dir.path().join("log")).unwrap();
        assert!(Tail::new(dir.path().into(), "log").read(|_| unreachable!("nothing is told")).is_err());
        std::os::unix::fs::symlink(dir.path(), dir.path().join("folder")).unwrap();
        let mut tail = Tail::new(dir.path().join("folder"), "secret");
        assert!(tail.read(|_| unreachable!("nothing is told")).is_err());
    }
}

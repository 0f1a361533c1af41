//! What a file of the cache holds: a compiled kernel, what must be known beside it, and a digest of both.
//!
//! Three lines (what this is, the digest of all that follows it, what must be known as JSON), then the image. So a
//! file that was cut off, changed, or put in another one's place is noticed.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The first line. Another number is another format, and a file that is not used.
const MAGIC: &str = "fractune kernel 1\n";
/// Characters of a digest in hexadecimal.
const DIGEST: usize = 64;

/// A compiled kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The shared object, or the CUBIN.
    pub(crate) image: Vec<u8>,
    /// What the image calls what was asked for, in the order in which it was.
    pub(crate) symbols: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct About {
    /// The digest of what it was made from: the name that the file should have.
    key: String,
    symbols: Vec<String>,
    bytes: usize,
}

impl Entry {
    /// The file's contents.
    pub(super) fn encode(&self, key: &str) -> Vec<u8> {
        let about = About { key: key.to_owned(), symbols: self.symbols.clone(), bytes: self.image.len() };
        // Plain strings, so that this does not fail.
        let mut rest = serde_json::to_vec(&about).unwrap_or_default();
        rest.push(b'\n');
        rest.extend_from_slice(&self.image);
        [MAGIC.as_bytes(), digest(&rest).as_bytes(), b"\n", &rest].concat()
    }

    /// Reads the contents of the file that is called by `key`; none if they are not, to the last byte, what was written
    /// for this key.
    pub(super) fn decode(key: &str, contents: &[u8]) -> Option<Self> {
        let (said, rest) = contents.strip_prefix(MAGIC.as_bytes())?.split_at_checked(DIGEST)?;
        let rest = rest.strip_prefix(b"\n")?;
        if said != digest(rest).as_bytes() {
            return None;
        }
        let (about, image) = rest.split_at_checked(rest.iter().position(|&byte| byte == b'\n')?)?;
        let image = image.strip_prefix(b"\n")?;
        let About { key: of, symbols, bytes } = serde_json::from_slice(about).ok()?;
        (of == key && bytes == image.len()).then(|| Self { image: image.to_vec(), symbols })
    }
}

fn digest(bytes: &[u8]) -> String {
    crate::compile::hex(Sha256::new_with_prefix(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry { image: b"\x7fELF\n\0image".to_vec(), symbols: vec!["_Z1f".into(), "w\n".into()] }
    }

    #[test]
    fn what_is_written_is_read() {
        for entry in [entry(), Entry { image: Vec::new(), symbols: Vec::new() }] {
            assert_eq!(Entry::decode("key", &entry.encode("key")), Some(entry));
        }
    }

    #[test]
    fn a_file_that_was_cut_off_or_changed_anywhere_is_no_entry() {
        let whole = entry().encode("key");
        for at in 0..whole.len() {
            assert_eq!(Entry::decode("key", &whole[..at]), None, "cut off at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(Entry::decode("key", &changed), None, "changed at {at}");
        }
        assert_eq!(Entry::decode("key", &[&whole[..], b"more"].concat()), None);
    }

    #[test]
    fn a_file_under_another_one_s_name_is_no_entry() {
        assert_eq!(Entry::decode("other", &entry().encode("key")), None);
    }
}

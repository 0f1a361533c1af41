//! The loader's cache, `/etc/ld.so.cache`: which file a library's name leads to.
//!
//! The form is glibc's own since 2.2 (`sysdeps/generic/dl-cache.h`): a header, entries, and the strings that they point
//! to. Entries for other architectures are told apart by their flags.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Begins the part that is read. Older forms may come before it.
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Bytes of the header: the magic, two numbers, flags, an offset, and room.
const HEADER: usize = MAGIC.len() + 4 + 4 + 20;
/// Bytes of an entry: flags, two offsets, a version, and capabilities.
const ENTRY: usize = 24;
/// Flags of a 64-bit library of this machine's architecture.
const OWN: i32 = if cfg!(target_arch = "aarch64") { 0x0a03 } else { 0x0303 };
/// Entries that are read at most: the file is the node's, and might be anything.
const MOST: usize = 100_000;

/// The file of each library, by name; the first one of a name, as the loader takes it. Empty where the cache cannot be
/// read.
pub(super) fn libraries(cache: &[u8]) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let Some(start) = cache.windows(MAGIC.len()).position(|window| window == MAGIC) else { return found };
    let Some(cache) = cache.get(start..) else { return found };
    let count = number(cache, MAGIC.len()).unwrap_or(0).min(MOST);
    for entry in 0..count {
        let at = HEADER + entry * ENTRY;
        let flags = number(cache, at).and_then(|flags| i32::try_from(flags).ok());
        if flags != Some(OWN) {
            continue;
        }
        let texts = [at + 4, at + 8].map(|field| number(cache, field).and_then(|offset| text(cache, offset)));
        if let [Some(name), Some(path)] = texts {
            found.entry(name.to_owned()).or_insert_with(|| PathBuf::from(path));
        }
    }
    found
}

fn number(cache: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; 4] = cache.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

fn text(cache: &[u8], at: usize) -> Option<&str> {
    let rest = cache.get(at..)?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, &str, &str)]) -> Vec<u8> {
        let strings_at = HEADER + entries.len() * ENTRY;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u32::try_from(entries.len()).unwrap().to_le_bytes());
        bytes.extend([0; 24]);
        let mut strings = Vec::new();
        for (flags, name, path) in entries {
            bytes.extend(flags.to_le_bytes());
            for text in [name, path] {
                bytes.extend(u32::try_from(strings_at + strings.len()).unwrap().to_le_bytes());
                strings.extend(text.bytes().chain([0]));
            }
            bytes.extend([0; 12]);
        }
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn libraries_of_this_architecture_are_found_and_the_first_of_a_name_counts() {
        let own =
            [(OWN, "libcuda.so.1", "/usr/lib64/libcuda.so.1"), (OWN, "libcuda.so.1", "/other/libcuda.so.1")];
        let entries = [(3, "libcuda.so.1", "/usr/lib32/libcuda.so.1")].into_iter().chain(own);
        let found = libraries(&cache(&entries.collect::<Vec<_>>()));
        assert_eq!(found.len(), 1);
        assert_eq!(found["libcuda.so.1"], PathBuf::from("/usr/lib64/libcuda.so.1"));
    }

    #[test]
    fn an_older_form_before_it_is_passed_over() {
        let mut bytes = b"ld.so-1.7.0\0\0\0\0\0".to_vec();
        bytes.extend(cache(&[(OWN, "libm.so.6", "/lib/libm.so.6")]));
        assert_eq!(libraries(&bytes).len(), 1);
    }

    #[test]
    fn a_cache_that_is_cut_off_or_none_at_all_is_no_reason_to_fail() {
        let whole = cache(&[(OWN, "libm.so.6", "/lib/libm.so.6")]);
        for length in 0..whole.len() {
            assert!(libraries(&whole[..length]).len() <= 1);
        }
        let mut lying = whole;
        lying[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(libraries(&lying).len() <= 1);
        assert!(libraries(b"").is_empty());
    }

    #[test]
    fn this_machines_own_cache_leads_to_files() {
        if let Ok(bytes) = std::fs::read("/etc/ld.so.cache") {
            let found = libraries(&bytes);
            assert!(found.get("libc.so.6").is_some_and(|file| file.exists()), "{} libraries", found.len());
        }
    }
}

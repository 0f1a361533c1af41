//! Recorded spaces of Kernel Tuner: its cachefiles, whole or cut off, and T4 results.
//!
//! Times in both are milliseconds. A cachefile is written while the tuner runs, so one that lacks its end,
//! or ends with a comma, is common: what is whole is read.

mod cachefile;
mod repair;
mod t4;
mod values;
mod write;

pub use values::numeric;
pub(super) use values::python_float;
pub use write::{Recording, Written, is_unmeasured, write_cachefile, write_t4};

use std::collections::BTreeSet;
use std::fmt;
use std::io::{ErrorKind, Read};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::kernel::{Configuration, Value};
use crate::trial::Outcome;

/// Largest file that is read, uncompressed: 1 GiB.
const MAX_BYTES: u64 = 1 << 30;

/// A recorded space: what a tuner measured on some device.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Product name of the device; empty where the file does not say.
    pub device: String,
    /// Name of the kernel; empty where the file does not say.
    pub kernel: String,
    /// The problem's size as the file has it, in JSON.
    pub problem_size: Option<String>,
    /// The parameters, in the file's order, and their values.
    pub parameters: Vec<(String, Vec<Value>)>,
    /// One entry per configuration, in the file's order.
    pub entries: Vec<RecordedEntry>,
    /// Where the last whole entry ends, if the file was not whole.
    pub broken_off: Option<BrokenOff>,
}

/// Where the last whole entry of a file that is not whole ends, in its uncompressed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenOff {
    /// The line, from 1.
    pub line: usize,
    /// Bytes up to there.
    pub bytes: usize,
    /// Bytes that follow and are not used.
    pub lost: usize,
}

impl BrokenOff {
    fn at(text: &[u8], bytes: usize) -> Self {
        let before = text.get(..bytes).unwrap_or(text);
        let line = before.split(|byte| *byte == b'\n').count();
        Self { line, bytes, lost: text.len() - before.len() }
    }
}

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, byte {} of the uncompressed text ({} bytes follow)",
            self.line, self.bytes, self.lost
        )
    }
}

/// One recorded configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEntry {
    /// Its parameter values.
    pub configuration: Configuration,
    /// How it ended. A constraint that it violated is `ResourceExceeded`.
    pub outcome: Outcome,
    /// The samples in nanoseconds, in the file's order; empty unless the outcome is `Ok`. Where the file
    /// has only their mean, that is the one sample.
    pub samples_ns: Vec<u64>,
}

/// Why a file is no recorded space.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file holds nothing.
    #[error("the recorded space is empty; name a Kernel Tuner cachefile or T4 results file")]
    Empty,
    /// The gzip stream is damaged.
    #[error("the recorded space is not valid gzip: {0}")]
    Gzip(std::io::Error),
    /// The file is larger than 1 GiB, uncompressed.
    #[error("the recorded space is larger than 1 GiB uncompressed; split it")]
    TooLarge,
    /// The file is not JSON, and not JSON that was cut off.
    #[error("the recorded space is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The file ends before its first entry does.
    #[error(
        "the recorded space is cut off before its first entry ends, after {0} bytes: nothing of it can be used; get the whole file"
    )]
    NothingWhole(usize),
    /// The file is JSON of another kind.
    #[error(
        "the recorded space has neither `cache` nor `results`; name a Kernel Tuner cachefile or T4 results file"
    )]
    UnknownFormat,
    /// An entry lacks a parameter that the others have, or gives it no integer, boolean, number or string.
    #[error("entry {entry} of the recorded space has no value of parameter `{parameter}`; remove the entry")]
    MissingParameter {
        /// Number of the entry in the file, from 0.
        entry: usize,
        /// Name of the parameter.
        parameter: String,
    },
}

/// Reads a cachefile or T4 results, either of them as it stands or compressed with gzip.
///
/// # Errors
/// When the file is empty, damaged, too large, or something else; a file that only lacks its end is read
/// as far as it is whole.
pub fn read(bytes: &[u8]) -> Result<Recorded, FormatError> {
    let (text, missing_end) = decompress(bytes)?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(FormatError::Empty);
    }
    match read_text(&text) {
        Ok(recorded) => {
            let broken_off = missing_end.then(|| BrokenOff::at(&text, text.len()));
            Ok(Recorded { broken_off, ..recorded })
        }
        Err(FormatError::Json(error)) => match repair::repair(&text) {
            Ok(repaired) => {
                let ends_at = repaired.cut_off_at.or(missing_end.then_some(text.len()));
                let broken_off = ends_at.map(|bytes| BrokenOff::at(&text, bytes));
                let recorded = read_text(&repaired.text).map_err(|_| FormatError::Json(error))?;
                Ok(Recorded { broken_off, ..recorded })
            }
            Err(repair::Beyond::NoEntry) if error.is_eof() => Err(FormatError::NothingWhole(text.len())),
            Err(_) => Err(FormatError::Json(error)),
        },
        Err(other) => Err(other),
    }
}

/// The text, and whether the end of its gzip stream is missing.
fn decompress(bytes: &[u8]) -> Result<(Vec<u8>, bool), FormatError> {
    let mut text = Vec::new();
    let mut missing_end = false;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        match MultiGzDecoder::new(bytes).take(MAX_BYTES + 1).read_to_end(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => missing_end = true,
            Err(error) => return Err(FormatError::Gzip(error)),
        }
    } else {
        text.extend_from_slice(bytes);
    }
    if text.len() as u64 > MAX_BYTES {
        return Err(FormatError::TooLarge);
    }
    Ok((text, missing_end))
}

/// Which of the two formats a file has.
#[derive(Deserialize)]
struct Kind {
    cache: Option<IgnoredAny>,
    results: Option<IgnoredAny>,
}

fn read_text(text: &[u8]) -> Result<Recorded, FormatError> {
    let kind: Kind = serde_json::from_slice(text)?;
    if kind.cache.is_some() {
        cachefile::read(text)
    } else if kind.results.is_some() {
        t4::read(text)
    } else {
        Err(FormatError::UnknownFormat)
    }
}

/// The distinct values of a parameter in the entries, in order.
fn values_in(entries: &[RecordedEntry], parameter: &str) -> Vec<Value> {
    let distinct: BTreeSet<&Value> =
        entries.iter().filter_map(|entry| entry.configuration.0.get(parameter)).collect();
    distinct.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const CACHE: &str = r#"{
"device_name": "NVIDIA A100", "kernel_name": "conv", "problem_size": [4096, 4096],
"tune_params_keys": ["x", "shared", "kind"],
"tune_params": {"x": [16, 32], "shared": [true, false], "kind": ["float", "half"]},
"cache": {
"16,True,float": {"x": 16, "shared": true, "kind": "float", "time": 1.5, "times": [1.25, 1.75], "GFLOP/s": 3.5},
"32,True,half": {"x": 32, "shared": true, "kind": "half", "time": "RuntimeFailedConfig"},
"16,False,half": {"x": 16, "shared": false, "kind": "half", "time": 2.000001}}
}"#;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_recognised() {
        assert_eq!(read(&gzip(CACHE)).unwrap(), read(CACHE.as_bytes()).unwrap());
    }

    #[test]
    fn a_gzip_stream_that_was_cut_off_yields_what_is_whole() {
        let entries: Vec<String> =
            (0..5000).map(|i| format!(r#""{i}": {{"x": {i}, "time": {i}.5}}"#)).collect();
        let text = format!(r#"{{"tune_params_keys": ["x"], "cache": {{{}}}}}"#, entries.join(","));
        let compressed = gzip(&text);
        let recorded = read(&compressed[..compressed.len() / 2]).unwrap();
        assert!((1000..4000).contains(&recorded.entries.len()), "{}", recorded.entries.len());
        let broken_off = recorded.broken_off.unwrap();
        let last = format!(r#""{0}": {{"x": {0}, "time": {0}.5}}"#, recorded.entries.len() - 1);
        assert!(text.get(..broken_off.bytes).unwrap().ends_with(&last), "{broken_off}");
    }

    #[test]
    fn a_cachefile_cut_off_at_any_byte_yields_its_whole_entries() {
        let first_ends = CACHE.find("3.5}").unwrap() + 4;
        for length in first_ends..CACHE.len() {
            let recorded = read(&CACHE.as_bytes()[..length]).unwrap();
            let whole = recorded.entries.len();
            assert!(recorded.broken_off.is_some(), "at {length}");
            assert_eq!(recorded.entries, read(CACHE.as_bytes()).unwrap().entries[..whole], "at {length}");
        }
        assert_eq!(read(&CACHE.as_bytes()[..CACHE.len() - 1]).unwrap().entries.len(), 3);
        assert_eq!(read(&CACHE.as_bytes()[..CACHE.len() - 5]).unwrap().entries.len(), 2);
    }

    #[test]
    fn where_a_file_broke_off_is_told() {
        let cut = CACHE.find("\"16,False").unwrap() + 20;
        let recorded = read(&CACHE.as_bytes()[..cut]).unwrap();
        assert_eq!(recorded.entries.len(), 2);
        let broken_off = recorded.broken_off.unwrap();
        assert!(CACHE[..broken_off.bytes].ends_with("\"RuntimeFailedConfig\"}"), "{broken_off}");
        let said = format!("line 7, byte {} of the uncompressed text (22 bytes follow)", broken_off.bytes);
        assert_eq!(broken_off.to_string(), said);
        assert_eq!(read(CACHE.as_bytes()).unwrap().broken_off, None);
    }

    #[test]
    fn a_file_cut_off_before_its_first_entry_ends_says_so() {
        for end in ["\"cache\": {", "\"16,True", "3.5"] {
            let cut = CACHE.find(end).unwrap() + end.len();
            let error = read(&CACHE.as_bytes()[..cut]).unwrap_err().to_string();
            assert!(error.contains("before its first entry ends"), "{end}: {error}");
            let compressed = gzip(&CACHE[..cut]);
            assert!(read(&compressed[..compressed.len() - 9]).is_err());
        }
    }

    #[test]
    fn a_comma_at_the_end_is_no_error() {
        for end in [",", ",\n", ",\n}\n}", "},"] {
            let text = format!("{}{end}", CACHE.trim_end_matches(['}', '\n']).to_owned() + "}");
            assert_eq!(read(text.as_bytes()).unwrap().entries.len(), 3, "{end:?}");
        }
    }

    #[test]
    fn what_python_writes_for_no_number_is_read_as_none() {
        let text = CACHE.replace("3.5", "NaN").replace("1.75", "-Infinity");
        let recorded = read(text.as_bytes()).unwrap();
        assert_eq!(recorded.entries[0].samples_ns, [1_250_000]);
        assert_eq!((recorded.entries.len(), recorded.broken_off.is_none()), (3, true));
    }

    #[test]
    fn files_of_another_kind_say_so() {
        assert!(matches!(read(b" \n"), Err(FormatError::Empty)));
        assert!(matches!(read(b"{\"a\": 1}"), Err(FormatError::UnknownFormat)));
        assert!(matches!(read(b"[1, 2"), Err(FormatError::Json(_))));
        assert!(matches!(read(b"\xff\xfe\x00"), Err(FormatError::Json(_))));
        assert!(read(b"\x1f\x8b\x08\x00garbage here and there").is_err());
        assert!(matches!(read("[".repeat(100_000).as_bytes()), Err(FormatError::Json(_))));
    }
}

//! The trials in a task's status: base64 of zstd of its trial log (docs/pods.md).

use std::collections::{BTreeMap, HashSet};
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fractune_tuner::log::Header;
use fractune_tuner::trial::{Outcome, Trial};
use serde::Deserialize;

/// The longest log that one may unfold to, in bytes: more than any that is made.
const MAX_DECODED: u64 = 80 << 20;

/// What a checkpoint holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Checkpoint {
    /// Everything that its trials depend on, by name.
    pub(crate) identity: BTreeMap<String, String>,
    /// The trials, without their samples, in the order in which they were made.
    pub(crate) trials: Vec<Trial>,
    /// Trials that were made and left out, for they had no room.
    pub(crate) dropped: u32,
}

#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    header: Header,
    #[serde(default)]
    dropped: BTreeMap<Outcome, u32>,
}

/// Reads a checkpoint. An error is a sentence.
pub(crate) fn read(encoded: &str) -> Result<Checkpoint, String> {
    let compressed = STANDARD.decode(encoded).map_err(|error| format!("it is no base64: {error}"))?;
    let mut log = Vec::new();
    zstd::Decoder::new(compressed.as_slice())
        .and_then(|decoder| decoder.take(MAX_DECODED + 1).read_to_end(&mut log))
        .map_err(|error| format!("it is no whole zstd: {error}"))?;
    if log.len() as u64 > MAX_DECODED {
        return Err(format!("it unfolds to more than {MAX_DECODED} bytes"));
    }
    let mut lines = log.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let Line { header, dropped } =
        serde_json::from_slice(first).map_err(|error| format!("its first line is no header: {error}"))?;
    let mut seen = HashSet::new();
    let mut trials: Vec<Trial> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    trials.retain(|trial| seen.insert(trial.trial));
    trials.sort_by_key(|trial| trial.trial);
    Ok(Checkpoint { identity: header.identity, trials, dropped: dropped.values().sum() })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A checkpoint as a pod's reporter makes it.
    pub(crate) fn encode(log: &str) -> String {
        STANDARD.encode(zstd::encode_all(log.as_bytes(), 6).unwrap())
    }

    /// A trial log's first line.
    pub(crate) const HEADER: &str =
        r#"{"format":"fractune-trials","version":1,"task":"k/p","identity":{"device":"cpu EPYC (8 units)"}}"#;

    /// A trial's line.
    pub(crate) fn line(number: u32, time_ns: u64) -> String {
        format!(
            r#"{{"trial":{number},"configuration":{{"x":{number}}},"outcome":"Ok","compileNs":1,"elapsedMs":{},"measurements":[{{"share":50,"outcome":"Ok","timeNs":{time_ns}}}]}}"#,
            number * 10
        )
    }

    #[test]
    fn trials_come_back_in_order_and_once() {
        let log = [HEADER, &line(1, 7), &line(0, 9), &line(1, 8), "{}", ""].join("\n");
        let read = read(&encode(&log)).unwrap();
        assert_eq!(read.trials.iter().map(|trial| trial.trial).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(read.trials[1].time_ns(50), Some(7));
        assert_eq!(read.identity["device"], "cpu EPYC (8 units)");
        assert_eq!(read.dropped, 0);
        let header = HEADER.replace(r#""version":1"#, r#""version":1,"dropped":{"Ok":5,"WrongAnswer":2}"#);
        assert_eq!(super::read(&encode(&header)).unwrap().dropped, 7);
    }

    #[test]
    fn what_is_damaged_is_an_error_in_words() {
        assert!(read("!").unwrap_err().contains("base64"));
        assert!(read(&STANDARD.encode("no zstd")).unwrap_err().contains("zstd"));
        assert!(read(&encode("no header")).unwrap_err().contains("header"));
        let zeros = zstd::encode_all(std::io::Read::take(std::io::repeat(0), MAX_DECODED + 9), 3).unwrap();
        assert!(read(&STANDARD.encode(zeros)).unwrap_err().contains("unfolds"));
    }
}

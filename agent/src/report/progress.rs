//! What a trial log says so far.

use std::collections::{BTreeMap, HashSet};

use fractune_crds::TrialCounts;
use fractune_tuner::kernel::Configuration;
use fractune_tuner::trial::{Outcome, Trial};

use crate::tune::checkpoint::ReducedHeader;

/// Bytes of trials that are kept in memory; further ones are only counted.
const MAX_KEPT: usize = 64 << 20;
/// Bytes of one trial without its samples.
const MAX_TRIAL: usize = 16 << 10;
/// Characters of a message that are kept.
const MAX_MESSAGE: usize = 2048;

/// A trial as a checkpoint holds it: without its samples, which no later pod reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) number: u32,
    pub(super) outcome: Outcome,
    /// Times in nanoseconds, by share.
    pub(super) times_ns: Vec<(u8, u64)>,
    /// Its line in the log, without the end.
    pub(super) line: String,
}

/// The fastest trial of a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Best {
    pub(super) trial: u32,
    pub(super) configuration: Configuration,
    pub(super) time_ns: u64,
}

/// Everything that is known of a task's trials.
#[derive(Debug, Default)]
pub(super) struct Progress {
    header: Option<ReducedHeader>,
    kept: Vec<Kept>,
    kept_bytes: usize,
    seen: HashSet<u32>,
    by_outcome: BTreeMap<Outcome, u32>,
    dropped: BTreeMap<Outcome, u32>,
    best: BTreeMap<u8, Best>,
    default_ns: BTreeMap<u8, u64>,
    damaged: u32,
}

impl Progress {
    /// What a whole trial log says. None if its first line is no header.
    pub(super) fn of(log: &[u8]) -> Option<Self> {
        let mut progress = Self::default();
        for line in log.split_inclusive(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\n")) {
            progress.line(line);
            progress.header.as_ref()?;
        }
        progress.header.is_some().then_some(progress)
    }

    /// Takes in the next line of the log; the first one is its header.
    pub(super) fn line(&mut self, line: &[u8]) {
        if self.header.is_none() {
            match serde_json::from_slice::<ReducedHeader>(line) {
                Ok(header) => {
                    self.dropped.clone_from(&header.dropped);
                    self.by_outcome.clone_from(&header.dropped);
                    self.header = Some(header);
                }
                Err(_) => self.damaged(),
            }
            return;
        }
        match serde_json::from_slice::<Trial>(line) {
            Ok(trial) => self.trial(trial),
            Err(_) => self.damaged(),
        }
    }

    /// Takes in a line that cannot be read.
    pub(super) fn damaged(&mut self) {
        self.damaged = self.damaged.saturating_add(1);
    }

    fn trial(&mut self, mut trial: Trial) {
        if self.seen.contains(&trial.trial) {
            return;
        }
        trial.measurements.iter_mut().for_each(|measurement| measurement.samples_ns = Vec::new());
        if let Some(message) = &mut trial.message {
            shorten(message, MAX_MESSAGE);
        }
        let line = serde_json::to_string(&trial).unwrap_or_default();
        if line.is_empty() || line.len() > MAX_TRIAL {
            return self.damaged();
        }
        let count = self.by_outcome.entry(trial.outcome).or_default();
        *count = count.saturating_add(1);
        let times_ns: Vec<(u8, u64)> = trial
            .measurements
            .iter()
            .filter_map(|measured| Some((measured.share, trial.time_ns(measured.share)?)))
            .collect();
        if trial.trial == 0 {
            self.default_ns = times_ns.iter().copied().collect();
        }
        let mut is_best = trial.trial == 0;
        for &(share, time_ns) in &times_ns {
            if self.best.get(&share).is_none_or(|best| time_ns < best.time_ns) {
                let configuration = trial.configuration.clone();
                self.best.insert(share, Best { trial: trial.trial, configuration, time_ns });
                is_best = true;
            }
        }
        if self.kept_bytes + line.len() > MAX_KEPT && !is_best {
            *self.dropped.entry(trial.outcome).or_default() += 1;
            return;
        }
        self.kept_bytes += line.len();
        self.seen.insert(trial.trial);
        self.kept.push(Kept { number: trial.trial, outcome: trial.outcome, times_ns, line });
    }

    /// The log's first line, with what is counted but not kept.
    pub(super) fn header(&self) -> Option<ReducedHeader> {
        let header = self.header.as_ref()?.header.clone();
        Some(ReducedHeader { header, dropped: self.dropped.clone() })
    }

    /// Trials in the order of the log.
    pub(super) fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Trials made.
    pub(super) fn total(&self) -> u32 {
        self.by_outcome.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The fastest trial of each share.
    pub(super) fn best(&self) -> &BTreeMap<u8, Best> {
        &self.best
    }

    /// Time of the default configuration in nanoseconds, by share.
    pub(super) fn default_ns(&self, share: u8) -> Option<u64> {
        self.default_ns.get(&share).copied()
    }

    /// Lines that could not be read.
    pub(super) fn unreadable(&self) -> u32 {
        self.damaged
    }

    /// Trials by outcome, as a status has them.
    pub(super) fn counts(&self) -> TrialCounts {
        counts(&self.by_outcome)
    }
}

/// Trials by outcome, as a status has them.
pub(super) fn counts(by_outcome: &BTreeMap<Outcome, u32>) -> TrialCounts {
    let of = |outcome| i64::from(by_outcome.get(&outcome).copied().unwrap_or(0));
    TrialCounts {
        total: by_outcome.values().map(|count| i64::from(*count)).sum(),
        ok: of(Outcome::Ok),
        compile_error: of(Outcome::CompileError),
        compile_timeout: of(Outcome::CompileTimeout),
        resource_exceeded: of(Outcome::ResourceExceeded),
        runtime_error: of(Outcome::RuntimeError),
        run_timeout: of(Outcome::RunTimeout),
        wrong_answer: of(Outcome::WrongAnswer),
    }
}

/// Cuts a text to so many characters, and shows that it was cut.
pub(super) fn shorten(text: &mut String, characters: usize) {
    if let Some((at, _)) = text.char_indices().nth(characters) {
        text.truncate(at);
        text.pop();
        text.push('…');
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A log's first line.
    pub(in crate::report) const HEADER: &str =
        r#"{"format":"fractune-trials","version":1,"task":"k/p","identity":{"seed":"1"}}"#;

    /// A trial's line: verified, with these times at 50 % and 100 %, or failed without.
    pub(in crate::report) fn line(number: u32, times: Option<(u64, u64)>) -> String {
        let head = format!(
            r#""trial":{number},"configuration":{{"x":{number}}},"compileNs":1,"elapsedMs":{number}"#
        );
        match times {
            Some((half, full)) => format!(
                r#"{{{head},"outcome":"Ok","measurements":[{{"share":50,"outcome":"Ok","timeNs":{half},"samplesNs":[{half},{half}]}},{{"share":100,"outcome":"Ok","timeNs":{full},"samplesNs":[{full}]}}]}}"#
            ),
            None => format!(r#"{{{head},"outcome":"CompileError","message":"no such type"}}"#),
        }
    }

    /// A log of these lines after the header.
    pub(in crate::report) fn log(lines: &[String]) -> String {
        let lines: Vec<&str> = std::iter::once(HEADER).chain(lines.iter().map(String::as_str)).collect();
        lines.join("\n") + "\n"
    }

    #[test]
    fn counts_outcomes_and_keeps_the_fastest_of_each_share() {
        let lines =
            [line(0, Some((900, 500))), line(1, None), line(2, Some((1000, 400))), line(3, Some((800, 450)))];
        let progress = Progress::of(log(&lines).as_bytes()).unwrap();
        let counts = progress.counts();
        assert_eq!((counts.total, counts.ok, counts.compile_error), (4, 3, 1));
        let best = |share| progress.best()[&share].trial;
        assert_eq!((best(50), best(100)), (3, 2));
        assert_eq!(progress.default_ns(100), Some(500));
        assert!(progress.kept().iter().all(|kept| !kept.line.contains("samples")), "samples are not kept");
    }

    #[test]
    fn whatever_a_line_holds_is_counted_as_damage_at_worst() {
        let mut progress = Progress::default();
        progress.line(b"\xff\xfe");
        progress.line(HEADER.as_bytes());
        let wild: [&[u8]; 6] = [
            b"",
            b"{}",
            br#"{"trial":1,"configuration":{"x":NaN},"outcome":"Ok","compileNs":0,"elapsedMs":0}"#,
            br#"{"trial":-1,"configuration":{},"outcome":"Ok","compileNs":0,"elapsedMs":0}"#,
            br#"{"trial":1,"configuration":{},"outcome":"Ok","compileNs":1e400,"elapsedMs":0}"#,
            br#"{"trial":1,"configuration":{},"outcome":"Splendid","compileNs":0,"elapsedMs":0}"#,
        ];
        for line in wild {
            progress.line(line);
        }
        let huge = line(7, None).replace(r#""x":7"#, &format!(r#""x":"{}""#, "y".repeat(20_000)));
        progress.line(huge.as_bytes());
        progress.line(format!("{}{}", "[".repeat(5000), "]".repeat(5000)).as_bytes());
        assert_eq!((progress.total(), progress.unreadable()), (0, 9));
        progress.line(line(0, Some((u64::MAX, 0))).as_bytes());
        progress.line(line(0, Some((1, 1))).as_bytes());
        assert_eq!((progress.total(), progress.best()[&50].time_ns), (1, u64::MAX), "a number counts once");
    }

    #[test]
    fn trials_that_a_checkpoint_left_out_count_as_made() {
        let header = HEADER.replace(r#""version":1"#, r#""version":1,"dropped":{"Ok":5,"WrongAnswer":2}"#);
        let progress = Progress::of(format!("{header}\n{}\n", line(0, None)).as_bytes()).unwrap();
        let counts = progress.counts();
        assert_eq!((counts.total, counts.ok, counts.wrong_answer, counts.compile_error), (8, 5, 2, 1));
        assert!(Progress::of(b"no header\n").is_none() && Progress::of(b"").is_none());
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let mut text = "äöü".to_string();
        shorten(&mut text, 3);
        assert_eq!(text, "äöü");
        shorten(&mut text, 2);
        assert_eq!(text, "ä…");
    }
}

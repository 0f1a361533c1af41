//! A task's trials in a few bytes, as a status holds them: zstd and base64 of the trial log without samples.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fractune_tuner::trial::{Outcome, Trial};

use super::progress::{Kept, Progress, shorten};
use crate::tune::checkpoint::ReducedHeader;

/// The longest checkpoint, in bytes of base64.
pub(super) const MAX_ENCODED: usize = 256 << 10;
/// The longest log that one may unfold to, in bytes: more than any that is made.
const MAX_DECODED: u64 = 80 << 20;
/// Trade of size against time: a log of a thousand trials takes a few milliseconds.
const LEVEL: i32 = 6;
/// Characters of a failure's message where the whole ones have no room.
const SHORT_MESSAGE: usize = 120;
/// The fastest trials of each share that are kept before all others: more than any finals measure again.
const ELITES: usize = 32;

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// As the status holds it.
    pub(super) encoded: String,
    /// Trials in it.
    pub(super) trials: u32,
    /// Trials that are only counted in it.
    pub(super) left_out: u32,
}

/// The checkpoint of what is known, in at most `limit` bytes; none before the log's header is known.
pub(super) fn make(progress: &Progress, limit: usize) -> io::Result<Option<Checkpoint>> {
    let Some(header) = progress.header() else { return Ok(None) };
    let trials = progress.kept();
    let whole = encode(&header, trials.iter().map(|kept| kept.line.as_str()))?;
    if whole.len() <= limit {
        return Ok(Some(checkpoint(whole, trials.len(), &header)));
    }
    let short: Vec<Kept> = trials.iter().map(with_short_message).collect();
    let encoded = encode(&header, short.iter().map(|kept| kept.line.as_str()))?;
    if encoded.len() <= limit {
        return Ok(Some(checkpoint(encoded, short.len(), &header)));
    }
    // The most important ones, as many as fit: the size grows with their number.
    let order = by_importance(&short);
    let (mut fits, mut exceeds) = (None, order.len());
    let mut fitting = 0;
    while exceeds - fitting > 1 {
        let count = usize::midpoint(fitting, exceeds);
        let (header, kept) = first(&header, &short, &order, count);
        let encoded = encode(&header, kept.iter().map(|kept| kept.line.as_str()))?;
        if encoded.len() <= limit {
            fits = Some(checkpoint(encoded, count, &header));
            fitting = count;
        } else {
            exceeds = count;
        }
    }
    Ok(fits)
}

fn checkpoint(encoded: String, trials: usize, header: &ReducedHeader) -> Checkpoint {
    Checkpoint { encoded, trials: trials as u32, left_out: header.dropped.values().sum() }
}

fn encode<'a>(header: &ReducedHeader, lines: impl Iterator<Item = &'a str>) -> io::Result<String> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    serde_json::to_writer(&mut encoder, header)?;
    for line in lines {
        encoder.write_all(b"\n")?;
        encoder.write_all(line.as_bytes())?;
    }
    encoder.write_all(b"\n")?;
    Ok(STANDARD.encode(encoder.finish()?))
}

fn with_short_message(kept: &Kept) -> Kept {
    let mut kept = kept.clone();
    if kept.outcome != Outcome::Ok
        && let Ok(mut trial) = serde_json::from_str::<Trial>(&kept.line)
        && let Some(message) = &mut trial.message
    {
        shorten(message, SHORT_MESSAGE);
        kept.line = serde_json::to_string(&trial).unwrap_or(kept.line);
    }
    kept
}

/// Positions of the trials: the default configuration, the fastest of each share, failures (which cost as much to
/// make again as any), and the rest from the newest on, which a search that has learnt asked for.
fn by_importance(trials: &[Kept]) -> Vec<usize> {
    let mut by_share: BTreeMap<u8, Vec<(u64, usize)>> = BTreeMap::new();
    for (position, kept) in trials.iter().enumerate() {
        for &(share, time_ns) in &kept.times_ns {
            by_share.entry(share).or_default().push((time_ns, position));
        }
    }
    for times in by_share.values_mut() {
        times.sort_unstable();
    }
    let at = |wanted: fn(&Kept) -> bool| {
        trials.iter().enumerate().filter(move |(_, kept)| wanted(kept)).map(|(position, _)| position)
    };
    let elites = (0..ELITES).flat_map(|rank| {
        by_share.values().filter_map(move |times| Some(times.get(rank)?.1)).collect::<Vec<_>>()
    });
    let failures = at(|kept| kept.outcome != Outcome::Ok);
    let rest = (0..trials.len()).rev();
    let mut seen = BTreeSet::new();
    let all = at(|kept| kept.number == 0).chain(elites).chain(failures).chain(rest);
    all.filter(|position| seen.insert(*position)).collect()
}

/// The `count` most important trials in the order of the log, and a header that counts the others.
fn first<'a>(
    header: &ReducedHeader,
    trials: &'a [Kept],
    order: &[usize],
    count: usize,
) -> (ReducedHeader, Vec<&'a Kept>) {
    let chosen: BTreeSet<usize> = order.iter().take(count).copied().collect();
    let mut header = header.clone();
    let mut kept = Vec::new();
    for (position, trial) in trials.iter().enumerate() {
        if chosen.contains(&position) {
            kept.push(trial);
        } else {
            *header.dropped.entry(trial.outcome).or_default() += 1;
        }
    }
    (header, kept)
}

/// The trial log in a checkpoint, and what it says. An error is a sentence.
pub(super) fn read(encoded: &str) -> Result<(Vec<u8>, Progress), String> {
    let compressed = STANDARD.decode(encoded).map_err(|error| format!("it is no base64: {error}"))?;
    let mut log = Vec::new();
    zstd::Decoder::new(&compressed[..])
        .and_then(|decoder| decoder.take(MAX_DECODED + 1).read_to_end(&mut log))
        .map_err(|error| format!("it is no whole zstd: {error}"))?;
    if log.len() as u64 > MAX_DECODED {
        return Err(format!("it unfolds to more than {MAX_DECODED} bytes"));
    }
    let progress = Progress::of(&log).ok_or("it holds no trial log")?;
    Ok((log, progress))
}

#[cfg(test)]
mod tests {
    use super::super::progress::tests::{line, log};
    use super::*;

    /// Times that look like measurements, so that they do not vanish in compression.
    fn times(number: u32) -> (u64, u64) {
        let scramble = |salt: u64| (u64::from(number) + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        (scramble(1) + 1000, scramble(2) + 500)
    }

    fn progress(count: u32) -> Progress {
        let lines: Vec<_> =
            (0..count).map(|n| line(n, if n % 5 == 1 { None } else { Some(times(n)) })).collect();
        Progress::of(log(&lines).as_bytes()).unwrap()
    }

    #[test]
    fn a_log_that_fits_is_kept_whole() {
        let progress = progress(100);
        let made = make(&progress, MAX_ENCODED).unwrap().unwrap();
        assert_eq!((made.trials, made.left_out), (100, 0));
        let (log, read) = read(&made.encoded).unwrap();
        assert_eq!(read.kept(), progress.kept());
        assert!(log.ends_with(b"\n"));
        assert!(make(&Progress::default(), MAX_ENCODED).unwrap().is_none());
    }

    #[test]
    fn one_that_does_not_keeps_the_elites_the_counts_and_as_many_failures_as_fit() {
        let progress = progress(3000);
        let limit = 12_000;
        let made = make(&progress, limit).unwrap().unwrap();
        assert!(made.encoded.len() <= limit && made.encoded.len() > limit * 9 / 10, "{}", made.encoded.len());
        assert_eq!(made.trials + made.left_out, 3000);
        let (_, read) = read(&made.encoded).unwrap();
        assert_eq!(read.counts(), progress.counts());
        assert_eq!(read.best(), progress.best());
        assert_eq!(read.kept()[0].number, 0);
        let numbers: Vec<_> = read.kept().iter().map(|kept| kept.number).collect();
        assert!(numbers.is_sorted(), "in the order of the log");
        assert!(read.kept().iter().filter(|kept| kept.outcome != Outcome::Ok).count() > 100);
        let again = make(&read, limit).unwrap().unwrap();
        assert_eq!(again, made, "a reduced log is not reduced further");
    }

    #[test]
    fn a_damaged_or_cut_checkpoint_is_an_error_and_a_bomb_too() {
        let made = make(&progress(50), MAX_ENCODED).unwrap().unwrap().encoded;
        let (whole, _) = read(&made).unwrap();
        for cut in 0..made.len() {
            assert!(read(&made[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..made.len() {
            let mut damaged = made.clone().into_bytes();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            if let Ok((log, _)) = read(std::str::from_utf8(&damaged).unwrap()) {
                assert_eq!(log, whole, "damage at {at} went unseen");
            }
        }
        let bomb = STANDARD.encode(zstd::encode_all(&vec![b'\n'; MAX_DECODED as usize + 9][..], 1).unwrap());
        assert!(read(&bomb).unwrap_err().contains("unfolds"));
        let foreign = STANDARD.encode(zstd::encode_all(&b"hello\n"[..], 1).unwrap());
        assert!(read(&foreign).unwrap_err().contains("no trial log"));
    }
}

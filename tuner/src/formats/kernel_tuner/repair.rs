//! Makes JSON of a file that lacks its end, or that Python wrote.

/// JSON made of a damaged file.
pub(super) struct Repaired {
    pub(super) text: Vec<u8>,
    /// Where the last whole entry ends, in bytes of the damaged text, if brackets were left open.
    pub(super) cut_off_at: Option<usize>,
}

/// Why nothing can be made of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// Its brackets do not match.
    NoJson,
    /// It ends before its first entry does.
    NoEntry,
}

/// Entries lie in an object or array inside the file's object.
const ENTRY_DEPTH: usize = 2;

/// Keeps everything up to the last whole entry, closes what is open there, and puts `null` for `NaN` and
/// the infinities, which Python writes and JSON does not know.
pub(super) fn repair(text: &[u8]) -> Result<Repaired, Beyond> {
    let mut kept = Vec::with_capacity(text.len());
    let mut open = Vec::new();
    let mut whole = None;
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        if matches!(byte, b'}' | b']') && open.pop() != Some(byte) {
            return Err(Beyond::NoJson);
        }
        let mut token = 1;
        match byte {
            b'"' => token = string_length(rest),
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'N' | b'I' | b'-' => {
                let number = ["NaN", "Infinity", "-Infinity"].iter().find(|n| rest.starts_with(n.as_bytes()));
                if let Some(number) = number {
                    kept.extend_from_slice(b"null");
                    rest = rest.get(number.len()..).unwrap_or_default();
                    continue;
                }
            }
            _ => {}
        }
        kept.extend_from_slice(rest.get(..token).unwrap_or(rest));
        rest = if token == 1 { after } else { rest.get(token..).unwrap_or_default() };
        if byte == b'}' && open.len() == ENTRY_DEPTH {
            whole = Some((kept.len(), text.len() - rest.len(), open.clone()));
        }
    }
    let Some((length, ends_at, closers)) = whole else {
        return Err(if open.first() == Some(&b'}') { Beyond::NoEntry } else { Beyond::NoJson });
    };
    // A file that is whole but for its numbers or a comma keeps what follows the entries.
    if open.is_empty() {
        let tail = kept.split_off(length);
        let tail_begins =
            tail.iter().position(|b| !b.is_ascii_whitespace() && *b != b',').unwrap_or(tail.len());
        kept.extend_from_slice(tail.get(tail_begins..).unwrap_or_default());
        return Ok(Repaired { text: kept, cut_off_at: None });
    }
    kept.truncate(length);
    kept.extend(closers.into_iter().rev());
    Ok(Repaired { text: kept, cut_off_at: Some(ends_at) })
}

/// Length of the string that `text` begins with, its quotes counted; all of the text where it has no end.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    for (i, &byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

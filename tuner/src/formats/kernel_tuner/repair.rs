//! Makes JSON of a file that lacks its end, or that Python wrote.

/// JSON made of a damaged file.
pub(super) struct Repaired {
    pub(super) text: Vec<u8>,
    /// Whether brackets were left open.
    pub(super) cut_off: bool,
}

/// Entries lie in an object or array inside the file's object.
const ENTRY_DEPTH: usize = 2;

/// Keeps everything up to the last whole entry, closes what is open there, and puts `null` for `NaN` and
/// the infinities, which Python writes and JSON does not know. None where no entry is whole.
pub(super) fn repair(text: &[u8]) -> Option<Repaired> {
    let mut kept = Vec::with_capacity(text.len());
    let mut open = Vec::new();
    let mut whole = None;
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        if matches!(byte, b'}' | b']') && open.pop() != Some(byte) {
            return None;
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
            whole = Some((kept.len(), open.clone()));
        }
    }
    let (length, closers) = whole?;
    let cut_off = !open.is_empty();
    // A file that is whole but for its numbers or a comma keeps what follows the entries.
    if !cut_off {
        let tail = kept.split_off(length);
        let tail_begins =
            tail.iter().position(|b| !b.is_ascii_whitespace() && *b != b',').unwrap_or(tail.len());
        kept.extend_from_slice(tail.get(tail_begins..).unwrap_or_default());
        return Some(Repaired { text: kept, cut_off });
    }
    kept.truncate(length);
    kept.extend(closers.into_iter().rev());
    Some(Repaired { text: kept, cut_off })
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

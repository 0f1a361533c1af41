//! Words that are text to this program and booleans to kubectl, which reads YAML 1.1.

use std::collections::BTreeSet;

use crate::TuneJob;

const WORDS: [&str; 16] =
    ["y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"];

/// Names in a job that `kubectl apply` would read as booleans, because they are written without quotes.
#[must_use]
pub fn booleans_to_kubectl(text: &str, job: &TuneJob) -> BTreeSet<String> {
    let kernels = &job.spec.kernels;
    let parameters = kernels.iter().flat_map(|kernel| &kernel.parameters).map(|parameter| &parameter.name);
    let sizes = kernels.iter().flat_map(|kernel| &kernel.problems).flat_map(|problem| problem.sizes.keys());
    let arguments = kernels.iter().flat_map(|kernel| &kernel.arguments).flat_map(|argument| {
        let buffer = argument.buffer.iter().map(|buffer| &buffer.name);
        buffer.chain(argument.scalar.iter().map(|scalar| &scalar.name))
    });
    let names = parameters.chain(sizes).chain(arguments);
    names.filter(|name| WORDS.contains(&name.as_str()) && is_bare(text, name)).cloned().collect()
}

/// Whether a word is somewhere a key, or the value of `name`, without quotes.
fn is_bare(text: &str, word: &str) -> bool {
    let before = |at: usize| text.get(..at).unwrap_or_default().chars().next_back();
    let value = format!("name: {word}");
    let key = format!("{word}:");
    let ends = |at: usize| {
        let next = text.get(at..).and_then(|rest| rest.chars().next());
        next.is_none_or(|next| next.is_whitespace() || ",}".contains(next))
    };
    text.match_indices(&value).any(|(at, found)| ends(at + found.len()))
        || text.match_indices(&key).any(|(at, found)| {
            let begins = before(at).is_none_or(|c| c.is_whitespace() || "{,".contains(c));
            begins && text.get(at + found.len()..).is_some_and(|rest| rest.starts_with([' ', '\n']))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_word_is_told_from_a_quoted_one() {
        assert!(is_bare("- scalar: {name: n, type: i32}", "n"));
        assert!(is_bare("sizes: {m: 1, n: 2}", "n"));
        assert!(is_bare("sizes:\n  y: 2\n", "y"));
        assert!(!is_bare("- scalar: {name: \"n\", type: i32, value: \"n\"}", "n"));
        assert!(!is_bare("sizes: {\"n\": 2}", "n"));
        assert!(!is_bare("name: nine, in: 3", "n"));
    }
}

//! What an unknown name may have meant.

use super::Scope;

/// Most names that a message lists.
const SHOWN: usize = 12;

/// The nearest name, if one is near, and the names in scope.
pub(super) fn help_with_name(name: &str, scope: &Scope) -> String {
    if scope.is_empty() {
        return "no name is known here: write a number".to_owned();
    }
    let mut names: Vec<&str> = scope.names().collect();
    names.sort_unstable();
    let near = names.iter().map(|known| (distance(name, known), *known)).min();
    let mut help = match near {
        Some((distance, known)) if distance * 3 <= name.chars().count().max(3) => {
            format!("did you mean {known:?}? ")
        }
        _ => String::new(),
    };
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    help.push_str("known names: ");
    help.push_str(&names.join(", "));
    if more > 0 {
        help = format!("{help} and {more} more");
    }
    help
}

/// The number of characters to insert, delete or replace to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for (&y, pair) in b.iter().zip(row.windows(2)) {
            let [diagonal, above] = pair else { continue };
            let left = next.last().copied().unwrap_or_default();
            // Case alone counts as half a mistake would: not at all, so BLOCK finds block.
            let replaced = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            next.push(replaced.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("BLOCK", "block"), 0);
    }
}

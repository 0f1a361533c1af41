//! Names that are nearly the one asked for.

/// From here on two names are near: a letter or two differ.
const NEAR: f64 = 0.6;

/// The known name that is most like the one asked for, if any is like it.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |other: &str| {
        // Half a name is often all that was remembered.
        let (short, long) = if name.len() < other.len() { (name, other) } else { (other, name) };
        let part = short.len() >= 3 && long.contains(short);
        strsim::normalized_damerau_levenshtein(name, other).max(if part { NEAR } else { 0.0 })
    };
    let scored = known.into_iter().map(|other| (likeness(other), other));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= NEAR).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_or_half_a_name_is_understood_and_nothing_else() {
        let known = ["demo", "resnet-18-convolutions", "sgemm"];
        assert_eq!(nearest("dmeo", known), Some("demo"));
        assert_eq!(nearest("resnet", known), Some("resnet-18-convolutions"));
        assert_eq!(nearest("sgem", known), Some("sgemm"));
        assert_eq!(nearest("stencil", known), None);
        assert_eq!((nearest("x", []), nearest("demo", ["e"])), (None, None));
    }
}

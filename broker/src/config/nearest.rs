//! The known key that a misspelled one was probably meant to be.

/// The candidate with the smallest edit distance to `name`, the first of equals; `None` when even that one shares too
/// little with it (more than a third of its length, and at least three letters, would have to change).
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A client may send a name of any length; beyond this nothing could be near.
    if name.len() > 128 {
        return None;
    }
    let (distance, best) =
        candidates.into_iter().map(|candidate| (distance(name, candidate), candidate)).min_by_key(|(d, _)| *d)?;
    (distance <= (best.len() / 3).max(3)).then_some(best)
}

/// Levenshtein's distance: insertions, deletions and replacements of letters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (above, other) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = *above;
            *above = replaced.min(left + 1).min(diagonal + 1);
            left = *above;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("abc", "abc", 0), ("abc", "axc", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_what_is_near_is_offered() {
        let known = ["retention.ms", "retention.bytes", "segment.bytes"];
        assert_eq!(nearest("retention.msec", known), Some("retention.ms"));
        assert_eq!(nearest("segments.bytes", known), Some("segment.bytes"));
        assert_eq!(nearest("unclean.leader.election.enable", known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }
}

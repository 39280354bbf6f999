//! From what members subscribe to, to topics: regular expressions, and a hash that tells whether the topics changed.
//!
//! Expressions are RE2's. What RE2 has and ours lacks (`\Q..\E`, `\C`, octal escapes) is refused as invalid; a match is
//! always of the whole name.

use crate::coordinators::group::topics::TopicsImage;
use regex::{Regex, RegexBuilder};
use std::collections::BTreeSet;
use std::time::Duration;

/// The most memory that a compiled expression may take, in bytes.
const SIZE_LIMIT: usize = 1 << 20;
/// The most memory that matching may use for its cache, in bytes.
const CACHE_LIMIT: usize = 1 << 20;
/// How long expressions are not matched again although there are other topics (Kafka: 10 seconds, not configurable).
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it, in one line.
pub(super) fn compile(regex: &str) -> Result<Regex, String> {
    // Alone first: `a)(b` is not made right by what is put around it.
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).dfa_size_limit(CACHE_LIMIT).build();
    build(regex).and_then(|_| build(&format!(r"\A(?:{regex})\z"))).map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
    })
}

/// The names that an expression matches; none if it is invalid.
pub(super) fn resolve(regex: &str, topics: &dyn TopicsImage) -> BTreeSet<String> {
    let mut matched = BTreeSet::new();
    if let Ok(compiled) = compile(regex) {
        topics.each_name(&mut |name| {
            if compiled.is_match(name) {
                matched.insert(name.to_owned());
            }
        });
    }
    matched
}

/// A hash of those of the topics that exist, with their ids and their numbers of partitions; 0 if none does.
pub(super) fn hash(names: &BTreeSet<&str>, topics: &dyn TopicsImage) -> i64 {
    let mut hash = Fnv::default();
    let mut is_empty = true;
    for name in names {
        if let Some(topic) = topics.by_name(name) {
            is_empty = false;
            hash.add(name.as_bytes());
            // No name has this byte.
            hash.add(&[0]);
            hash.add(topic.id.as_bytes());
            hash.add(&topic.partitions.to_be_bytes());
        }
    }
    if is_empty { 0 } else { i64::from_be_bytes(hash.0.to_be_bytes()) }
}

/// FNV-1a of 64 bits: the same on every machine, and for ever.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_whole_names_and_are_those_of_re2() {
        let matches = |regex: &str, name: &str| compile(regex).unwrap().is_match(name);
        assert!(matches("ab|cd", "ab") && matches("ab|cd", "cd") && !matches("ab|cd", "abd"));
        assert!(matches(r"\pL+", "orders") && matches(r"(?P<n>a)b", "ab") && matches("(?i)A", "a"));
        assert!(matches(r"[[:alpha:]]\.\d+", "t.12") && !matches(r"t\.", "tx"));
        for invalid in ["(", "a)(b", r"\Qa\E", r"\C", r"\101", r"(a)\1", "(?=a)", "a{2000}{2000}"] {
            let reason = compile(invalid).unwrap_err();
            assert!(!reason.is_empty() && !reason.contains('\n'), "{invalid}: {reason}");
        }
    }
}

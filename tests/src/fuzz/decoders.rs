//! Finds the decoders in the sources: functions that are named like one and take bytes or text.
//!
//! Names are a convention, so this finds what keeps it. It reads text, as `tidy` does.

use crate::tidy::{Source, lex};

/// The crates whose decoders need targets.
const CRATES: [&str; 3] = ["protocol", "storage", "broker"];
/// How decoders are named, up to the rest of a name.
const NAMES: [&str; 6] = ["decode", "parse", "peek", "unseal", "scan", "from_str"];
/// What they take.
const TAKES: [&str; 5] = ["u8", "Bytes", "BytesMut", "str", "Fields"];

/// A function that takes bytes apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decoder {
    /// Its file, from the workspace's root.
    pub path: String,
    /// Its name.
    pub name: String,
}

/// The decoders of `sources`, apart from tests and from the targets themselves.
pub fn decoders(sources: &[Source]) -> Vec<Decoder> {
    let mut found = Vec::new();
    for source in sources {
        let is_fuzz = source.module.iter().any(|name| name == "fuzz");
        let is_test = source.is_test() || source.module.iter().any(|name| matches!(name.as_str(), "testing" | "tests"));
        if !CRATES.contains(&source.krate.as_str()) || is_fuzz || is_test {
            continue;
        }
        let code = lex::blank_tests(&lex::blank_literals(&source.text));
        let tokens = lex::tokens(&code);
        for (at, token) in tokens.iter().enumerate() {
            let Some(name) = tokens.get(at + 1).filter(|_| *token == "fn") else { continue };
            let named = NAMES
                .iter()
                .any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')));
            let mut parameters = tokens[at..].iter().take_while(|token| !matches!(**token, "{" | ";"));
            if named && parameters.any(|token| TAKES.contains(token)) {
                found.push(Decoder { path: source.path.clone(), name: (*name).to_owned() });
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoders_are_found_by_name_and_by_what_they_take() {
        let text = "fn decode(bytes: &[u8]) {}\nfn parse_name(text: &str) {}\nfn decoded(bytes: &[u8]) {}\n\
                    fn parse() {}\nfn read(bytes: &[u8]) {}\n#[cfg(test)]\nmod tests { fn decode(b: &[u8]) {} }\n";
        let source = |path| Source::new(path, text).unwrap();
        let names = |path| decoders(&[source(path)]).into_iter().map(|found| found.name).collect::<Vec<_>>();
        assert_eq!(names("storage/src/log/some.rs"), ["decode", "parse_name"]);
        assert_eq!(names("storage/src/log/fuzz.rs"), Vec::<String>::new());
        assert_eq!(names("bench/src/batch.rs"), Vec::<String>::new());
    }
}

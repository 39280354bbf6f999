//! Which modules a source names: its `use` trees and the paths in its code that start at `crate`, `super` or `self`.
//!
//! A [`Path`] is a list of names from the crate's root. `super::X` counts as the sibling that the parent re-exports
//! `X` from ([`Reexports`]), so that a circle cannot hide behind `pub use`.

use super::{Source, lex};
use std::collections::BTreeMap;

/// Names from a crate's root, or from another crate of the workspace (`esker_storage`, ...) if [`Path::other`] is set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// The other crate's folder name, if the path leaves its own.
    pub other: Option<String>,
    /// The names.
    pub names: Vec<String>,
}

/// For a module, what each name that it re-exports from a child stands for: (module, name) -> child.
pub type Reexports = BTreeMap<(Vec<String>, String), String>;

/// Every path of the workspace that `source` names outside its tests.
pub fn paths(source: &Source) -> Vec<Path> {
    let code = lex::blank_tests(&lex::blank_literals(&source.text));
    let tokens = lex::tokens(&code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map(|i| tokens[i]);
        // `use<'a>` is a bound, not an import.
        if tokens[at] == "use" && before != Some("::") && tokens.get(at + 1) != Some(&"<") {
            let mut raw = Vec::new();
            at = tree(&tokens, at + 1, &[], &mut raw);
            found.extend(raw.into_iter().filter_map(|names| absolute(source, &names, true)));
        } else if before != Some("::") && tokens.get(at + 1) == Some(&"::") && is_head(tokens[at]) {
            let (names, end) = run(&tokens, at);
            found.extend(absolute(source, &names, false));
            at = end;
        } else {
            at += 1;
        }
    }
    found.sort();
    found.dedup();
    found
}

/// What the modules of one crate re-export from their own children.
pub fn reexports(sources: &[&Source]) -> Reexports {
    let mut map = Reexports::new();
    for source in sources {
        let code = lex::blank_tests(&lex::blank_literals(&source.text));
        let tokens = lex::tokens(&code);
        for (at, token) in tokens.iter().enumerate() {
            // `pub use`, `pub(crate) use`.
            if *token != "use" || at == 0 || !matches!(tokens[at - 1], "pub" | ")") {
                continue;
            }
            let mut raw = Vec::new();
            tree(&tokens, at + 1, &[], &mut raw);
            for names in raw {
                let names: Vec<String> = names.into_iter().filter(|n| n != "self").collect();
                if let (Some(child), Some(last)) = (names.first(), names.last())
                    && names.len() > 1
                    && !is_head(child)
                {
                    map.insert((source.module.clone(), last.clone()), child.clone());
                }
            }
        }
    }
    map
}

fn is_head(token: &str) -> bool {
    matches!(token, "crate" | "super" | "self") || token.starts_with("esker_")
}

/// Reads one `use` tree from `at`; returns where it ends.
fn tree(tokens: &[&str], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut names = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match *token {
            "{" => {
                at += 1;
                while let Some(token) = tokens.get(at) {
                    match *token {
                        "}" | ";" => return at + 1,
                        "," => at += 1,
                        _ => at = tree(tokens, at, &names, found),
                    }
                }
                return at;
            }
            "::" => at += 1,
            "as" => at += 2,
            "," | "}" | ";" => break,
            name => {
                names.push(name.to_owned());
                at += 1;
            }
        }
    }
    found.push(names);
    at
}

/// The names of a path in code from `at`, and where it ends.
fn run(tokens: &[&str], mut at: usize) -> (Vec<String>, usize) {
    let mut names = vec![tokens[at].to_owned()];
    at += 1;
    while tokens.get(at) == Some(&"::") {
        match tokens.get(at + 1) {
            Some(name) if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') => {
                names.push((*name).to_owned());
                at += 2;
            }
            _ => return (names, at + 1),
        }
    }
    (names, at)
}

/// `names` as seen from the crate's root; `None` for what is not of the workspace.
fn absolute(source: &Source, names: &[String], in_use: bool) -> Option<Path> {
    let head = names.first()?;
    if let Some(other) = head.strip_prefix("esker_") {
        return Some(Path { other: Some(other.to_owned()), names: names[1..].to_vec() });
    }
    let mut base = source.module.clone();
    let mut rest = names;
    match head.as_str() {
        "crate" => {
            base.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|n| n == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        // `use child::X` in a module that declares `child`; anything else is another crate's.
        _ if in_use => {}
        _ => return None,
    }
    base.extend(rest.iter().cloned());
    Some(Path { other: None, names: base })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let source = Source::new(path, text).unwrap();
        paths(&source)
            .into_iter()
            .map(|p| format!("{}{}", p.other.map(|o| o + "!").unwrap_or_default(), p.names.join("::")))
            .collect()
    }

    #[test]
    fn trees_supers_and_paths_in_code_are_found() {
        let text = "use crate::{env::{Disk, File}, log::Log as L};\nuse super::index;\nfn f() { crate::tier::go(); }";
        assert_eq!(
            found("storage/src/segment/active.rs", text),
            ["env::Disk", "env::File", "log::Log", "segment::index", "tier::go"]
        );
        assert_eq!(found("storage/src/a.rs", "use esker_broker::net::Net;"), ["broker!net::Net"]);
    }

    #[test]
    fn what_only_tests_import_is_not_an_import() {
        assert!(found("storage/src/a.rs", "#[cfg(test)]\nmod tests {\n use crate::b::B;\n}").is_empty());
        assert!(found("storage/src/a.rs", "// use crate::b::B;\nlet s = \"crate::b::B\";").is_empty());
    }

    #[test]
    fn text_that_is_no_import_ends() {
        let text = "fn f<'a>() -> impl Sized + use<'a> { g(); } use a::{b; fn h() {}";
        assert_eq!(found("storage/src/a.rs", text), ["a::a::b"]);
        for broken in ["use", "use a::{", "use {;", "use }", "use a::{b::{c", "pub use ;"] {
            found("storage/src/a.rs", broken);
        }
    }

    #[test]
    fn reexports_name_their_child() {
        let source = Source::new("storage/src/env/mod.rs", "mod disk;\npub use disk::{Disk, File};").unwrap();
        let map = reexports(&[&source]);
        assert_eq!(map.get(&(vec!["env".into()], "File".into())), Some(&"disk".to_owned()));
    }
}

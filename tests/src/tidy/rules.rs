//! The house rules themselves, as tables and as functions from sources to violations.
//!
//! [`ORDER`] holds each crate's layers from the lowest up; a module imports only what stands to its left. Siblings at
//! every depth form no circle. Tables only shrink: no file is exempt from anything but by its place in [`UNSAFE`].

use super::imports::{self, Path, Reexports};
use super::{Source, Violation, lex};
use std::collections::{BTreeMap, BTreeSet};

/// The workspace's crates, lowest first; `bench` and `tests` stand on top, `tests` may use `bench`.
pub const CRATES: [&str; 5] = ["protocol", "storage", "broker", "bench", "tests"];

/// The layers of a crate, lowest first.
pub const ORDER: [(&str, &[&str]); 2] = [
    ("storage", &["offset", "env", "numbered_log", "segment", "log", "tier", "compaction", "partition_log"]),
    (
        "broker",
        &[
            "config",
            "metrics",
            "metadata",
            "controller",
            "partition",
            "coordinators",
            "net",
            "handlers",
            "admin",
            "tools",
            "server",
            "cli",
        ],
    ),
];

/// Modules that stand beside each other: neither imports the other although one comes first in [`ORDER`].
pub const BESIDE: [(&str, &str, &str); 2] =
    [("storage", "segment", "numbered_log"), ("storage", "log", "numbered_log")];

/// The only files that may say `unsafe`.
pub const UNSAFE: [&str; 1] = ["storage/src/env/real_map.rs"];

/// The most lines of production code that a file may have.
pub const MAX_LINES: usize = 500;

/// File names that say nothing about what is inside.
const BANNED_NAMES: [&str; 10] =
    ["manager", "service", "util", "utils", "common", "types", "impl", "helper", "helpers", "misc"];

/// The least that a head comment must say, in bytes.
const MIN_HEAD: usize = 20;

/// Everything that is wrong with `sources`, in a stable order.
pub fn check(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources {
        violations.extend(check_file(source));
    }
    for krate in CRATES {
        let of_crate: Vec<&Source> = sources.iter().filter(|s| s.krate == krate && !s.is_test()).collect();
        violations.extend(check_layers(krate, &of_crate));
    }
    violations.sort();
    violations.dedup();
    violations
}

/// Size, head, name and `unsafe` of one file.
fn check_file(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut report = |what: String| violations.push(Violation { place: source.path.clone(), what });
    let code = lex::blank_literals(&source.text);
    if lex::tokens(&code).contains(&"unsafe") && !UNSAFE.contains(&source.path.as_str()) {
        report(format!("`unsafe` is for {} only", UNSAFE.join(", ")));
    }
    if source.is_test() {
        return violations;
    }
    let lines = lex::production_lines(&source.text);
    if lines > MAX_LINES {
        report(format!("{lines} lines of production code, the limit is {MAX_LINES}: split it by reason to change"));
    }
    let head: usize = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .map(|line| line.trim_start_matches("//!").trim().len())
        .sum();
    if head < MIN_HEAD {
        report("no `//!` head in whole sentences on the first line: what the module is, its nouns, and why".to_owned());
    }
    if let Some(name) = source.module.last().filter(|name| BANNED_NAMES.contains(&name.as_str())) {
        report(format!("`{name}` says nothing about what is inside: name the thing"));
    }
    violations
}

/// Imports upward and in a circle, among the sources of one crate.
fn check_layers(krate: &str, sources: &[&Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let reexports = imports::reexports(sources);
    let order = ORDER.iter().find(|(name, _)| *name == krate).map(|(_, order)| *order);
    // For each parent module, which of its children imports which.
    let mut siblings: BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let modules: BTreeSet<Vec<String>> =
        sources.iter().flat_map(|s| (0..=s.module.len()).map(|depth| s.module[..depth].to_vec())).collect();
    for source in sources {
        if let Some(top) = source.module.first()
            && let Some(order) = order
            && !order.contains(&top.as_str())
        {
            violations.push(Violation {
                place: source.path.clone(),
                what: format!("module `{top}` has no layer: give it a place in tidy's ORDER and in the head of lib.rs"),
            });
        }
        for path in imports::paths(source) {
            violations.extend(check_crate(krate, source, &path));
            let Some((parent, from, to)) = sibling_edge(source, &path, &modules, &reexports) else { continue };
            if parent.is_empty()
                && let Some(what) = upward(krate, order, &from, &to)
            {
                violations.push(Violation { place: source.path.clone(), what });
            }
            siblings.entry(parent).or_default().entry(from).or_default().insert(to);
        }
    }
    for (parent, graph) in siblings {
        if let Some(circle) = circle(&graph) {
            let inside = std::iter::once(krate.to_owned()).chain(parent).collect::<Vec<_>>().join("::");
            violations.push(Violation { place: inside, what: format!("import circle {}", circle.join(" -> ")) });
        }
    }
    violations
}

/// Whether `path` leads to a crate that stands above.
fn check_crate(krate: &str, source: &Source, path: &Path) -> Option<Violation> {
    let other = path.other.as_deref()?;
    let rank = |name: &str| CRATES.iter().position(|c| *c == name);
    let fine = match (rank(krate), rank(other)) {
        // A binary names its own library.
        (Some(from), Some(to)) => to <= from,
        _ => false,
    };
    (!fine).then(|| Violation {
        place: source.path.clone(),
        what: format!("imports crate `{other}`, which stands above `{krate}`"),
    })
}

/// The children of one parent between which an import runs: (parent, from, to).
///
/// `None` if it stays within one child, or names only what an ancestor defines itself.
fn sibling_edge(
    source: &Source,
    path: &Path,
    modules: &BTreeSet<Vec<String>>,
    reexports: &Reexports,
) -> Option<(Vec<String>, String, String)> {
    if path.other.is_some() {
        return None;
    }
    let mut names = path.names.clone();
    let shared = names.iter().zip(&source.module).take_while(|(a, b)| a == b).count();
    let parent = source.module[..shared].to_vec();
    let from = source.module.get(shared)?.clone();
    let mut to = names.drain(..).nth(shared)?;
    let mut target = parent.clone();
    target.push(to.clone());
    if !modules.contains(&target) {
        to = reexports.get(&(parent.clone(), to))?.clone();
        target.pop();
        target.push(to.clone());
        if !modules.contains(&target) {
            return None;
        }
    }
    (to != from).then_some((parent, from, to))
}

/// What is wrong with an import between two top modules, if anything.
fn upward(krate: &str, order: Option<&[&str]>, from: &str, to: &str) -> Option<String> {
    let order = order?;
    let rank = |name: &str| order.iter().position(|m| *m == name);
    let (from_rank, to_rank) = (rank(from)?, rank(to)?);
    if to_rank > from_rank {
        return Some(format!("imports upward: `{from}` -> `{to}` (order: {})", order.join(" -> ")));
    }
    BESIDE
        .iter()
        .any(|(k, a, b)| *k == krate && ((*a == from && *b == to) || (*b == from && *a == to)))
        .then(|| format!("`{from}` and `{to}` stand beside each other: neither imports the other"))
}

/// A circle in `graph`, closed with its first name, if there is one.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit<'a>(
        node: &'a str,
        graph: &'a BTreeMap<String, BTreeSet<String>>,
        trail: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(start) = trail.iter().position(|n| *n == node) {
            let mut found: Vec<String> = trail[start..].iter().map(|n| (*n).to_owned()).collect();
            found.push(node.to_owned());
            return Some(found);
        }
        if done.contains(node) {
            return None;
        }
        trail.push(node);
        for next in graph.get(node).into_iter().flatten() {
            if let Some(found) = visit(next, graph, trail, done) {
                return Some(found);
            }
        }
        trail.pop();
        done.insert(node);
        None
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|node| visit(node, graph, &mut Vec::new(), &mut done))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "//! A module with a head that says what it is, whole sentences and all.\n";

    fn sample(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> =
            files.iter().map(|(path, text)| Source::new(path, format!("{HEAD}{text}")).unwrap()).collect();
        check(&sources).iter().map(ToString::to_string).collect()
    }

    fn assert_one(found: &[String], what: &str) {
        assert!(found.len() == 1 && found[0].contains(what), "expected one `{what}`, found {found:?}");
    }

    #[test]
    fn imports_downward_are_fine() {
        let found = sample(&[
            ("storage/src/lib.rs", "pub mod env; pub mod log; pub mod segment;"),
            ("storage/src/env/mod.rs", "mod disk; pub use disk::Disk;"),
            ("storage/src/env/disk.rs", "use super::Clock;"),
            ("storage/src/segment/mod.rs", "use crate::env::Disk;"),
            ("storage/src/log/mod.rs", "use crate::{env::Disk, segment::Segment}; use esker_protocol::record::Batch;"),
            ("broker/src/main.rs", "use esker_broker::cli;"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn an_import_upward_is_found() {
        let files = [
            ("storage/src/segment/active.rs", "use crate::{env::Disk, log::Log};"),
            ("storage/src/log/mod.rs", ""),
            ("storage/src/env/mod.rs", ""),
        ];
        assert_one(&sample(&files), "imports upward: `segment` -> `log`");
        let inline = [("storage/src/segment/mod.rs", "fn f() { crate::log::g() }"), ("storage/src/log/mod.rs", "")];
        assert_one(&sample(&inline), "imports upward");
        let supers = [("storage/src/segment/mod.rs", "use super::log::Log;"), ("storage/src/log/mod.rs", "")];
        assert_one(&sample(&supers), "imports upward");
    }

    #[test]
    fn modules_beside_each_other_do_not_meet() {
        let files =
            [("storage/src/log/mod.rs", "use crate::numbered_log::Commit;"), ("storage/src/numbered_log/mod.rs", "")];
        assert_one(&sample(&files), "stand beside");
    }

    #[test]
    fn a_crate_above_is_out_of_reach() {
        assert_one(&sample(&[("storage/src/log/mod.rs", "use esker_broker::net::Net;")]), "crate `broker`");
        assert_one(&sample(&[("broker/src/net/mod.rs", "use esker_tests::sim::Sim;")]), "crate `tests`");
    }

    #[test]
    fn circles_are_found_at_any_depth_and_behind_reexports() {
        let files = [
            ("protocol/src/record/mod.rs", "mod a; mod b; mod c; pub use a::A;"),
            ("protocol/src/record/a.rs", "use super::b::B;"),
            ("protocol/src/record/b.rs", "use super::c::C;"),
            ("protocol/src/record/c.rs", "use super::A;"),
        ];
        assert_one(&sample(&files), "import circle a -> b -> c -> a");
    }

    #[test]
    fn a_module_without_a_layer_is_found() {
        assert_one(&sample(&[("storage/src/extra.rs", "")]), "has no layer");
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let long = "fn f() {}\n".repeat(MAX_LINES);
        assert_one(&sample(&[("protocol/src/frame.rs", &long)]), "501 lines");
        let tested = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(sample(&[("protocol/src/frame.rs", &tested)]), Vec::<String>::new());
        assert_eq!(sample(&[("protocol/src/frame_tests.rs", &long)]), Vec::<String>::new());
    }

    #[test]
    fn a_missing_or_empty_head_is_found() {
        for text in ["", "fn f() {}\n", "//! Stub.\n", "// Not a head comment but a plain one, however long it is.\n"] {
            let source = Source::new("protocol/src/frame.rs", text).unwrap();
            let found: Vec<String> = check(&[source]).iter().map(ToString::to_string).collect();
            assert_one(&found, "head");
        }
    }

    #[test]
    fn unsafe_outside_its_file_is_found() {
        assert_one(&sample(&[("protocol/src/frame.rs", "fn f() { unsafe { g() } }")]), "unsafe");
        assert_eq!(sample(&[("storage/src/env/real_map.rs", "unsafe fn f() {}")]), Vec::<String>::new());
        assert_eq!(
            sample(&[("protocol/src/frame.rs", "// unsafe\n#[deny(unsafe_code)] fn f() {}")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        assert_one(&sample(&[("protocol/src/util.rs", "")]), "`util`");
    }
}

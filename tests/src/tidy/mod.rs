//! The checks of the source text that the compiler does not make: layers, file sizes, heads and `unsafe`.
//!
//! Rust lets any module of a crate import any other, and nothing stops a file from growing. Here a [`Source`] is one
//! file's text with its place in its crate's module tree; [`lex`] blanks what is not code, [`imports`] finds which
//! modules a source names, [`rules`] says what is wrong with it. A [`Violation`] names the file and what to do.
//!
//! ```text
//! file text -> lex (blank comments, strings, test modules) -> imports (paths -> modules) -> rules (layers, circles)
//! ```
//!
//! The checks read text, so a sample in a test is a few lines of source; `tests/tidy.rs` runs them over the workspace.

pub mod imports;
pub mod lex;
pub mod rules;

use std::path::{Path, PathBuf};

/// One file of Rust source.
#[derive(Clone, Debug)]
pub struct Source {
    /// The crate's folder: `protocol`, `storage`, `broker`, `bench` or `tests`.
    pub krate: String,
    /// The path from the workspace's root, with `/`.
    pub path: String,
    /// The module path below the crate's root: `["segment", "active"]`; empty for `lib.rs` and `main.rs`.
    pub module: Vec<String>,
    /// The file's text.
    pub text: String,
}

/// Something that the house rules forbid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file, or the crate where it concerns several files.
    pub place: String,
    /// What is wrong, and what to do instead.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl Source {
    /// A source at `path`, which is relative to the workspace's root and lies in a crate's `src`.
    ///
    /// `None` for what is not below a `src` folder.
    pub fn new(path: &str, text: impl Into<String>) -> Option<Self> {
        let (krate, inside) = path.split_once("/src/")?;
        let stem = inside.strip_suffix(".rs")?;
        let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        Some(Self { krate: krate.to_owned(), path: path.to_owned(), module, text: text.into() })
    }

    /// Whether the file holds tests only, by its name.
    pub fn is_test(&self) -> bool {
        self.path.ends_with("_tests.rs") || self.path.ends_with("/tests.rs")
    }
}

/// Every source below the `src` folders of the workspace at `root`.
///
/// # Errors
/// What the file system answers.
pub fn read_workspace(root: &Path) -> std::io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for krate in rules::CRATES {
        let mut pending: Vec<PathBuf> = vec![root.join(krate).join("src")];
        while let Some(folder) = pending.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    pending.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let relative = path.strip_prefix(root).map_err(std::io::Error::other)?;
                    let relative = relative.to_string_lossy().replace('\\', "/");
                    sources.extend(Source::new(&relative, std::fs::read_to_string(&path)?));
                }
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

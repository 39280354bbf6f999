//! Where the binaries are: beside the test programs, built by the same profile.
//!
//! Cargo tells a test the path of its own crate's binaries only, so the path is derived, and cargo is asked once per
//! test program to bring them up to date. `ESKER_BIN` names another broker, which is then taken as it is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of an up-to-date `esker`.
///
/// # Panics
/// If it cannot be built.
pub fn esker() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("ESKER_BIN") {
        Some(path) => PathBuf::from(path),
        None => build("esker"),
    })
}

/// The path of an up-to-date `esker-bench`.
///
/// # Panics
/// If it cannot be built.
pub fn bench() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("esker-bench"))
}

fn build(name: &str) -> PathBuf {
    // target/PROFILE/deps/PROGRAM-HASH
    let program = std::env::current_exe().expect("a test knows its own path");
    let folder = program.parent().and_then(Path::parent).expect("a test lies in target/PROFILE/deps");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the workspace");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The whole workspace, so that features are unified as for the tests and nothing is compiled twice.
    let output = Command::new(cargo)
        .current_dir(workspace)
        .args(["build", "--locked", "--workspace", "--bin", name, "--profile", profile])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{name} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    let path = folder.join(name);
    assert!(path.exists(), "cargo left no {}", path.display());
    path
}

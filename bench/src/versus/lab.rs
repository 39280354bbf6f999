//! Loads on a node: each is a process of its own (`esker-bench produce ...`) that writes its results to a file.
//!
//! So each begins with nothing that an earlier one left in memory, and ends with its time limit if a broker hangs.

use super::node::Node;
use crate::probe::machine;
use crate::report;
use crate::results::Run;
use anyhow::Context;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a load may take beyond what it measures.
const SLACK: Duration = Duration::from_secs(120);
/// Topics are not tiered where that is not what is compared.
pub(super) const UNTIERED: &str = "--topic-config=remote.storage.enable=false";

/// Runs `esker-bench` with `arguments` on `node` for about `seconds`; what it measured.
///
/// # Errors
/// With what it said, if it has no results.
pub(super) fn load(node: &Node, arguments: &[String], seconds: f64) -> anyhow::Result<Run> {
    let results = node.folder().join("results.json");
    let said = node.folder().join("load.log");
    // What an earlier load left is none of this one.
    if results.exists() {
        std::fs::remove_file(&results)?;
    }
    let log = std::fs::File::create(&said)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments);
    command.arg(format!("--bootstrap={}", node.bootstrap())).arg(format!("--pid={}", node.pid()?));
    command.arg(format!("--software={}", node.side().software()));
    command.arg(format!("--json={}", results.display()));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = command.spawn()?;
    let ended = wait(&mut child, Duration::from_secs_f64(seconds) + SLACK);
    let last = || {
        let text = std::fs::read_to_string(&said).unwrap_or_default();
        text.lines().last().unwrap_or_default().to_owned()
    };
    anyhow::ensure!(ended, "a load did not end in time: {}: {}", arguments.join(" "), last());
    anyhow::ensure!(results.exists(), "{}: {}", arguments.join(" "), last());
    let report = report::read(&results).context("what a load wrote")?;
    report.runs.into_iter().next().context("a load without a run")
}

/// Whether it ends in time; it is killed if not.
fn wait(child: &mut Child, limit: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            _ => return true,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// Touches so much memory, or half of what is free, and gives it back: a virtual machine's memory that lay idle for seconds is
/// slow at first touch, as the kernel has lent it to the host, and both sides find it touched.
pub(super) fn warm_memory(bytes: u64) {
    let bytes = bytes.min(machine::this().available_bytes / 2);
    // Not zeros: those would be untouched pages.
    std::hint::black_box(vec![0x5a_u8; usize::try_from(bytes).unwrap_or(0)]);
}

/// Arguments from their text.
pub(super) fn arguments(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

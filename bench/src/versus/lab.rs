//! Loads on a node: each is a process of its own (`esker-bench produce ...`) that writes its results to a file.
//!
//! So each begins with nothing that an earlier one left in memory, and ends with its time limit if a broker hangs.

use super::node::Node;
use crate::probe::machine;
use crate::report;
use crate::results::Run;
use anyhow::Context;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a load may take beyond what it measures.
const SLACK: Duration = Duration::from_secs(120);
/// Memory that is left free, for what is anonymous.
const FREE: u64 = 1 << 30;
/// Bytes after which it is looked how much is.
const LOOK_EVERY: u64 = 256 << 20;
/// Topics are not tiered where that is not what is compared.
pub(super) const UNTIERED: &str = "--topic-config=remote.storage.enable=false";

/// Runs `esker-bench` with `arguments` on `node` for about `seconds`; what it measured.
///
/// # Errors
/// With what it said, if it has no results, or did not end well for a reason that is not in them.
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
    let ended = ended?.with_context(|| format!("a load did not end in time: {}: {}", arguments.join(" "), last()))?;
    anyhow::ensure!(results.exists(), "{}: {}", arguments.join(" "), last());
    let report = report::read(&results).context("what a load wrote")?;
    let run = report.runs.into_iter().next().context("a load without a run")?;
    let is_accounted_for = ended.success() || run.failures().next().is_some();
    anyhow::ensure!(is_accounted_for, "{}: {ended}: {}", arguments.join(" "), last());
    Ok(run)
}

/// How it ended; `None` if it did not in time and was killed.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Page cache that is full, as it is on a server that has run for a while: a file that is nothing but a hole, and was read.
///
/// What a broker writes takes the place of that then. On a machine whose memory is free it would take pages that nobody has
/// touched, which a virtual machine has lent to its host and gets back slowly: a broker that writes faster would meet more
/// of them, and what is measured would be the host.
pub(super) struct Ballast {
    file: File,
    bytes: u64,
}

impl Ballast {
    /// Nothing yet, in `folder`, where it takes no room.
    pub(super) fn new(folder: &Path) -> std::io::Result<Self> {
        let bytes = machine::this().memory_bytes >> 20 << 20;
        let file = tempfile::tempfile_in(folder)?;
        file.set_len(bytes)?;
        Ok(Self { file, bytes })
    }

    /// Reads until hardly any memory is free, or all of it: where a control group has less than the machine, what is read
    /// last takes the place of what was read first.
    pub(super) fn fill(&self) -> std::io::Result<()> {
        let mut piece = vec![0; 1 << 20];
        let mut at = 0;
        while at < self.bytes {
            if at % LOOK_EVERY == 0 && machine::free_memory() < FREE {
                break;
            }
            self.file.read_exact_at(&mut piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    }
}

/// Arguments from their text.
pub(super) fn arguments(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

//! The broker under trial: the `esker` command in a temporary folder.

use super::store::Store;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start may take.
const START: Duration = Duration::from_secs(30);

/// A running broker; dropping it kills it.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    folder: TempDir,
    bootstrap: String,
}

impl Broker {
    /// Where the `esker` command lies if nobody says: beside this one.
    ///
    /// # Errors
    /// If this one's place is unknown.
    pub fn binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => std::env::current_exe()?.with_file_name("esker"),
        };
        anyhow::ensure!(path.exists(), "there is no {}: build it, or name it with --esker", path.display());
        Ok(path)
    }

    /// Starts `binary` with these settings on `store`, and waits until it is ready.
    ///
    /// # Errors
    /// With its log, if it does not start.
    pub fn start(binary: &Path, store: &Store, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("esker-bench-").tempdir()?;
        let log = File::create(folder.path().join("esker.log"))?;
        let data = folder.path().join("data").display().to_string();
        let own = [
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("admin.listeners", "127.0.0.1:0"),
            ("log.dirs", data.as_str()),
            ("store", store.url()),
        ];
        let mut command = Command::new(binary);
        command.arg("serve").current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.args(own.iter().chain(settings).map(|(key, value)| format!("--set={key}={value}")));
        command.envs(store.environment());
        let child = command.spawn()?;
        let mut broker = Self { child, folder, bootstrap: String::new() };
        let started = Instant::now();
        while !broker.log().contains(" ready cluster=") {
            let ended = broker.child.try_wait()?;
            let is_late = started.elapsed() > START;
            anyhow::ensure!(ended.is_none() && !is_late, "the broker did not start ({ended:?}):\n{}", broker.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = broker.log();
        let address = log.lines().find_map(|line| line.split_once(" listening address=")?.1.split_whitespace().next());
        broker.bootstrap = address.ok_or_else(|| anyhow::anyhow!("no address in the log:\n{log}"))?.to_owned();
        Ok(broker)
    }

    /// `host:port` for clients.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The cores that it reads history on; all of them if it makes no difference.
    ///
    /// # Errors
    /// If it has ended.
    pub fn history_cores(&self) -> anyhow::Result<CpuSet> {
        history_cores(self.pid())
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("esker.log")).unwrap_or_default()
    }

    /// What it logged that a person should look at.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.log();
        log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).map(str::to_owned).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cores that the broker of process `pid` keeps its history's readers to: those where others may be another machine.
/// A broker that keeps them to none has all of this process.
///
/// # Errors
/// If it has ended.
pub fn history_cores(pid: u32) -> anyhow::Result<CpuSet> {
    let mut reader = None;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?.path();
        let name = std::fs::read_to_string(thread.join("comm")).unwrap_or_default();
        if name.starts_with("esker-history") {
            let number = thread.file_name().and_then(|name| name.to_str()?.parse().ok());
            reader = number.and_then(Pid::from_raw);
        }
    }
    Ok(sched_getaffinity(reader)?)
}

//! The neighbour: Apache Kafka as one node (KRaft), fetched and run for comparison.
//!
//! [`artifacts`] has its jars, [`Kafka`] runs them with the JVM options of Kafka's own start script and Kafka's own defaults
//! for everything that is not said here. [`Setup`] says what a comparison varies: whether every batch is synced before it is
//! acknowledged, and whether there is a tier, which is Kafka's own `LocalTieredStorage`, a directory. [`run`] starts one for
//! others to ask.

mod artifacts;
mod command;

pub use artifacts::{Jars, VERSION};
pub use command::{Neighbour, run};

use crate::rig::free_ports;
use anyhow::Context;
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take: a recovery of much data is one.
const START: Duration = Duration::from_secs(120);
/// How long an orderly end may take.
const STOP: Duration = Duration::from_secs(30);
/// Heap, as Kafka's own start script has it.
const HEAP: [&str; 2] = ["-Xms1G", "-Xmx1G"];
/// What Kafka's own start script tells the JVM besides.
const JVM: [&str; 6] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];
/// The cluster's id; any would do.
const CLUSTER: &str = "bmVpZ2hib3VyLWthZmthLQ";

/// What a comparison varies.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Sync every batch before it is acknowledged; by default Kafka acknowledges from the page cache.
    pub synced: bool,
    /// A tier in a directory; topics still ask for it with `remote.storage.enable`.
    pub tiered: bool,
    /// Further settings.
    pub settings: Vec<(String, String)>,
}

/// A node; dropping it kills it.
#[derive(Debug)]
pub struct Kafka {
    jars: Jars,
    folder: PathBuf,
    bootstrap: String,
    child: Option<Child>,
}

impl Kafka {
    /// A node with empty data in `folder`, formatted and not yet started.
    ///
    /// # Errors
    /// If it cannot be formatted.
    pub fn format(jars: &Jars, folder: &Path, setup: &Setup) -> anyhow::Result<Self> {
        let [port, controller] = free_ports()?;
        let properties = properties(folder, port, controller, setup)?;
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("server.properties"), properties)?;
        let kafka =
            Self { jars: jars.clone(), folder: folder.to_owned(), bootstrap: format!("127.0.0.1:{port}"), child: None };
        let format = ["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"];
        let output = kafka.java(&[]).args(format).arg(folder.join("server.properties")).output();
        let output = output.context("java is needed, version 17 or later")?;
        let said = String::from_utf8_lossy(&output.stdout);
        anyhow::ensure!(output.status.success(), "Kafka's data could not be formatted: {said}");
        Ok(kafka)
    }

    /// Starts it; [`Kafka::wait`] waits until it serves.
    ///
    /// # Errors
    /// If there is no JVM.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let log = File::create(self.folder.join("server.log"))?;
        let mut command = self.java(&HEAP);
        command.args(JVM).arg("kafka.Kafka").arg(self.folder.join("server.properties"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("java is needed, version 17 or later")?);
        Ok(())
    }

    /// Waits until it accepts connections.
    ///
    /// # Errors
    /// With its log's end, if it does not.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let address = self.bootstrap.parse()?;
        while std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            let is_late = started.elapsed() > START;
            anyhow::ensure!(ended.is_none() && !is_late, "Kafka did not start ({ended:?}):\n{}", self.log_end());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// `host:port` for clients.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it (SIGKILL) and waits until it is gone. Its data stays.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it in an orderly way, or kills it if that takes too long. Its data stays.
    pub fn stop(&mut self) {
        let Some(child) = self.child.as_mut() else { return };
        if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let started = Instant::now();
        while started.elapsed() < STOP && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
    }

    fn java(&self, options: &[&str]) -> Command {
        let mut command = Command::new("java");
        command.args(options);
        command.arg(format!("-Dlog4j2.configurationFile={}", self.jars.logging().display()));
        command.arg("-cp").arg(self.jars.class_path());
        command
    }

    fn log_end(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `server.properties`; the last of several values of a key counts.
fn properties(folder: &Path, port: u16, controller: u16, setup: &Setup) -> anyhow::Result<String> {
    let mut text = String::new();
    let data = folder.join("log");
    let fixed: [(&str, &str); 11] = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.listener.names", "CONTROLLER"),
        ("offsets.topic.replication.factor", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("default.replication.factor", "1"),
        ("min.insync.replicas", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    for (key, value) in fixed {
        writeln!(text, "{key}={value}")?;
    }
    writeln!(text, "controller.quorum.voters=1@127.0.0.1:{controller}")?;
    writeln!(text, "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}")?;
    writeln!(text, "log.dirs={}", data.display())?;
    if setup.synced {
        writeln!(text, "log.flush.interval.messages=1")?;
    }
    if setup.tiered {
        let storage = "org.apache.kafka.server.log.remote.storage.LocalTieredStorage";
        let metadata = "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager";
        for (key, value) in [
            ("remote.log.storage.system.enable", "true"),
            ("remote.log.storage.manager.class.name", storage),
            ("remote.log.storage.manager.impl.prefix", "rsm.config."),
            ("remote.log.metadata.manager.class.name", metadata),
            ("remote.log.metadata.manager.listener.name", "PLAINTEXT"),
            ("remote.log.metadata.manager.impl.prefix", "rlmm.config."),
            ("rlmm.config.remote.log.metadata.topic.replication.factor", "1"),
            ("remote.log.manager.task.interval.ms", "1000"),
            ("log.retention.check.interval.ms", "1000"),
        ] {
            writeln!(text, "{key}={value}")?;
        }
        writeln!(text, "rsm.config.dir={}", folder.join("tier").display())?;
    }
    for (key, value) in &setup.settings {
        writeln!(text, "{key}={value}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_say_what_was_asked_for() {
        let text = |setup: &Setup| properties(Path::new("/data"), 1, 2, setup).unwrap();
        let plain = text(&Setup::default());
        assert!(plain.contains("\nlisteners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2\nlog.dirs=/data/log\n"));
        assert!(!plain.contains("log.flush") && !plain.contains("remote.log"), "{plain}");
        assert!(text(&Setup { synced: true, ..Setup::default() }).contains("\nlog.flush.interval.messages=1\n"));
        let settings = vec![("node.id".to_owned(), "7".to_owned())];
        let tiered = text(&Setup { tiered: true, settings, ..Setup::default() });
        assert!(tiered.contains("\nrsm.config.dir=/data/tier\n") && tiered.ends_with("\nnode.id=7\n"), "{tiered}");
    }
}

//! The two sides: a [`Node`] is a broker with data of its own that can be started, killed and started again.

use super::Tools;
use crate::client::Client;
use crate::load::runtime;
use crate::neighbour::{Kafka, Setup, VERSION};
use crate::rig::free_ports;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start may take.
const START: Duration = Duration::from_secs(120);
/// How long an orderly end may take.
const STOP: Duration = Duration::from_secs(30);
/// How often it is asked whether it answers.
const PAUSE: Duration = Duration::from_millis(5);

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The neighbour.
    Kafka,
    /// Ours.
    Esker,
}

/// Both, in the order of their turns.
pub(super) const SIDES: [Side; 2] = [Side::Kafka, Side::Esker];

impl Side {
    /// What it is, and its version.
    pub(super) fn software(self) -> String {
        match self {
            Self::Kafka => format!("Apache Kafka {VERSION}"),
            Self::Esker => format!("Esker {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// A broker and its data, which goes when this is dropped.
pub(super) struct Node {
    process: Process,
    folder: TempDir,
    side: Side,
}

enum Process {
    Kafka(Kafka),
    Esker(Esker),
}

/// Our broker at a port of its own.
struct Esker {
    binary: PathBuf,
    folder: PathBuf,
    bootstrap: String,
    settings: Vec<(String, String)>,
    child: Option<Child>,
}

impl Node {
    /// A broker with empty data, which does not run yet.
    pub(super) fn new(tools: &Tools, side: Side, setup: &Setup) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&tools.data)?;
        let folder = tempfile::Builder::new().prefix("versus-").tempdir_in(&tools.data)?;
        let process = match side {
            Side::Kafka => Process::Kafka(Kafka::format(&tools.jars, folder.path(), setup)?),
            Side::Esker => Process::Esker(Esker::new(&tools.esker, folder.path(), setup)?),
        };
        Ok(Self { process, folder, side })
    }

    /// One that runs and answers.
    pub(super) fn started(tools: &Tools, side: Side, setup: &Setup) -> anyhow::Result<Self> {
        let mut node = Self::new(tools, side, setup)?;
        node.launch()?;
        node.ready()?;
        Ok(node)
    }

    /// Starts its process.
    pub(super) fn launch(&mut self) -> anyhow::Result<()> {
        match &mut self.process {
            Process::Kafka(kafka) => kafka.start(),
            Process::Esker(esker) => esker.start(),
        }
    }

    /// Waits until it answers a request for metadata.
    pub(super) fn ready(&mut self) -> anyhow::Result<()> {
        if let Process::Kafka(kafka) = &mut self.process {
            kafka.wait()?;
        }
        let started = Instant::now();
        let client = Client::new(self.bootstrap());
        runtime()?.block_on(async {
            while let Err(error) = client.topics(None).await {
                anyhow::ensure!(started.elapsed() < START, "it did not start: {error}\n{}", self.log_end());
                client.forget().await;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        })
    }

    /// Who it is.
    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// `host:port`.
    pub(super) fn bootstrap(&self) -> &str {
        match &self.process {
            Process::Kafka(kafka) => kafka.bootstrap(),
            Process::Esker(esker) => &esker.bootstrap,
        }
    }

    /// The process id.
    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        let pid = match &self.process {
            Process::Kafka(kafka) => kafka.pid(),
            Process::Esker(esker) => esker.child.as_ref().map(Child::id),
        };
        pid.ok_or_else(|| anyhow::anyhow!("{} does not run", self.side.software()))
    }

    /// Where its data lies.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// SIGKILL, and gone. The data stays.
    pub(super) fn kill(&mut self) {
        match &mut self.process {
            Process::Kafka(kafka) => kafka.kill(),
            Process::Esker(esker) => esker.kill(),
        }
    }

    /// An orderly end. The data stays.
    pub(super) fn stop(&mut self) {
        match &mut self.process {
            Process::Kafka(kafka) => kafka.stop(),
            Process::Esker(esker) => esker.stop(),
        }
    }

    /// The end of what it logged.
    pub(super) fn log_end(&self) -> String {
        let name = if self.side == Side::Kafka { "server.log" } else { "esker.log" };
        let log = std::fs::read_to_string(self.folder().join(name)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n")
    }
}

impl Esker {
    fn new(binary: &Path, folder: &Path, setup: &Setup) -> anyhow::Result<Self> {
        let [port, admin] = free_ports()?;
        let text = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut settings = vec![
            text("listeners", &format!("PLAINTEXT://127.0.0.1:{port}")),
            text("admin.listeners", &format!("127.0.0.1:{admin}")),
            text("log.dirs", &folder.join("log").display().to_string()),
            text("store", &format!("file://{}", folder.join("tier").display())),
            text("log.durability", if setup.synced { "fsync" } else { "os" }),
        ];
        if setup.tiered {
            settings.push(text("log.retention.check.interval.ms", "1000"));
        }
        settings.extend(setup.settings.iter().cloned());
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        Ok(Self { binary, folder, bootstrap: format!("127.0.0.1:{port}"), settings, child: None })
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let log = File::create(self.folder.join("esker.log"))?;
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--log=warn"]);
        command.args(self.settings.iter().map(|(key, value)| format!("--set={key}={value}")));
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn stop(&mut self) {
        let Some(child) = self.child.as_mut() else { return };
        if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let started = Instant::now();
        while started.elapsed() < STOP && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(PAUSE);
        }
        self.kill();
    }
}

impl Drop for Esker {
    fn drop(&mut self) {
        self.kill();
    }
}

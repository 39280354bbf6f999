//! A broker process under a test's control.
//!
//! [`Options`] say how it is configured; a [`Broker`] is the process with its ports, its folder and its log. The folder
//! holds `data/` (what [`Broker::wipe_disk`] deletes), `store/` (the directory store, unless another one is given) and
//! the log of every start. Ports stay the same over restarts, so that clients find it again.

use super::{binary, log_lines, wait_for};
use esker_bench::client::Client;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long a start may take in a debug build on a busy machine.
const START: Duration = Duration::from_secs(60);
/// How long an orderly end may take.
const STOP: Duration = Duration::from_secs(20);

/// How a broker is configured beyond what the harness needs itself.
#[derive(Clone, Debug, Default)]
pub struct Options {
    settings: Vec<(String, String)>,
    env: Vec<(String, String)>,
    store: Option<String>,
    config: Option<PathBuf>,
}

impl Options {
    /// Nothing special: a directory store beside the data.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a configuration key.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Reads a configuration file as well; what is set otherwise wins.
    #[must_use]
    pub fn config(mut self, file: &Path) -> Self {
        self.config = Some(file.to_owned());
        self
    }

    /// Uses another store than the directory beside the data.
    #[must_use]
    pub fn store(mut self, url: &str) -> Self {
        self.store = Some(url.to_owned());
        self
    }

    /// Tiers soon and often, so that a test of a few megabytes sees every step.
    #[must_use]
    pub fn eager_tier(self) -> Self {
        self.set("log.retention.check.interval.ms", 200).set("tail.max.bytes", 64 << 10).set("tail.max.ms", 500)
    }
}

/// A running, or stopped, broker.
#[derive(Debug)]
pub struct Broker {
    folder: TempDir,
    options: Options,
    port: u16,
    admin: u16,
    child: Option<Child>,
    starts: usize,
    announced: Vec<String>,
    store_is_damaged: bool,
}

impl Broker {
    /// Starts a broker and waits until it is ready.
    ///
    /// # Panics
    /// With its log, if it does not start.
    pub async fn start(options: Options) -> Self {
        let mut broker = Self::prepare(options);
        broker.restart().await;
        broker
    }

    /// A broker with its ports and folder, not started yet.
    pub fn prepare(options: Options) -> Self {
        // Both at once, so that they differ.
        let (a, b) = (free_port(), free_port());
        let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
        Self {
            folder: tempfile::Builder::new().prefix("esker-test-").tempdir().expect("a temporary folder"),
            options,
            port: port(&a),
            admin: port(&b),
            child: None,
            starts: 0,
            announced: Vec::new(),
            store_is_damaged: false,
        }
    }

    /// `host:port` for Kafka clients.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A new client of this broker.
    pub fn client(&self) -> Client {
        Client::new(self.bootstrap())
    }

    /// The process id.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the broker runs").id()
    }

    /// The folder of the broker's logs and of nothing else.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The directory store, where no other one was chosen.
    pub fn store_folder(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Allows WARN and ERROR lines that contain `text`.
    pub fn announce(&mut self, text: &str) {
        self.announced.push(text.to_owned());
    }

    /// Changes the configuration from the next start on.
    pub fn reconfigure(&mut self, change: impl FnOnce(Options) -> Options) {
        self.options = change(std::mem::take(&mut self.options));
    }

    /// Starts it (again) on its data, and waits until it is ready.
    ///
    /// # Panics
    /// If it runs already, or with its log, if it does not start.
    pub async fn restart(&mut self) {
        self.launch();
        wait_for("the broker to be ready", START, || {
            self.expect_alive();
            let answer = self.admin_get("/readyz");
            async move { matches!(answer, Some((200, _))).then_some(()) }
        })
        .await;
    }

    /// Starts it without waiting.
    ///
    /// # Panics
    /// If it runs already.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "the broker runs already");
        let store = self.store_url();
        self.starts += 1;
        let log = File::create(self.log_path(self.starts)).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        let mut command = Command::new(binary::esker());
        command.arg("serve").current_dir(self.folder.path()).stdin(Stdio::null()).stdout(log).stderr(errors);
        if let Some(file) = &self.options.config {
            command.arg("--config").arg(file);
        }
        let ours = [
            ("listeners".to_owned(), format!("PLAINTEXT://{}", self.bootstrap())),
            ("admin.listeners".to_owned(), format!("127.0.0.1:{}", self.admin)),
            ("log.dirs".to_owned(), self.data().display().to_string()),
            ("store".to_owned(), store),
        ];
        for (key, value) in ours.iter().chain(&self.options.settings) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command.envs(self.options.env.iter().map(|(k, v)| (k, v)));
        self.child = Some(command.spawn().expect("esker starts"));
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the broker runs");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// SIGTERM, and waits for its status.
    ///
    /// # Panics
    /// If it takes too long.
    pub async fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the broker runs");
        let sent = Command::new("kill").arg(child.id().to_string()).status().expect("kill");
        assert!(sent.success());
        wait_for("the broker to end after SIGTERM", STOP, || {
            let status = child.try_wait().expect("wait");
            async move { status }
        })
        .await
    }

    /// Waits for it to end by itself.
    ///
    /// # Panics
    /// If it does not within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("the broker runs");
        wait_for("the broker to end", limit, || {
            let status = child.try_wait().expect("wait");
            async move { status }
        })
        .await
    }

    /// Deletes everything on the broker's disk; the store stays.
    ///
    /// # Panics
    /// If it runs.
    pub fn wipe_disk(&self) {
        assert!(self.child.is_none(), "stop the broker first");
        std::fs::remove_dir_all(self.data()).expect("the data can be deleted");
    }

    /// What `esker scrub` ends with, and says, of the broker's store; `None` if it was killed.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn scrub(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(binary::esker());
        command.args(["scrub", "--store", &self.store_url()]).args(arguments);
        command.envs(self.options.env.iter().map(|(k, v)| (k, v))).env_remove("ESKER_MUTATION");
        let output = command.output().expect("esker scrub runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// The test has damaged the store, so that it is not expected to be whole at the end.
    pub fn damaged_store(&mut self) {
        self.store_is_damaged = true;
    }

    /// The URL of its store.
    pub fn store_url(&self) -> String {
        self.options.store.clone().unwrap_or_else(|| format!("file://{}", self.store_folder().display()))
    }

    /// Everything that it logged in its last start.
    pub fn log(&self) -> String {
        read(&self.log_path(self.starts))
    }

    /// Answer of an HTTP GET on the admin listener: status and body; `None` if nobody listens.
    pub fn admin_get(&self, path: &str) -> Option<(u16, String)> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.admin));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// Panics with the log if the process has ended.
    fn expect_alive(&mut self) {
        let child = self.child.as_mut().expect("the broker runs");
        if let Some(status) = child.try_wait().expect("wait") {
            self.child = None;
            panic!("the broker ended with {status}; its log:\n{}", self.log());
        }
    }

    fn log_path(&self, start: usize) -> PathBuf {
        self.folder.path().join(format!("esker-{start}.log"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the broker's last log ---\n{}", tail(&self.log(), 60));
            return;
        }
        for start in 1..=self.starts {
            let log = read(&self.log_path(start));
            let lines = log_lines::unannounced(&log, &self.announced);
            assert!(lines.is_empty(), "start {start} logged what nobody announced:\n{}", lines.join("\n"));
        }
        if !self.store_is_damaged {
            let (status, said) = self.scrub(&[]);
            // 2: the store is away, or was never formatted.
            assert!(matches!(status, Some(0 | 2)), "the store is not whole:\n{said}");
        }
    }
}

fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

fn read(path: &Path) -> String {
    log_lines::plain(&std::fs::read_to_string(path).unwrap_or_default())
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

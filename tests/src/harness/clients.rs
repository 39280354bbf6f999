//! The clients from outside Rust: kcat, and our small programs on kafka-python, confluent-kafka and kafka-clients.
//!
//! A [`Program`] is one of those that speak the line format of `clients/python/scenario.py`. What `clients/setup` has
//! not set up is a failure, never a skipped test.

use super::records::{Abilities, Line};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A client program with the commands of `clients/python/scenario.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// kafka-python.
    KafkaPython,
    /// confluent-kafka, that is librdkafka.
    Confluent,
    /// Java's kafka-clients.
    Java,
}

impl Program {
    /// What its interface can express.
    pub fn abilities(self) -> Abilities {
        Abilities { null_headers: self != Program::KafkaPython }
    }

    /// Runs one command and returns what it printed.
    ///
    /// # Panics
    /// With its output, if it fails.
    pub async fn run(self, command: &str, bootstrap: &str, rest: &[&str]) -> String {
        let mut process = self.process();
        process.arg(command).arg(bootstrap).args(rest);
        let what = format!("{self:?} {command} {}", rest.join(" "));
        run(process, &what).await
    }

    /// Creates a topic.
    pub async fn create(self, bootstrap: &str, topic: &str, partitions: i32, configs: &[&str]) {
        let partitions = partitions.to_string();
        let mut rest = vec![topic, &partitions];
        rest.extend(configs);
        self.run("create", bootstrap, &rest).await;
    }

    /// Produces `lines` and waits for every acknowledgement.
    pub async fn produce(self, bootstrap: &str, topic: &str, codec: &str, lines: &[Line]) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let text: String = lines.iter().map(|line| line.to_produce() + "\n").collect();
        std::fs::write(file.path(), text).expect("the records can be written");
        let path = file.path().display().to_string();
        self.run("produce", bootstrap, &[topic, codec, &path]).await;
    }

    /// Consumes `count` records by assignment, sorted by partition and offset.
    pub async fn consume(self, bootstrap: &str, topic: &str, count: usize) -> Vec<Line> {
        sorted(lines(&self.run("consume", bootstrap, &[topic, &count.to_string()]).await))
    }

    /// Consumes `count` records by a group of two members: who (0 or 1) read what, in order.
    pub async fn group(self, bootstrap: &str, topic: &str, group: &str, count: usize) -> Vec<(u8, Line)> {
        let output = self.run("group", bootstrap, &[topic, group, &count.to_string()]).await;
        let parse = |text: &str| {
            let (member, rest) = text.split_once('\t')?;
            Some((member.parse().ok()?, Line::from_consumed(rest)?))
        };
        output.lines().map(|text| parse(text).unwrap_or_else(|| panic!("not a record: {text}"))).collect()
    }

    /// Consumes the next `count` records of a group with one member, and commits them.
    pub async fn resume(self, bootstrap: &str, topic: &str, group: &str, count: usize) -> Vec<Line> {
        lines(&self.run("resume", bootstrap, &[topic, group, &count.to_string()]).await)
    }

    /// The first offset at or after `timestamp` of each partition, in order.
    pub async fn time(self, bootstrap: &str, topic: &str, timestamp: i64) -> Vec<Option<i64>> {
        let output = self.run("time", bootstrap, &[topic, &timestamp.to_string()]).await;
        output.lines().map(|line| line.split('\t').nth(1).and_then(|offset| offset.parse().ok())).collect()
    }

    fn process(self) -> Command {
        let installed = installed();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        match self {
            Program::KafkaPython | Program::Confluent => {
                let mut command = outside(installed.join("python/bin/python"));
                command.arg(sources.join("python/scenario.py"));
                command.arg(if self == Program::KafkaPython { "kafka-python" } else { "confluent" });
                command
            }
            Program::Java => {
                let java = installed.join("java");
                let mut command = outside("java");
                let classes = format!("{}:{}/*", java.join("classes").display(), java.join("lib").display());
                command.args(["-XX:TieredStopAtLevel=1", "-cp", &classes, "Scenario"]);
                command
            }
        }
    }
}

/// A program from outside, which does not see the libraries that cargo lets tests find: where esker-bench was built with a
/// librdkafka, that can do less than the one kcat came with.
pub fn outside(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// Runs kcat with `args`, giving it `input`, and returns what it printed.
///
/// # Panics
/// With its output, if it fails.
pub async fn kcat(args: &[&str], input: &str) -> String {
    let mut command = outside("kcat");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), input).expect("the input can be written");
    command.args(args).stdin(std::fs::File::open(file.path()).expect("the input can be read"));
    run(command, &format!("kcat {}", args.join(" "))).await
}

fn lines(output: &str) -> Vec<Line> {
    output.lines().map(|text| Line::from_consumed(text).unwrap_or_else(|| panic!("not a record: {text}"))).collect()
}

/// By partition and offset.
pub fn sorted(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort_by_key(|line| (line.partition, line.record.offset));
    lines
}

/// The folder that `clients/setup` fills.
///
/// # Panics
/// If it has not.
pub fn installed() -> PathBuf {
    let program = std::env::current_exe().expect("a test knows its own path");
    // target/PROFILE/deps/PROGRAM-HASH
    let target = program.ancestors().nth(3).expect("a test lies in target/PROFILE/deps");
    let installed = target.join("clients");
    assert!(installed.exists(), "run tests/run, or tests/clients/setup: {} is missing", installed.display());
    installed
}

/// Runs to the end without blocking the test's runtime.
async fn run(mut command: Command, what: &str) -> String {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = std::time::Instant::now();
    let output: Output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("the thread lives")
        .unwrap_or_else(|error| panic!("{what} does not start: {error}"));
    assert!(
        output.status.success(),
        "{what}: {} after {:?}\n{}\n{}",
        output.status,
        started.elapsed(),
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout).chars().take(2000).collect::<String>()
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

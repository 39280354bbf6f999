//! A command of ours in a process of its own, which ends when its standard input does.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running command; dropping it ends it.
#[derive(Debug)]
pub struct Subprocess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Subprocess {
    /// Starts `esker-bench` with these arguments, like any process or one that gives way.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start<S: AsRef<str>>(arguments: &[S], gives_way: bool) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let start = |command: &mut Command| {
            command.args(arguments.iter().map(AsRef::as_ref)).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
        };
        let mut child = if gives_way {
            // Others preempt it at once. Without the commands for that, it has the lowest priority.
            match start(Command::new("chrt").args(["--idle", "0"]).arg(&own)) {
                Err(error) if error.kind() == ErrorKind::NotFound => start(Command::new("nice").arg("-n19").arg(&own))?,
                started => started?,
            }
        } else {
            start(&mut Command::new(&own))?
        };
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| anyhow::anyhow!("no output of a process of ours"))?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// Keeps it, and what threads it starts from now on, to `cores`.
    ///
    /// # Errors
    /// If it has ended.
    pub fn keep_to(&self, cores: &CpuSet) -> anyhow::Result<()> {
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let thread = thread?.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
            // A thread may end meanwhile.
            let _ = thread.map(|thread| sched_setaffinity(Some(thread), cores));
        }
        Ok(())
    }

    /// Says a line to it.
    ///
    /// # Errors
    /// If it has ended.
    pub fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().ok_or_else(|| anyhow::anyhow!("a process of ours hears nothing"))?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    /// The next line that it says.
    ///
    /// # Errors
    /// If it ends instead.
    pub fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        anyhow::ensure!(self.output.read_line(&mut line)? > 0, "a process of ours ended early: see above");
        Ok(line.trim_end().to_owned())
    }

    /// Ends it; what it had to say besides.
    ///
    /// # Errors
    /// If it ended with an error.
    pub fn end(mut self) -> anyhow::Result<String> {
        self.input = None;
        let mut rest = String::new();
        self.output.read_to_string(&mut rest)?;
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "a process of ours ended with {status}: see above");
        Ok(rest)
    }
}

impl Drop for Subprocess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

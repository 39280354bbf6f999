//! A command of ours in a process of its own, which ends when its standard input does.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running command; dropping it ends it.
#[derive(Debug)]
pub struct Subprocess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Subprocess {
    /// Starts `esker-bench` with these arguments, as a process that runs when nobody else wants to: others preempt it at
    /// once. Where there is no `chrt` for that, it has the lowest priority.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start<S: AsRef<str>>(arguments: &[S]) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let start = |command: &mut Command| {
            command.args(arguments.iter().map(AsRef::as_ref)).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
        };
        let mut child = match start(Command::new("chrt").args(["--idle", "0"]).arg(&own)) {
            Err(error) if error.kind() == ErrorKind::NotFound => start(Command::new("nice").arg("-n19").arg(&own))?,
            started => started?,
        };
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| anyhow::anyhow!("no output of a process of ours"))?;
        Ok(Self { child, input, output: BufReader::new(output) })
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

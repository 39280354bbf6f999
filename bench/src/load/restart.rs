//! Restarting the broker while it is loaded: a shell command, so often, evenly spread over what is measured.

use super::Clock;
use super::workload::Restart;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long the last command may take after the run.
const PATIENCE: Duration = Duration::from_secs(120);

/// When to restart, and what was seen of it.
pub(super) struct Restarts {
    command: String,
    due: Vec<u64>,
    running: Option<(Child, u64)>,
    took: Vec<f64>,
}

impl Restarts {
    /// At which points of `measured`: two of them after a third and two thirds.
    pub(super) fn plan(restart: Option<&Restart>, measured: &Range<u64>) -> Self {
        let (command, times) = restart.map_or((String::new(), 0), |r| (r.command.clone(), u64::from(r.times)));
        let step = (measured.end - measured.start) / (times + 1);
        let due = (1..=times).rev().map(|number| measured.start + number * step).collect();
        Self { command, due, running: None, took: Vec::new() }
    }

    /// Does what is due.
    pub(super) fn look(&mut self, now: u64, clock: Clock) -> anyhow::Result<()> {
        if let Some((child, since)) = &mut self.running {
            let Some(status) = child.try_wait()? else { return Ok(()) };
            anyhow::ensure!(status.success(), "{}: {status}", self.command);
            self.took.push(clock.now().saturating_sub(*since) as f64 / 1e9);
            self.running = None;
        }
        if self.due.last().is_some_and(|due| *due <= now) {
            self.due.pop();
            // Its words are not among our results.
            let mut command = Command::new("sh");
            command.args(["-c", &self.command]).stdin(Stdio::null()).stdout(Stdio::null());
            self.running = Some((command.spawn()?, now));
        }
        Ok(())
    }

    /// Seconds that each command took, after waiting for the last one.
    pub(super) fn end(mut self, clock: Clock) -> anyhow::Result<Vec<f64>> {
        let since = clock.now();
        while self.running.is_some() {
            self.look(0, clock)?;
            let waited = Duration::from_nanos(clock.now().saturating_sub(since));
            anyhow::ensure!(waited < PATIENCE, "{} does not end", self.command);
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::ensure!(self.due.is_empty(), "the run ended before its restarts");
        Ok(std::mem::take(&mut self.took))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_spread_evenly_and_one_that_fails_is_told() {
        let restart = Restart { command: "true".to_owned(), times: 2 };
        let mut restarts = Restarts::plan(Some(&restart), &(100..400));
        assert_eq!(restarts.due, [300, 200]);
        let clock = Clock::start();
        for now in [200, 300] {
            while restarts.running.is_some() {
                restarts.look(0, clock).unwrap();
            }
            restarts.look(now, clock).unwrap();
        }
        assert_eq!(restarts.end(clock).unwrap().len(), 2);
        let restart = Restart { command: "exit 3".to_owned(), times: 1 };
        let mut restarts = Restarts::plan(Some(&restart), &(100..400));
        restarts.look(250, clock).unwrap();
        assert!(restarts.end(clock).unwrap_err().to_string().contains("exit 3"));
    }
}

//! How a simulated run fails, and what is printed so that it can be run again.

use super::process::TaskId;
use std::fmt;
use std::time::Duration;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Nothing can run and no timer is pending, but the scenario has not ended: these tasks wait for ever.
    Deadlock {
        /// `owner/name` of each task that waits.
        waiting: Vec<String>,
    },
    /// More steps than the run was given: something spins.
    StepLimit {
        /// `owner/name` of each task.
        waiting: Vec<String>,
    },
    /// More virtual time than the run was given: something waits for what never comes, while timers go on.
    TimeLimit {
        /// `owner/name` of each task.
        waiting: Vec<String>,
    },
    /// A task panicked, a failed assertion of the scenario included.
    Panicked {
        /// `owner/name` of the task.
        task: String,
        /// The panic's message.
        message: String,
    },
    /// An invariant of the simulated world or of the scenario does not hold.
    Violated {
        /// Which, and how.
        what: String,
    },
}

/// A run that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Running it again gives the same failure.
    pub seed: u64,
    /// What went wrong.
    pub kind: FailureKind,
    /// The virtual time at which it did.
    pub at: Duration,
    /// Steps made until then.
    pub steps: u64,
    /// The newest events, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        write!(f, "seed {} failed after {} steps, at {:?}: ", self.seed, self.steps, self.at)?;
        match &self.kind {
            FailureKind::Deadlock { waiting } => write!(f, "deadlock; waiting: {}", waiting.join(", "))?,
            FailureKind::StepLimit { waiting } => write!(f, "step limit; tasks: {}", waiting.join(", "))?,
            FailureKind::TimeLimit { waiting } => write!(f, "time limit; tasks: {}", waiting.join(", "))?,
            FailureKind::Panicked { task, message } => write!(f, "{task} panicked: {message}")?,
            FailureKind::Violated { what } => write!(f, "{what}")?,
        }
        write!(f, "\nrun it again with ESKER_SIM_SEED={} (and ESKER_SIM_TRACE=1)", self.seed)
    }
}

impl std::error::Error for Failure {}

/// The text of a panic's payload.
pub(super) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(no message)".to_owned()
    }
}

/// `owner/name#id`, as failures and traces name a task.
pub(super) fn task_name(owner: &str, name: &str, id: TaskId) -> String {
    format!("{owner}/{name}#{id}")
}

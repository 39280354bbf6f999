//! The handle by which handlers and coordinators have the metadata changed.

use super::error::SubmitError;
use super::journal::{Journal, JournalError};
use super::outcome::{ControllerState, Settled};
use super::plan::{Command, Rules};
use super::queue::{Queued, Waiting};
use super::run;
use crate::config::BrokerConfig;
use esker_storage::env::{Env, TaskHandle};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

/// Submits commands to this broker's controller; cheap to clone.
#[derive(Clone)]
pub struct Controller {
    env: Env,
    queue: mpsc::Sender<Box<dyn Waiting>>,
    state: watch::Receiver<ControllerState>,
    limit: Duration,
}

impl Controller {
    /// Has broker `config.node_id`, in its start `incarnation`, elected, and starts deciding. What the journal publishes
    /// goes on to its publisher.
    ///
    /// # Errors
    /// As [`Journal::open`], whose journal is used up: open it again.
    pub async fn start(
        env: &Env,
        mut journal: Journal,
        config: &BrokerConfig,
        incarnation: Uuid,
        cluster: Uuid,
    ) -> Result<(Controller, TaskHandle), JournalError> {
        run::elect(&mut journal, config.node_id, incarnation, cluster).await?;
        let capacity = usize::try_from(config.metadata_max_pending_commands).unwrap_or(usize::MAX).clamp(1, 1 << 20);
        let (queue, commands) = mpsc::channel(capacity);
        let (states, state) = watch::channel(ControllerState::Active);
        let limit = Duration::from_millis(config.metadata_commit_timeout_ms);
        let rules = Rules::new(config);
        let task =
            env.spawn_background("controller", run::run(env.clone(), journal, commands, states, rules, incarnation));
        Ok((Controller { env: env.clone(), queue, state, limit }, task))
    }

    /// Has `command` decided and committed, and waits for that, at most `limit` (or `metadata.commit.timeout.ms`).
    /// By the time it answers, the publisher has the image with its effect.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit<C: Command>(
        &self,
        command: C,
        limit: Option<Duration>,
    ) -> Result<Settled<C::Answer>, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let queued = Box::new(Queued { command, planned: None, reply });
        let settled = async {
            // A full queue makes its submitters wait, within their limit.
            self.queue.send(queued).await.map_err(|_| SubmitError::NotController)?;
            answer.await.unwrap_or(Err(SubmitError::NotController))
        };
        self.env.timeout(limit.unwrap_or(self.limit), settled).await.unwrap_or(Err(SubmitError::TimedOut))
    }

    /// Whether this broker is the controller, and news of it.
    pub fn state(&self) -> watch::Receiver<ControllerState> {
        self.state.clone()
    }

    /// How long a request waits that does not say itself: `metadata.commit.timeout.ms`.
    pub fn default_limit(&self) -> Duration {
        self.limit
    }

    /// The limit that a request's `timeout_ms` asks for; the default for a number that is not positive.
    pub fn limit_of(&self, timeout_ms: i32) -> Duration {
        match u64::try_from(timeout_ms) {
            Ok(millis) if millis > 0 => Duration::from_millis(millis),
            _ => self.limit,
        }
    }

    /// The machine, for those who are given a controller and start tasks about it.
    pub fn env(&self) -> &Env {
        &self.env
    }
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;

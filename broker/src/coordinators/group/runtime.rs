//! The life of one coordinator partition: load, serve, load again when the log did not follow, end.
//!
//! ```text
//!   start ──> load ──────> serve ──────> end
//!              │ ^           │
//!   not leader │ └───────────┘ an append failed
//!              v
//!             end
//! ```
//!
//! When an append fails, the machine knows more than the log. It is thrown away: the runtime waits for the appends in
//! flight, answers everybody with an error that makes them come back, and loads from the log again. It ends when it is
//! told to or when the log says that another broker leads; whoever still waits then is sent to look for the
//! coordinator.

use super::config::GroupConfig;
use super::log::{CoordinatorLog, ReplayError};
use super::records::GroupRecord;
use super::request::{Answer, Request};
use super::serving::{Call, End, Serving};
use super::state::GroupMachine;
use super::topics::GroupTopics;
use esker_storage::env::{Env, TaskHandle};
use futures_util::StreamExt;
use kafka_protocol::error::ResponseError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};

/// A running coordinator partition. Dropping it ends the runtime as [`Runtime::stop`] does, without waiting.
#[derive(Debug)]
pub struct Runtime {
    calls: mpsc::Sender<Call>,
    stop: oneshot::Sender<()>,
    task: TaskHandle,
    is_loaded: Arc<AtomicBool>,
}

/// Where requests to a running coordinator partition go; cheap to clone.
#[derive(Clone, Debug)]
pub struct Requests {
    calls: mpsc::Sender<Call>,
}

impl Runtime {
    /// Starts to load the partition behind `log`, and then to serve it.
    pub fn start(
        env: &Env,
        config: Arc<GroupConfig>,
        topics: Arc<dyn GroupTopics>,
        partition: i32,
        log: Arc<dyn CoordinatorLog>,
    ) -> Runtime {
        let (calls, receiver) = mpsc::channel(config.max_queued);
        let (stop, stopped) = oneshot::channel();
        let is_loaded = Arc::new(AtomicBool::new(false));
        let loaded = Arc::clone(&is_loaded);
        let worker = Worker {
            env: env.clone(),
            config,
            topics,
            partition,
            log,
            calls: receiver,
            stopped,
            is_loaded: loaded,
            deferred: Vec::new(),
        };
        let task = env.spawn_background("group-coordinator", worker.run());
        Runtime { calls, stop, task, is_loaded }
    }

    /// Where to send requests.
    pub fn requests(&self) -> Requests {
        Requests { calls: self.calls.clone() }
    }

    /// Whether requests are served, and not turned away until the log is replayed.
    pub fn is_loaded(&self) -> bool {
        self.is_loaded.load(Ordering::Relaxed)
    }

    /// Ends the runtime: what is in flight is waited for, everybody else is answered NOT_COORDINATOR.
    pub async fn stop(self) {
        // The receiver is gone if the runtime has ended by itself.
        let _ = self.stop.send(());
        self.task.ended().await;
    }
}

impl Requests {
    /// The answer to `request`; NOT_COORDINATOR if the runtime ended. Waits for room in the queue.
    pub async fn ask(&self, request: Request) -> Answer {
        let lost = request.refused(ResponseError::NotCoordinator);
        let (answer, receiver) = oneshot::channel();
        if self.calls.send(Call { request, answer }).await.is_err() {
            return lost;
        }
        receiver.await.unwrap_or(lost)
    }
}

struct Worker {
    env: Env,
    config: Arc<GroupConfig>,
    topics: Arc<dyn GroupTopics>,
    partition: i32,
    log: Arc<dyn CoordinatorLog>,
    calls: mpsc::Receiver<Call>,
    stopped: oneshot::Receiver<()>,
    is_loaded: Arc<AtomicBool>,
    /// Calls that came while nothing was loaded and cannot be turned away, since nobody would repeat them.
    deferred: Vec<Call>,
}

impl Worker {
    async fn run(mut self) {
        loop {
            let machine = match self.load().await {
                Ok(machine) => machine,
                Err(_) => break,
            };
            let (env, config, log) = (self.env.clone(), Arc::clone(&self.config), Arc::clone(&self.log));
            let mut serving = Serving::new(env, config, Arc::clone(&self.topics), log, machine);
            self.is_loaded.store(true, Ordering::Relaxed);
            let deferred = std::mem::take(&mut self.deferred);
            let end = serving.serve(deferred, &mut self.calls, &mut self.stopped).await;
            self.is_loaded.store(false, Ordering::Relaxed);
            serving.end(end).await;
            match end {
                End::Reload(error) => {
                    tracing::info!(partition = self.partition, %error, "loading the group coordinator again");
                }
                End::Stopped | End::NotLeader => break,
            }
        }
        self.calls.close();
        let queued = std::iter::from_fn(|| self.calls.try_recv().ok());
        for call in self.deferred.into_iter().chain(queued) {
            let _ = call.answer.send(call.request.refused(ResponseError::NotCoordinator));
        }
    }

    /// Replays the log from its start, as often as it takes.
    async fn load(&mut self) -> Result<GroupMachine, End> {
        loop {
            match self.replay().await {
                Ok(machine) => return Ok(machine),
                Err(Some(end)) => return Err(end),
                Err(None) => {
                    let mut backoff = self.env.sleep(self.config.reload_backoff);
                    loop {
                        tokio::select! {
                            biased;
                            _ = &mut self.stopped => return Err(End::Stopped),
                            () = &mut backoff => break,
                            call = self.calls.recv() => self.turn_away(call.ok_or(End::Stopped)?),
                        }
                    }
                }
            }
        }
    }

    /// One attempt; `Err(None)` if another one is worth it.
    async fn replay(&mut self) -> Result<GroupMachine, Option<End>> {
        let mut machine = GroupMachine::new(Arc::clone(&self.config));
        let mut pages = self.log.replay();
        let mut unreadable = 0u64;
        loop {
            tokio::select! {
                biased;
                _ = &mut self.stopped => return Err(Some(End::Stopped)),
                call = self.calls.recv() => self.turn_away(call.ok_or(Some(End::Stopped))?),
                page = pages.next() => match page {
                    Some(Ok(records)) => {
                        for record in records {
                            match GroupRecord::decode(&record.key, record.value.as_deref()) {
                                Ok(record) => machine.replay(record),
                                Err(_) => unreadable += 1,
                            }
                        }
                    }
                    Some(Err(ReplayError::NotLeader)) => return Err(Some(End::NotLeader)),
                    Some(Err(ReplayError::Unavailable)) => return Err(None),
                    None => break,
                },
            }
        }
        if unreadable > 0 {
            tracing::error!(
                partition = self.partition,
                unreadable,
                "left out unreadable records of __consumer_offsets"
            );
        }
        let groups = machine.count();
        if groups > 0 {
            tracing::info!(partition = self.partition, groups, "loaded a group coordinator");
        }
        Ok(machine)
    }

    /// Answers a call while nothing is loaded. A heartbeat succeeds, as with Kafka: it costs the member nothing, and
    /// its next one finds out more. That topics are gone is kept for later.
    fn turn_away(&mut self, call: Call) {
        let answer = match call.request {
            Request::TopicsDeleted { .. } => return self.deferred.push(call),
            Request::Heartbeat(_) => Answer::Heartbeat(Ok(())),
            request => request.refused(ResponseError::CoordinatorLoadInProgress),
        };
        let _ = call.answer.send(answer);
    }
}

#[cfg(test)]
#[path = "runtime_tests.rs"]
mod tests;

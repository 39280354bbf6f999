//! One coordinator partition at work: load, take requests, append their records, answer when those are committed.
//!
//! ```text
//! calls ──> machine ──> records ──> unsent ──append──> in flight ──committed──┐
//!              │                                                              v
//!              └── answers, each with the count of records before it ──> held ──> senders
//! ```
//!
//! The machine is ahead of the log by the records that are unsent or in flight. An answer is *held* until every record
//! that existed when it was made is committed, so that nobody sees what could still be taken back: not by a later
//! commit, not by a fetch, not by a heartbeat. Requests that arrive together share an append, and appends overlap.
//!
//! When an append fails, the machine knows more than the log. It is thrown away: the runtime waits for the appends in
//! flight, answers everybody with an error that makes them come back, and loads from the log again. It ends when it is
//! told to or when the log says that another broker leads; whoever still waits then is sent to look for the
//! coordinator.
//!
//! Nothing here blocks or keeps time by itself: `now` is read once per round, and the machine's next deadline is slept
//! for in the same `select!` that requests and commits wake.

use super::config::GroupConfig;
use super::log::{AppendError, CoordinatorLog, ReplayError};
use super::records::{GroupRecord, LogRecord};
use super::request::{Answer, Now, Reply, Request, Token};
use super::state::{GroupMachine, Output};
use esker_storage::env::{Env, Monotonic, TaskHandle};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use kafka_protocol::error::ResponseError;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Requests that are taken in one round, before their records are appended.
const CALLS_PER_ROUND: usize = 256;

/// A request on its way to the machine.
struct Call {
    request: Request,
    answer: oneshot::Sender<Answer>,
}

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
    pub fn start(env: &Env, config: Arc<GroupConfig>, partition: i32, log: Arc<dyn CoordinatorLog>) -> Runtime {
        let (calls, receiver) = mpsc::channel(config.max_queued);
        let (stop, stopped) = oneshot::channel();
        let is_loaded = Arc::new(AtomicBool::new(false));
        let loaded = Arc::clone(&is_loaded);
        let worker = Worker { env: env.clone(), config, partition, log, calls: receiver, stopped, is_loaded: loaded };
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

/// Why serving or loading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was told to.
    Stopped,
    /// Another broker leads.
    NotLeader,
    /// The machine is ahead of a log that did not follow.
    Reload(AppendError),
}

struct Worker {
    env: Env,
    config: Arc<GroupConfig>,
    partition: i32,
    log: Arc<dyn CoordinatorLog>,
    calls: mpsc::Receiver<Call>,
    stopped: oneshot::Receiver<()>,
    is_loaded: Arc<AtomicBool>,
}

impl Worker {
    async fn run(mut self) {
        loop {
            let machine = match self.load().await {
                Ok(machine) => machine,
                Err(_) => break,
            };
            let mut serving = Serving::new(&self, machine);
            self.is_loaded.store(true, Ordering::Relaxed);
            let end = serving.serve(&mut self).await;
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
        while let Ok(call) = self.calls.try_recv() {
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
                            call = self.calls.recv() => turn_away(call.ok_or(End::Stopped)?),
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
                call = self.calls.recv() => turn_away(call.ok_or(Some(End::Stopped))?),
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
        let groups: usize = machine.count_by_state().values().sum();
        if groups > 0 {
            tracing::info!(partition = self.partition, groups, "loaded a group coordinator");
        }
        Ok(machine)
    }
}

/// Answers a call while nothing is loaded. A heartbeat succeeds, as with Kafka: it costs the member nothing, and
/// its next one finds out more.
fn turn_away(call: Call) {
    let answer = match call.request {
        Request::Heartbeat(_) => Answer::Heartbeat(Ok(())),
        request => request.refused(ResponseError::CoordinatorLoadInProgress),
    };
    let _ = call.answer.send(answer);
}

/// An answer that waits until the log has everything it is based on.
struct Held {
    /// How many records there were.
    records: u64,
    /// When its requester is told to come back instead.
    until: Monotonic,
    answer: Answer,
    sender: oneshot::Sender<Answer>,
}

/// A loaded machine between two loads.
struct Serving {
    env: Env,
    config: Arc<GroupConfig>,
    log: Arc<dyn CoordinatorLog>,
    machine: GroupMachine,
    /// Requests that the machine has not answered.
    asked: BTreeMap<Token, oneshot::Sender<Answer>>,
    next_token: u64,
    held: VecDeque<Held>,
    /// Records that are not appended yet, and their bytes.
    unsent: VecDeque<LogRecord>,
    unsent_bytes: usize,
    /// Appends, in order, and how many records each has.
    in_flight: FuturesOrdered<BoxFuture<'static, (u64, Result<(), AppendError>)>>,
    /// Records that the machine made, and that are committed.
    made: u64,
    committed: u64,
}

impl Serving {
    fn new(worker: &Worker, machine: GroupMachine) -> Serving {
        Serving {
            env: worker.env.clone(),
            config: Arc::clone(&worker.config),
            log: Arc::clone(&worker.log),
            machine,
            asked: BTreeMap::new(),
            next_token: 0,
            held: VecDeque::new(),
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            in_flight: FuturesOrdered::new(),
            made: 0,
            committed: 0,
        }
    }

    fn now(&self) -> Now {
        Now { monotonic: self.env.now(), wall: self.env.wall() }
    }

    async fn serve(&mut self, worker: &mut Worker) -> End {
        let mut out = Output::default();
        self.machine.loaded(self.now(), &mut out);
        self.take(out);
        let mut alarm: Option<(Monotonic, BoxFuture<'static, ()>)> = None;
        loop {
            // Not left to the alarm alone: requests that keep coming must not keep time from passing.
            self.catch_up();
            if let Err(error) = self.append() {
                return ending(error);
            }
            let due = self.next_due();
            if alarm.as_ref().map(|(at, _)| *at) != due {
                alarm = due.map(|at| (at, self.env.sleep(at.since(self.env.now()))));
            }
            let wake = async {
                match &mut alarm {
                    Some((_, sleep)) => sleep.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = &mut worker.stopped => return End::Stopped,
                Some((records, result)) = self.in_flight.next() => {
                    if let Err(error) = self.ended_append(records, result) {
                        return ending(error);
                    }
                }
                call = worker.calls.recv(), if self.has_room() => match call {
                    None => return End::Stopped,
                    Some(call) => self.handle_round(call, &mut worker.calls),
                },
                () = wake => alarm = None,
            }
        }
    }

    /// Whether to take more requests. While appends are slow those that come are still handled, since members whose
    /// heartbeats went unheard would be taken for dead; but only as far as one more append and the queue's limit go.
    fn has_room(&self) -> bool {
        self.unsent_bytes < self.config.max_batch_bytes && self.held.len() < self.config.max_queued
    }

    /// When something happens without a request: the machine's next deadline, or that of an answer.
    fn next_due(&self) -> Option<Monotonic> {
        self.machine.next_deadline().into_iter().chain(self.held.front().map(|held| held.until)).min()
    }

    /// Lets the machine do what is due, and sends away those whose records are not committed in time.
    fn catch_up(&mut self) {
        let now = self.now();
        if self.machine.next_deadline().is_some_and(|deadline| deadline <= now.monotonic) {
            let mut out = Output::default();
            self.machine.advance(now, &mut out);
            self.take(out);
        }
        while let Some(late) = self.held.pop_front_if(|held| held.until <= now.monotonic) {
            let _ = late.sender.send(failed(late.answer, ResponseError::CoordinatorNotAvailable));
        }
    }

    /// Takes `first` and those that wait behind it, so that they share an append.
    fn handle_round(&mut self, first: Call, calls: &mut mpsc::Receiver<Call>) {
        let now = self.now();
        self.handle(now, first);
        for _ in 1..CALLS_PER_ROUND {
            if !self.has_room() {
                return;
            }
            match calls.try_recv() {
                Ok(call) => self.handle(now, call),
                Err(_) => return,
            }
        }
    }

    fn handle(&mut self, now: Now, call: Call) {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.asked.insert(token, call.answer);
        let mut out = Output::default();
        self.machine.handle(now, token, call.request, &mut out);
        self.take(out);
    }

    /// Queues what came out of the machine.
    fn take(&mut self, out: Output) {
        for record in out.records {
            self.made += 1;
            self.unsent_bytes += bytes_of(&record);
            self.unsent.push_back(record);
        }
        let until = self.env.now().plus(self.config.commit_timeout);
        for Reply { token, answer } in out.replies {
            if let Some(sender) = self.asked.remove(&token) {
                self.held.push_back(Held { records: self.made, until, answer, sender });
            }
        }
        self.release();
    }

    /// Appends what is unsent, as far as there may be more appends in flight.
    fn append(&mut self) -> Result<(), AppendError> {
        while !self.unsent.is_empty() && self.in_flight.len() < self.config.max_in_flight.max(1) {
            let (mut batch, mut size) = (Vec::new(), 0);
            while let Some(record) =
                self.unsent.pop_front_if(|next| size == 0 || size + bytes_of(next) <= self.config.max_batch_bytes)
            {
                size += bytes_of(&record);
                batch.push(record);
            }
            self.unsent_bytes = self.unsent_bytes.saturating_sub(size);
            let records = batch.len() as u64;
            let append = self.log.append(batch);
            self.in_flight.push_back(Box::pin(append.map(move |result| (records, result))));
            // Appends take their places in the log in the order of their first polls: this is this one's.
            while let Some(Some((records, result))) = self.in_flight.next().now_or_never() {
                self.ended_append(records, result)?;
            }
        }
        Ok(())
    }

    fn ended_append(&mut self, records: u64, result: Result<(), AppendError>) -> Result<(), AppendError> {
        result?;
        self.committed += records;
        self.release();
        Ok(())
    }

    /// Sends the answers that nothing can take back any more.
    fn release(&mut self) {
        while let Some(held) = self.held.pop_front_if(|held| held.records <= self.committed) {
            // The requester may have gone.
            let _ = held.sender.send(held.answer);
        }
    }

    /// Waits for what is in flight, and answers everybody.
    async fn end(mut self, end: End) {
        let mut is_lost = end != End::Stopped;
        while let Some((records, result)) = self.in_flight.next().await {
            is_lost |= result.is_err();
            if !is_lost {
                self.committed += records;
                self.release();
            }
        }
        let error = match end {
            End::Stopped | End::NotLeader => ResponseError::NotCoordinator,
            End::Reload(AppendError::TooLarge) => ResponseError::UnknownServerError,
            End::Reload(_) => ResponseError::CoordinatorNotAvailable,
        };
        for held in self.held {
            let _ = held.sender.send(failed(held.answer, error));
        }
        for Reply { token, answer } in self.machine.abandon(error) {
            if let Some(sender) = self.asked.remove(&token) {
                let _ = sender.send(answer);
            }
        }
    }
}

fn ending(error: AppendError) -> End {
    match error {
        AppendError::NotLeader => End::NotLeader,
        AppendError::Unavailable | AppendError::TooLarge => End::Reload(error),
    }
}

fn bytes_of(record: &LogRecord) -> usize {
    // A record's frame in a batch is at most this much larger than its key and value.
    const FRAME: usize = 32;
    FRAME + record.key.len() + record.value.as_ref().map_or(0, |value| value.len())
}

/// `answer` replaced by `error`. Consumers before 3.9 do not understand COORDINATOR_NOT_AVAILABLE from OffsetFetch;
/// NOT_COORDINATOR makes them look for the coordinator and try again.
fn failed(answer: Answer, error: ResponseError) -> Answer {
    let error = match (&answer, error) {
        (Answer::Offsets(_), ResponseError::CoordinatorNotAvailable) => ResponseError::NotCoordinator,
        _ => error,
    };
    answer.failed(error)
}

#[cfg(test)]
#[path = "runtime_tests.rs"]
mod tests;

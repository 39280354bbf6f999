//! A loaded coordinator partition at work: requests into the machine, its records into the log, its answers out.
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
//! Nothing here blocks or keeps time by itself: `now` is read once per round, and the machine's next deadline is slept
//! for in the same `select!` that requests and commits wake.

use super::config::GroupConfig;
use super::log::{AppendError, CoordinatorLog};
use super::records::LogRecord;
use super::request::{Answer, Now, Reply, Request, Token};
use super::state::{GroupMachine, Output};
use super::topics::GroupTopics;
use esker_storage::env::{Env, Monotonic};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use kafka_protocol::error::ResponseError;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Requests that are taken in one round, before their records are appended.
const CALLS_PER_ROUND: usize = 256;

/// A request on its way to the machine.
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// Why serving or loading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was told to.
    Stopped,
    /// Another broker leads.
    NotLeader,
    /// The machine is ahead of a log that did not follow.
    Reload(AppendError),
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
pub(super) struct Serving {
    env: Env,
    config: Arc<GroupConfig>,
    topics: Arc<dyn GroupTopics>,
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
    pub(super) fn new(
        env: Env,
        config: Arc<GroupConfig>,
        topics: Arc<dyn GroupTopics>,
        log: Arc<dyn CoordinatorLog>,
        machine: GroupMachine,
    ) -> Serving {
        Serving {
            env,
            config,
            topics,
            log,
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

    /// The present. Whoever asks for it is about to do something, which begins with a look at the topics.
    fn now(&mut self) -> Now {
        self.machine.see_topics(self.topics.image());
        Now { monotonic: self.env.now(), wall: self.env.wall() }
    }

    /// Serves `deferred` and then what comes from `calls`, until `stopped` or the log ends it.
    pub(super) async fn serve(
        &mut self,
        deferred: Vec<Call>,
        calls: &mut mpsc::Receiver<Call>,
        stopped: &mut oneshot::Receiver<()>,
    ) -> End {
        let mut out = Output::default();
        let now = self.now();
        for (group, invariant) in self.machine.loaded(now, &mut out) {
            tracing::error!(
                group,
                invariant,
                "the records of a group contradict each other; it begins anew, with its offsets and without members"
            );
        }
        self.take(out);
        for call in deferred {
            self.handle(now, call);
        }
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
                _ = &mut *stopped => return End::Stopped,
                Some((records, result)) = self.in_flight.next() => {
                    if let Err(error) = self.ended_append(records, result) {
                        return ending(error);
                    }
                }
                call = calls.recv(), if self.has_room() => match call {
                    None => return End::Stopped,
                    Some(call) => self.handle_round(call, calls),
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
        let now = self.env.now();
        if self.machine.next_deadline().is_some_and(|deadline| deadline <= now) {
            let now = self.now();
            let mut out = Output::default();
            self.machine.advance(now, &mut out);
            self.take(out);
        }
        while let Some(late) = self.held.pop_front_if(|held| held.until <= now) {
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
    pub(super) async fn end(mut self, end: End) {
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

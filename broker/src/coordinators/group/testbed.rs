//! For tests: an executor and a clock that do only what the test says, and a log that commits when it is told to.

use super::config::GroupConfig;
use super::coordinator::GroupCoordinator;
use super::fixed_topics::FixedTopics;
use super::log::{AppendError, CoordinatorLog, ReplayError};
use super::records::LogRecord;
use esker_storage::env::{Clock, Env, Monotonic, Pool, Random, RealDisk, TaskHandle, Tasks, Timestamp};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use tokio::sync::oneshot;

/// Where all partitions' groups hash to in these tests.
pub(crate) const PARTITION: i32 = 0;

/// One thread of tasks, polled in the order in which they were started until none has anything to do.
#[derive(Default)]
pub(crate) struct Bench {
    tasks: Mutex<Vec<Task>>,
    now: Mutex<Duration>,
    sleepers: Mutex<Vec<(Duration, Waker)>>,
    counter: AtomicU64,
}

struct Task {
    future: BoxFuture<'static, ()>,
    flag: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Bench {
    pub(crate) fn new() -> Arc<Bench> {
        Arc::default()
    }

    pub(crate) fn env(self: &Arc<Self>) -> Env {
        Env {
            clock: Arc::clone(self) as Arc<dyn Clock>,
            random: Arc::clone(self) as Arc<dyn Random>,
            tasks: Arc::clone(self) as Arc<dyn Tasks>,
            disk: Arc::new(RealDisk),
        }
    }

    fn add(&self, future: BoxFuture<'static, ()>) {
        self.tasks.lock().push(Task { future, flag: Arc::new(Flag(AtomicBool::new(true))) });
    }

    /// Polls until nothing is awake.
    pub(crate) fn settle(&self) {
        loop {
            let mut tasks = std::mem::take(&mut *self.tasks.lock());
            let mut was_busy = false;
            tasks.retain_mut(|task| {
                if !task.flag.0.swap(false, Ordering::SeqCst) {
                    return true;
                }
                was_busy = true;
                let waker = Waker::from(Arc::clone(&task.flag));
                task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            });
            let mut started = self.tasks.lock();
            tasks.append(&mut started);
            *started = tasks;
            if !was_busy {
                return;
            }
        }
    }

    /// Lets time pass, waking sleepers in their order.
    pub(crate) fn pass(&self, duration: Duration) {
        self.settle();
        let end = *self.now.lock() + duration;
        loop {
            let due = self.sleepers.lock().iter().map(|(at, _)| *at).filter(|at| *at <= end).min();
            let at = due.unwrap_or(end);
            {
                let mut now = self.now.lock();
                *now = at.max(*now);
            }
            let woken: Vec<Waker> =
                self.sleepers.lock().extract_if(.., |(sleeper, _)| *sleeper <= at).map(|(_, waker)| waker).collect();
            woken.into_iter().for_each(Waker::wake);
            self.settle();
            if due.is_none() {
                return;
            }
        }
    }

    /// Starts `work`; its result comes when it comes.
    pub(crate) fn start<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Pending<T> {
        let (sender, receiver) = oneshot::channel();
        self.add(Box::pin(async move {
            let _ = sender.send(work.await);
        }));
        self.settle();
        Pending(receiver)
    }

    /// The result of `work`, which must not have to wait for time or commits.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.start(work).take().expect("it waits")
    }
}

/// A result that may not be there yet.
pub(crate) struct Pending<T>(oneshot::Receiver<T>);

impl<T> Pending<T> {
    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl Clock for Bench {
    fn now(&self) -> Monotonic {
        Monotonic::from_origin(*self.now.lock())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + i64::try_from(self.now.lock().as_millis()).unwrap())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // The bench outlives its tasks, but a sleep has no lifetime: hand out what it needs.
        let at = *self.now.lock() + duration;
        let (sender, receiver) = oneshot::channel::<()>();
        let waker = Waker::from(Arc::new(Alarm(Mutex::new(Some(sender)))));
        self.sleepers.lock().push((at, waker));
        Box::pin(async move {
            let _ = receiver.await;
        })
    }
}

/// Wakes a sleep by answering it.
struct Alarm(Mutex<Option<oneshot::Sender<()>>>);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        if let Some(sender) = self.0.lock().take() {
            let _ = sender.send(());
        }
    }
}

impl Random for Bench {
    fn next(&self) -> u64 {
        self.counter.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

impl Tasks for Bench {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let (sender, receiver) = oneshot::channel::<()>();
        self.add(Box::pin(async move {
            task.await;
            drop(sender);
        }));
        let ended = Box::pin(async move {
            let _ = receiver.await;
        });
        TaskHandle::new(|| {}, ended)
    }

    fn spawn_background(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.spawn(name, task)
    }

    fn runtimes(&self) -> usize {
        1
    }

    fn spawn_on(&self, _: usize, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.spawn(name, task)
    }

    fn blocking(&self, _: Pool, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        Box::pin(std::future::ready(()))
    }

    fn spawn_thread(&self, name: &'static str, work: BoxFuture<'static, ()>) -> TaskHandle {
        self.spawn(name, work)
    }
}

/// An append that the test decides about.
type HeldAppend = (Vec<LogRecord>, oneshot::Sender<Result<(), AppendError>>);

/// A log in memory. Appends commit at once, unless the test holds them.
#[derive(Default)]
pub(crate) struct MemoryLog {
    state: Mutex<LogState>,
}

#[derive(Default)]
struct LogState {
    records: Vec<LogRecord>,
    batches: Vec<usize>,
    holds: bool,
    held: VecDeque<HeldAppend>,
    /// Ends replays: what the next ones answer after their pages.
    replay_errors: VecDeque<ReplayError>,
    /// Holds a replay before its end until the test lets it go.
    gate: Option<oneshot::Receiver<()>>,
}

impl MemoryLog {
    pub(crate) fn new() -> Arc<MemoryLog> {
        Arc::default()
    }

    /// From now on appends wait for [`MemoryLog::decide`].
    pub(crate) fn hold(&self) {
        self.state.lock().holds = true;
    }

    /// Ends the oldest waiting append. It is in the log if `is_kept`.
    pub(crate) fn decide(&self, result: Result<(), AppendError>, is_kept: bool) {
        let mut state = self.state.lock();
        let (records, sender) = state.held.pop_front().expect("no append waits");
        if is_kept {
            state.batches.push(records.len());
            state.records.extend(records);
        }
        let _ = sender.send(result);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().held.len()
    }

    /// The sizes of the batches so far.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.state.lock().batches.clone()
    }

    pub(crate) fn put(&self, record: LogRecord) {
        self.state.lock().records.push(record);
    }

    pub(crate) fn fail_replay(&self, error: ReplayError) {
        self.state.lock().replay_errors.push_back(error);
    }

    /// The next replay ends only when the returned sender is used.
    pub(crate) fn gate_replay(&self) -> oneshot::Sender<()> {
        let (sender, receiver) = oneshot::channel();
        self.state.lock().gate = Some(receiver);
        sender
    }
}

impl CoordinatorLog for MemoryLog {
    fn append(&self, records: Vec<LogRecord>) -> BoxFuture<'static, Result<(), AppendError>> {
        let mut state = self.state.lock();
        if !state.holds {
            state.batches.push(records.len());
            state.records.extend(records);
            return Box::pin(std::future::ready(Ok(())));
        }
        let (sender, receiver) = oneshot::channel();
        state.held.push_back((records, sender));
        Box::pin(async move { receiver.await.unwrap_or(Err(AppendError::NotLeader)) })
    }

    fn replay(&self) -> BoxStream<'static, Result<Vec<LogRecord>, ReplayError>> {
        let mut state = self.state.lock();
        let pages: Vec<_> = state.records.chunks(3).map(|page| Ok(page.to_vec())).collect();
        let error = state.replay_errors.pop_front().map(Err);
        let gate = state.gate.take();
        let gated = stream::once(async move {
            if let Some(gate) = gate {
                let _ = gate.await;
            }
            Ok(Vec::new())
        });
        stream::iter(pages).chain(gated).chain(stream::iter(error)).boxed()
    }
}

/// A coordinator on `log`, loaded unless the log holds its replay.
pub(crate) fn coordinator(bench: &Arc<Bench>, log: &Arc<MemoryLog>, config: GroupConfig) -> Arc<GroupCoordinator> {
    let coordinator = Arc::new(GroupCoordinator::new(
        bench.env(),
        config,
        Arc::new(FixedTopics::new(&[("orders", 4), ("t", 6), ("many", 50)])),
    ));
    let (loading, log) = (Arc::clone(&coordinator), Arc::clone(log) as Arc<dyn CoordinatorLog>);
    bench.run(async move { loading.load(PARTITION, log).await });
    bench.settle();
    coordinator
}

/// As the development broker has it.
pub(crate) fn config() -> GroupConfig {
    GroupConfig { initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() }
}

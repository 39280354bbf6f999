//! The executor: tasks, virtual time and the choice of what runs next.
//!
//! A run has one thread. Each step takes one task out of those that are ready, chosen by the seed, and polls it once.
//! Time passes a little with each step, and where nothing is ready it jumps to the next timer. Nothing here knows
//! nodes, disks or stores beyond an [`Incarnation`].
//!
//! ```text
//!  wake -> ready (sorted) --seed--> poll -> sleeping tasks
//!             ^                                |
//!             +------ timers <-- clock --------+
//! ```
//!
//! The ready tasks are kept sorted by id, so that the order of wake-ups within one poll plays no part: tokio's `watch`
//! wakes its receivers in an order that comes from a thread-local generator which cannot be seeded. Outside of a tokio
//! runtime its cooperative budget is unlimited, so its primitives never yield by themselves.
//!
//! Wakers are called and futures dropped while none of the locks here is held.

use super::chance::Rng;
use super::failure::{Failure, FailureKind, panic_message, task_name};
use super::process::{Crash, CrashOdds, Exit, Gate, Incarnation, Owner, Runs, TaskId, owner_name};
use super::trace::Trace;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::sync::oneshot;

struct Task {
    name: &'static str,
    owner: Owner,
    /// Out while it is being polled.
    future: Option<BoxFuture<'static, ()>>,
    waker: Waker,
    aborted: bool,
    /// Dropped with the task, which tells those who wait for its end.
    _ended: oneshot::Sender<()>,
}

/// Per node: what the executor must know of it.
#[derive(Default)]
struct Watch {
    odds: CrashOdds,
    calls: u64,
    polls: u64,
}

struct State {
    now: Duration,
    rng: Rng,
    trace: Trace,
    tasks: BTreeMap<TaskId, Task>,
    next_task: TaskId,
    timers: BTreeMap<(Duration, u64), Waker>,
    next_timer: u64,
    steps: u64,
    failure: Option<FailureKind>,
    nodes: BTreeMap<usize, Watch>,
    /// Ended in a call or at an await of their own, to be taken down once the current poll is over.
    ended: Vec<(Arc<Incarnation>, Exit)>,
}

/// The limits of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) steps: u64,
    pub(super) time: Duration,
}

/// The shared heart of a run.
pub(super) struct Core {
    seed: u64,
    state: Mutex<State>,
    ready: Arc<Mutex<Vec<TaskId>>>,
}

struct TaskWaker {
    id: TaskId,
    ready: Arc<Mutex<Vec<TaskId>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        make_ready(&self.ready, self.id);
    }
}

fn make_ready(ready: &Mutex<Vec<TaskId>>, id: TaskId) {
    let mut ready = ready.lock();
    if let Err(place) = ready.binary_search(&id) {
        ready.insert(place, id);
    }
}

/// Virtual time that one step takes at most.
const STEP_COST: Duration = Duration::from_micros(4);

impl Core {
    pub(super) fn new(seed: u64, keep_lines: usize, print: bool) -> Arc<Core> {
        Arc::new(Core {
            seed,
            state: Mutex::new(State {
                now: Duration::ZERO,
                rng: Rng::seeded(seed),
                trace: Trace::new(seed, keep_lines, print),
                tasks: BTreeMap::new(),
                next_task: 0,
                timers: BTreeMap::new(),
                next_timer: 0,
                steps: 0,
                failure: None,
                nodes: BTreeMap::new(),
                ended: Vec::new(),
            }),
            ready: Arc::default(),
        })
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn now(&self) -> Duration {
        self.state.lock().now
    }

    /// (trace hash, events, steps, virtual time).
    pub(super) fn totals(&self) -> (u64, u64, u64, Duration) {
        let state = self.state.lock();
        (state.trace.hash(), state.trace.events(), state.steps, state.now)
    }

    /// Draws from the run's generator. `draw` must not call back into the core.
    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.state.lock().rng)
    }

    /// Adds an event to the trace.
    pub(super) fn trace(&self, owner: &Owner, what: fmt::Arguments<'_>) {
        let mut state = self.state.lock();
        let now = state.now;
        state.trace.event(now, owner_name(owner), what);
    }

    /// Whether somebody wants the trace as text.
    pub(super) fn has_text(&self) -> bool {
        self.state.lock().trace.has_text()
    }

    /// Adds a line to the text of the trace that is no event of it.
    pub(super) fn line(&self, owner: &Owner, what: fmt::Arguments<'_>) {
        let mut state = self.state.lock();
        let now = state.now;
        if state.trace.has_text() {
            state.trace.line(now, owner_name(owner), what);
        }
    }

    /// Ends the run with this failure, unless it has failed before.
    pub(super) fn fail(&self, kind: FailureKind) {
        self.state.lock().failure.get_or_insert(kind);
    }

    /// Ends the run because an invariant does not hold.
    pub(super) fn violated(&self, what: String) {
        self.fail(FailureKind::Violated { what });
    }

    pub(super) fn set_odds(&self, node: usize, odds: CrashOdds) {
        self.state.lock().nodes.entry(node).or_default().odds = odds;
    }

    /// A new incarnation of `node` counts its calls from 0.
    pub(super) fn begin_calls(&self, node: usize) {
        self.state.lock().nodes.entry(node).or_default().calls = 0;
    }

    /// Calls that the present incarnation of `node` has made.
    pub(super) fn calls(&self, node: usize) -> u64 {
        self.state.lock().nodes.get(&node).map_or(0, |watch| watch.calls)
    }

    /// How often tasks of `node` have been polled: as long as this is the same, nothing of it has changed.
    pub(super) fn polls(&self, node: usize) -> u64 {
        self.state.lock().nodes.get(&node).map_or(0, |watch| watch.polls)
    }

    /// Every call through `env` comes by here: it is traced, and it may be the one in which its process crashes.
    pub(super) fn enter(&self, owner: &Owner, what: fmt::Arguments<'_>) -> Gate {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let now = state.now;
        let Some(incarnation) = owner else {
            state.trace.event(now, "world", what);
            return Gate::Pass;
        };
        if !incarnation.is_alive() {
            return Gate::Dead;
        }
        state.trace.event(now, &incarnation.label, what);
        let watch = state.nodes.entry(incarnation.node).or_default();
        let call = watch.calls;
        watch.calls += 1;
        let odds = watch.odds;
        let planned = odds.at_call.and_then(|(at, crash)| (at == call).then_some(crash));
        if !state.rng.happens(odds.per_call) && planned.is_none() {
            return Gate::Pass;
        }
        let kind = planned.unwrap_or_else(|| state.crash_kind(odds));
        // Nothing, everything and a part of it are about equally likely.
        let done = match state.rng.below(3) {
            0 => 0,
            1 => 1000,
            _ => state.rng.below(1001),
        };
        state.trace.event(
            now,
            &incarnation.label,
            format_args!("crashes ({kind:?}) in this call, {done} of 1000 done"),
        );
        incarnation.end();
        state.ended.push((Arc::clone(incarnation), Exit::Crashed(kind)));
        Gate::Crash { done }
    }

    /// Marks a process as gone; it is taken down before the next step, or as soon as the caller does so.
    pub(super) fn end(&self, incarnation: &Arc<Incarnation>, exit: Exit) {
        if incarnation.is_alive() {
            incarnation.end();
            self.state.lock().ended.push((Arc::clone(incarnation), exit));
        }
    }

    /// The processes that ended since the last call.
    pub(super) fn take_ended(&self) -> Vec<(Arc<Incarnation>, Exit)> {
        std::mem::take(&mut self.state.lock().ended)
    }

    /// The failure that was noted outside of a step.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        let kind = self.state.lock().failure.take()?;
        Some(self.failure(kind))
    }

    /// Starts a task. If its process is gone, it is dropped at once.
    pub(super) fn spawn(
        &self,
        owner: &Owner,
        name: &'static str,
        future: BoxFuture<'static, ()>,
    ) -> (TaskId, oneshot::Receiver<()>) {
        let (ended, end) = oneshot::channel();
        if owner.as_ref().is_some_and(|incarnation| !incarnation.is_alive()) {
            return (TaskId::MAX, end);
        }
        let id = {
            let mut state = self.state.lock();
            let id = state.next_task;
            state.next_task += 1;
            let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&self.ready) }));
            let owner = owner.clone();
            let task = Task { name, owner, future: Some(future), waker, aborted: false, _ended: ended };
            state.tasks.insert(id, task);
            id
        };
        make_ready(&self.ready, id);
        (id, end)
    }

    /// Drops a task when it is chosen next.
    pub(super) fn abort(&self, id: TaskId) {
        if let Some(task) = self.state.lock().tasks.get_mut(&id) {
            task.aborted = true;
        } else {
            return;
        }
        make_ready(&self.ready, id);
    }

    /// Drops every task of a process that is gone. Its destructors run now, and their calls fail quietly.
    pub(super) fn drop_tasks_of(&self, incarnation: &Arc<Incarnation>) {
        self.drop_tasks(|task| task.owner.as_ref().is_some_and(|owner| Arc::ptr_eq(owner, incarnation)));
    }

    /// Drops every task: the run is over.
    pub(super) fn drop_all_tasks(&self) {
        self.drop_tasks(|_| true);
        self.state.lock().timers.clear();
    }

    fn drop_tasks(&self, which: impl Fn(&Task) -> bool) {
        loop {
            // A destructor may spawn: look again until none is left.
            let doomed: Vec<Task> = {
                let mut state = self.state.lock();
                let ids: Vec<TaskId> = state.tasks.iter().filter(|(_, task)| which(task)).map(|(id, _)| *id).collect();
                ids.iter().filter_map(|id| state.tasks.remove(id)).collect()
            };
            if doomed.is_empty() {
                return;
            }
            for task in doomed {
                // What a destructor of a dead process panics about is an artefact of its being dead.
                let _runs = Runs::as_owner(&task.owner);
                let _ = catch_unwind(AssertUnwindSafe(move || drop(task)));
            }
        }
    }

    fn waiting(state: &State) -> Vec<String> {
        state.tasks.iter().map(|(id, task)| task_name(owner_name(&task.owner), task.name, *id)).collect()
    }

    fn failure(&self, kind: FailureKind) -> Failure {
        let state = self.state.lock();
        Failure { seed: self.seed, kind, at: state.now, steps: state.steps, trace: state.trace.lines() }
    }

    /// Makes one step: fires timers, chooses a task, polls it once.
    pub(super) fn step(&self, limits: Limits) -> Result<(), Failure> {
        let due = {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            state.steps += 1;
            if state.steps > limits.steps {
                let waiting = Self::waiting(state);
                state.failure.get_or_insert(FailureKind::StepLimit { waiting });
            }
            state.now += Duration::from_nanos(state.rng.below(STEP_COST.as_nanos() as u64));
            if self.ready.lock().is_empty() {
                match state.timers.first_key_value() {
                    Some((&(at, _), _)) => state.now = state.now.max(at),
                    None => {
                        let waiting = Self::waiting(state);
                        state.failure.get_or_insert(FailureKind::Deadlock { waiting });
                    }
                }
            }
            if state.now > limits.time {
                let waiting = Self::waiting(state);
                state.failure.get_or_insert(FailureKind::TimeLimit { waiting });
            }
            if let Some(kind) = state.failure.take() {
                drop(guard);
                return Err(self.failure(kind));
            }
            let mut due = Vec::new();
            while let Some((&(at, _), _)) = state.timers.first_key_value()
                && at <= state.now
            {
                due.extend(state.timers.pop_first());
            }
            due
        };
        for (_, waker) in due {
            waker.wake();
        }
        self.poll_one();
        self.take_failure().map_or(Ok(()), Err)
    }

    fn poll_one(&self) {
        let (id, mut future, waker, owner, name) = {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            let mut ready = self.ready.lock();
            if ready.is_empty() {
                return;
            }
            let chosen = state.rng.index(ready.len());
            let id = ready.remove(chosen);
            drop(ready);
            let Some(task) = state.tasks.get_mut(&id) else { return };
            if task.aborted {
                let task = state.tasks.remove(&id);
                drop(guard);
                drop(task);
                return;
            }
            let Some(future) = task.future.take() else { return };
            let (waker, owner, name) = (task.waker.clone(), task.owner.clone(), task.name);
            state.trace.number(id);
            if let Some(incarnation) = &owner {
                let watch = state.nodes.entry(incarnation.node).or_default();
                watch.polls += 1;
                let odds = watch.odds;
                if incarnation.is_alive() && state.rng.happens(odds.per_step) {
                    let kind = state.crash_kind(odds);
                    let now = state.now;
                    state.trace.event(
                        now,
                        &incarnation.label,
                        format_args!("crashes ({kind:?}) before {name} goes on"),
                    );
                    incarnation.end();
                    state.ended.push((Arc::clone(incarnation), Exit::Crashed(kind)));
                    // Dropped with the rest of the process.
                    if let Some(task) = state.tasks.get_mut(&id) {
                        task.future = Some(future);
                    }
                    return;
                }
            }
            (id, future, waker, owner, name)
        };
        let _runs = Runs::as_owner(&owner);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        let lives = owner.as_ref().is_none_or(|incarnation| incarnation.is_alive());
        match polled {
            Ok(Poll::Pending) => {
                let mut state = self.state.lock();
                if let Some(task) = state.tasks.get_mut(&id) {
                    task.future = Some(future);
                    return;
                }
                // Removed while it ran: it goes outside of the lock.
                drop(state);
                drop(future);
            }
            Ok(Poll::Ready(())) => {
                drop(future);
                let task = self.state.lock().tasks.remove(&id);
                drop(task);
            }
            Err(payload) => {
                if lives {
                    let task = task_name(owner_name(&owner), name, id);
                    self.fail(FailureKind::Panicked { task, message: panic_message(&*payload) });
                }
                let _ = catch_unwind(AssertUnwindSafe(move || drop(future)));
                let task = self.state.lock().tasks.remove(&id);
                drop(task);
            }
        }
    }

    pub(super) fn set_timer(&self, at: Duration, waker: Waker) -> (Duration, u64) {
        let mut state = self.state.lock();
        state.next_timer += 1;
        let key = (at, state.next_timer);
        state.timers.insert(key, waker);
        key
    }

    pub(super) fn clear_timer(&self, key: (Duration, u64)) {
        let waker = self.state.lock().timers.remove(&key);
        drop(waker);
    }
}

impl State {
    fn crash_kind(&mut self, odds: CrashOdds) -> Crash {
        if self.rng.happens(odds.power_cut) { Crash::PowerCut } else { Crash::Kill }
    }
}

//! The world: nodes, their lives, and the run of a scenario.
//!
//! A scenario is an async function that gets a [`World`]. It adds nodes (each a disk, an address and a main function),
//! starts, crashes and restarts them, and plays their clients itself. A node's main gets a [`NodeEnv`], through which
//! it reaches everything; when it ends or is crashed, all tasks of that life are dropped, its locks released, its
//! connections closed, and at a power cut its disk forgets.

use super::chance::{Chance, Rng, SimRandom};
use super::disk::SimDisk;
use super::executor::{Core, Limits};
use super::failure::Failure;
use super::log_lines::{Announced, LogLines};
use super::net::SimNet;
use super::process::{Crash, CrashOdds, Exit, Incarnation};
use super::store::SimStore;
use super::view::{SimClock, SimTasks};
use esker_storage::env::store::Store;
use esker_storage::env::{Env, TaskHandle};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A run's seed and limits.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Decides everything.
    pub seed: u64,
    /// Polls.
    pub steps: u64,
    /// Virtual time.
    pub time: Duration,
    /// Newest lines of the trace that a failure shows.
    pub trace_lines: usize,
    /// Whether the trace goes to standard error.
    pub print: bool,
}

impl Config {
    /// Five million steps, a virtual hour, no text.
    pub fn seeded(seed: u64) -> Config {
        Config { seed, steps: 5_000_000, time: Duration::from_secs(3600), trace_lines: 0, print: false }
    }
}

/// A run that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished<T> {
    /// What the scenario returned.
    pub output: T,
    /// Stands for every choice and every call: equal for equal seeds.
    pub hash: u64,
    /// Events folded into it.
    pub events: u64,
    /// Polls.
    pub steps: u64,
    /// Virtual time.
    pub elapsed: Duration,
}

/// Names a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(usize);

type Main = Arc<dyn Fn(NodeEnv) -> BoxFuture<'static, ()> + Send + Sync>;

struct Node {
    name: String,
    ip: IpAddr,
    main: Main,
    disk: SimDisk,
    current: Option<Life>,
    lives: u32,
    last: watch::Sender<Option<Exit>>,
}

struct Life {
    incarnation: Arc<Incarnation>,
    terminate: watch::Sender<bool>,
}

type Invariant = Box<dyn FnMut() -> Result<(), String> + Send>;

struct Inner {
    core: Arc<Core>,
    nodes: Mutex<Vec<Node>>,
    store: SimStore,
    net: SimNet,
    invariants: Mutex<Vec<(&'static str, Invariant)>>,
    announced: Announced,
    env: Env,
}

/// The simulated world. Cheap to clone.
#[derive(Clone)]
pub struct World(Arc<Inner>);

/// What the main function of a node gets: its machine, as this life of it sees it.
#[derive(Clone)]
pub struct NodeEnv {
    /// Clock, chance, tasks, disk.
    pub env: Env,
    /// The cluster's object store.
    pub store: Arc<dyn Store>,
    /// The network.
    pub net: SimNet,
    /// Which node.
    pub node: NodeId,
    /// Its address.
    pub ip: IpAddr,
    /// 1 for the node's first life.
    pub life: u32,
    terminated: watch::Receiver<bool>,
}

impl NodeEnv {
    /// The node's number: 1 for the first that was added.
    pub fn number(&self) -> usize {
        self.node.0 + 1
    }

    /// Whether this life goes on. What a process makes of the errors in the poll in which it was crashed is nobody's
    /// concern: ask before reporting one.
    pub fn is_alive(&self) -> bool {
        self.net.is_alive()
    }

    /// Ends when the node is asked to end (SIGTERM).
    pub async fn terminated(&self) {
        let mut terminated = self.terminated.clone();
        if terminated.wait_for(|asked| *asked).await.is_err() {
            // The life is over; nobody polls this any more.
            std::future::pending::<()>().await;
        }
    }
}

impl World {
    fn new(config: &Config) -> World {
        let core = Core::new(config.seed, config.trace_lines, config.print);
        let disk = SimDisk::new(Arc::clone(&core), u64::MAX);
        let env = Env {
            clock: Arc::new(SimClock { core: Arc::clone(&core), origin: Duration::ZERO, skew: 0 }),
            random: Arc::new(SimRandom::new(core.draw(Rng::fork))),
            tasks: Arc::new(SimTasks { core: Arc::clone(&core), owner: None, runtimes: 1, slow: Chance::NEVER }),
            disk: Arc::new(disk),
        };
        let store = SimStore::new(Arc::clone(&core));
        let net = SimNet::new(Arc::clone(&core), IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)));
        World(Arc::new(Inner {
            core,
            nodes: Mutex::default(),
            store,
            net,
            invariants: Mutex::default(),
            announced: Announced::default(),
            env,
        }))
    }

    /// Adds a node with an empty disk of 64 GiB; it is not started yet. Addresses are 10.0.0.1, 10.0.0.2, ...
    pub fn add_node(
        &self,
        name: &str,
        main: impl Fn(NodeEnv) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> NodeId {
        let disk = SimDisk::new(Arc::clone(&self.0.core), 64 << 30);
        let mut nodes = self.0.nodes.lock();
        let id = nodes.len();
        let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, id as u8 + 1));
        let last = watch::Sender::new(None);
        nodes.push(Node { name: name.to_owned(), ip, main: Arc::new(main), disk, current: None, lives: 0, last });
        NodeId(id)
    }

    /// Every node, in the order in which they were added.
    pub fn nodes(&self) -> Vec<NodeId> {
        (0..self.0.nodes.lock().len()).map(NodeId).collect()
    }

    fn with_node<T>(&self, node: NodeId, act: impl FnOnce(&mut Node) -> T) -> T {
        act(&mut self.0.nodes.lock()[node.0])
    }

    /// Starts a node, unless it is running.
    pub fn start(&self, node: NodeId) {
        self.settle();
        let core = &self.0.core;
        let (skew, slow) = core.draw(|rng| (rng.below(400) as i64 - 200, Chance::percent(rng.within(5..40) as u32)));
        let random = core.draw(Rng::fork);
        let origin = core.draw(|rng| Duration::from_secs(rng.below(1_000_000)));
        let Some((main, node_env, incarnation)) = self.with_node(node, |state| {
            if state.current.is_some() {
                return None;
            }
            state.lives += 1;
            let incarnation = Arc::new(Incarnation::new(node.0, format!("{}.{}", state.name, state.lives)));
            let (terminate, terminated) = watch::channel(false);
            let owner = Some(Arc::clone(&incarnation));
            let env = Env {
                clock: Arc::new(SimClock { core: Arc::clone(core), origin, skew }),
                random: Arc::new(SimRandom::new(random)),
                tasks: Arc::new(SimTasks { core: Arc::clone(core), owner, runtimes: 2, slow }),
                disk: Arc::new(state.disk.seen_by(&incarnation)),
            };
            let node_env = NodeEnv {
                env,
                store: Arc::new(self.0.store.seen_by(&incarnation)),
                net: self.0.net.seen_by(&incarnation, state.ip),
                node,
                ip: state.ip,
                life: state.lives,
                terminated,
            };
            state.current = Some(Life { incarnation: Arc::clone(&incarnation), terminate });
            Some((Arc::clone(&state.main), node_env, incarnation))
        }) else {
            return;
        };
        core.trace(&None, format_args!("start {}", incarnation.label));
        core.begin_calls(node.0);
        self.0.net.process_started(node_env.ip);
        let (owner, core) = (Some(Arc::clone(&incarnation)), Arc::clone(core));
        let life = async move {
            main(node_env).await;
            core.end(&incarnation, Exit::Returned);
        };
        let _ = self.0.core.spawn(&owner, "main", Box::pin(life));
    }

    /// Crashes a node now, if it is running.
    pub fn crash(&self, node: NodeId, crash: Crash) {
        if let Some(incarnation) = self.with_node(node, |state| state.current.as_ref().map(|l| l.incarnation.clone())) {
            self.0.core.trace(&None, format_args!("{crash:?} {}", incarnation.label));
            self.0.core.end(&incarnation, Exit::Crashed(crash));
            self.settle();
        }
    }

    /// Asks a node to end (SIGTERM).
    pub fn terminate(&self, node: NodeId) {
        self.with_node(node, |state| {
            if let Some(life) = &state.current {
                life.terminate.send_replace(true);
            }
        });
    }

    /// Waits until the node is not running; how its last life ended, `None` if it never had one.
    pub async fn ended(&self, node: NodeId) -> Option<Exit> {
        let mut last = self.with_node(node, |state| state.last.subscribe());
        while self.is_running(node) {
            if last.changed().await.is_err() {
                break;
            }
        }
        *last.borrow()
    }

    /// Whether the node runs.
    pub fn is_running(&self, node: NodeId) -> bool {
        self.with_node(node, |state| state.current.is_some())
    }

    /// How many lives the node has had.
    pub fn lives(&self, node: NodeId) -> u32 {
        self.with_node(node, |state| state.lives)
    }

    /// Starts the node each time it has crashed, after a pause; and once it returned, no more.
    pub fn keep_running(&self, node: NodeId, pause: Range<Duration>) -> TaskHandle {
        let world = self.clone();
        self.spawn("supervisor", async move {
            loop {
                world.start(node);
                if world.ended(node).await == Some(Exit::Returned) {
                    return;
                }
                let pause = world.draw(|rng| rng.duration(pause.clone()));
                world.sleep(pause).await;
            }
        })
    }

    /// When and how the seed crashes a node, from now on.
    pub fn set_crash_odds(&self, node: NodeId, odds: CrashOdds) {
        self.0.core.set_odds(node.0, odds);
    }

    /// How many calls through `env` the present or last life of a node has made.
    pub fn calls(&self, node: NodeId) -> u64 {
        self.0.core.calls(node.0)
    }

    /// How often tasks of a node have been polled: as long as this is the same, nothing of it has changed.
    pub(super) fn polls(&self, node: NodeId) -> u64 {
        self.0.core.polls(node.0)
    }

    /// A node's disk, as somebody with a screwdriver sees it.
    pub fn disk(&self, node: NodeId) -> SimDisk {
        self.with_node(node, |state| state.disk.clone())
    }

    /// A node's address.
    pub fn ip(&self, node: NodeId) -> IpAddr {
        self.with_node(node, |state| state.ip)
    }

    /// The object store, as the world sees it.
    pub fn store(&self) -> &SimStore {
        &self.0.store
    }

    /// The network, as clients outside of the nodes see it.
    pub fn net(&self) -> &SimNet {
        &self.0.net
    }

    /// An environment that never crashes, for clients.
    pub fn env(&self) -> &Env {
        &self.0.env
    }

    /// Starts a task of the world.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        self.0.env.spawn(name, task)
    }

    /// Ends after `duration` of virtual time.
    pub async fn sleep(&self, duration: Duration) {
        self.0.core.sleep(duration).await;
    }

    /// Virtual time since the run began.
    pub fn now(&self) -> Duration {
        self.0.core.now()
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        self.0.core.seed()
    }

    /// Draws from the run's generator.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        self.0.core.draw(draw)
    }

    /// Adds a line to the trace.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.0.core.trace(&None, what);
    }

    /// Ends the run as failed.
    pub fn fail(&self, what: impl Into<String>) {
        self.0.core.violated(what.into());
    }

    /// Checked after every step from now on; an error fails the run.
    pub fn invariant(&self, name: &'static str, check: impl FnMut() -> Result<(), String> + Send + 'static) {
        self.0.invariants.lock().push((name, Box::new(check)));
    }

    /// Lines of the level WARN or ERROR with one of these parts are expected from now on; others fail the run.
    pub fn announce(&self, parts: &[&'static str]) {
        self.0.announced.lock().extend(parts);
    }

    /// Takes down what has ended.
    fn settle(&self) {
        for (incarnation, exit) in self.0.core.take_ended() {
            self.0.core.trace(&None, format_args!("{} ended: {exit:?}", incarnation.label));
            self.0.net.process_ended(&incarnation, exit);
            self.0.core.drop_tasks_of(&incarnation);
            let (disk, last) = self.with_node(NodeId(incarnation.node), |state| {
                state.current = None;
                (state.disk.clone(), state.last.clone())
            });
            disk.process_ended();
            if exit == Exit::Crashed(Crash::PowerCut) {
                disk.cut_power();
            }
            last.send_replace(Some(exit));
        }
    }

    fn check_invariants(&self) {
        for (name, check) in &mut *self.0.invariants.lock() {
            if let Err(why) = check() {
                self.0.core.violated(format!("invariant {name:?} does not hold: {why}"));
            }
        }
    }

    /// Ends everything, in an order in which nothing of it can make a call any more.
    fn close(&self) {
        let lives: Vec<_> = self.0.nodes.lock().iter_mut().filter_map(|node| node.current.take()).collect();
        for life in &lives {
            life.incarnation.end();
        }
        self.0.core.drop_all_tasks();
        let nodes = std::mem::take(&mut *self.0.nodes.lock());
        drop((nodes, lives));
        let invariants = std::mem::take(&mut *self.0.invariants.lock());
        drop(invariants);
    }
}

/// Runs a scenario to its end.
///
/// # Errors
/// A panic of any task, a deadlock, a limit, or a violated invariant.
pub fn run<T, F>(config: Config, scenario: impl FnOnce(World) -> F) -> Result<Finished<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let world = World::new(&config);
    let limits = Limits { steps: config.steps, time: config.time };
    let output = Arc::new(Mutex::new(None));
    let (slot, future) = (Arc::clone(&output), scenario(world.clone()));
    let root = async move {
        let result = future.await;
        *slot.lock() = Some(result);
    };
    let _ = world.0.core.spawn(&None, "scenario", Box::pin(root));
    let lines = LogLines { core: Arc::clone(&world.0.core), announced: Arc::clone(&world.0.announced) };
    let _lines = tracing::subscriber::set_default(lines);
    let result = loop {
        world.settle();
        world.check_invariants();
        if let Some(failure) = world.0.core.take_failure() {
            break Err(failure);
        }
        if let Some(output) = output.lock().take() {
            let (hash, events, steps, elapsed) = world.0.core.totals();
            break Ok(Finished { output, hash, events, steps, elapsed });
        }
        if let Err(failure) = world.0.core.step(limits) {
            break Err(failure);
        }
    };
    world.close();
    result
}

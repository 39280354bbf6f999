//! A whole broker: what starts in which order, and how it stops.
//!
//! ```text
//!  store: format or check -> log directories: lock -> listeners: bound -> metadata log: replay -> elected controller
//!    -> registered, every partition with a new leader epoch (one commit) -> logs opened -> listeners: serving
//! ```
//!
//! Until the store answers there is no broker: it waits, and `/readyz` says why. Listeners are bound before the broker
//! registers, so that clients are told the port that a listener with port 0 got, and before it is elected, so that one
//! that cannot serve takes nobody's place. The same code runs in the simulation: everything outside comes in through
//! [`Outside`].

use crate::config::{BrokerConfig, Durability, Listener, LogLevel};
use crate::controller::{
    Controller, ControllerState, Journal, JournalError, ProducerIdPool, RegisterBroker, SubmitError,
};
use crate::coordinators::Coordinators;
use crate::handlers::{Dispatch, Handlers, Parts};
use crate::metadata::{Image, Publisher};
use crate::metrics::{Metrics, Readiness};
use crate::net::env::Network;
use crate::net::{Acceptor, AnswerBudget, Bind, Bound, ByteBudget, Limits, PerIpLimits};
use crate::partition::{Cleaner, Hosted, Scrubber, Upkeep};
use anyhow::{Context, bail};
use esker_protocol::api::APIS;
use esker_protocol::guard;
use esker_storage::compaction::TierCompactor;
use esker_storage::env::store::Store;
use esker_storage::env::{Env, Pool, TaskHandle};
use esker_storage::log::{LogDir, LogDirConfig, OpenDirError};
use esker_storage::numbered_log::{FormatError, LogError, open_or_format};
use esker_storage::partition_log::Tier;
use esker_storage::tier::{
    CacheBytes, CommitterConfig, ReadConfig, SweepConfig, Sweeper, TierCommits, TierError, TierLog, TierReader,
    UnitSources, UploadConfig, Uploader,
};
use futures_util::future::BoxFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

/// How long to wait before asking a store again that is away.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long connections may take to end when the broker stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// How often a running broker looks for what nobody tells it: directories that failed, connections to count.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a broker runs on.
#[derive(Clone)]
pub struct Outside {
    /// The machine.
    pub env: Env,
    /// Its network.
    pub network: Arc<dyn Network>,
    /// The cluster's store.
    pub store: Arc<dyn Store>,
}

/// What can be looked at while a broker starts.
#[derive(Clone)]
pub struct Gauges {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is missing before requests are served.
    pub readiness: Arc<Readiness>,
    /// How much is logged.
    pub log_level: Arc<LogLevel>,
}

impl Gauges {
    /// Nothing counted, nothing ready, and a log whose level somebody else decides.
    pub fn new() -> Gauges {
        let readiness = Arc::new(Readiness::default());
        readiness.not_ready("broker", "starting");
        let metrics = Arc::new(Metrics::new(APIS.iter().map(|api| (api.key as i16, api.name))));
        Gauges { metrics, readiness, log_level: Arc::default() }
    }
}

impl Default for Gauges {
    fn default() -> Gauges {
        Gauges::new()
    }
}

/// A running broker.
pub struct Server {
    env: Env,
    hosted: Arc<Hosted>,
    coordinators: Arc<Coordinators>,
    acceptor: Arc<Acceptor>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    controller: watch::Receiver<ControllerState>,
    addresses: Vec<SocketAddr>,
    tasks: Vec<TaskHandle>,
    uploader: Arc<Uploader>,
    commits: TierCommits,
}

/// Starts a broker; it serves when this returns.
///
/// # Errors
/// Whatever a person must mend first: the configuration, a log directory of another broker, a store that refuses.
pub async fn start(outside: Outside, mut config: BrokerConfig, gauges: Gauges) -> anyhow::Result<Server> {
    let Outside { env, network, store } = outside;
    let Gauges { metrics, readiness, log_level } = gauges;
    let cluster = format_store(&env, &config, store.as_ref(), &readiness).await?;
    let (dirs, failed) = open_dirs(&env, &config, cluster).await?;
    let listeners = bind(network.as_ref(), &mut config).await?;
    let config = Arc::new(config);
    let incarnation = env.random.uuid();
    let (controller, publisher, controlling) =
        become_controller(&env, &config, &store, &readiness, cluster, incarnation).await?;
    let commits = open_tier(&env, &store, &readiness, cluster).await?;
    let reader = TierReader::new(&env, Arc::clone(&store), cluster, read_config(&config));
    let tier = Tier { commits, reader };
    let hosted =
        Hosted::new(env.clone(), Arc::clone(&config), Arc::clone(&metrics), dirs.clone(), failed, tier.clone());
    let coordinators = Coordinators::new(&env, &config, &publisher, &hosted);
    let register = RegisterBroker {
        id: config.node_id,
        incarnation,
        listeners: config.advertised_listeners.clone(),
        log_dirs: dirs.iter().map(|dir| dir.identity().directory).collect(),
    };
    readiness.not_ready("broker", "registering");
    let submit = || {
        let waits = "it does not take the commit that registers this broker";
        readiness.store_takes(&env, STORE_PAUSE, waits, controller.submit(register.clone(), None))
    };
    while let Err(error) = submit().await {
        if error != SubmitError::TimedOut {
            bail!("could not register with the cluster: {error}");
        }
        tracing::warn!(%error, "could not register with the cluster yet");
        env.sleep(STORE_PAUSE).await;
    }
    readiness.not_ready("broker", "opening logs, once the store has the partitions' new epochs");
    let images = publisher.subscribe(Arc::new(Image::empty()));
    let applier = publisher.applier();
    let following = Arc::clone(&coordinators).follow_images(images, applier);
    let follow = env.spawn_background("follow-metadata", following);
    publisher.wait_applied(publisher.image().version()).await;
    let clean_up = {
        let (hosted, image) = (Arc::clone(&hosted), publisher.image());
        env.spawn_background("remove-strays", async move { hosted.remove_strays(&image).await })
    };

    let sources: Arc<dyn UnitSources> = Arc::clone(&hosted) as Arc<dyn UnitSources>;
    let Tier { commits, reader } = tier;
    let compactor = TierCompactor::new(&env, Arc::clone(&store), cluster, commits.clone(), Arc::clone(&reader));
    let sweeping =
        Sweeper::new(&env, Arc::clone(&store), cluster, commits.clone(), reader, SweepConfig::default()).start();
    let upkeep = env.spawn_background("upkeep", Upkeep::new(&env, &config, &hosted, &commits).run());
    let scrubbing = env.spawn_background("scrub", Scrubber::new(&env, &config, &hosted, &metrics).run());
    let uploader = Arc::new(Uploader::start(&env, store, cluster, commits.clone(), sources, upload_config(&config)));

    let producer_ids = ProducerIdPool::new(config.node_id);
    producer_ids.fill(&controller);
    let state = controller.state();
    let handlers = Handlers::new(Parts {
        env: env.clone(),
        config: Arc::clone(&config),
        publisher,
        controller,
        producer_ids,
        hosted: Arc::clone(&hosted),
        groups: Arc::clone(coordinators.groups()),
        metrics: Arc::clone(&metrics),
        log_level,
    });
    let limits = guard::Limits { max_array_elements: usize::try_from(config.max_request_array_elements)? };
    let service = Arc::new(Dispatch::new(handlers, limits));
    let budgets =
        (ByteBudget::new(config.queued_max_request_bytes), AnswerBudget::new(config.queued_max_response_bytes));
    let acceptor = Acceptor::new(env.clone(), service, budgets, per_ip_limits(&config)?);
    let addresses = listeners.iter().map(Bound::address).collect();
    let mut tasks = vec![follow, controlling, clean_up, sweeping, upkeep, scrubbing];
    tasks.extend(Cleaner::new(&env, &config, &hosted, &metrics, compactor).start());
    tasks.extend(listeners.into_iter().map(|bound| acceptor.serve(bound)));
    readiness.ready("broker");
    tracing::info!(cluster = %cluster, broker = config.node_id.get(), "ready");
    Ok(Server {
        env,
        hosted,
        coordinators,
        acceptor,
        readiness,
        metrics,
        controller: state,
        addresses,
        tasks,
        uploader,
        commits,
    })
}

impl Server {
    /// Where it listens, in the order of `listeners`.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits until this broker cannot go on; why. It should be stopped then and its process end: somebody must look.
    /// Keeps the gauges meanwhile of what nobody counts when it happens.
    pub fn failed(&self) -> BoxFuture<'static, String> {
        let (env, mut controller) = (self.env.clone(), self.controller.clone());
        let (hosted, acceptor) = (Arc::clone(&self.hosted), Arc::clone(&self.acceptor));
        let (metrics, readiness) = (Arc::clone(&self.metrics), Arc::clone(&self.readiness));
        let (uploader, commits) = (Arc::clone(&self.uploader), self.commits.clone());
        Box::pin(async move {
            loop {
                let uploads = uploader.counts();
                metrics.uploaded(uploads.bytes, uploads.failures);
                metrics.damaged.set(i64::try_from(hosted.damaged_ranges()).unwrap_or(i64::MAX));
                metrics.connections.set(i64::try_from(acceptor.connections()).unwrap_or(i64::MAX));
                look_at_room(&env, &hosted, &metrics, &readiness).await;
                match commits.trouble() {
                    Some(reason) => readiness.not_ready("tier", reason),
                    None => readiness.ready("tier"),
                }
                let state = controller.borrow_and_update().clone();
                if let Some(reason) = end_of_controller(&state).or_else(|| no_directory(&hosted, &metrics)) {
                    readiness.not_ready("broker", reason.clone());
                    return reason;
                }
                tokio::select! {
                    biased;
                    changed = controller.changed() => if changed.is_err() {
                        return "the controller has ended".to_owned();
                    },
                    () = env.sleep(LOOK_EVERY) => {}
                }
            }
        })
    }

    /// The partitions that it leads: what tests look at while it runs.
    pub fn hosted(&self) -> &Arc<Hosted> {
        &self.hosted
    }

    /// Accepts no more, finishes what is in flight, syncs and checkpoints the logs.
    pub async fn stop(self) {
        self.readiness.not_ready("broker", "stopping");
        self.hosted.end_polls();
        self.acceptor.stop(DRAIN_LIMIT).await;
        self.uploader.stop();
        self.coordinators.stop().await;
        // Nothing looks at the logs any more when they are closed.
        for task in self.tasks {
            task.abort();
        }
        self.hosted.close().await;
    }
}

/// The cluster of the store, formatted for it if it is new.
async fn format_store(
    env: &Env,
    config: &BrokerConfig,
    store: &dyn Store,
    readiness: &Readiness,
) -> anyhow::Result<Uuid> {
    loop {
        match open_or_format(store, env, config.cluster_id).await {
            Ok(format) => {
                readiness.ready("store");
                return Ok(format.cluster);
            }
            Err(FormatError::Retry { reason }) => {
                tracing::warn!(%reason, "waiting for the store");
                readiness.not_ready("store", reason);
                env.sleep(STORE_PAUSE).await;
            }
            Err(error) => bail!("the store cannot be used: {error}"),
        }
    }
}

/// The log directories that work, and how many do not: what is in those is offline, as after a failure later on.
async fn open_dirs(env: &Env, config: &BrokerConfig, cluster: Uuid) -> anyhow::Result<(Vec<Arc<LogDir>>, usize)> {
    let settings = LogDirConfig {
        cluster,
        broker: config.node_id.get(),
        durability: match config.durability {
            Durability::Fsync => esker_storage::log::Durability::Fsync,
            Durability::Os => esker_storage::log::Durability::Os,
        },
        open_files: config.open_files as usize / config.log_dirs.len().max(1),
    };
    let mut dirs = Vec::new();
    let mut failed = 0;
    for path in config.log_dirs.clone() {
        let of_dir = env.clone();
        let least = config.log_dirs_min_free_bytes;
        let opened = move || {
            let dir = LogDir::open(&of_dir, &path, settings)?;
            dir.set_min_free_bytes(least);
            // Before anybody appends: until the first look there is no room.
            dir.look_at_room().map_err(|error| OpenDirError::Io { path, error })?;
            Ok(dir)
        };
        match env.blocking(Pool::Cold, opened).await? {
            Ok(dir) => dirs.push(dir),
            Err(error @ OpenDirError::Io { .. }) => {
                failed += 1;
                tracing::error!(%error, "a log directory failed at the start; the partitions in it are offline");
            }
            // Not the disk's fault: a person has mistaken something.
            Err(error) => return Err(error.into()),
        }
    }
    if dirs.is_empty() {
        bail!("every log directory has failed");
    }
    Ok((dirs, failed))
}

async fn become_controller(
    env: &Env,
    config: &BrokerConfig,
    store: &Arc<dyn Store>,
    readiness: &Readiness,
    cluster: Uuid,
    incarnation: Uuid,
) -> anyhow::Result<(Controller, Arc<Publisher>, TaskHandle)> {
    loop {
        let attempt = async {
            let waiting = |error: &LogError| {
                tracing::warn!(%error, "waiting for the metadata log");
                readiness.not_ready("store", error.to_string());
            };
            let every = config.metadata_snapshot_commits;
            let journal = Journal::open(Arc::clone(store), env, cluster, every, waiting).await?;
            let publisher = Arc::clone(journal.publisher());
            let elected = Controller::start(env, journal, config, incarnation, cluster);
            let waits = "it does not take the commit that elects this broker";
            let (controller, task) = readiness.store_takes(env, STORE_PAUSE, waits, elected).await?;
            Ok::<_, JournalError>((controller, publisher, task))
        };
        match attempt.await {
            Ok(started) => {
                readiness.ready("store");
                return Ok(started);
            }
            Err(error) if error.is_retry() => {
                tracing::warn!(%error, "waiting for the metadata log");
                readiness.not_ready("store", error.to_string());
                env.sleep(STORE_PAUSE).await;
            }
            Err(error) => return Err(error).context("the metadata log cannot be used"),
        }
    }
}

async fn open_tier(
    env: &Env,
    store: &Arc<dyn Store>,
    readiness: &Readiness,
    cluster: Uuid,
) -> anyhow::Result<TierCommits> {
    let waiting = |error: &TierError| {
        tracing::warn!(%error, "waiting for the tier log");
        readiness.not_ready("store", error.to_string());
    };
    let log = TierLog::open_patiently(Arc::clone(store), env.clone(), cluster, waiting)
        .await
        .context("the tier log cannot be used")?;
    readiness.ready("store");
    Ok(TierCommits::over(log, env, CommitterConfig::default()))
}

/// Looks how much room there is, which decides whether produce is refused, and tells.
async fn look_at_room(env: &Env, hosted: &Hosted, metrics: &Metrics, readiness: &Readiness) {
    let mut full = Vec::new();
    for dir in hosted.dirs().iter().filter(|dir| dir.failure().is_none()) {
        let looking = Arc::clone(dir);
        let path = dir.path().display();
        // Not among what may take long: whether produce is refused depends on it.
        match env.blocking(Pool::Sync, move || looking.look_at_room()).await {
            Ok(Ok(left)) => {
                metrics.room(&path.to_string(), left.available);
                if left.refusing {
                    let (available, least) = (left.available, left.least);
                    full.push(format!("{path} has {available} bytes left, {least} are kept free"));
                }
            }
            Ok(Err(error)) => tracing::warn!(directory = %path, %error, "could not look how much room there is"),
            Err(_) => return,
        }
    }
    metrics.full_log_directories.set(i64::try_from(full.len()).unwrap_or(i64::MAX));
    match full.is_empty() {
        true => readiness.ready("disk"),
        false => readiness.not_ready("disk", format!("produce is refused: {}", full.join("; "))),
    }
}

/// Why nothing can be read or written any more: every log directory has failed.
fn no_directory(hosted: &Hosted, metrics: &Metrics) -> Option<String> {
    let failures: Vec<_> = hosted.dirs().iter().filter_map(|dir| dir.failure()).collect();
    let offline = failures.len() + hosted.lost_dirs();
    metrics.offline_log_directories.set(i64::try_from(offline).unwrap_or(i64::MAX));
    if !failures.is_empty() {
        hosted.end_failed();
    }
    let last = failures.last().filter(|_| failures.len() == hosted.dirs().len())?;
    Some(format!("every log directory has failed: {last}"))
}

/// Why a broker with this controller cannot go on.
fn end_of_controller(state: &ControllerState) -> Option<String> {
    match state {
        ControllerState::Active => None,
        ControllerState::Deposed { by } => {
            Some(format!("broker {} was elected controller of this store in a later start", by.get()))
        }
        ControllerState::Failed { reason } => Some(format!("the metadata log cannot be gone on with: {reason}")),
    }
}

/// Takes the listeners' addresses, and notes the ports that the machine chose.
async fn bind(network: &dyn Network, config: &mut BrokerConfig) -> anyhow::Result<Vec<Bound>> {
    let mut all = Vec::new();
    for listener in config.listeners.clone() {
        let bound = Bound::new(network, how(&listener, config)?)
            .await
            .with_context(|| format!("could not listen at {listener}; is another broker running?"))?;
        let address = bound.address();
        tracing::info!(%address, listener = %listener.name, "listening");
        config.set_bound_port(&listener.name, address.port());
        all.push(bound);
    }
    Ok(all)
}

fn how(listener: &Listener, config: &BrokerConfig) -> anyhow::Result<Bind> {
    Ok(Bind {
        name: listener.name.as_str().into(),
        host: listener.host.clone(),
        port: listener.port,
        limits: Limits {
            max_frame_bytes: usize::try_from(config.socket_request_max_bytes)?,
            max_in_flight: usize::try_from(config.max_in_flight_requests)?,
            max_idle: Duration::from_millis(config.connections_max_idle_ms),
            max_stall: Duration::from_millis(config.queued_max_request_stall_ms),
        },
        max_connections: usize::try_from(config.max_connections)?,
    })
}

fn per_ip_limits(config: &BrokerConfig) -> anyhow::Result<PerIpLimits> {
    let each = usize::try_from(config.max_connections_per_ip)?;
    Ok(PerIpLimits { each, overrides: config.max_connections_per_ip_overrides.clone() })
}

fn upload_config(config: &BrokerConfig) -> UploadConfig {
    UploadConfig {
        concurrency: usize::try_from(config.remote_log_copier_threads).unwrap_or(1),
        ..UploadConfig::default()
    }
}

/// `tier.cache.bytes` is what chunks of all kinds may take together.
fn read_config(config: &BrokerConfig) -> ReadConfig {
    let third = config.tier_cache_bytes / 3;
    ReadConfig {
        chunks: CacheBytes { cached: third, reserved: third, prefetched: third },
        concurrency: usize::try_from(config.remote_log_reader_threads).unwrap_or(1),
        ..ReadConfig::default()
    }
}

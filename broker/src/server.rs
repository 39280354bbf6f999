//! A whole broker: what starts in which order, and how it stops.
//!
//! ```text
//!  store: format or check -> log directories: lock -> metadata log: replay -> elected controller
//!    -> registered, every partition with a new leader epoch (one commit) -> logs opened -> listeners
//! ```
//!
//! Until the store answers there is no broker: it waits, and `/readyz` says why. The same code runs in the simulation:
//! everything outside comes in through [`Outside`].

use crate::config::{BrokerConfig, Durability, Listener};
use crate::controller::{Controller, Journal, JournalError, ProducerIdPool, RegisterBroker};
use crate::coordinators::Coordinators;
use crate::handlers::{Dispatch, Handlers, Parts};
use crate::metadata::{Image, Publisher};
use crate::metrics::{Metrics, Readiness};
use crate::net::env::Network;
use crate::net::{Acceptor, Bind, ByteBudget, Limits};
use crate::partition::Hosted;
use anyhow::{Context, bail};
use esker_protocol::api::APIS;
use esker_protocol::guard;
use esker_storage::env::store::Store;
use esker_storage::env::{Env, Pool, TaskHandle};
use esker_storage::log::{LogDir, LogDirConfig};
use esker_storage::numbered_log::{FormatError, open_or_format};
use esker_storage::tier::{CommitterConfig, TierCommits, UnitSources, UploadConfig, Uploader};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How long to wait before asking a store again that is away.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long connections may take to end when the broker stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Data files that stay open per log directory without being in use; well below the usual limit on descriptors.
const OPEN_FILES: usize = 4096;

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
}

impl Gauges {
    /// Nothing counted, nothing ready.
    pub fn new() -> Gauges {
        let readiness = Arc::new(Readiness::default());
        readiness.not_ready("broker", "starting");
        Gauges { metrics: Arc::new(Metrics::new(APIS.iter().map(|api| (api.key as i16, api.name)))), readiness }
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
    addresses: Vec<SocketAddr>,
    tasks: Vec<TaskHandle>,
    uploader: Uploader,
}

/// Starts a broker; it serves when this returns.
///
/// # Errors
/// Whatever a person must mend first: the configuration, a log directory of another broker, a store that refuses.
pub async fn start(outside: Outside, config: BrokerConfig, gauges: Gauges) -> anyhow::Result<Server> {
    let Outside { env, network, store } = outside;
    let Gauges { metrics, readiness } = gauges;
    let config = Arc::new(config);
    let cluster = format_store(&env, &config, store.as_ref(), &readiness).await?;
    let dirs = open_dirs(&env, &config, cluster).await?;
    let incarnation = env.random.uuid();
    let (controller, publisher, controlling) =
        become_controller(&env, &config, &store, &readiness, cluster, incarnation).await?;
    let tier = open_tier(&env, &store, &readiness, cluster).await?;
    let hosted = Hosted::new(env.clone(), Arc::clone(&config), Arc::clone(&metrics), dirs.clone(), tier.clone())
        .context("could not list a log directory")?;
    let coordinators = Coordinators::new(&env, &config, &publisher, &hosted);
    let register = RegisterBroker {
        id: config.node_id,
        incarnation,
        listeners: config.advertised_listeners.clone(),
        log_dirs: dirs.iter().map(|dir| dir.identity().directory).collect(),
    };
    readiness.not_ready("broker", "registering");
    while let Err(error) = controller.submit(register.clone(), None).await {
        tracing::warn!(%error, "could not register with the cluster yet");
        env.sleep(STORE_PAUSE).await;
    }
    readiness.not_ready("broker", "opening logs");
    let mut images = publisher.subscribe(Arc::new(Image::empty()));
    let applier = publisher.applier();
    let follow = {
        let (hosted, coordinators) = (Arc::clone(&hosted), Arc::clone(&coordinators));
        env.spawn_background("follow-metadata", async move {
            while let Some(published) = images.next().await {
                let moved = hosted.apply(&published).await;
                coordinators.follow(&published.image, &published.changes, &moved).await;
                applier.applied(published.image.version());
            }
        })
    };
    publisher.wait_applied(publisher.image().version()).await;

    let sources: Arc<dyn UnitSources> = Arc::clone(&hosted) as Arc<dyn UnitSources>;
    let uploader = Uploader::start(&env, Arc::clone(&store), tier, sources, upload_config(&config));

    let producer_ids = ProducerIdPool::new(config.node_id);
    producer_ids.fill(&controller);
    let handlers = Handlers::new(Parts {
        env: env.clone(),
        config: Arc::clone(&config),
        publisher,
        controller,
        producer_ids,
        hosted: Arc::clone(&hosted),
        groups: Arc::clone(coordinators.groups()),
        metrics,
    });
    let limits = guard::Limits { max_array_elements: usize::try_from(config.max_request_array_elements)? };
    let service = Arc::new(Dispatch::new(handlers, limits));
    let budget = ByteBudget::new(config.queued_max_request_bytes);
    let acceptor = Acceptor::new(env.clone(), network, service, budget);
    let mut addresses = Vec::new();
    let mut tasks = vec![follow, controlling];
    for listener in &config.listeners {
        let (address, task) = listen(&acceptor, listener, &config).await?;
        tracing::info!(%address, listener = %listener.name, "listening");
        addresses.push(address);
        tasks.push(task);
    }
    readiness.ready("broker");
    tracing::info!(cluster = %cluster, broker = config.node_id.get(), "ready");
    Ok(Server { env, hosted, coordinators, acceptor, readiness, addresses, tasks, uploader })
}

impl Server {
    /// Where it listens, in the order of `listeners`.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Accepts no more, finishes what is in flight, syncs and checkpoints the logs.
    pub async fn stop(self) {
        self.readiness.not_ready("broker", "stopping");
        self.acceptor.stop(DRAIN_LIMIT).await;
        self.uploader.stop();
        self.coordinators.stop().await;
        self.hosted.close().await;
        for task in self.tasks {
            task.abort();
        }
        drop(self.env);
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

async fn open_dirs(env: &Env, config: &Arc<BrokerConfig>, cluster: Uuid) -> anyhow::Result<Vec<Arc<LogDir>>> {
    let settings = LogDirConfig {
        cluster,
        broker: config.node_id.get(),
        durability: match config.durability {
            Durability::Fsync => esker_storage::log::Durability::Fsync,
            Durability::Os => esker_storage::log::Durability::Os,
        },
        open_files: OPEN_FILES,
    };
    let mut dirs = Vec::new();
    for path in config.log_dirs.clone() {
        let of_dir = env.clone();
        dirs.push(env.blocking(Pool::Cold, move || LogDir::open(&of_dir, &path, settings)).await??);
    }
    Ok(dirs)
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
            let journal = Journal::open(Arc::clone(store), env, cluster, config.metadata_snapshot_commits).await?;
            let publisher = Arc::clone(journal.publisher());
            let (controller, task) = Controller::start(env, journal, config, incarnation, cluster).await?;
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
    loop {
        match TierCommits::start(Arc::clone(store), env, cluster, CommitterConfig::default()).await {
            Ok(commits) => {
                readiness.ready("store");
                return Ok(commits);
            }
            Err(error) if error.is_retry() => {
                tracing::warn!(%error, "waiting for the tier log");
                readiness.not_ready("store", error.to_string());
                env.sleep(STORE_PAUSE).await;
            }
            Err(error) => return Err(error).context("the tier log cannot be used"),
        }
    }
}

async fn listen(
    acceptor: &Arc<Acceptor>,
    listener: &Listener,
    config: &BrokerConfig,
) -> anyhow::Result<(SocketAddr, TaskHandle)> {
    let bind = Bind {
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
    };
    acceptor.listen(bind).await.with_context(|| format!("could not listen at {listener}; is another broker running?"))
}

fn upload_config(config: &BrokerConfig) -> UploadConfig {
    UploadConfig {
        concurrency: usize::try_from(config.remote_log_copier_threads).unwrap_or(1),
        ..UploadConfig::default()
    }
}

//! The `esker` command line: what a person typed, into a configuration, into a running broker.

use crate::admin;
use crate::config::{BrokerConfig, LogLevel, Values, parse_properties, parse_set};
use crate::net::env::{Network, RealNetwork};
use crate::server::{self, Gauges, Outside, Server};
use crate::tools::{self, Explained, ScrubOptions, Scrubbed};
use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand};
use esker_storage::env::store;
use esker_storage::env::{Disk, Env, RealClock, RealDisk, RealRandom, RealTasks};
use esker_storage::tier::ScrubDepth;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::disable_transparent_huge_pages;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::sync::watch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;
use url::Url;

/// How long a stop may take before the process ends anyway: everything acknowledged is safe at any moment, a clean
/// end only makes the next start faster.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Data files that stay open at most, since each can be mapped: half of Linux's usual `vm.max_map_count`.
const MOST_OPEN_FILES: u32 = 1 << 15;
/// How long `scrub` lets an object be without an entry, in seconds: a sweeper's grace, two of its passes, and some more.
const SCRUB_GRACE: u64 = 3600;

/// A Kafka-compatible log broker with tiered storage.
///
/// Without a command: a development broker on 127.0.0.1:9092 with its data in ./esker-data.
#[derive(Debug, Parser)]
#[command(name = "esker", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker, configured by a file of Kafka's server.properties kind.
    Serve {
        /// The file; see the README for the keys.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,

        #[command(flatten)]
        options: Options,
    },
    /// Prove that a store is whole: every entry has its object, every checksum is right, nothing is without an entry.
    ///
    /// Ends with 0 if nothing is wrong, with 1 if something is, and with 2 if the store could not be asked.
    Scrub {
        /// The store, as in the key `store`.
        #[arg(long, value_name = "URL")]
        store: String,

        /// Mend what can be mended: delete what nothing names, and write pages anew that are lost or damaged.
        #[arg(long)]
        repair: bool,

        /// Look whether the objects are there, and do not read the batches.
        #[arg(long)]
        quick: bool,

        /// How long, in seconds, an object may be without an entry: brokers that run need theirs to finish with it.
        #[arg(long, value_name = "SECONDS", default_value_t = SCRUB_GRACE)]
        grace: u64,
    },
    /// Explain a file of a log directory, or an object of a store, and check it.
    Inspect {
        /// The file; or, with --store, the object's key.
        path: PathBuf,

        /// The store that the object is in, as in the key `store`.
        #[arg(long, value_name = "URL")]
        store: Option<String>,
    },
}

#[derive(Clone, Debug, Args)]
struct Options {
    /// Set a configuration key; the last one wins, and wins over the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// How much to log: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "ESKER_LOG")]
    log: LevelFilter,
}

/// Runs the command line to its end.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let (config, options) = match cli.command {
        None => (None, cli.options),
        Some(Command::Scrub { store, repair, quick, grace }) => {
            let depth = if quick { ScrubDepth::Presence } else { ScrubDepth::Everything };
            let options = ScrubOptions { depth, grace: Duration::from_secs(grace), repair };
            return tell(scrub(&store, options));
        }
        Some(Command::Inspect { path, store }) => return tell(inspect(&path, store.as_deref())),
        Some(Command::Serve { config, mut options }) => {
            let mut set = cli.options.set;
            set.append(&mut options.set);
            (config, Options { set, log: options.log })
        }
    };
    let (filter, level) = reload::Layer::new(options.log);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Whoever read our log may be gone. Complaining about that, to the same place, would be a panic.
        .log_internal_errors(false);
    tracing_subscriber::registry().with(filter).with(lines).init();
    let log_level = LogLevel::new(options.log, move |wanted| level.reload(wanted).map_err(|error| error.to_string()));
    match serve(config.as_deref(), &options.set, log_level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a tool has to say, and whether all is well. Without an answer, the process ends with 2.
fn tell(told: anyhow::Result<(Vec<String>, bool)>) -> ExitCode {
    let (lines, well) = match told {
        Ok(told) => told,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            return ExitCode::from(2);
        }
    };
    // Whoever reads this may have gone.
    let _ = std::io::stdout().write_all((lines.join("\n") + "\n").as_bytes());
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn scrub(url: &str, options: ScrubOptions) -> anyhow::Result<(Vec<String>, bool)> {
    let (env, tasks) = machine(1)?;
    let store = store::open(url, &env).with_context(|| format!("--store={url}"))?;
    let Scrubbed { seen, findings, mended } = tasks.background().block_on(tools::scrub_store(&env, store, options))?;
    let well = findings.is_empty();
    let verdict = if well { "nothing is wrong".to_owned() } else { format!("{} findings", findings.len()) };
    Ok(([seen, mended, findings, vec![verdict]].concat(), well))
}

fn inspect(path: &Path, url: Option<&str>) -> anyhow::Result<(Vec<String>, bool)> {
    let (env, tasks) = machine(1)?;
    let Explained { lines, whole } = match url {
        None => tasks.background().block_on(tools::inspect_file(&env, path))?,
        Some(url) => {
            let store = store::open(url, &env).with_context(|| format!("--store={url}"))?;
            let key = path.to_str().context("the key is not UTF-8")?;
            tasks.background().block_on(tools::inspect_object(&env, &*store, key))?
        }
    };
    Ok((lines, whole))
}

/// This machine, with so many runtimes.
fn machine(runtimes: usize) -> anyhow::Result<(Env, Arc<RealTasks>)> {
    let tasks = Arc::new(RealTasks::start(runtimes).context("could not start threads")?);
    let env = Env {
        clock: Arc::new(RealClock::start()),
        random: Arc::new(RealRandom::seeded().context("the operating system gave no randomness")?),
        tasks: Arc::clone(&tasks) as Arc<_>,
        disk: Arc::new(RealDisk),
    };
    Ok((env, tasks))
}

fn serve(file: Option<&Path>, set: &[String], log_level: LogLevel) -> anyhow::Result<()> {
    let disk = RealDisk;
    let mut values = match file {
        None => Values::new(),
        Some(file) => read_config(&disk, file)?,
    };
    for assignment in set {
        let (key, value) = parse_set(assignment)?;
        values.insert(key, value);
    }
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut config = BrokerConfig::from_values(values, &hostname)?;
    leave_descriptors(&mut config);
    keep_to_small_pages();
    let runtimes = match config.num_network_threads {
        Some(threads) => usize::try_from(threads)?,
        None => available_parallelism().map_or(1, std::num::NonZeroUsize::get),
    };
    let (env, tasks) = machine(runtimes)?;
    tasks.background().block_on(run(env, config, log_level))
}

/// Has the allocator's memory backed by pages of 4 KiB. It asks for huge ones, of which each of the threads' heaps touches a
/// few and uses little: an idle broker held 28 MiB that way instead of 4, and one under load 50 instead of 7, at the
/// same throughput (batches are copied from socket to page cache; there is no heap to speak of that a TLB could miss).
fn keep_to_small_pages() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::info!(%error, "the allocator may use huge pages");
    }
}

/// Takes as many file descriptors as the system gives, and leaves half of them to the logs, so that clients who only
/// connect cannot keep segments from being opened.
fn leave_descriptors(config: &mut BrokerConfig) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::info!(?current, ?maximum, "could not raise the limit on open files");
    }
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    share_descriptors(config, limit);
}

/// Of `limit` descriptors connections get at most a half, and files at most three quarters of what those leave: the last
/// quarter is for what is read, written or made at the moment.
fn share_descriptors(config: &mut BrokerConfig, limit: u64) {
    let most = u32::try_from(limit / 2).unwrap_or(u32::MAX).max(1);
    if config.max_connections > most {
        tracing::info!(
            max.connections = most,
            open.files = limit,
            "fewer connections than configured, to leave room for files"
        );
        config.max_connections = most;
    }
    let files = limit.saturating_sub(u64::from(config.max_connections)) / 4 * 3;
    config.open_files = u32::try_from(files).unwrap_or(u32::MAX).clamp(1, MOST_OPEN_FILES);
}

fn read_config(disk: &dyn Disk, file: &Path) -> anyhow::Result<Values> {
    let bytes = disk.read(file).with_context(|| format!("could not read {}", file.display()))?;
    let text = String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", file.display()))?;
    parse_properties(&text).with_context(|| format!("in {}", file.display()))
}

async fn run(env: Env, config: BrokerConfig, log_level: LogLevel) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let gauges = Gauges { log_level: Arc::new(log_level), ..Gauges::new() };
    let (stop_admin, _) = watch::channel(false);
    serve_admin(&env, &config, &gauges, &stop_admin).await?;
    let url = store_url(&config)?;
    let store = store::open(&url, &env).with_context(|| format!("store={url}"))?;
    let outside = Outside { env: env.clone(), network: Arc::new(RealNetwork), store };
    let server: Server = tokio::select! {
        biased;
        () = signals.stop() => return Ok(()),
        server = server::start(outside, config, gauges) => server?,
    };
    let failure = tokio::select! {
        biased;
        () = signals.stop() => None,
        reason = server.failed() => Some(reason),
    };
    match &failure {
        None => tracing::info!("stopping"),
        Some(reason) => tracing::error!(%reason, "stopping"),
    }
    match env.timeout(STOP_LIMIT, server.stop()).await {
        Ok(()) => tracing::info!("stopped"),
        Err(_) => tracing::warn!("could not stop cleanly in time; the next start will check the logs"),
    }
    // Nobody listens when there is no admin listener.
    let _ = stop_admin.send(true);
    failure.map_or(Ok(()), |reason| Err(anyhow!(reason)))
}

/// Where the cold data and the metadata go: `store`, or a directory beside the first log directory.
fn store_url(config: &BrokerConfig) -> anyhow::Result<String> {
    if let Some(url) = &config.store {
        return Ok(url.clone());
    }
    let store = config.default_store_directory();
    let store = std::path::absolute(&store).with_context(|| format!("the store's directory {}", store.display()))?;
    let url = Url::from_file_path(&store).map_err(|()| anyhow!("{} cannot be written as a URL", store.display()))?;
    Ok(url.into())
}

async fn serve_admin(
    env: &Env,
    config: &BrokerConfig,
    gauges: &Gauges,
    stop: &watch::Sender<bool>,
) -> anyhow::Result<()> {
    for address in &config.admin_listeners {
        let (host, port) = address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)))
            .context(format!("admin.listeners={address} is not host:port"))?;
        let address = RealNetwork
            .resolve(host.trim_start_matches('[').trim_end_matches(']'), port)
            .await
            .with_context(|| format!("admin.listeners={address} cannot be resolved"))?;
        let mut stopped = stop.subscribe();
        let stop = async move {
            // A dropped sender stops, too.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let (metrics, readiness) = (Arc::clone(&gauges.metrics), Arc::clone(&gauges.readiness));
        let (address, serving) = admin::listen(address, metrics, readiness, stop)
            .await
            .with_context(|| format!("could not listen at {address} (admin.listeners)"))?;
        tracing::info!(%address, "admin listener");
        env.spawn_background("admin", async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the admin listener failed");
            }
        });
    }
    Ok(())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_files_share_the_descriptors() {
        let shared = |limit, connections| {
            let mut config = BrokerConfig::from_values(Values::default(), "h").unwrap();
            config.max_connections = connections;
            share_descriptors(&mut config, limit);
            (config.max_connections, config.open_files)
        };
        assert_eq!(shared(1024, 10_000), (512, 384));
        assert_eq!(shared(20_000, 6_000), (6_000, 10_500));
        assert_eq!(shared(1 << 20, 10_000), (10_000, 1 << 15), "as many as can be mapped");
        assert_eq!(shared(2, 10_000), (1, 1));
    }
}

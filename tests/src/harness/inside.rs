//! A broker in the test's own process: the same code on the same machine, disk and sockets, with a store that the test has
//! in its hands.
//!
//! It cannot be killed, and shares its memory with the test: what is about these needs a [`Broker`](super::Broker). Its
//! store is a directory, with faults on demand in front of it.

use super::faulty::Faulty;
use esker_bench::client::Client;
use esker_bench::store::{Asked, Fault, Faults};
use esker_broker::config::{BrokerConfig, parse_set};
use esker_broker::net::env::RealNetwork;
use esker_broker::server::{self, Gauges, Outside};
use esker_broker::tools::{ScrubOptions, Scrubbed, scrub_store};
use esker_storage::env::store::{Store, open};
use esker_storage::env::{Env, RealClock, RealDisk, RealRandom, RealTasks};
use esker_storage::tier::ScrubDepth;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A broker in this process.
pub struct Inside {
    folder: TempDir,
    settings: Vec<String>,
    port: u16,
    faults: Arc<Faults>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// This machine, as a process of its own sees it, with one runtime that ends with the second of the two.
///
/// # Panics
/// Without threads or randomness.
pub fn machine() -> (Env, Arc<RealTasks>) {
    let tasks = Arc::new(RealTasks::start(1).expect("threads"));
    let env = Env {
        clock: Arc::new(RealClock::start()),
        random: Arc::new(RealRandom::seeded().expect("randomness")),
        tasks: Arc::clone(&tasks) as Arc<_>,
        disk: Arc::new(RealDisk),
    };
    (env, tasks)
}

impl Inside {
    /// Starts a broker with these settings (`key=value` each), and waits until it serves.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(settings: &[&str]) -> Inside {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        let folder = tempfile::Builder::new().prefix("esker-inside-").tempdir().expect("a temporary folder");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut broker = Inside { folder, settings, port, faults: Arc::default(), running: None };
        broker.restart().await;
        broker
    }

    /// Starts it again on its data.
    ///
    /// # Panics
    /// If it runs, or does not start.
    pub async fn restart(&mut self) {
        assert!(self.running.is_none(), "the broker runs already");
        let fixed = [
            format!("listeners=PLAINTEXT://127.0.0.1:{}", self.port),
            format!("log.dirs={}", self.data().display()),
            "node.id=1".to_owned(),
        ];
        let values = fixed.iter().chain(&self.settings).map(|setting| parse_set(setting));
        let values = values.collect::<Result<_, _>>().expect("settings");
        let config = BrokerConfig::from_values(values, "inside").expect("a configuration");
        let (url, faults) = (self.url(), Arc::clone(&self.faults));
        let (ready, is_ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let (env, tasks) = machine();
            let store = open(&url, &env).expect("a store");
            let store = Arc::new(Faulty::new(store, &env, faults));
            let outside = Outside { env, network: Arc::new(RealNetwork), store };
            tasks.background().block_on(async move {
                let server = server::start(outside, config, Gauges::new()).await.expect("the broker starts");
                // Whoever waited may have given up.
                let _ = ready.send(());
                // An end without a word is an end as well.
                let _ = stopped.await;
                server.stop().await;
            });
        });
        is_ready.await.expect("the broker starts");
        self.running = Some((stop, thread));
    }

    /// Stops it in good order.
    ///
    /// # Panics
    /// If it does not run, or has panicked.
    pub fn stop(&mut self) {
        let (stop, thread) = self.running.take().expect("the broker runs");
        drop(stop);
        thread.join().expect("the broker ends well");
    }

    /// Deletes everything on its disk; the store stays.
    ///
    /// # Panics
    /// If it runs.
    pub fn wipe_disk(&self) {
        assert!(self.running.is_none(), "stop the broker first");
        std::fs::remove_dir_all(self.data()).expect("the data can be deleted");
    }

    /// A new client.
    pub fn client(&self) -> Client {
        Client::new(format!("127.0.0.1:{}", self.port))
    }

    /// From now on `plan` decides each call's fault.
    pub fn set_faults(&self, plan: impl FnMut(&Asked) -> Option<Fault> + Send + 'static) {
        self.faults.decide(plan);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.faults.set(None);
    }

    /// What a scrub of the store finds.
    ///
    /// # Panics
    /// If the store cannot be asked.
    pub fn scrub(&self) -> Scrubbed {
        let url = self.url();
        let scrubbing = std::thread::spawn(move || {
            let (env, tasks) = machine();
            let store: Arc<dyn Store> = open(&url, &env).expect("a store");
            let options =
                ScrubOptions { depth: ScrubDepth::Everything, grace: Duration::from_secs(3600), repair: false };
            tasks.background().block_on(scrub_store(&env, store, options)).expect("the store can be asked")
        });
        scrubbing.join().expect("a scrub ends well")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder.path().join("store").display())
    }
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inside(port {})", self.port)
    }
}

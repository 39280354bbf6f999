//! A run as data: who sends what, who reads it, what happens meanwhile, and what is checked afterwards.
//!
//! Every command makes one of these (the named ones are in [`super::presets`], OpenMessaging files are read by
//! [`super::open_messaging`]), and [`super::drive`] carries it out.

use crate::batch::Codec;
use crate::client::{Client, Security};
use std::path::PathBuf;
use std::sync::Arc;

/// A run.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What it is called.
    pub name: String,
    /// Where.
    pub endpoint: Endpoint,
    /// What is written to and read from.
    pub topics: Topics,
    /// Who sends.
    pub producers: Option<Producers>,
    /// Who reads, kind by kind.
    pub readers: Vec<Readers>,
    /// What lies in the topics before anybody is measured.
    pub backlog: Option<Backlog>,
    /// A broker that is restarted meanwhile.
    pub restart: Option<Restart>,
    /// What is read back when all is done.
    pub check: Check,
    /// Whether the highest rate that can be kept up is searched for.
    pub search: bool,
    /// Seconds before what is measured.
    pub warmup: f64,
    /// Seconds at the end of that in which nothing is due: what has queued up is gone before anything is measured.
    pub rest: f64,
    /// Seconds that are measured.
    pub seconds: f64,
    /// How the generator is judged.
    pub limits: Limits,
}

/// The cluster, and how it is reached.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `host:port`, or several with commas.
    pub bootstrap: String,
    /// TLS and SASL.
    pub security: Security,
    /// The broker's process on this machine, if it is to be watched.
    pub pid: Option<u32>,
    /// Threads of the load.
    pub threads: usize,
    /// Which client sends and reads.
    pub driver: Driver,
}

/// A client of Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// Our own, which does as little as possible.
    #[default]
    Own,
    /// librdkafka, which most users have under their own; only where this program was built with it.
    Librdkafka,
}

impl Driver {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Driver::Own => "esker-bench",
            Driver::Librdkafka => "librdkafka",
        }
    }

    /// Whether this program was built with it.
    pub fn is_there(self) -> bool {
        self == Driver::Own || cfg!(feature = "rdkafka")
    }
}

impl std::str::FromStr for Driver {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = [Driver::Own, Driver::Librdkafka].into_iter().find(|driver| driver.name() == name);
        let found = found.ok_or_else(|| format!("{name} is neither esker-bench nor librdkafka"))?;
        if found.is_there() { Ok(found) } else { Err(format!("{name} was left out: build with --features {FEATURE}")) }
    }
}

/// The feature that brings librdkafka.
const FEATURE: &str = "rdkafka";

impl Endpoint {
    /// A new client of the cluster.
    pub fn client(&self) -> Client {
        Client::secured(&self.bootstrap, self.security.clone())
    }
}

/// Topics that are alike.
#[derive(Clone, Debug)]
pub struct Topics {
    /// The name; of several topics, what their names begin with.
    pub name: String,
    /// How many.
    pub count: u32,
    /// Partitions of each.
    pub partitions: i32,
    /// Configurations of those that are created.
    pub configs: Vec<(String, String)>,
}

impl Topics {
    /// Their names, by number.
    pub fn names(&self) -> Vec<String> {
        match self.count {
            0 | 1 => vec![self.name.clone()],
            count => (0..count).map(|number| format!("{}-{number}", self.name)).collect(),
        }
    }
}

/// Connections that send.
#[derive(Clone, Debug)]
pub struct Producers {
    /// Connections for each topic.
    pub per_topic: usize,
    /// Records a second of all of them; without, each as fast as it can.
    pub rate: Option<f64>,
    /// Bytes of a value.
    pub size: usize,
    /// Bytes of records in a batch; with keys, in all batches of a request.
    pub batch: usize,
    /// At a rate: milliseconds that records wait for others.
    pub linger: f64,
    /// Requests that a connection has under way.
    pub in_flight: usize,
    /// Acknowledgements: 0, 1 or -1 for all.
    pub acks: i16,
    /// Compression.
    pub codec: Codec,
    /// Whether each connection is an idempotent producer.
    pub idempotent: bool,
    /// What values are made of behind their header; without, what does not compress.
    pub padding: Option<Arc<[u8]>>,
    /// Which part of that does not compress, where nothing else is given.
    pub random: f64,
    /// How many values there are of which each record has one by chance, all of them in `padding`; with 0, that is one.
    pub pool: u32,
    /// Keys, if there are any; they choose the partition as Kafka's clients do.
    pub keys: Option<Keys>,
}

impl Default for Producers {
    fn default() -> Self {
        Self {
            per_topic: 1,
            rate: None,
            size: 1024,
            batch: 128 << 10,
            linger: 0.0,
            in_flight: 5,
            acks: -1,
            codec: Codec::None,
            idempotent: false,
            padding: None,
            random: 1.0,
            pool: 0,
            keys: None,
        }
    }
}

/// The keys of one connection, which are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// So many, in turn.
    RoundRobin(u32),
    /// So many, by chance.
    Random(u32),
}

impl Keys {
    /// How many there are.
    pub fn count(self) -> u32 {
        let (Keys::RoundRobin(count) | Keys::Random(count)) = self;
        count.max(1)
    }
}

/// Readers of one kind.
#[derive(Clone, Debug)]
pub struct Readers {
    /// What they are called in the results.
    pub name: String,
    /// How many times everything is read.
    pub groups: usize,
    /// Connections that share the partitions in each of these.
    pub connections: usize,
    /// Where they begin.
    pub from: From,
    /// How the partitions are shared.
    pub sharing: Sharing,
    /// The most bytes that a fetch asks for, of a partition and in all.
    pub fetch: i32,
}

impl Readers {
    /// One connection that follows the end.
    pub fn tail(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            groups: 1,
            connections: 1,
            from: From::End,
            sharing: Sharing::Assigned,
            fetch: 8 << 20,
        }
    }
}

/// Where readers begin, and where they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Behind what is there; they follow what comes.
    End,
    /// With the backlog; they go on to follow what comes, and the time until they do is measured.
    Backlog,
    /// With the backlog, again and again, and never beyond it.
    BacklogOnly,
    /// As [`From::BacklogOnly`], once.
    BacklogOnce,
}

/// How readers share partitions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sharing {
    /// Each has its own, for ever.
    Assigned,
    /// As members of a consumer group; every so many seconds one of them leaves and joins again.
    Group {
        /// Seconds between two who leave; `None`: nobody does.
        rebalance_every: Option<f64>,
    },
}

/// What is written first.
#[derive(Clone, Debug)]
pub struct Backlog {
    /// Bytes of values, over all topics.
    pub bytes: u64,
    /// Where it lies when it is read.
    pub place: Place,
    /// The part of it that is read when it counts as drained. With all of it, what was there first is read to its end;
    /// with less, as much or a thousand records are left, of it and of what came meanwhile.
    pub drain_ratio: f64,
}

impl Backlog {
    /// So much, where it was written.
    pub fn of(bytes: u64) -> Self {
        Self { bytes, place: Place::AsWritten, drain_ratio: 1.0 }
    }
}

/// Where a backlog lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where it was written to.
    AsWritten,
    /// On the disk and not in the page cache: the files below this folder are evicted from it.
    Disk(PathBuf),
    /// In the tier and not on the broker's disk, but for the last segments.
    Tier,
}

/// A broker that is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The shell command that does it.
    pub command: String,
    /// How many times, evenly spread over what is measured.
    pub times: u32,
}

/// What is read back when all is done, besides what readers have read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Nothing.
    Nothing,
    /// Everything is there.
    Everything,
    /// The oldest records are gone, which must have happened, and the rest is there.
    Retained,
    /// Superseded records are gone, some of which must be, and the newest one of each key is there.
    Compacted,
}

/// When the generator is at fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Milliseconds by which at most one record in a hundred may be sent late through the generator's own fault.
    pub late_ms: f64,
    /// Whether a generator that limits what is measured fails the run, or is only reported.
    pub fail: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { late_ms: 10.0, fail: true }
    }
}

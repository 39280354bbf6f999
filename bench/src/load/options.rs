//! What the command line says. Each command's options are a struct, so that a program can fill them as well.

use super::workload::{Driver, Endpoint};
use crate::batch::Codec;
use crate::client::{Client, Mechanism, Sasl, Security, Tls, TlsFiles};
use crate::probe::DiscloseOptions;
use crate::report::Output;
use clap::Args;
use std::path::PathBuf;

/// Where, and whom to watch.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// A broker's address, or several with commas.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// The topic; created by those who send if it does not exist.
    #[arg(long, default_value = "esker-bench")]
    pub topic: String,
    /// The process id of the broker, to tell what it spends.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Threads of the load; connections are spread over them. One by default, two where some send and some read.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Which client sends and reads: esker-bench, or librdkafka where this was built with it.
    #[arg(long, value_name = "CLIENT", default_value = "esker-bench")]
    pub client: Driver,
    /// TLS and SASL.
    #[command(flatten)]
    pub security: SecurityOptions,
}

impl Target {
    /// The endpoint, with certificates read.
    ///
    /// # Errors
    /// Certificates that cannot be read, or half of what belongs together.
    pub fn endpoint(&self) -> anyhow::Result<Endpoint> {
        Ok(Endpoint {
            bootstrap: self.bootstrap.clone(),
            security: self.security.read()?,
            pid: self.pid,
            threads: self.threads.unwrap_or(1),
            driver: self.client,
        })
    }

    /// A client of our own.
    ///
    /// # Errors
    /// As [`Target::endpoint`].
    pub fn own_client(&self) -> anyhow::Result<Client> {
        Ok(self.endpoint()?.client())
    }
}

impl Default for Target {
    fn default() -> Self {
        Self {
            bootstrap: "127.0.0.1:9092".to_owned(),
            topic: "esker-bench".to_owned(),
            pid: None,
            threads: None,
            client: Driver::Own,
            security: SecurityOptions::default(),
        }
    }
}

/// TLS and SASL, as a client needs them.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Security")]
pub struct SecurityOptions {
    /// Encrypt, and trust the authorities that this machine trusts.
    #[arg(long)]
    pub tls: bool,
    /// Encrypt, and trust the authorities in this PEM file.
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Our own certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Authenticate by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    #[arg(long, value_name = "MECHANISM", requires = "sasl_user")]
    pub sasl_mechanism: Option<Mechanism>,
    /// As this user.
    #[arg(long, value_name = "NAME", requires = "sasl_mechanism")]
    pub sasl_user: Option<String>,
    /// With this password.
    #[arg(long, value_name = "PASSWORD", env = "ESKER_BENCH_SASL_PASSWORD", hide_env_values = true)]
    pub sasl_password: Option<String>,
}

impl SecurityOptions {
    /// Ready to be used.
    ///
    /// # Errors
    /// Certificates that cannot be read, or a user without a password.
    pub fn read(&self) -> anyhow::Result<Security> {
        let own = self.tls_cert.clone().zip(self.tls_key.clone());
        let wanted = self.tls || self.tls_ca.is_some() || own.is_some();
        let files = TlsFiles { authority: self.tls_ca.clone(), own };
        let tls = wanted.then(|| Tls::read(&files)).transpose()?;
        let sasl = match (self.sasl_mechanism, &self.sasl_user) {
            (Some(mechanism), Some(user)) => {
                let password = self.sasl_password.clone();
                let password = password.ok_or_else(|| {
                    anyhow::anyhow!("the user {user} needs a password: --sasl-password or ESKER_BENCH_SASL_PASSWORD")
                })?;
                Some(Sasl { mechanism, user: user.clone(), password })
            }
            _ => None,
        };
        Ok(Security { tls, sasl })
    }
}

/// Options of every load; what is not given is as the workload has it.
#[derive(Args, Clone, Debug, Default)]
pub struct Load {
    /// Where, and whom to watch.
    #[command(flatten)]
    pub target: Target,
    /// Topics: of several, the name is what theirs begin with.
    #[arg(long)]
    pub topics: Option<u32>,
    /// Partitions of each topic.
    #[arg(long)]
    pub partitions: Option<i32>,
    /// Topic configurations, key=value, of those that are created.
    #[arg(long = "topic-config", value_name = "KEY=VALUE")]
    pub topic_configs: Vec<String>,
    /// Connections that send to each topic.
    #[arg(long, visible_alias = "producers")]
    pub connections: Option<usize>,
    /// Records a second over all connections.
    #[arg(long, conflicts_with = "full_speed")]
    pub rate: Option<f64>,
    /// As fast as possible, also where the workload has a rate.
    #[arg(long)]
    pub full_speed: bool,
    /// Bytes of a record's value; at least 36.
    #[arg(long)]
    pub size: Option<usize>,
    /// Bytes of records in a batch, before compression; 1 for single records.
    #[arg(long)]
    pub batch: Option<usize>,
    /// At a rate: milliseconds that records wait for others.
    #[arg(long)]
    pub linger: Option<f64>,
    /// Requests that a connection has under way.
    #[arg(long)]
    pub in_flight: Option<usize>,
    /// Acknowledgements: 0, 1 or all.
    #[arg(long, value_parser = parse_acks, allow_hyphen_values = true)]
    pub acks: Option<i16>,
    /// Compression: none, gzip, snappy, lz4 or zstd.
    #[arg(long)]
    pub codec: Option<Codec>,
    /// Send as idempotent producers, one producer id a connection.
    #[arg(long)]
    pub idempotent: bool,
    /// Keys of each connection, by chance.
    #[arg(long)]
    pub keys: Option<u32>,
    /// Times that everything is read: the fan-out.
    #[arg(long, visible_alias = "groups")]
    pub fan_out: Option<usize>,
    /// Connections that read for each of these.
    #[arg(long)]
    pub consumers: Option<usize>,
    /// The most bytes that a fetch asks for.
    #[arg(long)]
    pub fetch: Option<i32>,
    /// MB of values that are there before anybody is measured.
    #[arg(long, value_name = "MB")]
    pub backlog: Option<u64>,
    /// Read the backlog from the disk: the files below this folder, the broker's log directory, are evicted from the
    /// page cache.
    #[arg(long, value_name = "FOLDER", conflicts_with = "tiered")]
    pub evict: Option<PathBuf>,
    /// Read the backlog from the tier: topics have remote storage and keep nothing that is there.
    #[arg(long)]
    pub tiered: bool,
    /// Seconds between two members of a group who leave and join again.
    #[arg(long, value_name = "SECONDS")]
    pub rebalance_every: Option<f64>,
    /// A shell command that restarts the broker.
    #[arg(long, value_name = "COMMAND")]
    pub restart_command: Option<String>,
    /// How many times it is restarted.
    #[arg(long)]
    pub restarts: Option<u32>,
    /// Seconds that are measured.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Seconds before that.
    #[arg(long)]
    pub warmup: Option<f64>,
    /// Times that everything is repeated, each time with topics of its own.
    #[arg(long, default_value_t = 1)]
    pub repeats: u32,
    /// Read everything back afterwards, and check it.
    #[arg(long)]
    pub verify: bool,
    /// Milliseconds by which one record in a hundred may be sent late through the generator's own fault.
    #[arg(long, value_name = "MS")]
    pub late_limit: Option<f64>,
    /// Report a generator that is the bottleneck, but do not fail.
    #[arg(long)]
    pub slow_generator: bool,
    /// Show no progress line.
    #[arg(long)]
    pub quiet: bool,
    /// What is told beside the figures.
    #[command(flatten, next_help_heading = "Report")]
    pub disclose: DiscloseOptions,
    /// Where the figures go.
    #[command(flatten)]
    pub output: Output,
}

/// Options of `search`.
#[derive(Args, Clone, Copy, Debug)]
pub struct Probe {
    /// Seconds that each rate is tried.
    #[arg(long, default_value_t = 8.0, value_name = "SECONDS")]
    pub step_seconds: f64,
    /// Milliseconds that the p99 of acknowledgement may reach, and that of end to end where somebody follows.
    #[arg(long, default_value_t = 100.0, value_name = "MS")]
    pub p99_limit: f64,
}

impl Default for Probe {
    fn default() -> Self {
        Self { step_seconds: 8.0, p99_limit: 100.0 }
    }
}

/// Options of `consume`.
#[derive(Args, Clone, Debug)]
pub struct Consume {
    /// Where, and whom to watch.
    #[command(flatten)]
    pub target: Target,
    /// Connections that share the partitions.
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// Times that everything is read at once.
    #[arg(long, default_value_t = 1)]
    pub fan_out: usize,
    /// The most bytes that one fetch asks for.
    #[arg(long, default_value_t = 8 << 20)]
    pub fetch: i32,
    /// Times to read everything, one after the other; the middle one by speed is reported last.
    #[arg(long, default_value_t = 3)]
    pub passes: usize,
    /// Times to read everything before that.
    #[arg(long, default_value_t = 1)]
    pub warmup_passes: usize,
    /// Report a generator that is the bottleneck, but do not fail.
    #[arg(long)]
    pub slow_generator: bool,
    /// What is told beside the figures.
    #[command(flatten, next_help_heading = "Report")]
    pub disclose: DiscloseOptions,
    /// Where the figures go.
    #[command(flatten)]
    pub output: Output,
}

/// Options of `replay`.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    /// Where, and whom to watch. Connection n reads partition n (modulo their number).
    #[command(flatten)]
    pub target: Target,
    /// Connections.
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// The most bytes that one fetch asks for.
    #[arg(long, default_value_t = 4 << 20)]
    pub fetch: i32,
}

fn parse_acks(text: &str) -> Result<i16, String> {
    match text {
        "all" | "-1" => Ok(-1),
        "0" => Ok(0),
        "1" => Ok(1),
        _ => Err("acks is 0, 1 or all".to_owned()),
    }
}

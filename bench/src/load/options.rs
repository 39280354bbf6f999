//! What the command line says. Each command's options are a struct, so that a program can fill them as well.

use crate::batch::Codec;
use clap::Args;

/// Where, and whom to watch.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// A broker's address.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// The topic; created by `produce` and `e2e` if it does not exist.
    #[arg(long, default_value = "esker-bench")]
    pub topic: String,
    /// The process id of the broker, to tell its CPU time and memory.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Threads of the load; connections are spread over them.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Connections of each kind.
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
}

/// Options of `produce` and `e2e`.
#[derive(Args, Clone, Debug)]
pub struct Produce {
    /// Where, and whom to watch.
    #[command(flatten)]
    pub target: Target,
    /// Partitions of the topic, if it is created; those that are written in any case.
    #[arg(long, default_value_t = 1)]
    pub partitions: i32,
    /// Topic configurations, key=value, if it is created.
    #[arg(long = "topic-config", value_name = "KEY=VALUE")]
    pub topic_configs: Vec<String>,
    /// Bytes of a record's value; at least 36.
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// Bytes of records in a batch, before compression.
    #[arg(long, default_value_t = 128 << 10)]
    pub batch: usize,
    /// At a rate: milliseconds that a batch waits for more records.
    #[arg(long, default_value_t = 0.0)]
    pub linger: f64,
    /// Batches that a connection has under way.
    #[arg(long, default_value_t = 5)]
    pub in_flight: usize,
    /// Acknowledgements: 0, 1 or all.
    #[arg(long, default_value = "all", value_parser = parse_acks)]
    pub acks: i16,
    /// Compression: none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "none")]
    pub codec: Codec,
    /// Records a second over all connections; without it, as fast as possible.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 5.0)]
    pub warmup: f64,
    /// Send each batch as an idempotent producer, one producer id a connection.
    #[arg(long)]
    pub idempotent: bool,
    /// Read everything back afterwards, and check it.
    #[arg(long)]
    pub verify: bool,
}

/// Options of `consume`.
#[derive(Args, Clone, Debug)]
pub struct Consume {
    /// Where, and whom to watch.
    #[command(flatten)]
    pub target: Target,
    /// The most bytes that one fetch asks for.
    #[arg(long, default_value_t = 8 << 20)]
    pub fetch: i32,
    /// Times to read everything; the middle one by speed is reported last.
    #[arg(long, default_value_t = 3)]
    pub passes: usize,
    /// Times to read everything before that.
    #[arg(long, default_value_t = 1)]
    pub warmup_passes: usize,
}

/// Options of `replay`.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    /// Where, and whom to watch. Connection n reads partition n (modulo their number).
    #[command(flatten)]
    pub target: Target,
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

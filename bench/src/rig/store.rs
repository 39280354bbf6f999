//! The store of a trial: [`crate::store`] in a process of its own.

use super::Subprocess;
use crate::load::runtime;
use crate::store::{Plan, Server, Speed};
use clap::Args;
use rustix::thread::CpuSet;
use std::sync::Arc;
use std::time::Duration;

/// How fast a store is, on the command line.
#[derive(Args, Clone, Copy, Debug)]
pub struct StoreSpeed {
    /// Milliseconds from a request to the first byte of its answer.
    #[arg(long, default_value_t = 20.0)]
    pub store_delay: f64,
    /// MB a second of one connection's answers.
    #[arg(long)]
    pub store_connection_rate: Option<f64>,
    /// MB a second of all answers together.
    #[arg(long)]
    pub store_rate: Option<f64>,
}

impl StoreSpeed {
    fn speed(&self) -> Speed {
        Speed {
            delay: Duration::from_secs_f64(self.store_delay / 1e3),
            per_connection: self.store_connection_rate.map(|rate| rate * 1e6),
            in_all: self.store_rate.map(|rate| rate * 1e6),
        }
    }
}

impl std::fmt::Display for StoreSpeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a store with {} ms to the first byte", self.store_delay)?;
        if let Some(rate) = self.store_connection_rate {
            write!(f, ", {rate} MB/s a connection")?;
        }
        match self.store_rate {
            Some(rate) => write!(f, ", {rate} MB/s in all"),
            None => write!(f, ", as fast as the machine in all"),
        }
    }
}

/// Options of `store`.
#[derive(Args, Clone, Copy, Debug)]
pub struct StoreOptions {
    /// How fast.
    #[command(flatten)]
    pub speed: StoreSpeed,
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
}

/// The `store` command: says its address, and serves until standard input ends. A line there, `NAME PERCENT`, makes a
/// fault; an empty one ends it.
///
/// # Errors
/// If it cannot listen.
pub fn run(options: &StoreOptions) -> anyhow::Result<()> {
    let StoreOptions { speed, port } = *options;
    let server = runtime()?.block_on(async move {
        let server = Server::bind(([127, 0, 0, 1], port).into(), speed.speed()).await?;
        println!("http://{}", server.address());
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        let faults = Arc::clone(server.faults());
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                match plan(&line) {
                    Ok(plan) => faults.set(plan),
                    Err(error) => eprintln!("{error}"),
                }
            }
            drop(ended);
        });
        tokio::select! {
            result = server.serve() => result,
            _ = end => Ok(()),
        }
    });
    Ok(server?)
}

/// What a line of standard input asks for.
fn plan(line: &str) -> anyhow::Result<Plan> {
    match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [fault, percent] => Ok(Some((fault.parse().map_err(anyhow::Error::msg)?, percent.parse()?))),
        _ => anyhow::bail!("not a fault and a percentage: {line:?}"),
    }
}

/// A running store.
#[derive(Debug)]
pub struct Store {
    process: Subprocess,
    endpoint: String,
}

impl Store {
    /// Starts one; where others are measured beside it, it gives way to them.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(speed: StoreSpeed, gives_way: bool) -> anyhow::Result<Self> {
        let mut arguments = vec!["store".to_owned(), format!("--store-delay={}", speed.store_delay)];
        arguments.extend(speed.store_connection_rate.map(|rate| format!("--store-connection-rate={rate}")));
        arguments.extend(speed.store_rate.map(|rate| format!("--store-rate={rate}")));
        let mut process = Subprocess::start(&arguments, gives_way)?;
        let endpoint = process.line()?;
        Ok(Self { process, endpoint })
    }

    /// From now on `fault` happens to so many of 100 requests; without, nothing.
    ///
    /// # Errors
    /// If the store has ended.
    pub fn fail(&mut self, fault: Plan) -> anyhow::Result<()> {
        self.process.say(&fault.map(|(fault, percent)| format!("{} {percent}", fault.name())).unwrap_or_default())
    }

    /// Keeps it to `cores`.
    ///
    /// # Errors
    /// If it has ended.
    pub fn keep_to(&self, cores: &CpuSet) -> anyhow::Result<()> {
        self.process.keep_to(cores)
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        self.endpoint.trim_start_matches("http://")
    }

    /// What a broker must be told to use it: the store's URL.
    pub fn url(&self) -> &'static str {
        "s3://bucket/cluster"
    }

    /// What a broker must have in its environment to use it.
    pub fn environment(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ACCESS_KEY_ID", "esker-bench"),
            ("AWS_SECRET_ACCESS_KEY", "esker-bench"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &self.endpoint),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Fault;

    #[test]
    fn a_line_asks_for_a_fault_or_for_none() {
        assert_eq!(plan("lost 60").unwrap(), Some((Fault::Lost, 60)));
        assert_eq!(plan("").unwrap(), None);
        assert!(plan("lost").is_err() && plan("bored 5").is_err());
    }
}

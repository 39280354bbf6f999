//! The `esker-bench` command line: which command runs with which options.

use crate::load::options::{Consume, Load, Probe, Replay};
use crate::load::{command, consume, presets, replay};
use crate::neighbour::{self, Neighbour};
use crate::probe::machine;
use crate::report::{self, Compare};
use crate::rig::store::{self, StoreOptions};
use crate::trial::cold::{self, Cold};
use crate::trial::faults::{self, Faults};
use crate::trial::isolation::{self, Isolation};
use crate::versus::{self, Versus};
use clap::{Parser, Subcommand};

/// Load, verification and comparison against any Kafka endpoint, and trials of a broker that it starts itself.
#[derive(Debug, Parser)]
#[command(name = "esker-bench", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a workload, by its name or from an OpenMessaging file; every record that is read is verified.
    #[command(after_help = presets::list())]
    Run {
        /// Which one: see below.
        workload: String,
        /// What is to be otherwise.
        #[command(flatten)]
        options: Box<Load>,
    },
    /// Search for the highest rate that a workload can keep up.
    #[command(after_help = presets::list())]
    Search {
        /// Which one: see below.
        #[arg(default_value = "produce")]
        workload: String,
        /// When a rate counts as kept up.
        #[command(flatten)]
        probe: Probe,
        /// What is to be otherwise.
        #[command(flatten)]
        options: Box<Load>,
    },
    /// Send records, at a rate or as fast as possible; measures acknowledgement. Short for `run produce`.
    Produce(Box<Load>),
    /// Read a topic that `produce` wrote, from its start to its end, and check every record.
    Consume(Box<Consume>),
    /// Send at a rate and read at the same time; measures from intended sending to arrival. Short for `run e2e`.
    E2e(Box<Load>),
    /// Put the results of two runs side by side, with ratios, and say what keeps them from being comparable.
    Compare(Compare),
    /// Esker beside Apache Kafka: every goal that was set, in one table.
    Versus(Versus),
    /// Apache Kafka, fetched and started with empty data: says its address, and ends with standard input.
    Neighbour(Neighbour),
    /// Read a topic's tiered history over and over until standard input ends, and check every record.
    Replay(Replay),
    /// An object store in memory that speaks S3 and is as slow as it is told to be; ends with standard input.
    Store(StoreOptions),
    /// Trial: what replaying history does to a producer and a tail reader.
    Isolation(Isolation),
    /// Trial: what a store that fails does to a producer and a tail reader.
    Faults(Faults),
    /// Trial: a cold read's time to its first record, and a cold reader's throughput beside the store's.
    Cold(Cold),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// What went wrong, a verification that failed, or a goal that was not met.
    pub fn run(&self) -> anyhow::Result<()> {
        let is_load = matches!(
            self.command,
            Command::Run { .. } | Command::Search { .. } | Command::Produce(_) | Command::Consume(_) | Command::E2e(_)
        );
        if is_load {
            // Told beside the figures, and only true before there are any.
            let _ = machine::busy_before();
        }
        match &self.command {
            Command::Run { workload, options } => command::run(workload, options),
            Command::Search { workload, probe, options } => command::search(workload, options, probe),
            Command::Produce(options) => command::run("produce", options),
            Command::Consume(options) => consume::run(options),
            Command::E2e(options) => command::run("e2e", options),
            Command::Compare(options) => report::compare_files(options),
            Command::Versus(options) => versus::run(options),
            Command::Neighbour(options) => neighbour::run(options),
            Command::Replay(options) => replay::run(options),
            Command::Store(options) => store::run(options),
            Command::Isolation(options) => isolation::run(options),
            Command::Faults(options) => faults::run(options),
            Command::Cold(options) => cold::run(options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Codec;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["esker-bench", "produce", "--acks", "1", "--codec", "zstd"]);
        let Command::Produce(options) = cli.command else { panic!("{cli:?}") };
        assert_eq!((options.acks, options.codec), (Some(1), Some(Codec::Zstd)));
    }
}

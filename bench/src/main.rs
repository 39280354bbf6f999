//! The `esker-bench` command: load, verification and comparison against any Kafka endpoint.
//!
//! `esker-bench produce|consume|e2e --help` tells the options; [`esker_bench::load`] tells how it measures.

use clap::Parser;
use esker_bench::load::options::{Cli, Command};
use esker_bench::load::{consume, end_to_end, produce};

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Produce(options) => produce::run(&options),
        Command::Consume(options) => consume::run(&options),
        Command::E2e(options) => end_to_end::run(&options),
    }
}

//! The `esker-bench` command: load, verification and comparison against any Kafka endpoint.
//!
//! `esker-bench --help` lists the commands; [`esker_bench::load`] tells how load is measured, [`esker_bench::trial`] what
//! the trials prove.

use clap::Parser;
use esker_bench::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

//! Results on paper: a table on the terminal, one HTML page, our JSON, and OpenMessaging's.
//!
//! All of them show the same [`figures`]; [`ratios`] sets those of two runs beside each other. [`Output`] is the part of a
//! command line that says what to write.

mod compare;
mod disclosed;
mod figures;
mod omb;
mod page;
mod ratios;
mod text;

pub use compare::{Compare, run as compare_files};
pub use omb::test_result;
pub use page::page;
pub(crate) use page::{Section, document};
pub use text::table;

pub(crate) use figures::decimals;

use crate::results::{Report, encode, file};
use anyhow::Context;
use clap::Args;
use std::path::{Path, PathBuf};

/// Where results go, besides the terminal.
#[derive(Args, Clone, Debug, Default)]
pub struct Output {
    /// Write the results as JSON, for `compare` and for other programs.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write one HTML page with curves, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the results in the shape of the OpenMessaging benchmark.
    #[arg(long, value_name = "FILE")]
    pub omb_json: Option<PathBuf>,
}

impl Output {
    /// Prints `report` as a table, and writes what is asked for.
    ///
    /// # Errors
    /// If a file cannot be written, or, last of all, with the first reason why a run failed.
    pub fn emit(&self, report: &Report) -> anyhow::Result<()> {
        print!("{}", table(report));
        self.write(report)?;
        let failure = report.runs.iter().find_map(|run| Some((run, run.failures().next()?)));
        failure.map_or(Ok(()), |(run, failure)| Err(anyhow::anyhow!("{} failed: {}", run.name, failure.why)))
    }

    /// Writes what is asked for.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, report: &Report) -> anyhow::Result<()> {
        if let Some(path) = &self.json {
            write(path, &encode(report)?)?;
        }
        if let Some(path) = &self.html {
            write(path, &page(report))?;
        }
        if let Some(path) = &self.omb_json {
            let [run] = &report.runs[..] else { anyhow::bail!("OpenMessaging's shape has one run in a file") };
            write(path, &test_result(run)?)?;
        }
        Ok(())
    }
}

/// The results in a file.
///
/// # Errors
/// If it is too large to be one, or refused: see [`crate::results::Refused`].
pub fn read(path: &Path) -> anyhow::Result<Report> {
    let named = || format!("{}", path.display());
    let size = std::fs::metadata(path).with_context(named)?.len();
    anyhow::ensure!(size <= file::MAX_BYTES, "{}: {size} bytes are too many for results", path.display());
    crate::results::decode(&std::fs::read_to_string(path).with_context(named)?).with_context(named)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

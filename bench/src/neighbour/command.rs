//! The `neighbour` command: Apache Kafka for whatever is to be asked of both, `tests/clients/run --peer` for one.

use super::{Jars, Kafka, Setup};
use anyhow::Context;
use clap::Args;
use std::io::Read;
use std::path::PathBuf;

/// Options of `neighbour`.
#[derive(Args, Clone, Debug)]
pub struct Neighbour {
    /// A tier in a directory; topics still ask for it with remote.storage.enable.
    #[arg(long)]
    pub tiered: bool,
    /// Sync every batch before it is acknowledged.
    #[arg(long)]
    pub synced: bool,
    /// Settings of the broker; of several for a key the last counts.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// Where Kafka's jars are kept; by default below the build directory.
    #[arg(long)]
    pub kafka: Option<PathBuf>,
    /// Where its data lies while it runs; by default beside the jars.
    #[arg(long)]
    pub data: Option<PathBuf>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Starts a node with empty data, says its address, and ends it when standard input ends.
///
/// # Errors
/// If it cannot be fetched or does not start.
pub fn run(options: &Neighbour) -> anyhow::Result<()> {
    let folder = options.kafka.clone().unwrap_or_else(Jars::default_folder);
    let data = options.data.clone().unwrap_or_else(|| folder.with_file_name("data"));
    let jars = Jars::fetch(&folder)?;
    std::fs::create_dir_all(&data).with_context(|| format!("{}", data.display()))?;
    let data = tempfile::Builder::new().prefix("neighbour-").tempdir_in(&data)?;
    let setup = Setup { synced: options.synced, tiered: options.tiered, settings: options.settings.clone() };
    let mut kafka = Kafka::format(&jars, data.path(), &setup)?;
    kafka.start()?;
    kafka.wait()?;
    println!("{}", kafka.bootstrap());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    kafka.stop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_key_and_all_behind_the_first_equals_sign() {
        assert_eq!(setting("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert_eq!(setting("a="), Ok(("a".to_owned(), String::new())));
        assert!(setting("a.b").is_err());
    }
}

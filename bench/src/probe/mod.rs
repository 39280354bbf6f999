//! What is told beside the figures, found out: the broker as far as the wire tells ([`broker`]), the machine ([`machine`]), how
//! fast its disk syncs ([`disk`]), and what the broker's process spends while it is measured ([`process`]).

pub mod broker;
pub mod date;
pub mod disk;
pub mod machine;
pub mod process;

use crate::client::Client;
use crate::results::{ClientSide, Disclosure, Work};
use clap::Args;
use std::path::PathBuf;

/// What is disclosed beyond what can be found out by itself.
#[derive(Args, Clone, Debug, Default)]
pub struct DiscloseOptions {
    /// What to call this run where it stands beside others.
    #[arg(long)]
    pub name: Option<String>,
    /// What the broker is, and its version: the protocol does not tell.
    #[arg(long)]
    pub software: Option<String>,
    /// Measure how fast this directory's disk syncs (the broker's log directory, say) before the run.
    #[arg(long, value_name = "DIRECTORY")]
    pub sync_probe: Option<PathBuf>,
}

/// Everything that must be told of a run that is about to start: `work` and `client` as the caller has set them up, the
/// broker that `client` asks and its `topic`, which is there, and this machine.
///
/// # Errors
/// If the broker cannot be asked, or the disk cannot be probed.
pub async fn disclose(
    options: &DiscloseOptions,
    work: Work,
    client: ClientSide,
    asking: &Client,
    topic: Option<&str>,
) -> anyhow::Result<Disclosure> {
    let mut broker = broker::ask(asking, topic).await?;
    broker.software.clone_from(&options.software);
    let mut machine = machine::this();
    machine.sync = options.sync_probe.as_deref().map(disk::probe).transpose()?;
    Ok(Disclosure { date: date::now(), command: command_line(), work, client, broker, machine })
}

/// The command line of this process, with the program's name only.
pub fn command_line() -> Vec<String> {
    let mut command: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    if let Some(program) = command.first_mut()
        && let Some(name) = std::path::Path::new(program.as_str()).file_name()
    {
        *program = name.to_string_lossy().into_owned();
    }
    command
}

//! Rows on starting: on data from before, and after SIGKILL on much of it.

use super::goals::{FIRST, SERVING};
use super::node::{Node, Side};
use super::table::Table;
use super::{Tools, Versus};
use crate::batch::{Builder, Codec};
use crate::client::Client;
use crate::load::{new_run, runtime};
use crate::neighbour::Setup;
use crate::results::{Better, Measure, Repeat};
use crate::rig::Fill;
use std::time::{Duration, Instant};

/// How long a start may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(2);
/// Partitions of what is killed.
const PARTITIONS: i32 = 4;
/// Times that ours is killed; Kafka once, it takes long.
const KILLS: usize = 3;

/// Starts one side on a topic from before, after an orderly end.
pub(super) fn start(tools: &Tools, side: Side, table: &mut Table) -> anyhow::Result<()> {
    let mut node = Node::started(tools, side, &Setup::default())?;
    create(&node, "start", 1)?;
    produce(&node, "start", 1, Instant::now())?;
    node.stop();
    let started = Instant::now();
    node.launch()?;
    let took = produce(&node, "start", 1, started)?;
    measured("start", side, FIRST, took.as_secs_f64() * 1e3, "ms", table);
    node.stop();
    Ok(())
}

/// Kills one side with much in its local log, and starts it again.
pub(super) fn kill(tools: &Tools, options: &Versus, side: Side, table: &mut Table) -> anyhow::Result<()> {
    let mut node = Node::started(tools, side, &Setup::default())?;
    create(&node, "kill", PARTITIONS)?;
    let each = (options.kill_gib << 30) / PARTITIONS as u64;
    let run = new_run()?;
    runtime()?.block_on(async {
        let client = Client::new(node.bootstrap());
        let writers: Vec<_> = (0..PARTITIONS)
            .map(|partition| {
                let topic = "kill".to_owned();
                let fill = Fill { topic, partition, bytes: each, size: 1024, batch: 512 << 10, run };
                tokio::spawn(fill.write(client.clone()))
            })
            .collect();
        for writer in writers {
            writer.await??;
        }
        anyhow::Ok(())
    })?;
    for _ in 0..if side == Side::Kafka { 1 } else { KILLS } {
        node.kill();
        let started = Instant::now();
        node.launch()?;
        let took = produce(&node, "kill", PARTITIONS, started)?;
        measured("kill", side, SERVING, took.as_secs_f64(), "s", table);
    }
    Ok(())
}

fn measured(row: &str, side: Side, name: &str, value: f64, unit: &str, table: &mut Table) {
    let measure = Measure { name: name.to_owned(), value, unit: unit.to_owned(), better: Better::Lower };
    table.repeat(row, side, &Default::default(), Repeat { measures: vec![measure], ..Repeat::default() });
}

fn create(node: &Node, topic: &str, partitions: i32) -> anyhow::Result<()> {
    let client = Client::new(node.bootstrap());
    let create = client.create_topic(topic, partitions, &[("remote.storage.enable", "false")]);
    Ok(runtime()?.block_on(create)?)
}

/// Produces a record to each partition as soon as that is accepted; how long that took since `started`.
fn produce(node: &Node, topic: &str, partitions: i32, started: Instant) -> anyhow::Result<Duration> {
    let mut batch = Builder::new(Codec::None);
    batch.push(std::time::UNIX_EPOCH.elapsed()?.as_millis() as i64, None, Some(&[7; 100]), &[]);
    let batch = batch.build()?;
    let client = Client::new(node.bootstrap());
    runtime()?.block_on(async {
        for partition in 0..partitions {
            while let Err(error) = client.produce(topic, partition, batch.clone()).await {
                anyhow::ensure!(started.elapsed() < LIMIT, "{topic}-{partition}: {error}\n{}", node.log_end());
                client.forget().await;
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(started.elapsed())
    })
}

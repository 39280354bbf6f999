//! Rows on the hot path: produce, consume, latencies, and the memory of a broker under that load.

use super::goals::IDLE;
use super::lab::{self, UNTIERED, arguments};
use super::node::{Node, Side};
use super::table::Table;
use super::{Tools, Versus};
use crate::client::Client;
use crate::load::{new_run, runtime};
use crate::neighbour::Setup;
use crate::probe::process::Reading;
use crate::results::{Better, Direction, Measure, Repeat, Run};
use crate::rig::Fill;
use std::time::Duration;

/// How long a broker is left alone before it counts as idle.
const SETTLING: Duration = Duration::from_secs(5);
/// Bytes of what is read again and again.
const READ: u64 = 1 << 30;
/// The topic of it.
const READ_TOPIC: &str = "read";
/// librdkafka's `fetch.message.max.bytes`: what it asks of a partition.
const FETCH: u64 = 1 << 20;

/// What is known from one turn to the next.
#[derive(Default)]
pub(super) struct Hot {
    /// Half of Kafka's highest rate, in records a second; the same for all rounds.
    half: Option<f64>,
}

impl Hot {
    /// One turn of one side: starts it, and fills the rows.
    pub(super) fn turn(
        &mut self,
        tools: &Tools,
        options: &Versus,
        synced: bool,
        side: Side,
        wanted: &[&'static str],
        table: &mut Table,
    ) -> anyhow::Result<()> {
        let mut node = Node::started(tools, side, &Setup { synced, ..Setup::default() })?;
        if wanted.contains(&"memory-idle") {
            std::thread::sleep(SETTLING);
            let measure = anonymous(&node, IDLE)?;
            table.repeat(
                "memory-idle",
                side,
                &Default::default(),
                Repeat { measures: vec![measure], ..Repeat::default() },
            );
        }
        tools.ballast.fill()?;
        let needs_half = wanted.contains(&"latency-half") && self.half.is_none();
        if wanted.iter().any(|name| name.starts_with("produce-1k") || *name == "memory-load") || needs_half {
            let produced = self.produce(&node, options, wanted, table);
            note(produced, &["produce-1k", "produce-1k-sync", "memory-load"], wanted, side, table);
        }
        for name in wanted {
            let done = match *name {
                "small" | "small-sync" => small(&node, options).map(Some),
                "consume" => consume(&node, 1).map(Some),
                "consume-4" => consume(&node, 4).map(Some),
                "latency" | "latency-sync" => latency(&node, options, 1_000.0, name).map(Some),
                "latency-half" => match self.half {
                    Some(rate) => latency(&node, options, rate, name).map(Some),
                    None => Err(anyhow::anyhow!("Kafka's highest rate is not known")),
                },
                _ => Ok(None),
            };
            match done {
                Ok(Some(run)) => table.add(name, side, run),
                Ok(None) => {}
                Err(error) => note(Err(error), &[name], wanted, side, table),
            }
        }
        node.stop();
        Ok(())
    }

    /// Full speed at 1 KiB, for the rows that ask for it and for half of Kafka's rate.
    fn produce(
        &mut self,
        node: &Node,
        options: &Versus,
        wanted: &[&'static str],
        table: &mut Table,
    ) -> anyhow::Result<()> {
        let seconds = options.seconds;
        let text = format!(
            "produce --topic=produce --size=1024 --seconds={seconds} --warmup={seconds} --verify --quiet {UNTIERED}"
        );
        let run = lab::load(node, &arguments(&text), 2.0 * seconds)?;
        delete(node, "produce")?;
        if self.half.is_none() && node.side() == Side::Kafka {
            self.half = run.records_per_second(Direction::Produce).map(|rate| (rate.median / 2.0).round());
        }
        for name in ["produce-1k", "produce-1k-sync", "memory-load"] {
            if wanted.contains(&name) {
                table.add(name, node.side(), run.clone());
            }
        }
        Ok(())
    }
}

/// Notes an error in the wanted ones of these rows.
fn note(result: anyhow::Result<()>, rows: &[&str], wanted: &[&'static str], side: Side, table: &mut Table) {
    if let Err(error) = result {
        eprintln!("  {error:#}");
        rows.iter().filter(|row| wanted.contains(row)).for_each(|row| table.fail(row, side, &error));
    }
}

/// 16 connections, each with one record of 100 bytes under way.
fn small(node: &Node, options: &Versus) -> anyhow::Result<Run> {
    let seconds = options.seconds;
    let warmup = seconds / 2.0;
    let text =
        format!("run many-producers --topic=small --seconds={seconds} --warmup={warmup} --verify --quiet {UNTIERED}");
    let run = lab::load(node, &arguments(&text), 1.5 * seconds)?;
    delete(node, "small")?;
    Ok(run)
}

/// Everything in a topic of one partition, by so many readers at once.
fn consume(node: &Node, readers: usize) -> anyhow::Result<Run> {
    fill(node)?;
    let text = format!(
        "consume --topic={READ_TOPIC} --fan-out={readers} --fetch={FETCH} --warmup-passes=1 --passes=1 --slow-generator"
    );
    lab::load(node, &arguments(&text), 10.0)
}

/// Writes what is read, once.
fn fill(node: &Node) -> anyhow::Result<()> {
    let run = new_run()?;
    runtime()?.block_on(async {
        let client = Client::new(node.bootstrap());
        match client.create_topic(READ_TOPIC, 1, &[("remote.storage.enable", "false")]).await {
            // TOPIC_ALREADY_EXISTS: it is filled.
            Err(error) if error.code() == Some(36) => return Ok(()),
            created => created?,
        }
        let fill = Fill { topic: READ_TOPIC.to_owned(), partition: 0, bytes: READ, size: 1024, batch: 128 << 10, run };
        fill.write(client).await
    })
}

/// Acknowledgement and end to end at a rate.
fn latency(node: &Node, options: &Versus, rate: f64, topic: &str) -> anyhow::Result<Run> {
    let seconds = options.seconds * 2.0;
    let warmup = options.seconds.max(1.0);
    let text = format!(
        "e2e --topic={topic} --size=1024 --rate={rate} --seconds={seconds} --warmup={warmup} --quiet {UNTIERED}"
    );
    let run = lab::load(node, &arguments(&text), seconds + warmup)?;
    delete(node, topic)?;
    Ok(run)
}

/// Deletes a topic, so that what follows has the room and the page cache.
fn delete(node: &Node, topic: &str) -> anyhow::Result<()> {
    Ok(runtime()?.block_on(Client::new(node.bootstrap()).delete_topic(topic))?)
}

/// The anonymous memory of a node now.
pub(super) fn anonymous(node: &Node, name: &str) -> anyhow::Result<Measure> {
    let reading = Reading::of(node.pid()?)?;
    let value = reading.anonymous as f64 / f64::from(1 << 20);
    Ok(Measure { name: name.to_owned(), value, unit: "MiB".to_owned(), better: Better::Lower })
}

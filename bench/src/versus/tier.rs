//! Rows on tiered history: how fast it is read, and what that does to a producer.

use super::goals::{BESIDE, REPLAY};
use super::lab::{self, UNTIERED, arguments};
use super::node::{Node, Side};
use super::table::Table;
use super::{Tools, Versus};
use crate::load::replay::Replayed;
use crate::neighbour::Setup;
use crate::results::{Better, Direction, Measure, Repeat, Run};
use crate::rig::{History, Subprocess, history_cores};
use std::time::Duration;

/// `segment.bytes` of what is tiered.
const SEGMENT: u64 = 64 << 20;

/// One side: writes history, waits until it is in the tier only, and reads it back.
pub(super) fn turn(
    tools: &Tools,
    options: &Versus,
    side: Side,
    wanted: &[&'static str],
    table: &mut Table,
) -> anyhow::Result<()> {
    let mut node = Node::started(tools, side, &Setup { tiered: true, ..Setup::default() })?;
    let history = History {
        topic: "history".to_owned(),
        partitions: 1,
        bytes_each: options.history * 1_000_000,
        size: 1024,
        segment_bytes: SEGMENT.min(options.history * 1_000_000 / 8).max(1 << 20),
    };
    history.make(node.bootstrap())?;
    if wanted.contains(&"replay-rate") {
        let replay = start(&node, &history, false)?;
        std::thread::sleep(Duration::from_secs_f64(options.seconds * 2.0));
        let replayed = replay.end()?.parse::<Replayed>()?;
        let measures = vec![rate(&replayed)];
        table.repeat("replay-rate", side, &Default::default(), Repeat { measures, ..Repeat::default() });
    }
    if wanted.contains(&"replay") {
        // What was measured before keeps its figure.
        if let Err(error) = beside(&node, options, &history, table) {
            eprintln!("  {error:#}");
            table.fail("replay", side, &error);
        }
    }
    node.stop();
    Ok(())
}

/// A producer alone, beside a replay, and alone again.
fn beside(node: &Node, options: &Versus, history: &History, table: &mut Table) -> anyhow::Result<()> {
    let before = present(node, options)?;
    // It plays another machine's part.
    let replay = start(node, history, true)?;
    replay.keep_to(&history_cores(node.pid()?)?)?;
    let mut run = present(node, options)?;
    let replayed = replay.end()?.parse::<Replayed>()?;
    let after = present(node, options)?;
    let p99 = |run: &Run| {
        let p99 = run.latency_quantile(Direction::Produce, 0.99);
        p99.map(|spread| spread.median).ok_or_else(|| anyhow::anyhow!("nothing was acknowledged"))
    };
    let alone = (p99(&before)? + p99(&after)?) / 2.0;
    let value = p99(&run)? / alone;
    if let Some(repeat) = run.repeats.first_mut() {
        repeat.measures.push(Measure { name: BESIDE.to_owned(), value, unit: "x".to_owned(), better: Better::Lower });
        let name = "p99 without a replay".to_owned();
        repeat.measures.push(Measure { name, value: alone, unit: "ms".to_owned(), better: Better::Lower });
        repeat.measures.push(rate(&replayed));
    }
    table.add("replay", node.side(), run);
    Ok(())
}

fn rate(replayed: &Replayed) -> Measure {
    let value = replayed.bytes as f64 / 1e6 / replayed.seconds;
    Measure { name: REPLAY.to_owned(), value, unit: "MB/s".to_owned(), better: Better::Higher }
}

fn start(node: &Node, history: &History, gives_way: bool) -> anyhow::Result<Subprocess> {
    let text = format!("replay --bootstrap={} --topic={}", node.bootstrap(), history.topic);
    Subprocess::start(&arguments(&text), gives_way)
}

/// Who lives in the present.
fn present(node: &Node, options: &Versus) -> anyhow::Result<Run> {
    let (seconds, warmup) = (options.seconds * 2.0, options.seconds.max(1.0) / 2.0);
    let text = format!(
        "produce --topic=present --size=1024 --rate=1000 --seconds={seconds} --warmup={warmup} --quiet {UNTIERED}"
    );
    lab::load(node, &arguments(&text), seconds + warmup)
}

//! Rows on many partitions: what a thousand cost in memory, and what ten thousand do to a producer's latency.

use super::goals::{MANY, THOUSAND};
use super::hot;
use super::lab::{self, UNTIERED, arguments};
use super::node::{Node, Side};
use super::table::Table;
use super::{Tools, Versus};
use crate::batch::{Builder, Codec};
use crate::client::Client;
use crate::load::runtime;
use crate::neighbour::Setup;
use crate::results::{Better, Direction, Measure, Repeat};
use std::time::Duration;

/// How long a broker is left alone before its memory is looked at.
const SETTLING: Duration = Duration::from_secs(5);
/// Seconds that ten thousand partitions may take to be created, and to be read back.
const CREATION: f64 = 180.0;
/// Partitions whose memory is looked at.
const PARTITIONS: i32 = 1_000;

/// The memory of one side with a thousand partitions that have a record each.
pub(super) fn thousand(tools: &Tools, side: Side, table: &mut Table) -> anyhow::Result<()> {
    let mut node = Node::started(tools, side, &Setup::default())?;
    let mut batch = Builder::new(Codec::None);
    batch.push(std::time::UNIX_EPOCH.elapsed()?.as_millis() as i64, None, Some(&[7; 100]), &[]);
    let batch = batch.build()?;
    runtime()?.block_on(async {
        let client = Client::new(node.bootstrap());
        client.create_topic("thousand", PARTITIONS, &[("remote.storage.enable", "false")]).await?;
        for partition in 0..PARTITIONS {
            client.retry(|| client.produce("thousand", partition, batch.clone())).await?;
        }
        anyhow::Ok(())
    })?;
    std::thread::sleep(SETTLING);
    let measures = vec![hot::anonymous(&node, THOUSAND)?];
    table.repeat("memory-1000", side, &Default::default(), Repeat { measures, ..Repeat::default() });
    node.stop();
    Ok(())
}

/// Our p99 with ten thousand partitions in proportion to that with ten, with five thousand connections both times.
pub(super) fn many(tools: &Tools, options: &Versus, table: &mut Table) -> anyhow::Result<()> {
    let mut p99s = Vec::new();
    for partitions in [10, 10_000] {
        // So that files get what connections leave of the descriptors, of which there are 20,000 on small machines.
        let settings = vec![("max.connections".to_owned(), "6000".to_owned())];
        let mut node = Node::started(tools, Side::Esker, &Setup { settings, ..Setup::default() })?;
        let seconds = options.seconds * 2.0;
        let text = format!(
            "run connections --topic=many --connections=5000 --partitions={partitions} --seconds={seconds} --warmup={seconds} \
             --quiet {UNTIERED}"
        );
        let mut run = lab::load(&node, &arguments(&text), 4.0 * seconds + CREATION)?;
        node.stop();
        let p99 = run.latency_quantile(Direction::Produce, 0.99);
        let p99 = p99.ok_or_else(|| anyhow::anyhow!("nothing was acknowledged with {partitions} partitions"))?.median;
        p99s.push(p99);
        let put = |repeat: &mut Repeat, name: &str, value: f64, unit: &str| {
            let (name, unit) = (name.to_owned(), unit.to_owned());
            repeat.measures.push(Measure { name, value, unit, better: Better::Lower });
        };
        if let ([few, many], Some(repeat)) = (&p99s[..], run.repeats.first_mut()) {
            put(repeat, MANY, many / few, "x");
            put(repeat, "p99 with 10 partitions", *few, "ms");
            table.add("many", Side::Esker, run);
        }
    }
    Ok(())
}

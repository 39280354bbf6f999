//! Reading history back: a broker with a store in memory, whose history is in the tier alone.
#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use esker_bench::batch::{Builder, Codec};
use esker_bench::client::Client;
use esker_broker::config::{BrokerConfig, parse_set};
use esker_broker::net::env::RealNetwork;
use esker_broker::partition::{Bound, Partition, Read};
use esker_broker::server::{self, Gauges, Outside, Server};
use esker_storage::env::Env;
use esker_storage::env::store::MemoryStore;
use esker_storage::offset::Offset;
use std::sync::Arc;
use std::time::Duration;
use support::{bench, env, filled};

#[global_allocator]
static COUNTING: support::counting::Counting = support::counting::Counting;

const TOPIC: &str = "history";
/// Bytes of history.
const FILLED: usize = 128 << 20;

async fn start(env: &Env, folder: &std::path::Path) -> Server {
    let settings = [
        "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
        format!("log.dirs={}", folder.display()),
        format!("log.segment.bytes={}", filled(FILLED) / 8),
        "log.local.retention.bytes=1".to_owned(),
        "log.retention.check.interval.ms=200".to_owned(),
    ];
    let settings = settings.iter().map(|setting| parse_set(setting)).collect::<Result<_, _>>().expect("settings");
    let config = BrokerConfig::from_values(settings, "a benchmark").expect("a configuration");
    let store = Arc::new(MemoryStore::new(Arc::clone(&env.clock)));
    let outside = Outside { env: env.clone(), network: Arc::new(RealNetwork), store };
    server::start(outside, config, Gauges::new()).await.expect("a broker")
}

async fn fill(env: &Env, server: &Server) -> Arc<Partition> {
    let client = Client::new(server.addresses()[0].to_string());
    client.create_topic(TOPIC, 1, &[]).await.expect("a topic");
    let mut batch = Builder::new(Codec::None);
    for _ in 0..120 {
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_millis() as i64;
        batch.push(now, None, Some(&[b'v'; 1024]), &[]);
    }
    let batch = batch.build().expect("a batch");
    for _ in 0..filled(FILLED) / batch.len() {
        client.produce_surely(TOPIC, 0, batch.clone()).await.expect("room");
    }
    let led = server.hosted().led();
    let partition = led.into_iter().find(|partition| &**partition.topic() == TOPIC).expect("it is led here");
    // Until only the active segment is left.
    while partition.local_start().offset().get() < partition.high_watermark().offset().get() * 3 / 4 {
        env.sleep(Duration::from_millis(100)).await;
    }
    partition
}

fn tiered(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (env, folder) = (env(), tempfile::tempdir().expect("a folder"));
    let (server, partition) = runtime.block_on(async {
        let server = start(&env, &folder.path().join("data")).await;
        let partition = fill(&env, &server).await;
        (server, partition)
    });
    let (start, end) = (Offset::new(0), partition.local_start().offset());
    let mut at = start;
    let far = env.now().plus(Duration::from_secs(3600));
    bench(criterion, "tiered read", "1 MiB, one after the other", 1 << 20, || {
        let read = partition.read(at, Bound::Uncommitted, 1 << 20, true).expect("it is there");
        let Read::Cold(read) = read else { panic!("it is not in the tier") };
        let records = runtime.block_on(read.complete(far)).expect("the store has it").expect("in time");
        at = records.next().filter(|next| *next < end).unwrap_or(start);
        records
    });
    runtime.block_on(server.stop());
}

criterion_group!(benches, tiered);
criterion_main!(benches);

//! Results for tests: two runs of one workload, with something in every field.

use super::*;
use std::collections::BTreeMap;

/// Two runs, `esker` and `other`, of which the second is half as fast.
pub(crate) fn report() -> Report {
    Report { runs: vec![run("esker", 1.0), run("other", 2.0)] }
}

/// A run whose latencies and costs are `slowness` times those of the first.
pub(crate) fn run(name: &str, slowness: f64) -> Run {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let configs = map(&[("log.durability", "fsync"), ("log.segment.bytes", "67108864")]);
    let disclosure = Disclosure {
        date: "2026-11-26T03:15:00Z".to_owned(),
        command: ["esker-bench", "e2e", "--rate", "1000"].map(str::to_owned).to_vec(),
        work: Work {
            name: "e2e".to_owned(),
            parameters: map(&[("topic", "a <b> & \"c\"")]),
            record_bytes: 1024,
            topics: 1,
            partitions: 4,
            producers: 1,
            consumers: 1,
            rate: Some(1_000.0),
            warmup_seconds: 2.0,
            data_bytes: 1_000_000,
        },
        client: ClientSide {
            name: "esker-bench".to_owned(),
            version: "0.1.0".to_owned(),
            acks: "all".to_owned(),
            codec: "none".to_owned(),
            batch_bytes: 131_072,
            linger_ms: 0.5,
            in_flight: 5,
            idempotent: true,
            fetch_bytes: Some(8 << 20),
            connections: 1,
            threads: 1,
            security: "PLAINTEXT".to_owned(),
        },
        broker: BrokerSide {
            software: Some(format!("{name} 0.1.0")),
            bootstrap: "127.0.0.1:9092".to_owned(),
            brokers: vec![1],
            features: BTreeMap::from([("metadata.version".to_owned(), 27)]),
            apis: BTreeMap::from([(0, 13), (1, 17)]),
            replication: Some(1),
            min_isr: Some(1),
            durability: BrokerSide::durability_of(&configs, &BTreeMap::new()),
            configs,
            topic_configs: map(&[("remote.storage.enable", "false")]),
        },
        machine: Machine {
            kernel: "Linux 6.18.0".to_owned(),
            cpu: "a processor".to_owned(),
            cpus: 2,
            memory_bytes: 24 << 30,
            available_bytes: 20 << 30,
            busy: 0.01,
            sync: Some(SyncProbe { file_system: "ext4".to_owned(), count: 200, p50_us: 231.0, p99_us: 321.5 }),
        },
    };
    Run { name: name.to_owned(), disclosure, repeats: (0..3).map(|at| repeat(slowness, at)).collect() }
}

fn repeat(slowness: f64, at: u64) -> Repeat {
    let (start, end) = (1_000_000_000, 6_000_000_000);
    let flow = |name: &str, direction: Direction, base: f64| {
        let mut meter = Meter::new(start, end);
        let mut buckets = Vec::new();
        for record in 0..5_000_u64 {
            // A long tail, the same in every run.
            let rank = ((record * 7_919 + at * 13) % 5_000) as f64 / 5_000.0;
            let latency = (base * slowness * (1.0 + rank * rank * 2.0) / (1.001 - rank).powf(0.7)) as u64;
            buckets.push((latency, 1));
            meter.add(start + record * 1_000_000, 1, 1024, Some(latency));
        }
        Flow {
            name: name.to_owned(),
            direction,
            records: meter.records(),
            bytes: meter.bytes(),
            requests: Some(4_000),
            seconds: 5.0,
            latency: Some(Distribution::new(buckets)),
            delay: (direction == Direction::Produce)
                .then(|| Distribution::new(vec![(40_000, 4_900), (2_000_000, 100)])),
            following: (direction == Direction::Consume).then_some(Following { groups: 1, behind: 0 }),
            series: meter.seconds(),
        }
    };
    let samples = (0..=10).map(|half| Sample {
        at: half as f64 / 2.0,
        cpu_seconds: (half * (20 + half % 3)) as f64 * slowness / 200.0,
        anonymous: (30 << 20) + half * (1 << 20),
        file: (100 << 20) + half * (4 << 20),
        threads: 12,
        disk_read: Some(half * 200_000),
        disk_written: Some(half * 600_000),
        net_received: half * 1_000_000,
        net_sent: half * 900_000,
    });
    let samples: Vec<Sample> = samples.collect();
    Repeat {
        flows: vec![
            flow("producers", Direction::Produce, 200_000.0),
            flow("tail readers", Direction::Consume, 350_000.0),
        ],
        verification: Some(Verification { records: 5_000, ..Verification::default() }),
        process: Some(Process {
            cpu_seconds: samples.last().map_or(0.0, |sample| sample.cpu_seconds),
            seconds: 5.0,
            peak_resident: 200 << 20,
            samples,
        }),
        measures: vec![Measure {
            name: "start to first accepted produce".to_owned(),
            value: 120.0 * slowness,
            unit: "ms".to_owned(),
            better: Better::Lower,
        }],
        failures: Vec::new(),
        notes: Vec::new(),
    }
}

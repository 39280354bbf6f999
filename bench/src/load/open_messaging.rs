//! Workload files of the OpenMessaging benchmark: YAML, one flat mapping.
//!
//! Names and meanings are those of its `Workload` class; a name that it does not have is refused, and so is a value that
//! we would not honour. What it leaves to its driver's file (acks, batching) is as on our command line.

use super::workload::{Backlog, From, Keys, Producers, Readers, Workload};
use serde::Deserialize;
use std::path::Path;

/// Distinct keys of its key distributors.
const KEYS: u32 = 10_000;
/// The most bytes that its pool of payloads may take.
const MAX_POOL: usize = 256 << 20;
/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A workload file.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct File {
    name: Option<String>,
    #[serde(default = "one")]
    topics: u32,
    #[serde(default = "one")]
    partitions_per_topic: u32,
    #[serde(default)]
    key_distributor: KeyDistributor,
    message_size: usize,
    #[serde(default)]
    use_randomized_payloads: bool,
    #[serde(default)]
    random_bytes_ratio: f64,
    #[serde(default)]
    randomized_payload_pool_size: u32,
    payload_file: Option<String>,
    #[serde(default = "one")]
    subscriptions_per_topic: u32,
    #[serde(default = "one")]
    producers_per_topic: u32,
    #[serde(default = "one")]
    consumer_per_subscription: u32,
    producer_rate: f64,
    #[serde(default, rename = "consumerBacklogSizeGB")]
    consumer_backlog_size_gb: u64,
    #[serde(default = "whole")]
    backlog_drain_ratio: f64,
    test_duration_minutes: f64,
    #[serde(default = "minute")]
    warmup_duration_minutes: f64,
}

fn one() -> u32 {
    1
}

fn whole() -> f64 {
    1.0
}

fn minute() -> f64 {
    1.0
}

/// How keys are chosen.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
enum KeyDistributor {
    #[default]
    #[serde(rename = "NO_KEY")]
    None,
    #[serde(rename = "KEY_ROUND_ROBIN")]
    RoundRobin,
    #[serde(rename = "RANDOM_NANO")]
    Random,
}

/// Reads a workload file.
///
/// # Errors
/// If it cannot be read, has a name that we do not know, or a value of the wrong kind: with the place in the file.
pub fn read(path: &Path) -> anyhow::Result<File> {
    let size = std::fs::metadata(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?.len();
    anyhow::ensure!(size <= MAX_BYTES, "{} is too large for a workload", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    parse(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<File> {
    Ok(serde_saphyr::from_str(text)?)
}

impl File {
    /// Makes `workload` what the file says.
    ///
    /// # Errors
    /// For a value that we would not honour.
    pub fn apply(&self, workload: &mut Workload) -> anyhow::Result<()> {
        anyhow::ensure!(self.topics > 0 && self.partitions_per_topic > 0, "no topics or partitions");
        anyhow::ensure!(self.producers_per_topic > 0, "producersPerTopic is 0: nothing would be sent");
        anyhow::ensure!(
            self.producer_rate.is_finite() && self.producer_rate >= 0.0,
            "producerRate is a number of records a second; 0 searches for the highest"
        );
        anyhow::ensure!((0.0..=1.0).contains(&self.backlog_drain_ratio), "backlogDrainRatio is between 0 and 1");
        anyhow::ensure!(
            self.producer_rate > 0.0 || self.consumer_backlog_size_gb == 0,
            "producerRate 0 and consumerBacklogSizeGB contradict each other: no rate is searched for beside a backlog"
        );
        let pool = self.randomized_payload_pool_size;
        anyhow::ensure!(
            !self.use_randomized_payloads || pool > 0,
            "useRandomizedPayloads needs a randomizedPayloadPoolSize: with none there is no payload"
        );
        anyhow::ensure!(
            pool as usize <= MAX_POOL / self.message_size.max(1),
            "randomizedPayloadPoolSize: {pool} payloads of {} bytes are more than {MAX_POOL} bytes",
            self.message_size
        );
        anyhow::ensure!(
            self.payload_file.is_none() || !self.use_randomized_payloads,
            "payloadFile and useRandomizedPayloads contradict each other"
        );
        anyhow::ensure!((0.0..=1.0).contains(&self.random_bytes_ratio), "randomBytesRatio is between 0 and 1");
        if let Some(name) = &self.name {
            workload.name.clone_from(name);
        }
        workload.topics.count = self.topics;
        workload.topics.partitions = i32::try_from(self.partitions_per_topic)?;
        workload.warmup = self.warmup_duration_minutes * 60.0;
        workload.seconds = self.test_duration_minutes * 60.0;
        anyhow::ensure!(workload.seconds > 0.0 && workload.warmup >= 0.0, "a test that takes no time");
        let (padding, random) = match &self.payload_file {
            // Its header says which record it is; what follows is the file's.
            Some(file) => {
                let bytes = std::fs::read(file).map_err(|error| anyhow::anyhow!("payloadFile {file}: {error}"))?;
                anyhow::ensure!(
                    bytes.len() >= self.message_size,
                    "payloadFile {file} has {} bytes, fewer than messageSize",
                    bytes.len()
                );
                (Some(bytes.into()), 1.0)
            }
            None if self.use_randomized_payloads => (None, self.random_bytes_ratio),
            None => (None, 1.0),
        };
        let keys = match self.key_distributor {
            KeyDistributor::None => None,
            KeyDistributor::RoundRobin => Some(Keys::RoundRobin(KEYS)),
            KeyDistributor::Random => Some(Keys::Random(KEYS)),
        };
        workload.producers = Some(Producers {
            per_topic: self.producers_per_topic as usize,
            rate: (self.producer_rate > 0.0).then_some(self.producer_rate),
            size: self.message_size,
            keys,
            padding,
            random,
            pool: if self.use_randomized_payloads { pool } else { 0 },
            // Its producers wait a millisecond, by its driver's file.
            linger: 1.0,
            ..Producers::default()
        });
        workload.search = self.producer_rate == 0.0;
        if self.consumer_backlog_size_gb > 0 {
            // It counts what is there once for each subscription.
            let bytes = (self.consumer_backlog_size_gb << 30) / u64::from(self.subscriptions_per_topic.max(1));
            workload.backlog = Some(Backlog { drain_ratio: self.backlog_drain_ratio, ..Backlog::of(bytes) });
        }
        if self.subscriptions_per_topic > 0 && self.consumer_per_subscription > 0 {
            workload.readers.push(Readers {
                groups: self.subscriptions_per_topic as usize,
                connections: self.consumer_per_subscription as usize * self.topics as usize,
                from: if workload.backlog.is_some() { From::Backlog } else { From::End },
                ..Readers::tail("consumers")
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::options::Load;
    use crate::load::presets;

    /// The form of the files that come with the benchmark.
    const FILE: &str = "# One topic.\nname: 1-topic-16-partitions-1kb\n\ntopics: 1\npartitionsPerTopic: 16\n\
        keyDistributor: \"KEY_ROUND_ROBIN\"\nmessageSize: 1024\nsubscriptionsPerTopic: 2\n\
        consumerPerSubscription: 3\nproducersPerTopic: 4\nproducerRate: 50000\nconsumerBacklogSizeGB: 2\n\
        testDurationMinutes: 15\nwarmupDurationMinutes: 0\n";

    fn workload(text: &str) -> anyhow::Result<Workload> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("workload.yaml");
        std::fs::write(&path, text)?;
        presets::workload(&path.display().to_string(), &Load::default())
    }

    #[test]
    fn a_file_becomes_a_workload() {
        let workload = workload(FILE).unwrap();
        assert_eq!(workload.name, "1-topic-16-partitions-1kb");
        assert_eq!((workload.topics.count, workload.topics.partitions), (1, 16));
        assert_eq!((workload.warmup, workload.seconds, workload.search), (0.0, 900.0, false));
        let producers = workload.producers.unwrap();
        assert_eq!((producers.per_topic, producers.size, producers.rate), (4, 1024, Some(50_000.0)));
        assert_eq!(producers.keys, Some(Keys::RoundRobin(10_000)));
        let readers = &workload.readers[0];
        assert_eq!((readers.groups, readers.connections, readers.from), (2, 3, From::Backlog));
        // Two subscriptions have to read it.
        let backlog = workload.backlog.unwrap();
        assert_eq!((backlog.bytes, backlog.drain_ratio), (1 << 30, 1.0));
    }

    #[test]
    fn payloads_and_drains_are_as_the_file_says() {
        let pool = "useRandomizedPayloads: true\nrandomBytesRatio: 0.5\nrandomizedPayloadPoolSize: 100\n";
        let workload = workload(&format!("{FILE}backlogDrainRatio: 0.9\n{pool}")).unwrap();
        assert_eq!(workload.backlog.unwrap().drain_ratio, 0.9);
        let producers = workload.producers.unwrap();
        assert_eq!((producers.pool, producers.random), (100, 0.5));
        // A hundred values without their headers.
        assert_eq!(producers.padding.unwrap().len(), 100 * (1_024 - 36));
    }

    #[test]
    fn a_rate_of_0_is_searched_for() {
        let text = FILE.replace("50000", "0").replace("consumerBacklogSizeGB: 2\n", "");
        let workload = workload(&text).unwrap();
        assert!(workload.search && workload.producers.unwrap().rate.is_none());
    }

    #[test]
    fn what_is_not_known_or_not_honoured_is_refused_with_its_name() {
        for (from, to, named) in [
            ("messageSize", "messageSise", "messageSise"),
            ("producerRate: 50000", "producerRate: fast", "producerRate"),
            ("producerRate: 50000\n", "", "producerRate"),
            ("KEY_ROUND_ROBIN", "KEY_BY_MOOD", "KEY_BY_MOOD"),
            ("topics: 1\n", "topics: 1\nbacklogDrainRatio: 1.5\n", "backlogDrainRatio"),
            ("producerRate: 50000", "producerRate: 0", "consumerBacklogSizeGB"),
            ("topics: 1\n", "topics: 1\nuseRandomizedPayloads: true\n", "randomizedPayloadPoolSize"),
            ("topics: 1\n", "topics: 1\nrandomizedPayloadPoolSize: 999999999\n", "randomizedPayloadPoolSize"),
            ("topics: 1\n", "topics: 1\npayloadFile: /nowhere/payload\n", "/nowhere/payload"),
            ("producersPerTopic: 4", "producersPerTopic: 0", "producersPerTopic"),
        ] {
            let error = format!("{:#}", workload(&FILE.replace(from, to)).unwrap_err());
            assert!(error.contains(named), "{to}: {error}");
        }
    }
}

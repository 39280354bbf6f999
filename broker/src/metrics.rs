//! Counters and gauges, and whether the broker is ready: what the admin listener shows.
//!
//! Names are those that the usual exporters give Kafka's own metrics (`kafka_server_brokertopicmetrics_...`), so that
//! dashboards work; what Kafka does not have begins with `esker_`. Handles are kept by those who count: nothing is
//! looked up on the way of a request.

use esker_storage::env::Env;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

/// Request counters are held by API key up to this; Kafka's keys end well below.
const API_KEYS: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    request: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Directory {
    directory: String,
}

/// The broker's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Records appended by producers.
    pub messages_in: Counter,
    /// Bytes of batches appended by producers.
    pub bytes_in: Counter,
    /// Bytes of batches sent to consumers.
    pub bytes_out: Counter,
    /// Of these, bytes that came from the tier.
    pub tier_bytes_out: Counter,
    /// Partitions of produce requests that were refused.
    pub failed_produce: Counter,
    /// Partitions of fetch requests that were refused.
    pub failed_fetch: Counter,
    /// Open connections.
    pub connections: Gauge,
    /// Partitions led by this broker.
    pub leaders: Gauge,
    /// Log directories that failed.
    pub offline_log_directories: Gauge,
    /// Log directories that refuse produce for want of room.
    pub full_log_directories: Gauge,
    /// Bytes of local segments that were read to find rot.
    pub scrubbed: Counter,
    /// Rotten local segments that the tier stands in for.
    pub quarantined: Counter,
    /// Rotten files beside local segments that were made again.
    pub mended: Counter,
    /// Damaged ranges of local logs that the tier does not have.
    pub damaged: Gauge,
    available: Family<Directory, Gauge>,
    /// Partitions that cannot be compacted, since a batch of theirs is damaged.
    pub uncleanable_partitions: Gauge,
    /// The dirty share of the dirtiest log.
    pub max_dirty_percent: Gauge,
    /// How full the last pass's memory for keys was.
    pub cleaner_buffer_percent: Gauge,
    /// What share of what it read the last pass kept.
    pub cleaner_recopy_percent: Gauge,
    /// How long the last pass took.
    pub cleaner_clean_seconds: Gauge,
    /// Passes of compaction.
    pub cleaner_passes: Counter,
    /// Bytes that compaction took away.
    pub cleaner_bytes_removed: Counter,
    tier_bytes_in: Counter,
    tier_errors: Counter,
    requests: Vec<Counter>,
}

impl Metrics {
    /// All metrics at zero; `apis` are the keys and names of the requests that are counted.
    pub fn new<'a>(apis: impl IntoIterator<Item = (i16, &'a str)>) -> Metrics {
        let mut registry = Registry::default();
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let messages_in = counter("kafka_server_brokertopicmetrics_messagesin", "Records appended by producers");
        let bytes_in = counter("kafka_server_brokertopicmetrics_bytesin", "Bytes appended by producers");
        let bytes_out = counter("kafka_server_brokertopicmetrics_bytesout", "Bytes sent to consumers");
        let failed_produce =
            counter("kafka_server_brokertopicmetrics_failedproducerequests", "Partitions of produce requests refused");
        let failed_fetch =
            counter("kafka_server_brokertopicmetrics_failedfetchrequests", "Partitions of fetch requests refused");
        let tier_bytes_out =
            counter("kafka_server_brokertopicmetrics_remotefetchbytes", "Bytes sent to consumers from the tier");
        let tier_bytes_in = counter("kafka_server_brokertopicmetrics_remotecopybytes", "Bytes uploaded to the tier");
        let tier_errors = counter(
            "kafka_server_brokertopicmetrics_remotecopyerrors",
            "Uploads and tier commits that failed and are tried again",
        );
        let scrubbed = counter("esker_scrubbed_bytes", "Bytes of local segments that were read to find rot");
        let quarantined = counter("esker_quarantined_segments", "Rotten local segments that the tier stands in for");
        let mended = counter("esker_mended_files", "Rotten headers, indexes and checkpoints that were made again");
        let cleaner_passes = counter("esker_log_cleaner_passes", "Passes of compaction");
        let cleaner_bytes_removed = counter("esker_log_cleaner_removed_bytes", "Bytes that compaction took away");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let connections = gauge("kafka_server_socketservermetrics_connection_count", "Open connections");
        let leaders = gauge("kafka_server_replicamanager_leadercount", "Partitions led by this broker");
        let offline_log_directories =
            gauge("kafka_log_logmanager_offlinelogdirectorycount", "Log directories that failed");
        let full_log_directories =
            gauge("esker_log_directories_refusing", "Log directories that refuse produce for want of room");
        let damaged = gauge("esker_damaged_ranges", "Damaged ranges of local logs that the tier does not have");
        let uncleanable_partitions = gauge(
            "kafka_log_logcleanermanager_uncleanable_partitions_count",
            "Partitions that cannot be compacted, since a batch is damaged",
        );
        let max_dirty_percent =
            gauge("kafka_log_logcleanermanager_max_dirty_percent", "The dirty share of the dirtiest log");
        let cleaner_buffer_percent = gauge(
            "kafka_log_logcleaner_max_buffer_utilization_percent",
            "How full the memory for keys was in the last pass of compaction",
        );
        let cleaner_recopy_percent =
            gauge("kafka_log_logcleaner_cleaner_recopy_percent", "What share of what it read the last pass kept");
        let cleaner_clean_seconds =
            gauge("kafka_log_logcleaner_max_clean_time_secs", "Seconds that the last pass of compaction took");
        let available = Family::<Directory, Gauge>::default();
        registry.register("esker_log_directory_available_bytes", "Room in a log directory", available.clone());
        let family = Family::<Request, Counter>::default();
        registry.register("kafka_network_requestmetrics_requests", "Requests taken in", family.clone());
        let mut requests = vec![Counter::default(); API_KEYS];
        for (key, name) in apis {
            if let Some(slot) = usize::try_from(key).ok().and_then(|key| requests.get_mut(key)) {
                *slot = family.get_or_create(&Request { request: name.to_owned() }).clone();
            }
        }
        Metrics {
            registry: Mutex::new(registry),
            messages_in,
            bytes_in,
            bytes_out,
            tier_bytes_out,
            failed_produce,
            failed_fetch,
            connections,
            leaders,
            offline_log_directories,
            full_log_directories,
            scrubbed,
            quarantined,
            mended,
            damaged,
            available,
            uncleanable_partitions,
            max_dirty_percent,
            cleaner_buffer_percent,
            cleaner_recopy_percent,
            cleaner_clean_seconds,
            cleaner_passes,
            cleaner_bytes_removed,
            tier_bytes_in,
            tier_errors,
            requests,
        }
    }

    /// Counts a request of API `key`.
    pub fn request(&self, key: i16) {
        if let Some(counter) = usize::try_from(key).ok().and_then(|key| self.requests.get(key)) {
            counter.inc();
        }
    }

    /// How much was uploaded since the start, in bytes, and how often that failed.
    pub fn uploaded(&self, bytes: u64, failures: u64) {
        self.tier_bytes_in.inc_by(bytes.saturating_sub(self.tier_bytes_in.get()));
        self.tier_errors.inc_by(failures.saturating_sub(self.tier_errors.get()));
    }

    /// How much room the log directory at `path` has, in bytes.
    pub fn room(&self, path: &str, available: u64) {
        let directory = Directory { directory: path.to_owned() };
        self.available.get_or_create(&directory).set(i64::try_from(available).unwrap_or(i64::MAX));
    }

    /// Everything in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry.lock());
        text
    }
}

/// Why the broker is not ready, if it is not. Ready means: every request is served as it would be from now on.
#[derive(Debug, Default)]
pub struct Readiness {
    reasons: Mutex<BTreeMap<&'static str, String>>,
}

impl Readiness {
    /// Not ready because of `what`; replaces an earlier explanation of the same.
    pub fn not_ready(&self, what: &'static str, why: impl Into<String>) {
        self.reasons.lock().insert(what, why.into());
    }

    /// `what` is no reason any more.
    pub fn ready(&self, what: &'static str) {
        self.reasons.lock().remove(what);
    }

    /// What becomes of `work`, which the store has to take: if that lasts longer than `usual`, `why` is told of the store
    /// until it has succeeded.
    ///
    /// # Errors
    /// The work's.
    pub async fn store_takes<T, E>(
        &self,
        env: &Env,
        usual: Duration,
        why: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut work = pin!(work);
        let done = match env.timeout(usual, work.as_mut()).await {
            Ok(done) => done,
            Err(_) => {
                self.not_ready("store", why);
                work.await
            }
        };
        if done.is_ok() {
            self.ready("store");
        }
        done
    }

    /// What is missing, a line each; `None` when ready.
    pub fn missing(&self) -> Option<String> {
        let reasons = self.reasons.lock();
        (!reasons.is_empty())
            .then(|| reasons.iter().map(|(what, why)| format!("{what}: {why}\n")).collect::<Vec<_>>().concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_name() {
        let metrics = Metrics::new([(0, "Produce")]);
        metrics.request(0);
        metrics.request(-1);
        metrics.request(i16::MAX);
        assert!(metrics.text().contains("kafka_network_requestmetrics_requests_total{request=\"Produce\"} 1"));
    }

    #[test]
    fn readiness_names_what_is_missing() {
        let readiness = Readiness::default();
        assert_eq!(readiness.missing(), None);
        readiness.not_ready("store", "unavailable");
        assert_eq!(readiness.missing().as_deref(), Some("store: unavailable\n"));
        readiness.ready("store");
        assert_eq!(readiness.missing(), None);
    }
}

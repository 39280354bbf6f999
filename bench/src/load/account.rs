//! From an [`Outcome`] to what is reported: flows, verification, failures, and what must be told beside them.

use super::meter::Interval;
use super::outcome::{self, Outcome, Role};
use super::schedule::Schedule;
use super::workload::{Backlog, Driver, From, Place, Producers, Sharing, Workload};
use crate::results::{
    Better, ClientSide, Direction, Distribution, FailureKind, Flow, Measure, Repeat, Second, Summary, Verification,
    Work,
};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// One repeat, of what came of it.
pub(super) fn repeat(workload: &Workload, schedule: &Schedule, outcome: &Outcome) -> Repeat {
    let mut repeat = Repeat { process: outcome.broker.clone(), ..Repeat::default() };
    let seconds = schedule.seconds();
    if let Some(producers) = &workload.producers {
        let mut sent = flow(&outcome.sent, Direction::Produce, seconds);
        sent.requests = Some(outcome.sent.requests);
        if producers.acks == 0 {
            // Nobody said when it was there.
            sent.latency = None;
        }
        repeat.flows.push(sent);
    }
    for (readers, role) in workload.readers.iter().zip(&outcome.read) {
        let is_catch_up = outcome::is_catch_up(readers.from);
        let active = role.active.as_ref().map_or(0.0, |active| (active.end - active.start) as f64 / 1e9);
        // Who had read the backlog once read no more; its rate is that of the time until then.
        let seconds = if readers.from == From::BacklogOnce && active > 0.0 { active } else { seconds };
        let mut read = flow(role, Direction::Consume, seconds);
        read.following = role.following;
        if is_catch_up {
            read.latency = None;
        }
        repeat.flows.push(read);
    }
    let (records, faults) = outcome.verified();
    if !outcome.groups.is_empty() {
        repeat.verification = Some(Verification {
            records,
            lost: faults.lost,
            duplicated: faults.duplicated,
            reordered: faults.reordered,
            corrupt: faults.corrupt,
        });
    }
    repeat.measures = measures(workload, outcome);
    if let Err(error) = outcome.verdict() {
        let kind = if outcome.inexcusable().none() { FailureKind::Error } else { FailureKind::Verification };
        repeat.fail(kind, error.to_string());
    }
    if let Some(generator) = &outcome.generator {
        generator.report(workload.limits.fail, &mut repeat);
    }
    repeat
}

fn flow(role: &Role, direction: Direction, seconds: f64) -> Flow {
    let latency = role.latencies.total();
    Flow {
        name: role.name.clone(),
        direction,
        records: role.records,
        bytes: role.bytes,
        requests: None,
        seconds,
        latency: (!latency.is_empty()).then(|| Distribution::from(&latency)),
        delay: (!role.delays.is_empty()).then(|| Distribution::from(&role.delays)),
        following: None,
        series: role.series.iter().map(second).collect(),
    }
}

fn second(interval: &Interval) -> Second {
    let Interval { records, bytes, latency, delays } = interval;
    Second { records: *records, bytes: *bytes, latency: summary(latency), delay: summary(delays) }
}

fn summary(latency: &Histogram<u64>) -> Option<Summary> {
    let at = |quantile: f64| latency.value_at_quantile(quantile);
    (!latency.is_empty()).then(|| Summary {
        mean: latency.mean(),
        p50: at(0.5),
        p75: at(0.75),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        p9999: at(0.9999),
        max: latency.max(),
    })
}

fn measures(workload: &Workload, outcome: &Outcome) -> Vec<Measure> {
    let mut measures = Vec::new();
    let mut put = |name: &str, value: f64, unit: &str, better| {
        measures.push(Measure { name: name.to_owned(), value, unit: unit.to_owned(), better });
    };
    if let Some(generator) = outcome.generator.as_ref().filter(|_| workload.producers.is_some()) {
        put("sent late by the load's own fault, p99", generator.late_p99_ms, "ms", Better::Lower);
    }
    if outcome.sent.unsent > 0 {
        put("due and never sent", outcome.sent.unsent as f64, "records", Better::Lower);
    }
    if workload.restart.is_some() {
        for took in &outcome.restarts {
            put("restart command", *took, "s", Better::Lower);
        }
        put("longest time without an acknowledgement", outcome.sent.silence as f64 / 1e9, "s", Better::Lower);
        put("batches sent again", outcome.resent as f64, "batches", Better::Lower);
    } else if outcome.resent > 0 {
        put("batches sent again", outcome.resent as f64, "batches", Better::Lower);
    }
    for role in &outcome.read {
        if let Some(drained) = role.drained {
            put(&format!("{}: caught up with the backlog after", role.name), drained, "s", Better::Lower);
        }
    }
    if !outcome.rebalances.is_empty() {
        let ms = |of: &dyn Fn(&Histogram<u64>) -> u64| of(&outcome.rebalances) as f64 / 1e6;
        put("rebalances", outcome.rebalances.len() as f64, "members", Better::Higher);
        put("a member without partitions, p50", ms(&|h| h.value_at_quantile(0.5)), "ms", Better::Lower);
        put("a member without partitions, max", ms(&Histogram::max), "ms", Better::Lower);
        let again: u64 = outcome.groups.iter().map(|group| group.again).sum();
        put("read again after a rebalance", again as f64, "records", Better::Lower);
    }
    for (name, value, unit) in &outcome.measures {
        put(name, *value, unit, Better::Higher);
    }
    measures
}

/// The workload, as it is disclosed but for how much data it came to.
pub(super) fn work(workload: &Workload) -> Work {
    let producers = workload.producers.clone().unwrap_or_default();
    let mut parameters = BTreeMap::new();
    let mut put = |name: &str, value: String| drop(parameters.insert(name.to_owned(), value));
    for (key, value) in &workload.topics.configs {
        put(key, value.clone());
    }
    if let Some(keys) = producers.keys {
        put("keys of each producer", format!("{keys:?}"));
    }
    if let Some(Backlog { bytes, place, drain_ratio }) = &workload.backlog {
        let place = match place {
            Place::AsWritten => "where it was written to",
            Place::Disk(_) => "on the disk, evicted from the page cache",
            Place::Tier => "in the tier",
        };
        put("backlog", format!("{} MB, {place}", bytes / 1_000_000));
        if *drain_ratio < 1.0 {
            put("drained", format!("when {:.0} % of it is read", drain_ratio * 100.0));
        }
    }
    for readers in &workload.readers {
        let sharing = match readers.sharing {
            Sharing::Assigned => "assigned",
            Sharing::Group { rebalance_every: None } => "members of a group",
            Sharing::Group { .. } => "members of a group who leave and join again in turn",
        };
        put(
            &format!("readers {}", readers.name),
            format!("{} times {}, {:?}, {sharing}", readers.groups, readers.connections, readers.from),
        );
    }
    if let Some(restart) = &workload.restart {
        put("restarts", format!("{} times {}", restart.times, restart.command));
    }
    let sent = workload.producers.is_some();
    let rate = producers.rate.filter(|_| sent);
    Work {
        name: workload.name.clone(),
        parameters,
        record_bytes: producers.size as u64,
        topics: u64::from(workload.topics.count.max(1)),
        partitions: workload.topics.partitions as u64,
        producers: if sent { producers.per_topic as u64 } else { 0 },
        consumers: workload
            .readers
            .iter()
            .map(|readers| {
                (readers.groups * readers.connections).div_ceil(workload.topics.count.max(1) as usize) as u64
            })
            .sum(),
        rate,
        warmup_seconds: workload.warmup,
        data_bytes: 0,
    }
}

/// The version of a client.
pub(super) fn driver_version(driver: Driver) -> String {
    match driver {
        #[cfg(feature = "rdkafka")]
        Driver::Librdkafka => super::librdkafka::version(),
        _ => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The client's side, as it is disclosed.
pub(super) fn client_side(workload: &Workload) -> ClientSide {
    let producers = workload.producers.clone().unwrap_or_default();
    let Producers { acks, codec, batch, linger, in_flight, idempotent, per_topic, .. } = producers;
    let readers: usize = workload.readers.iter().map(|readers| readers.groups * readers.connections).sum();
    ClientSide {
        name: workload.endpoint.driver.name().to_owned(),
        version: driver_version(workload.endpoint.driver),
        acks: if acks == -1 { "all".to_owned() } else { acks.to_string() },
        codec: codec.name().to_owned(),
        batch_bytes: batch as u64,
        linger_ms: linger,
        in_flight: in_flight as u64,
        idempotent,
        fetch_bytes: workload.readers.first().map(|readers| readers.fetch as u64),
        connections: (per_topic * workload.topics.count.max(1) as usize + readers) as u64,
        threads: workload.endpoint.threads as u64,
        security: workload.endpoint.security.protocol().to_owned(),
    }
}

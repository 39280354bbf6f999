//! A disclosure as rows, and how two of them differ in what matters.

use crate::results::{Disclosure, Run};

/// A row of the disclosure block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// What it belongs to: `workload`, `client`, `broker` or `machine`.
    pub(crate) group: &'static str,
    /// What it is.
    pub(crate) name: &'static str,
    /// What it was.
    pub(crate) value: String,
    /// Whether runs that differ in it are no longer comparable.
    pub(crate) matters: bool,
}

/// Something in which two runs differ although they should not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What.
    pub(crate) name: String,
    /// In the first.
    pub(crate) a: String,
    /// In the second.
    pub(crate) b: String,
}

/// How much slower the one disk may sync before that is a difference.
const SYNC: f64 = 1.5;
/// The part of the processors that may be busy with something else before a run.
const BUSY: f64 = 0.1;

/// The rows of a disclosure, in the order in which they are shown.
pub(crate) fn rows(disclosure: &Disclosure) -> Vec<Row> {
    let Disclosure { date, command, work, client, broker, machine } = disclosure;
    let mut rows = Vec::new();
    let mut row = |group, name, value: String, matters| rows.push(Row { group, name, value, matters });
    let unknown = || "unknown".to_owned();
    row("workload", "name", work.name.clone(), true);
    row("workload", "record", format!("{} bytes", work.record_bytes), true);
    row("workload", "topics", work.topics.to_string(), true);
    row("workload", "partitions of each", work.partitions.to_string(), true);
    row("workload", "producers of each", work.producers.to_string(), true);
    row("workload", "consumers of each", work.consumers.to_string(), true);
    let rate = work.rate.map_or_else(|| "as fast as possible".to_owned(), |rate| format!("{rate} records/s"));
    row("workload", "asked for", rate, true);
    row("workload", "warm-up", format!("{} s", work.warmup_seconds), true);
    row("workload", "data", size(work.data_bytes), false);
    let parameters: Vec<String> = work.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    row("workload", "parameters", parameters.join(" "), false);
    row("workload", "date", date.clone(), false);
    row("workload", "command", command.join(" "), false);
    row("client", "client", format!("{} {}", client.name, client.version), true);
    row("client", "acks", client.acks.clone(), true);
    row("client", "codec", client.codec.clone(), true);
    row("client", "batch", format!("{} bytes", client.batch_bytes), true);
    row("client", "linger", format!("{} ms", client.linger_ms), true);
    row("client", "in flight", client.in_flight.to_string(), true);
    row("client", "idempotent", client.idempotent.to_string(), true);
    if let Some(bytes) = client.fetch_bytes {
        row("client", "fetch", format!("{bytes} bytes"), true);
    }
    row("client", "connections", client.connections.to_string(), true);
    row("client", "threads", client.threads.to_string(), true);
    row("client", "security", client.security.clone(), true);
    row("broker", "software", broker.software.clone().unwrap_or_else(unknown), false);
    row("broker", "bootstrap", broker.bootstrap.clone(), false);
    row("broker", "brokers", broker.brokers.len().to_string(), true);
    row("broker", "replication", broker.replication.map_or_else(unknown, |n| n.to_string()), true);
    row("broker", "min.insync.replicas", broker.min_isr.map_or_else(unknown, |n| n.to_string()), true);
    row("broker", "durability", broker.durability.clone().unwrap_or_else(unknown), false);
    let features: Vec<String> = broker.features.iter().map(|(name, level)| format!("{name} {level}")).collect();
    row("broker", "features", features.join(", "), false);
    row(
        "broker",
        "APIs",
        format!("{} (Produce {}, Fetch {})", broker.apis.len(), newest(broker, 0), newest(broker, 1)),
        false,
    );
    row("machine", "kernel", machine.kernel.clone(), true);
    row("machine", "processor", machine.cpu.clone(), true);
    row("machine", "processors", machine.cpus.to_string(), true);
    row("machine", "memory", size(machine.memory_bytes), true);
    row("machine", "available at the start", size(machine.available_bytes), false);
    row("machine", "busy just before", format!("{:.0} %", machine.busy * 100.0), false);
    let sync = machine.sync.as_ref().map(|sync| {
        format!(
            "p50 {:.0} us, p99 {:.0} us ({}, {} appends of 4 KiB with fdatasync)",
            sync.p50_us, sync.p99_us, sync.file_system, sync.count
        )
    });
    row("machine", "disk sync", sync.unwrap_or_else(|| "not probed".to_owned()), false);
    row("machine", "page cache", page_cache(disclosure).to_owned(), true);
    rows
}

fn newest(broker: &crate::results::BrokerSide, key: i16) -> String {
    broker.apis.get(&key).map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// Whether what is read comes from memory.
fn page_cache(disclosure: &Disclosure) -> &'static str {
    let (data, memory) = (disclosure.work.data_bytes, disclosure.machine.memory_bytes);
    if data == 0 || memory == 0 {
        "not known to hold the data"
    } else if data < memory / 2 {
        "holds all of the data"
    } else {
        "does not surely hold the data"
    }
}

/// Bytes for a person.
pub(crate) fn size(bytes: u64) -> String {
    let value = bytes as f64;
    match value {
        1e9.. => format!("{:.1} GB", value / 1e9),
        1e6.. => format!("{:.1} MB", value / 1e6),
        1e3.. => format!("{:.1} kB", value / 1e3),
        _ => format!("{bytes} bytes"),
    }
}

/// In what two runs differ that must be the same for a comparison to mean something.
pub(crate) fn differences(a: &Disclosure, b: &Disclosure) -> Vec<Difference> {
    let other = rows(b);
    let mut differences = Vec::new();
    for row in rows(a).iter().filter(|row| row.matters) {
        let value = other.iter().find(|o| (o.group, o.name) == (row.group, row.name)).map(|o| o.value.as_str());
        if value != Some(row.value.as_str()) {
            differences.push(Difference {
                name: format!("{}: {}", row.group, row.name),
                a: row.value.clone(),
                b: value.unwrap_or("none").to_owned(),
            });
        }
    }
    // Brokers name it differently; whether an answer means "on disk" is what counts.
    let is_synced = |side: &Disclosure| side.broker.durability.as_ref().map(|text| text.starts_with("synced"));
    if is_synced(a) != is_synced(b) {
        let text = |side: &Disclosure| side.broker.durability.clone().unwrap_or_else(|| "unknown".to_owned());
        differences.push(Difference { name: "broker: durability".to_owned(), a: text(a), b: text(b) });
    }
    if let (Some(one), Some(two)) = (&a.machine.sync, &b.machine.sync) {
        let ratio = one.p50_us.max(two.p50_us) / one.p50_us.min(two.p50_us).max(1e-9);
        if ratio > SYNC {
            let text = |sync: &crate::results::SyncProbe| format!("p50 {:.0} us", sync.p50_us);
            differences.push(Difference { name: "machine: disk sync".to_owned(), a: text(one), b: text(two) });
        }
    }
    differences
}

/// What makes a run's figures doubtful by itself.
pub(crate) fn doubts(run: &Run) -> Vec<String> {
    let mut doubts: Vec<String> = run.notes().into_iter().map(|note| format!("{}: {note}", run.name)).collect();
    let machine = &run.disclosure.machine;
    if machine.busy > BUSY {
        let busy = machine.busy * 100.0;
        doubts.push(format!("{}: {busy:.0} % of the machine was busy with something else just before", run.name));
    }
    if run.repeats.len() < 2 {
        doubts.push(format!("{}: one repeat only, so nothing is known of its spread", run.name));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{SyncProbe, sample};

    #[test]
    fn only_what_matters_is_a_difference() {
        let a = sample::run("esker", 1.0).disclosure;
        let mut b = sample::run("other", 1.0).disclosure;
        b.date = "2027-01-01T00:00:00Z".to_owned();
        b.broker.durability = Some("synced per batch (flush.messages=1)".to_owned());
        assert_eq!(differences(&a, &b), []);
        b.broker.durability = Some("page cache".to_owned());
        b.client.acks = "1".to_owned();
        b.client.fetch_bytes = None;
        b.machine.sync = Some(SyncProbe { p50_us: 2_000.0, ..SyncProbe::default() });
        b.work.data_bytes = 20 << 30;
        let names: Vec<String> = differences(&a, &b).into_iter().map(|difference| difference.name).collect();
        let expected =
            ["client: acks", "client: fetch", "machine: page cache", "broker: durability", "machine: disk sync"];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_busy_machine_and_a_lonely_repeat_are_doubtful() {
        let mut run = sample::run("esker", 1.0);
        assert_eq!(doubts(&run), Vec::<String>::new());
        run.disclosure.machine.busy = 0.5;
        // The same in two repeats is said once.
        run.repeats.iter_mut().take(2).for_each(|repeat| repeat.notes.push("the load was slow".to_owned()));
        assert_eq!(doubts(&run).len(), 2);
        assert_eq!(doubts(&run)[0], "esker: the load was slow");
        run.repeats.truncate(1);
        assert_eq!(doubts(&run).len(), 3);
    }
}

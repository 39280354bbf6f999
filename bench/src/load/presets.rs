//! The workloads by name, as [`Load`] options change them.

use super::open_messaging;
use super::options::Load;
use super::payload;
use super::workload::{
    Backlog, Check, From, Keys, Limits, Place, Producers, Readers, Restart, Sharing, Topics, Workload,
};
use std::path::{Path, PathBuf};

/// Kafka refuses smaller segments than 1 MiB; this many make retention and compaction act within seconds.
const SMALL_SEGMENT: &str = "4194304";

/// A workload's name, and what it is.
pub const NAMES: [(&str, &str); 13] = [
    ("produce", "send as fast as possible"),
    ("tail", "send 10,000 records/s, and four who each read everything as it comes"),
    ("e2e", "send 1,000 records/s, and one who reads them: from intended sending to arrival"),
    ("many-producers", "16 connections that send single records of 100 bytes, each one request at a time"),
    ("keyed", "10,000 records/s with 10,000 keys a connection, in small batches to 12 partitions"),
    ("partitions", "1,000 records/s over 10,000 partitions"),
    ("connections", "5,000 connections that send one record a second each"),
    ("groups", "a consumer group of four, of which one leaves and joins again every five seconds"),
    ("catch-up", "1,000 records/s and a tail, beside one who reads a backlog: --evict or --tiered say from where"),
    ("drain", "1,000 records/s beside one who first has a backlog to read: how long until it has caught up"),
    ("retention", "5,000 records/s into topics that keep 16 MiB: the oldest go, nothing else may"),
    ("compaction", "5,000 records/s of 1,000 keys into a compacted topic: the newest of each key stays"),
    ("restart", "1,000 records/s from an idempotent producer while the broker is restarted: --restart-command"),
];

/// The help's list of workloads.
pub fn list() -> String {
    let lines = NAMES.map(|(name, what)| format!("  {name:<15} {what}"));
    format!("Workloads:\n{}\n  FILE            an OpenMessaging benchmark workload (YAML)", lines.join("\n"))
}

/// The workload called `name`, or in the file of that name, with `options`.
///
/// # Errors
/// A name that nothing has, a file that cannot be read, options that contradict each other.
pub fn workload(name: &str, options: &Load) -> anyhow::Result<Workload> {
    let mut workload = Workload {
        name: name.to_owned(),
        endpoint: options.target.endpoint()?,
        topics: Topics { name: options.target.topic.clone(), count: 1, partitions: 1, configs: Vec::new() },
        producers: Some(Producers::default()),
        readers: Vec::new(),
        backlog: None,
        restart: None,
        check: Check::Nothing,
        search: false,
        warmup: 5.0,
        rest: 0.0,
        seconds: 10.0,
        limits: Limits::default(),
    };
    if NAMES.iter().any(|(known, _)| *known == name) {
        preset(name, &mut workload, options)?;
    } else if is_file(name) {
        open_messaging::read(Path::new(name))?.apply(&mut workload)?;
    } else {
        anyhow::bail!("no workload and no file is called {name}\n{}", list());
    }
    change(&mut workload, options)?;
    if let Some(producers) = workload.producers.as_mut().filter(|producers| producers.pool > 0) {
        producers.padding = Some(payload::pool(producers.size, producers.random, producers.pool));
    }
    Ok(workload)
}

fn is_file(name: &str) -> bool {
    let path = Path::new(name);
    path.exists() || path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn config(workload: &mut Workload, key: &str, value: &str) {
    workload.topics.configs.push((key.to_owned(), value.to_owned()));
}

fn preset(name: &str, workload: &mut Workload, options: &Load) -> anyhow::Result<()> {
    let mut producers = Producers::default();
    match name {
        "tail" => {
            producers.rate = Some(10_000.0);
            workload.readers.push(Readers { groups: 4, ..Readers::tail("tail") });
        }
        "e2e" => {
            producers.rate = Some(1_000.0);
            workload.readers.push(Readers::tail("tail"));
        }
        "many-producers" => {
            producers = Producers { per_topic: 16, size: 100, batch: 1, in_flight: 1, ..producers };
        }
        "keyed" => {
            let keys = Some(Keys::Random(10_000));
            producers = Producers { per_topic: 4, size: 100, batch: 16 << 10, linger: 5.0, keys, ..producers };
            producers.rate = Some(10_000.0);
            workload.topics.partitions = 12;
            workload.readers.push(Readers { connections: 2, ..Readers::tail("tail") });
        }
        "partitions" => {
            producers = Producers { per_topic: 4, rate: Some(1_000.0), ..producers };
            workload.topics.partitions = 10_000;
            workload.readers.push(Readers { connections: 4, ..Readers::tail("tail") });
        }
        "connections" => {
            producers = Producers { per_topic: 5_000, size: 100, rate: Some(5_000.0), ..producers };
            workload.topics.partitions = 16;
            workload.check = Check::Everything;
        }
        "groups" => {
            producers.rate = Some(1_000.0);
            workload.topics.partitions = 12;
            // A broker waits three seconds for the members of a new group.
            workload.warmup = 6.0;
            workload.seconds = 30.0;
            let sharing = Sharing::Group { rebalance_every: Some(5.0) };
            workload.readers.push(Readers { connections: 4, sharing, ..Readers::tail("group") });
        }
        "catch-up" => {
            producers.rate = Some(1_000.0);
            workload.backlog = Some(Backlog::of(1_000_000_000));
            workload.readers.push(Readers::tail("tail"));
            // What is on the disk only is so once.
            let from = if options.evict.is_some() { From::BacklogOnce } else { From::BacklogOnly };
            workload.readers.push(Readers { from, ..Readers::tail("catch-up") });
        }
        "drain" => {
            producers.rate = Some(1_000.0);
            workload.backlog = Some(Backlog::of(1_000_000_000));
            workload.readers.push(Readers { from: From::Backlog, ..Readers::tail("drain") });
        }
        "retention" => {
            producers = Producers { rate: Some(5_000.0), idempotent: true, ..producers };
            config(workload, "segment.bytes", SMALL_SEGMENT);
            config(workload, "retention.bytes", "16777216");
            workload.readers.push(Readers::tail("tail"));
            workload.check = Check::Retained;
        }
        "compaction" => {
            let keys = Some(Keys::Random(1_000));
            producers = Producers { rate: Some(5_000.0), idempotent: true, keys, ..producers };
            config(workload, "cleanup.policy", "compact");
            config(workload, "segment.bytes", SMALL_SEGMENT);
            config(workload, "min.cleanable.dirty.ratio", "0.01");
            workload.check = Check::Compacted;
        }
        "restart" => {
            producers = Producers { rate: Some(1_000.0), idempotent: true, ..producers };
            workload.seconds = 20.0;
            workload.readers.push(Readers::tail("tail"));
            workload.check = Check::Everything;
            let command = options.restart_command.clone().ok_or_else(|| {
                anyhow::anyhow!(
                    "a command that restarts the broker is needed: --restart-command 'systemctl restart ...'"
                )
            })?;
            workload.restart = Some(Restart { command, times: 1 });
        }
        _ => {}
    }
    workload.producers = Some(producers);
    Ok(())
}

/// Sets what an option gives.
fn set<T: Clone>(to: &mut T, option: &Option<T>) {
    if let Some(value) = option {
        *to = value.clone();
    }
}

fn change(workload: &mut Workload, options: &Load) -> anyhow::Result<()> {
    if options.target.threads.is_none() && !workload.readers.is_empty() {
        // Who sends does not keep who reads waiting.
        workload.endpoint.threads = 2;
    }
    set(&mut workload.topics.count, &options.topics);
    set(&mut workload.topics.partitions, &options.partitions);
    set(&mut workload.seconds, &options.seconds);
    set(&mut workload.warmup, &options.warmup);
    set(&mut workload.limits.late_ms, &options.late_limit);
    workload.limits.fail &= !options.slow_generator;
    if let Some(producers) = &mut workload.producers {
        set(&mut producers.per_topic, &options.connections);
        set(&mut producers.size, &options.size);
        set(&mut producers.batch, &options.batch);
        set(&mut producers.linger, &options.linger);
        set(&mut producers.in_flight, &options.in_flight);
        set(&mut producers.acks, &options.acks);
        set(&mut producers.codec, &options.codec);
        producers.idempotent |= options.idempotent;
        producers.keys = options.keys.map(Keys::Random).or(producers.keys);
        producers.rate = if options.full_speed { None } else { options.rate.or(producers.rate) };
        anyhow::ensure!(
            producers.rate.is_none_or(|rate| rate.is_finite() && rate > 0.0),
            "a rate is a number of records a second"
        );
    }
    for readers in &mut workload.readers {
        set(&mut readers.groups, &options.fan_out);
        set(&mut readers.connections, &options.consumers);
        set(&mut readers.fetch, &options.fetch);
        if let (Some(every), Sharing::Group { rebalance_every }) = (options.rebalance_every, &mut readers.sharing) {
            *rebalance_every = (every > 0.0).then_some(every);
        }
    }
    for pair in &options.topic_configs {
        let (key, value) = pair.split_once('=').ok_or_else(|| anyhow::anyhow!("{pair} is not key=value"))?;
        workload.topics.configs.retain(|(known, _)| known != key);
        config(workload, key, value);
    }
    if let Some(backlog) = &mut workload.backlog {
        if let Some(megabytes) = options.backlog {
            backlog.bytes = megabytes * 1_000_000;
        }
        if let Some(folder) = &options.evict {
            backlog.place = Place::Disk(PathBuf::clone(folder));
        } else if options.tiered {
            backlog.place = Place::Tier;
        }
    } else {
        anyhow::ensure!(
            options.backlog.is_none() && options.evict.is_none() && !options.tiered,
            "{} has no backlog: catch-up and drain have",
            workload.name
        );
    }
    if options.tiered {
        for (key, value) in
            [("remote.storage.enable", "true"), ("local.retention.bytes", "1"), ("segment.bytes", "16777216")]
        {
            if !workload.topics.configs.iter().any(|(known, _)| known == key) {
                config(workload, key, value);
            }
        }
    }
    match (&mut workload.restart, &options.restart_command) {
        (Some(restart), _) => set(&mut restart.times, &options.restarts),
        (None, Some(command)) => {
            workload.restart = Some(Restart { command: command.clone(), times: options.restarts.unwrap_or(1) });
        }
        (None, None) => anyhow::ensure!(options.restarts.is_none(), "--restarts needs --restart-command"),
    }
    if options.verify && workload.check == Check::Nothing {
        workload.check = Check::Everything;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_workload_and_nothing_else_is() {
        let options = Load { restart_command: Some("true".to_owned()), ..Load::default() };
        for (name, _) in NAMES {
            let made = workload(name, &options).unwrap();
            assert_eq!(made.name, name);
        }
        assert!(workload("restart", &Load::default()).unwrap_err().to_string().contains("--restart-command"));
        let error = workload("bananas", &Load::default()).unwrap_err().to_string();
        assert!(error.contains("no workload") && error.contains("many-producers"), "{error}");
    }

    #[test]
    fn options_change_what_a_workload_has() {
        let options = Load {
            rate: Some(7.0),
            consumers: Some(3),
            tiered: true,
            backlog: Some(5),
            topic_configs: vec!["segment.bytes=2000000".to_owned()],
            ..Load::default()
        };
        let made = workload("catch-up", &options).unwrap();
        assert_eq!(made.producers.unwrap().rate, Some(7.0));
        assert!(made.readers.iter().all(|readers| readers.connections == 3));
        let backlog = made.backlog.unwrap();
        assert_eq!((backlog.bytes, backlog.place), (5_000_000, Place::Tier));
        let segment: Vec<_> = made.topics.configs.iter().filter(|(key, _)| key == "segment.bytes").collect();
        assert_eq!(segment, [&("segment.bytes".to_owned(), "2000000".to_owned())]);
        // What a workload has no use for is not silently dropped.
        assert!(workload("e2e", &options).is_err());
        assert!(workload("e2e", &Load { rate: Some(0.0), ..Load::default() }).is_err());
    }
}

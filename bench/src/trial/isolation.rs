//! What replaying history does to those who live in the present.
//!
//! A producer sends at a rate with acks=all, and a reader follows it; meanwhile nobody, then one, then ten others replay
//! tiered history as fast as they get it, each a partition of its own, of more bytes than the broker's cache has.
//! Latencies count from when a record should have been sent. Phases with replay and without alternate; the goal is a p99
//! of all phases of a kind of at most 1.2 times that of all phases without, for acknowledgement and for reading.
//!
//! ```text
//! esker-bench isolation                        1,000 records/s of 1 KiB; 2 min
//! esker-bench isolation --rate 10000           ten times that
//! esker-bench isolation --store-rate 3000      a store as fast as the machine: its cores have no gap left
//! ```
//!
//! Measured, 2 cores (Zen 4) shared by everything and compiling meanwhile, median ratio [lowest-highest] of 2 rounds:
//!
//! | 1,000 records/s | replaying | MB/s replayed | p99 of acknowledgement | p99 of reading |
//! | --- | --- | --- | --- | --- |
//! | `--set log.durability=os` | 1 | 50-172 | 1.06x [0.86-1.06] | 1.08x [0.85-1.08] |
//! | `--set log.durability=os` | 10 | 272-312 | 0.71x [0.28-0.71] | 0.68x [0.63-0.68] |
//! | `fsync` | 10 | 186-259 | 1.20x [0.56-1.20] | 1.19x [0.45-1.19] |
//!
//! The same machine with nothing beside it, `esker-bench isolation` (fsync, 5 rounds), 2026-11-26: one 1.23x [0.72-1.89] and
//! 1.20x [0.67-1.79], which is not met; ten 0.96x [0.43-1.49] and 0.87x [0.42-1.53]. A phase of 2.5 s has 25 records beyond
//! its p99; those without any replay had between 0.8 and 3.8 ms.
//!
//! What it cannot show: with `log.durability=fsync` an acknowledgement waits for the kernel's threads behind the disk as
//! well (jbd2, kblockd). They know nothing of a broker's priorities, and where every core is busy without a gap they
//! wait for a slice of whoever is on theirs.

use super::hot;
use super::ratio::Pooled;
use crate::load::replay::Replayed;
use crate::load::{Clock, Outcome, Schedule, measure};
use crate::probe::process::Reading;
use crate::rig::store::{Store, StoreSpeed};
use crate::rig::{Broker, History, Subprocess};
use clap::Args;
use std::path::PathBuf;

/// What is allowed.
const GOAL: f64 = 1.2;
/// MB a second of the store, if nobody says: 2.4 Gbit/s, well above what two rented cores are given for long.
const RATE: f64 = 300.0;
/// Seconds at the start of a phase that are not measured: others start or stop.
const SETTLING: f64 = 0.7;

/// Options of `isolation`.
#[derive(Args, Clone, Debug)]
pub struct Isolation {
    /// The broker's binary; by default the one beside this program.
    #[arg(long)]
    pub esker: Option<PathBuf>,
    /// How many replay at once, in turn.
    #[arg(long, value_delimiter = ',', default_value = "1,10")]
    pub replayers: Vec<usize>,
    /// Records a second of the producer.
    #[arg(long, default_value_t = 1_000.0)]
    pub rate: f64,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// Times that every number of replayers has its turn.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds that a phase is measured.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// MB of history for each who replays.
    #[arg(long, default_value_t = 64)]
    pub history: u64,
    /// How fast the store is.
    #[command(flatten)]
    pub store: StoreSpeed,
    /// Broker settings, key=value.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

/// A phase: how many replay, and what they and the broker did.
struct Phase {
    replayers: usize,
    replayed: Option<Replayed>,
    cpu: f64,
    anonymous: u64,
}

/// The `isolation` command.
///
/// # Errors
/// What fails, a record that is lost, and a goal that is not met.
pub fn run(options: &Isolation) -> anyhow::Result<()> {
    let binary = Broker::binary(options.esker.as_deref())?;
    let most = options.replayers.iter().copied().max().unwrap_or(1);
    let speed = StoreSpeed { store_rate: options.store.store_rate.or(Some(RATE)), ..options.store };
    let store = Store::start(speed, true)?;
    let mut settings = vec![("log.retention.check.interval.ms", "200"), ("tier.cache.bytes", "134217728")];
    settings.extend(options.settings.iter().filter_map(|pair| pair.split_once('=')));
    let broker = Broker::start(&binary, &store, &settings)?;
    store.keep_to(&broker.history_cores()?)?;
    let history = History {
        topic: "history".to_owned(),
        partitions: i32::try_from(most)?,
        bytes_each: options.history * 1_000_000,
        size: 1024,
        segment_bytes: 16 << 20,
    };
    println!(
        "{} records/s of {} bytes, acks=all; {} partitions of {} MB of history in {}",
        options.rate, options.size, most, options.history, speed
    );
    history.make(broker.bootstrap())?;
    let load = hot::load(&broker, options.rate, options.size, &[]);

    let mut numbers: Vec<usize> = Vec::new();
    for _ in 0..options.rounds.max(1) {
        options.replayers.iter().for_each(|replayers| numbers.extend([0, *replayers]));
    }
    numbers.push(0);
    let clock = Clock::start();
    let schedule = hot::schedule(numbers.len(), SETTLING, options.seconds, clock.now());
    let hot = {
        let (load, schedule) = (load.clone(), schedule.clone());
        std::thread::spawn(move || measure(&load, clock, &schedule))
    };
    let phases = replay_in_turn(&history, &broker, clock, &schedule, &numbers)?;
    let outcome = hot.join().map_err(|_| anyhow::anyhow!("the measured load died"))??;
    broker.complaints().iter().for_each(|line| println!("broker: {line}"));
    hot::verdict(&outcome)?;
    judge(options, &phases, &outcome)
}

fn replay_in_turn(
    history: &History,
    broker: &Broker,
    clock: Clock,
    schedule: &Schedule,
    numbers: &[usize],
) -> anyhow::Result<Vec<Phase>> {
    let cores = broker.history_cores()?;
    let mut phases = Vec::new();
    for (replayers, span) in numbers.iter().zip(schedule.phases()) {
        clock.sleep_until(span.start - (SETTLING * 1e9) as u64);
        let others = (*replayers > 0).then(|| {
            let arguments = [
                "replay".to_owned(),
                format!("--bootstrap={}", broker.bootstrap()),
                format!("--topic={}", history.topic),
                format!("--connections={replayers}"),
                format!("--threads={}", replayers.min(&2)),
            ];
            let others = Subprocess::start(&arguments, true)?;
            others.keep_to(&cores)?;
            anyhow::Ok(others)
        });
        let others = others.transpose()?;
        clock.sleep_until(span.start);
        let before = Reading::of(broker.pid())?;
        clock.sleep_until(span.end);
        let after = Reading::of(broker.pid())?;
        let replayed = others.map(|others| others.end()?.parse::<Replayed>()).transpose()?;
        let cpu = (after.cpu_seconds - before.cpu_seconds) / ((span.end - span.start) as f64 / 1e9);
        phases.push(Phase { replayers: *replayers, replayed, cpu, anonymous: after.anonymous });
    }
    Ok(phases)
}

fn judge(options: &Isolation, phases: &[Phase], outcome: &Outcome) -> anyhow::Result<()> {
    let (acks, reads) = hot::phases(outcome)?;
    for ((phase, ack), read) in phases.iter().zip(acks).zip(reads) {
        let rate = phase.replayed.map_or(0.0, |replayed| replayed.bytes as f64 / 1e6 / replayed.seconds);
        println!(
            "{:>2} replay {rate:>5.0} MB/s: acknowledged {} | read {} | broker {:.2} cores, {:.0} MiB anonymous",
            phase.replayers,
            hot::quantiles(ack),
            hot::quantiles(read),
            phase.cpu,
            phase.anonymous as f64 / f64::from(1 << 20)
        );
    }
    let mut met = true;
    for replayers in &options.replayers {
        let kind = |number: usize| move |at: usize| phases.get(at).is_some_and(|phase| phase.replayers == number);
        let compared = |latencies| Pooled::of(latencies, kind(*replayers), kind(0));
        let (ack, read) = (compared(acks), compared(reads));
        let fine = ack.ratio() <= GOAL && read.ratio() <= GOAL;
        met &= fine;
        println!(
            "{replayers} replaying: p99 of acknowledgement {ack}, of reading {read}: {}",
            if fine { "met" } else { "not met" }
        );
    }
    anyhow::ensure!(met, "replay is not isolated: the goal is at most {GOAL}x");
    Ok(())
}

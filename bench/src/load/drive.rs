//! Carries a [`Workload`] out: stages it, lets everybody begin at once, watches, and brings together what was done.
//!
//! ```text
//! topics, backlog -> connect -> schedule -> senders end -> readers read to the end -> what is left is read back
//!                                  | every second: sample, progress line
//!                                  | now and then: restart the broker
//! ```

use super::crew::{Crew, Go, Job, Meters, ReadJob};
use super::fetcher::{Cursor, Cursors, Part};
use super::generator;
use super::member::{GroupBook, GroupReader};
use super::meter::{Interval, Meter};
use super::outcome::{self, GroupRead, Outcome, Role};
use super::payload::Tracker;
use super::progress::Progress;
use super::readback;
use super::reader::{Reader, SharedBook};
use super::restart::Restarts;
use super::schedule::{Latencies, Schedule};
use super::sender::{Amount, Done};
use super::stage::{self, Extent};
use super::workload::{Check, Driver, From, Producers, Readers, Sharing, Workload};
use super::{Acknowledged, Clock, runtime};
use crate::probe::process::Sampler;
use crate::results::{Following, Process};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Between two samples.
const SECOND: u64 = 1_000_000_000;
/// Between two looks at whether everybody is done.
const TICK: Duration = Duration::from_millis(20);
/// Records that are left of a backlog that counts as drained, at most, if not all of it need be read.
const DRAINED: f64 = 1_000.0;
/// How long a run may go on behind its schedule, for what was acknowledged to be read.
const OVERTIME: u64 = 180 * SECOND;

/// Who reads the same things together.
struct Group {
    kind: usize,
    book: SharedBook,
    known: Option<GroupBook>,
    passes: Arc<Mutex<Vec<SharedBook>>>,
}

/// Runs a workload; `schedule` makes its times when everybody is connected.
///
/// # Errors
/// What the broker refuses, or a generator that cannot be set up. What is found wrong is in the [`Outcome`].
pub(crate) fn run(
    workload: &Workload,
    clock: Clock,
    schedule: impl FnOnce(u64) -> Schedule,
    progress: bool,
) -> anyhow::Result<Outcome> {
    check(workload)?;
    raise_file_limit(workload);
    let client = workload.endpoint.client();
    stage::topics(&client, &workload.topics)?;
    let producers = workload.producers.clone();
    let before = runtime()?.block_on(Extent::now(&client, &workload.topics))?;
    let (old, extent) = match (&workload.backlog, &producers) {
        (Some(backlog), Some(producers)) => stage::backlog(workload, producers, backlog, clock)?,
        _ => (Vec::new(), before.clone()),
    };
    let now = runtime()?.block_on(Extent::now(&client, &workload.topics))?;
    let (over, is_over) = watch::channel(false);
    let mut jobs = Vec::new();
    if let Some(producers) = &producers {
        let places = stage::senders(workload, producers)?;
        jobs.extend(places.into_iter().map(|p| Job::Send(Box::new((producers.clone(), p, Amount::Scheduled)))));
    }
    let mut groups = Vec::new();
    for (kind, readers) in workload.readers.iter().enumerate() {
        let starts = if readers.from == From::End { &now.ends } else { &extent.starts };
        let ends = match readers.from {
            From::End | From::Backlog => None,
            From::BacklogOnly | From::BacklogOnce => Some(&extent.ends),
        };
        for number in 0..readers.groups.max(1) {
            let group = Group {
                kind,
                book: SharedBook::new(Tracker::default()),
                known: matches!(readers.sharing, Sharing::Group { .. }).then(GroupBook::new),
                passes: Arc::default(),
            };
            let make = Make { workload, clock, is_over: &is_over, readers, kind, number };
            make.jobs(&group, starts, ends, &mut jobs);
            groups.push(group);
        }
    }
    let crew = Crew::start(&workload.endpoint, clock, jobs)?;
    if !crew.wait_ready() {
        crew.end()?;
        anyhow::bail!("a thread of the load ended before it began");
    }
    let schedule = schedule(clock.now());
    let meters: Vec<Meters> = (0..crew.threads())
        .map(|_| Meters {
            sent: Meter::new(&schedule),
            read: workload.readers.iter().map(|_| Meter::new(&schedule)).collect(),
        })
        .collect();
    let began = clock.now();
    crew.go(Go { schedule: schedule.clone(), meters: meters.clone() });

    let mut watching = Watching {
        workload,
        clock,
        began,
        schedule: &schedule,
        meters: &meters,
        series: vec![Vec::new(); 1 + workload.readers.len()],
        progress: Progress::new(progress, &workload.name),
        drained: vec![None; workload.readers.len()],
        backlog: old.iter().flat_map(|done| done.acknowledged.values()).sum(),
    };
    let seen = watching.watch(&crew, &over, &groups, &now)?;
    let done = crew.end()?;
    let (series, drained) = (watching.series, watching.drained);

    let mut outcome = collect(workload, &schedule, &meters, series, old, done);
    outcome.seconds = schedule.seconds();
    outcome.broker = seen.broker;
    outcome.restarts = seen.restarts;
    outcome.generator = Some(generator::Verdict::new(seen.generator, &outcome.late, workload.limits));
    for (kind, (role, drained)) in outcome.read.iter_mut().zip(drained).enumerate() {
        role.drained = drained;
        let follows = workload.readers.get(kind).filter(|readers| !outcome::is_catch_up(readers.from));
        let behind = seen.behind.get(kind).copied().unwrap_or_default();
        role.following = follows.map(|readers| Following { groups: readers.groups.max(1) as u64, behind });
    }
    for group in groups {
        let expected: Acknowledged = match workload.readers.get(group.kind).map(|readers| readers.from) {
            Some(From::End) => outcome.acknowledged.clone(),
            Some(From::Backlog) => outcome.acknowledged.iter().chain(&outcome.backlog).map(|(k, c)| (*k, *c)).collect(),
            Some(From::BacklogOnce) if !is_tiered(workload) => outcome.backlog.clone(),
            // A tiered backlog ends before what was acknowledged, and what is read again and again ends somewhere.
            _ => Acknowledged::new(),
        };
        let members = group.known.is_some();
        if let Some(known) = &group.known {
            let _ = outcome.rebalances.add(&known.lock().rebalances);
        }
        outcome.groups.push(GroupRead::new(&mut group.book.lock(), &expected, members));
        let passes = group.passes.lock().unwrap_or_else(PoisonError::into_inner);
        for pass in passes.iter() {
            outcome.groups.push(GroupRead::new(&mut pass.lock(), &Acknowledged::new(), members));
        }
    }
    if workload.check != Check::Nothing {
        readback::check(workload, clock, &before, &mut outcome)?;
    }
    Ok(outcome)
}

fn is_tiered(workload: &Workload) -> bool {
    workload.backlog.as_ref().is_some_and(|backlog| backlog.place == super::workload::Place::Tier)
}

fn check(workload: &Workload) -> anyhow::Result<()> {
    anyhow::ensure!(
        workload.endpoint.driver == Driver::Own || workload.readers.iter().all(|r| r.sharing == Sharing::Assigned),
        "groups are driven by our own client only"
    );
    let least = super::payload::HEADER;
    if let Some(producers) = &workload.producers {
        let Producers { size, in_flight, per_topic, acks, .. } = *producers;
        anyhow::ensure!(size >= least, "a value has at least {least} bytes: they tell which record it is");
        anyhow::ensure!(in_flight > 0 && per_topic > 0, "0 of what?");
        anyhow::ensure!(per_topic <= 0xffff, "at most 65535 producers of a topic can be told apart");
        anyhow::ensure!(
            acks != 0 || workload.readers.is_empty() || workload.check == Check::Nothing,
            "without acknowledgements nobody knows what must arrive: --acks 1 or all"
        );
        anyhow::ensure!(!producers.idempotent || acks == -1, "an idempotent producer needs --acks all");
        anyhow::ensure!(!producers.idempotent || in_flight <= 5, "an idempotent producer has at most 5 in flight");
    }
    anyhow::ensure!(workload.topics.partitions > 0, "a topic has partitions");
    anyhow::ensure!(workload.topics.count <= 0xffff, "at most 65535 topics can be told apart");
    Ok(())
}

/// Thousands of connections need more files than a shell allows by itself.
fn raise_file_limit(workload: &Workload) {
    let topics = workload.topics.count.max(1) as usize;
    let producers = workload.producers.as_ref().map_or(0, |producers| producers.per_topic * topics);
    let readers: usize = workload.readers.iter().map(|readers| readers.groups * readers.connections).sum();
    let wanted = ((producers + readers) * 3 + 256) as u64;
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        // Where it is not allowed, connecting fails and says so.
        let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
    }
}

/// Makes the jobs of a group of readers.
struct Make<'a> {
    workload: &'a Workload,
    clock: Clock,
    is_over: &'a watch::Receiver<bool>,
    readers: &'a Readers,
    kind: usize,
    number: usize,
}

impl Make<'_> {
    fn jobs(
        &self,
        group: &Group,
        starts: &BTreeMap<Part, i64>,
        ends: Option<&BTreeMap<Part, i64>>,
        jobs: &mut Vec<Job>,
    ) {
        let topics: Arc<[String]> = self.workload.topics.names().into();
        let reader = || Reader {
            client: self.workload.endpoint.client(),
            topics: Arc::clone(&topics),
            fetch: self.readers.fetch,
            clock: self.clock,
            book: group.book.clone(),
            meter: None,
            over: self.is_over.clone(),
            leaves_off: self.readers.from == From::BacklogOnly,
        };
        let connections = self.readers.connections.max(1);
        if let (Sharing::Group { rebalance_every }, Some(known)) = (self.readers.sharing, &group.known) {
            let name =
                format!("{}-{}-{}-{}", self.workload.topics.name, self.readers.name, std::process::id(), self.number);
            let starts = Arc::new(starts.clone());
            let first = self.clock.now() + ((self.workload.warmup + 0.5) * 1e9) as u64;
            let last = self.clock.now() + ((self.workload.warmup + self.workload.seconds) * 1e9) as u64;
            for member in 0..connections {
                // One after the other leaves; nobody does without another one who stays.
                let leaves = rebalance_every.filter(|_| connections > 1).map_or_else(Vec::new, |every| {
                    let step = ((every.max(0.1) * 1e9) as u64) * connections as u64;
                    let mine = first + ((every.max(0.1) * 1e9) as u64) * member as u64;
                    (mine..last).step_by(step as usize).collect()
                });
                let job = GroupReader {
                    reader: reader(),
                    group: name.clone(),
                    known: known.clone(),
                    starts: Arc::clone(&starts),
                    leaves,
                };
                jobs.push(Job::Member(self.kind, Box::new(job)));
            }
            return;
        }
        for connection in 0..connections {
            let cursors: Cursors = starts
                .iter()
                .skip(connection)
                .step_by(connections)
                .map(|(part, start)| {
                    let end = ends.map_or(i64::MAX, |ends| ends.get(part).copied().unwrap_or(*start));
                    (*part, Cursor { next: *start, end })
                })
                .collect();
            if !cursors.is_empty() {
                let again = self.readers.from == From::BacklogOnly;
                let passes = Arc::clone(&group.passes);
                jobs.push(Job::Read(Box::new(ReadJob { kind: self.kind, reader: reader(), cursors, again, passes })));
            }
        }
    }
}

/// What is looked at while everybody works.
struct Watching<'a> {
    workload: &'a Workload,
    clock: Clock,
    /// When everybody was let go; readers read from then on.
    began: u64,
    schedule: &'a Schedule,
    meters: &'a [Meters],
    series: Vec<Vec<Interval>>,
    progress: Progress,
    drained: Vec<Option<f64>>,
    /// Records that lay there before anybody was let go.
    backlog: u64,
}

/// What was seen.
struct Seen {
    broker: Option<Process>,
    generator: (f64, f64),
    restarts: Vec<f64>,
    /// How far each kind of readers was behind when the measurement began.
    behind: Vec<u64>,
}

impl Watching<'_> {
    fn watch(
        &mut self,
        crew: &Crew,
        over: &watch::Sender<bool>,
        groups: &[Group],
        backlog: &Extent,
    ) -> anyhow::Result<Seen> {
        let measured = self.schedule.measured();
        let mut restarts = Restarts::plan(self.workload.restart.as_ref(), &measured);
        let (mut broker, mut generator) = (None, None);
        let (mut spent, mut busy) = (None, None);
        let mut next_sample = measured.start + SECOND;
        let sends = self.workload.producers.is_some();
        let (mut told, mut behind) = (false, Vec::new());
        while !crew.has_ended() {
            std::thread::sleep(TICK);
            let now = self.clock.now();
            if now >= measured.start && generator.is_none() {
                // What was counted before does not belong to the first second.
                self.sample(false, now);
                let kinds = self.workload.readers.iter().enumerate();
                behind = kinds.map(|(kind, readers)| self.behind(kind, readers)).collect();
                broker = self.workload.endpoint.pid.map(Sampler::start).transpose()?;
                generator = Some(generator::Watch::start());
            }
            if now < measured.end && !crew.is_ending() {
                // Threads that have ended have no times any more.
                busy = generator.as_ref().map(generator::Watch::end).or(busy);
            } else if spent.is_none() && now >= measured.end {
                spent = Some(broker.take().map(Sampler::end).transpose());
            }
            restarts.look(now, self.clock)?;
            if now >= next_sample {
                self.sample(now < measured.end + SECOND / 2, now);
                next_sample += SECOND;
            }
            self.look_at_drains(groups, backlog, now);
            let senders_done = crew.sending.load(Ordering::Acquire) == 0;
            let finished =
                if sends { senders_done } else { crew.reading.load(Ordering::Acquire) == 0 || now >= measured.end };
            if !told && (crew.is_ending() || (finished && now >= measured.end.min(self.schedule.end))) {
                told = true;
                over.send_replace(true);
            }
            anyhow::ensure!(
                self.schedule.end.checked_add(OVERTIME).is_none_or(|limit| now < limit),
                "the run does not end: {} still send, {} still read",
                crew.sending.load(Ordering::Acquire),
                crew.reading.load(Ordering::Acquire)
            );
        }
        self.progress.end();
        let restarts = restarts.end(self.clock)?;
        let spent = match spent {
            Some(spent) => spent,
            // It ended before its time.
            None => broker.map(Sampler::end).transpose(),
        };
        // A process that was restarted is another one: what it spent is not known.
        let broker = if self.workload.restart.is_some() { spent.unwrap_or(None) } else { spent? };
        Ok(Seen { broker, generator: busy.unwrap_or((0.0, 1.0)), restarts, behind })
    }

    /// How many records there are for a kind of readers that they have not read.
    fn behind(&self, kind: usize, readers: &Readers) -> u64 {
        let sent: u64 = self.meters.iter().map(|meters| meters.sent.lock().all).sum();
        let read: u64 =
            self.meters.iter().filter_map(|meters| meters.read.get(kind)).map(|meter| meter.lock().all).sum();
        let backlog = if readers.from == From::Backlog { self.backlog } else { 0 };
        ((sent + backlog) * readers.groups.max(1) as u64).saturating_sub(read)
    }

    fn sample(&mut self, keep: bool, now: u64) {
        let mut roles: Vec<Interval> = Vec::new();
        for role in 0..self.series.len() {
            let meters =
                self.meters.iter().filter_map(|m| if role == 0 { Some(&m.sent) } else { m.read.get(role - 1) });
            let mut sum: Option<Interval> = None;
            for meter in meters {
                let interval = meter.sample();
                match &mut sum {
                    Some(sum) => sum.add(&interval),
                    None => sum = Some(interval),
                }
            }
            roles.extend(sum);
        }
        let names = std::iter::once("sent").chain(self.workload.readers.iter().map(|readers| readers.name.as_str()));
        let at = now.saturating_sub(self.schedule.measured().start) as f64 / 1e9;
        self.progress.line(at, self.schedule.seconds(), names.zip(&roles));
        if keep {
            for (series, interval) in self.series.iter_mut().zip(roles) {
                series.push(interval);
            }
        }
    }

    /// When readers of a backlog have come to where it ended.
    fn look_at_drains(&mut self, groups: &[Group], backlog: &Extent, now: u64) {
        for (kind, readers) in self.workload.readers.iter().enumerate() {
            if readers.from != From::Backlog || self.drained.get(kind).is_some_and(Option::is_some) {
                continue;
            }
            let ratio = self.workload.backlog.as_ref().map_or(1.0, |backlog| backlog.drain_ratio);
            let is_drained = if ratio < 1.0 {
                let all = (self.backlog * readers.groups.max(1) as u64) as f64;
                self.behind(kind, readers) as f64 <= (all * (1.0 - ratio)).max(DRAINED)
            } else {
                let mut mine = groups.iter().filter(|group| group.kind == kind);
                mine.all(|group| {
                    let book = group.book.lock();
                    let read_to = |part: &Part| book.read.get(part).copied().unwrap_or(0);
                    backlog.ends.iter().all(|(part, end)| read_to(part) >= *end)
                })
            };
            if is_drained && let Some(drained) = self.drained.get_mut(kind) {
                *drained = Some(now.saturating_sub(self.began) as f64 / 1e9);
            }
        }
    }
}

/// Adds up what the threads counted and did.
fn collect(
    workload: &Workload,
    schedule: &Schedule,
    meters: &[Meters],
    series: Vec<Vec<Interval>>,
    old: Vec<Done>,
    done: Vec<Done>,
) -> Outcome {
    let mut outcome = Outcome::new(workload, schedule);
    let mut series = series.into_iter();
    let sum = |role: &mut Role, of: &dyn Fn(&Meters) -> Option<Meter>| {
        for meter in meters.iter().filter_map(of) {
            let counts = meter.lock();
            role.latencies.add(&counts.latencies);
            role.records += counts.records;
            role.bytes += counts.bytes;
            role.in_time += counts.in_time;
            role.requests += counts.requests;
            role.unsent += counts.unsent;
            role.silence = role.silence.max(counts.silence);
            if let Some(active) = &counts.active {
                let all = role.active.clone().unwrap_or_else(|| active.clone());
                role.active = Some(all.start.min(active.start)..all.end.max(active.end));
            }
        }
    };
    sum(&mut outcome.sent, &|meters| Some(meters.sent.clone()));
    outcome.sent.series = series.next().unwrap_or_default();
    for meter in meters {
        let counts = meter.sent.lock();
        let _ = outcome.late.add(&counts.late);
        let _ = outcome.sent.delays.add(&counts.delays);
    }
    for (kind, readers) in workload.readers.iter().enumerate() {
        let mut role = Role::new(&readers.name, Latencies::new(schedule));
        sum(&mut role, &|meters| meters.read.get(kind).cloned());
        role.series = series.next().unwrap_or_default();
        outcome.read.push(role);
    }
    for done in done {
        outcome.acknowledged.extend(done.acknowledged);
        outcome.newest.extend(done.newest);
        outcome.resent += done.resent;
        outcome.repeated.extend(done.repeated);
    }
    for done in old {
        outcome.backlog.extend(done.acknowledged);
        outcome.resent += done.resent;
        outcome.repeated.extend(done.repeated);
    }
    outcome
}

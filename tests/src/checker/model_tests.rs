//! No false alarm: histories of a log that does what it must, with clients that are told little, have no anomaly. And no
//! blind eye: the same histories with one thing wrong have.

use super::*;
use crate::sim::{Chance, Rng};
use std::collections::BTreeMap;

const PARTITION: PartitionNo = 0;

/// A log as it must be, and what its clients are told. Time is a counter.
struct Model {
    rng: Rng,
    log: BTreeMap<u64, SentRecord>,
    end: u64,
    start: u64,
    clock: u64,
    value: Value,
    history: History,
    compacted: bool,
    tombstones: Tombstones,
    /// Batches that were sent and may yet take effect.
    late: Vec<Vec<SentRecord>>,
    /// Positions of consumers.
    positions: BTreeMap<ClientNo, u64>,
    committed: Option<u64>,
    late_commits: Vec<u64>,
    commits: u64,
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut rng = Rng::seeded(seed);
        let compacted = rng.happens(Chance::percent(30));
        let mut history = History::default();
        let stay = rng.happens(Chance::percent(50));
        let tombstones = if stay { Tombstones::Stay } else { Tombstones::MayGo };
        if compacted {
            history.compacts(PARTITION, tombstones);
        }
        Model {
            rng,
            log: BTreeMap::new(),
            end: 0,
            start: 0,
            clock: 0,
            value: 0,
            history,
            compacted,
            tombstones,
            late: Vec::new(),
            positions: BTreeMap::new(),
            committed: None,
            late_commits: Vec::new(),
            commits: 0,
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn append(&mut self, records: &[SentRecord]) -> u64 {
        let first = self.end;
        for record in records {
            self.log.insert(self.end, *record);
            self.end += 1;
        }
        first
    }

    fn send(&mut self) {
        let client = self.rng.below(3) as ClientNo;
        let records: Vec<SentRecord> = (0..1 + self.rng.below(3))
            .map(|_| {
                self.value += 1;
                let key = self.compacted.then(|| self.rng.below(5));
                let tombstone = self.compacted && self.rng.happens(Chance::percent(20));
                SentRecord { value: self.value, key, tombstone }
            })
            .collect();
        let began = self.tick();
        let sent = match self.rng.below(8) {
            0 => Sent::Refused,
            1 => Sent::Unknown,
            2 => {
                self.append(&records);
                Sent::Unknown
            }
            3 => {
                self.late.push(records.clone());
                Sent::Unknown
            }
            4 => {
                self.append(&records);
                Sent::AckedSomewhere
            }
            _ => Sent::Acked(self.append(&records)),
        };
        let span = Span { began, ended: self.tick() };
        self.history.push(Event::Send { client, partition: PARTITION, records, span, sent });
    }

    fn read(&self, from: u64, most: usize) -> Vec<Polled> {
        self.log.range(from.max(self.start)..).take(most).map(|(offset, record)| (*offset, record.value)).collect()
    }

    fn poll(&mut self) {
        let client = 10 + self.rng.below(2) as ClientNo;
        if self.rng.happens(Chance::percent(10)) {
            self.positions.insert(client, self.start);
            self.history.push(Event::Seek { client, partition: PARTITION });
        }
        let position = self.positions.get(&client).copied().unwrap_or_default();
        let most = 1 + self.rng.index(6);
        let began = self.tick();
        let records = self.read(position, most);
        if let Some((last, _)) = records.last() {
            self.positions.insert(client, last + 1);
        }
        let span = Span { began, ended: self.tick() };
        self.history.push(Event::Poll { client, partition: PARTITION, span, log_start: self.start, records });
    }

    fn trim(&mut self) {
        let before = self.rng.within(self.start..self.end + 1);
        let began = self.tick();
        let outcome = match self.rng.below(3) {
            0 => Outcome::Unknown,
            1 => Outcome::Refused,
            _ => Outcome::Done,
        };
        if outcome == Outcome::Done || (outcome == Outcome::Unknown && self.rng.happens(Chance::percent(50))) {
            self.start = before;
        }
        let span = Span { began, ended: self.tick() };
        self.history.push(Event::Trim { partition: PARTITION, before, span, outcome });
    }

    /// Everything that a later record replaces goes; then, perhaps, tombstones.
    fn compact(&mut self) {
        let clean = self.rng.within(0..self.end + 1);
        let newest: BTreeMap<Option<Key>, u64> =
            self.log.range(..clean).map(|(offset, record)| (record.key, *offset)).collect();
        let tombstones = self.tombstones == Tombstones::MayGo && self.rng.happens(Chance::percent(50));
        self.log.retain(|offset, record| {
            let last = *offset >= clean || newest.get(&record.key) == Some(offset);
            last && !(tombstones && record.tombstone && *offset < clean)
        });
    }

    fn commit(&mut self) {
        self.commits += 1;
        let (offset, began) = (self.commits, self.tick());
        let outcome = match self.rng.below(4) {
            0 => {
                self.late_commits.push(offset);
                Outcome::Unknown
            }
            1 => Outcome::Refused,
            2 => {
                self.committed = Some(offset);
                Outcome::Unknown
            }
            _ => {
                self.committed = Some(offset);
                Outcome::Done
            }
        };
        let span = Span { began, ended: self.tick() };
        self.history.push(Event::Commit { group: 1, partition: PARTITION, offset, term: None, span, outcome });
    }

    fn ask(&mut self) {
        let began = self.tick();
        let found = self.committed;
        let span = Span { began, ended: self.tick() };
        self.history.push(Event::Committed { group: 1, partition: PARTITION, found, span });
    }

    fn something(&mut self) {
        match self.rng.below(20) {
            0..8 => self.send(),
            8..13 => self.poll(),
            13 => self.commit(),
            14 | 15 => self.ask(),
            16 if !self.late.is_empty() => {
                let late = self.late.remove(0);
                self.append(&late);
            }
            17 if !self.late_commits.is_empty() => self.committed = Some(self.late_commits.remove(0)),
            18 if self.compacted => self.compact(),
            19 if self.rng.happens(Chance::percent(15)) => self.trim(),
            _ => {}
        }
    }

    fn run(mut self) -> History {
        for _ in 0..80 {
            self.something();
        }
        if self.rng.happens(Chance::percent(80)) {
            let began = self.tick();
            let records = self.read(self.start, usize::MAX);
            let span = Span { began, ended: self.tick() };
            self.history.push(Event::Drain { partition: PARTITION, span, start: self.start, records });
        }
        self.history
    }
}

#[test]
fn a_right_log_has_no_anomaly_whatever_its_clients_were_told() {
    for seed in 0..3000 {
        assert_eq!(check(&Model::new(seed).run()), [], "seed {seed}");
    }
}

/// How many of the seeds' histories have an anomaly once `spoil` has changed them; it says whether it did.
fn found(spoil: impl Fn(&mut Rng, &mut Event) -> bool) -> (usize, usize) {
    let (mut spoilt, mut found) = (0, 0);
    for seed in 0..400 {
        let (history, mut rng) = (Model::new(seed).run(), Rng::seeded(seed ^ 0x5eed));
        let mut done = false;
        let history = history.map(|mut event| {
            done = done || spoil(&mut rng, &mut event);
            event
        });
        spoilt += usize::from(done);
        found += usize::from(done && !check(&history).is_empty());
    }
    (spoilt, found)
}

fn drained(event: &mut Event) -> Option<&mut Vec<Polled>> {
    match event {
        Event::Drain { records, .. } => Some(records),
        _ => None,
    }
}

#[test]
fn one_thing_wrong_is_found_in_most_histories() {
    let loses = |rng: &mut Rng, event: &mut Event| {
        drained(event).filter(|records| !records.is_empty()).is_some_and(|records| {
            let which = rng.index(records.len());
            records.remove(which);
            true
        })
    };
    let repeats = |rng: &mut Rng, event: &mut Event| {
        drained(event).filter(|records| !records.is_empty()).is_some_and(|records| {
            let (_, value) = records[rng.index(records.len())];
            let next = records.last().map_or(0, |(last, _)| last + 1);
            records.push((next, value));
            true
        })
    };
    let swaps = |_: &mut Rng, event: &mut Event| match event {
        Event::Poll { records, .. } if records.len() > 1 => {
            records.swap(0, 1);
            true
        }
        _ => false,
    };
    let shifts = |_: &mut Rng, event: &mut Event| match event {
        Event::Send { sent: Sent::Acked(offset), .. } if *offset > 2 => {
            *offset -= 1;
            true
        }
        _ => false,
    };
    let refuses = |_: &mut Rng, event: &mut Event| match event {
        Event::Send { sent, .. } if matches!(sent, Sent::Acked(_)) => {
            *sent = Sent::Refused;
            true
        }
        _ => false,
    };
    let forgets = |_: &mut Rng, event: &mut Event| match event {
        Event::Committed { found, .. } if found.is_some_and(|found| found > 1) => {
            *found = None;
            true
        }
        _ => false,
    };
    let (spoilt, caught) = found(loses);
    // A send that nobody was told of and nobody else read may be missing, and what is compacted too.
    assert!(spoilt > 250 && caught * 10 > spoilt * 5, "lost: {caught} of {spoilt}");
    let (spoilt, caught) = found(repeats);
    assert!(spoilt > 250 && caught == spoilt, "repeated: {caught} of {spoilt}");
    let (spoilt, caught) = found(swaps);
    assert!(spoilt > 300 && caught == spoilt, "swapped: {caught} of {spoilt}");
    let (spoilt, caught) = found(shifts);
    assert!(spoilt > 300 && caught * 10 > spoilt * 9, "shifted: {caught} of {spoilt}");
    let (spoilt, caught) = found(refuses);
    assert!(spoilt > 300 && caught * 10 > spoilt * 5, "refused: {caught} of {spoilt}");
    let (spoilt, caught) = found(forgets);
    // Where nobody was told that a commit took effect, forgetting it is no loss.
    assert!(spoilt > 200 && caught * 10 > spoilt * 7, "forgotten: {caught} of {spoilt}");
}

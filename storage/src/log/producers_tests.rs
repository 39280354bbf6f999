use super::super::producers_codec;
use super::*;
use proptest::prelude::*;

fn header(claim: Claim, records: i32, base_offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset,
        batch_length: 100,
        partition_leader_epoch: 0,
        crc: 0,
        attributes: 0,
        last_offset_delta: records - 1,
        base_timestamp: 5,
        max_timestamp: 5,
        producer_id: claim.producer_id,
        producer_epoch: claim.epoch,
        base_sequence: claim.first_sequence,
        record_count: records,
    }
}

fn claim(producer_id: i64, epoch: i16, first_sequence: i32, records: i32) -> Claim {
    Claim { producer_id, epoch, first_sequence, last_sequence: sequence_plus(first_sequence, records - 1) }
}

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// A log of one partition that remembers everything and searches it each time.
#[derive(Default)]
struct Naive {
    appended: Vec<(Claim, i64)>,
}

impl Naive {
    /// Like the machine's verdict: the offset of the original, or an error's name.
    fn check(&self, claim: &Claim) -> Result<Option<i64>, &'static str> {
        let of_producer: Vec<_> = self.appended.iter().filter(|(c, _)| c.producer_id == claim.producer_id).collect();
        let Some((newest, _)) = of_producer.last() else { return Ok(None) };
        if claim.epoch < newest.epoch {
            return Err("epoch");
        }
        if claim.epoch > newest.epoch {
            return if claim.first_sequence == 0 { Ok(None) } else { Err("sequence") };
        }
        let same_epoch: Vec<_> = of_producer.iter().filter(|(c, _)| c.epoch == claim.epoch).collect();
        for (known, offset) in same_epoch.iter().rev().take(5) {
            if known == claim {
                return Ok(Some(*offset));
            }
        }
        let expected = if newest.last_sequence == i32::MAX { 0 } else { newest.last_sequence + 1 };
        if claim.first_sequence == expected { Ok(None) } else { Err("sequence") }
    }
}

/// Mostly what a client would send: the next batch, one of the last ones again, sometimes nonsense.
#[derive(Clone, Copy, Debug)]
enum Step {
    Next { producer: i64, records: i32 },
    Again { producer: i64, back: usize },
    Bump { producer: i64, first: i32 },
    Any { producer: i64, epoch: i16, first: i32, records: i32 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let producer = 0i64..3;
    prop_oneof![
        4 => (producer.clone(), 1i32..9).prop_map(|(producer, records)| Step::Next { producer, records }),
        3 => (producer.clone(), 0usize..8).prop_map(|(producer, back)| Step::Again { producer, back }),
        1 => (producer.clone(), prop_oneof![4 => Just(0), 1 => 0i32..3]).prop_map(|(producer, first)| Step::Bump { producer, first }),
        1 => (producer, 0i16..4, prop_oneof![0i32..20, i32::MAX - 12..=i32::MAX], 1i32..9)
            .prop_map(|(producer, epoch, first, records)| Step::Any { producer, epoch, first, records }),
    ]
}

impl Step {
    fn claim(self, naive: &Naive) -> Claim {
        let of = |producer: i64| naive.appended.iter().filter(move |(c, _)| c.producer_id == producer);
        match self {
            Step::Next { producer, records } => {
                let last = of(producer).next_back().map(|(c, _)| *c);
                // A first batch shortly before the wrap, so that sequences often pass it.
                let first = last.map_or(i32::MAX - 15, |c| next_sequence(c.last_sequence));
                claim(producer, last.map_or(0, |c| c.epoch), first, records)
            }
            Step::Again { producer, back } => {
                of(producer).rev().nth(back).map_or_else(|| claim(producer, 0, 0, 1), |(c, _)| *c)
            }
            Step::Bump { producer, first } => {
                claim(producer, of(producer).next_back().map_or(0, |(c, _)| c.epoch + 1), first, 2)
            }
            Step::Any { producer, epoch, first, records } => claim(producer, epoch, first, records),
        }
    }
}

proptest! {
    #[test]
    fn the_machine_judges_as_a_naive_search_does(steps in prop::collection::vec(any_step(), 1..120), restarts: u64) {
        let (mut producers, mut naive, mut offset) = (Producers::default(), Naive::default(), 0);
        for (n, step) in steps.into_iter().enumerate() {
            let claim = step.claim(&naive);
            let verdict = producers.check(&claim);
            let got = match verdict {
                Ok(Verdict::Append) => Ok(None),
                Ok(Verdict::Duplicate(original)) => Ok(Some(original.base_offset.to_wire())),
                Err(ProducerError::InvalidProducerEpoch { .. }) => Err("epoch"),
                Err(ProducerError::OutOfOrderSequence { .. }) => Err("sequence"),
                Err(ProducerError::CoordinatorFenced { .. }) => Err("coordinator"),
            };
            prop_assert_eq!(got, naive.check(&claim));
            if verdict == Ok(Verdict::Append) {
                let records = (i64::from(claim.last_sequence) - i64::from(claim.first_sequence)).rem_euclid(1 << 31) as i32 + 1;
                let header = header(claim, records, offset);
                prop_assert_eq!(Claim::of(&header), Some(claim));
                producers.record(&header, NOW);
                naive.appended.push((claim, offset));
                offset += i64::from(records);
            }
            prop_assert!(windows_bounded(&producers));
            if restarts >> (n % 64) & 1 == 1 {
                let restarted = producers_codec::decode(&producers_codec::encode(&producers)).unwrap();
                prop_assert_eq!(&restarted, &producers);
                producers = restarted;
            }
        }
    }

    #[test]
    fn a_damaged_snapshot_is_refused(flip: prop::sample::Index) {
        let mut producers = Producers::default();
        producers.record(&header(claim(7, 1, 0, 3), 3, 10), NOW);
        producers.record(&header(claim(9, 0, 5, 1), 1, 13), NOW);
        let mut bytes = producers_codec::encode(&producers);
        let bit = flip.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(producers_codec::decode(&bytes).is_err());
    }

    #[test]
    fn garbage_is_no_snapshot(bytes: Vec<u8>) {
        prop_assert!(producers_codec::decode(&bytes).is_err());
    }
}

#[test]
fn silence_is_forgotten_by_the_brokers_clock() {
    let mut producers = Producers::default();
    // The record's own timestamp is 5 milliseconds after 1970, which says nothing.
    producers.record(&header(claim(1, 0, 0, 1), 1, 0), NOW);
    producers.expire(Timestamp::from_millis(NOW.millis() + 999), 1000);
    assert_eq!(producers.len(), 1);
    producers.expire(Timestamp::from_millis(NOW.millis() + 1000), 1000);
    assert!(producers.is_empty());
    assert_eq!(producers.check(&claim(1, 0, 77, 1)), Ok(Verdict::Append), "unknown: any sequence");
}

#[test]
fn a_flood_of_producers_drops_the_most_silent() {
    let mut producers = Producers::with_limit(64);
    for id in 0..1000 {
        producers.record(&header(claim(id, 0, 0, 1), 1, id), Timestamp::from_millis(id));
        assert!(producers.len() <= 64);
    }
    assert!(producers.get(999).is_some() && producers.get(0).is_none());
}

#[test]
fn a_duplicate_has_the_time_of_the_original() {
    let mut producers = Producers::default();
    let mut batch = header(claim(1, 0, 0, 2), 2, 40);
    batch.attributes = 1 << 3;
    batch.max_timestamp = 1234;
    producers.record(&batch, NOW);
    let Ok(Verdict::Duplicate(original)) = producers.check(&claim(1, 0, 0, 2)) else { panic!("not a duplicate") };
    assert_eq!(original.log_append_time, Some(Timestamp::from_millis(1234)));
    assert_eq!((original.base_offset, original.last_offset), (Offset::new(40), Offset::new(41)));
}

//! Rot on the local disk of a partition: what the tier has is served from there, the rest is refused by name, and neither
//! is forgotten over a restart.

use super::*;
use crate::log::LogError;

/// Turns the bits of one byte around, and forgets what was read of the file.
fn damage(disk: &TestDisk, segment: crate::segment::SegmentName, at: u64) {
    let path = disk.path().join(id().to_string()).join(format!("{segment}.log"));
    let file = disk.env().disk.open(&path, crate::env::Open::Write).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[std::io::IoSlice::new(&[!byte[0]])], at).unwrap();
}

fn scrub(log: &PartitionLog) -> Vec<Finding> {
    let segments = log.local().segments().into_iter();
    segments.map(|segment| block_on(log.scrub(segment.name, u64::MAX, |_| {})).unwrap()).collect()
}

/// Waits until the record of what was synced tells of all.
fn until_recorded(log: &PartitionLog, disk: &TestDisk) {
    synced(log);
    let end = log.log_end().offset();
    eventually(|| log.local().dir().synced_mark(id()).is_some_and(|mark| mark.offset == end));
    let mark = log.local().dir().synced_mark(id()).unwrap();
    eventually(|| {
        let record = crate::log::synced_record::SyncedRecord::open(&crate::env::RealDisk, disk.path()).unwrap();
        record.mark(id()) == Some(mark)
    });
}

/// As `read_all`, but what is refused is passed over; and the ranges that are.
fn read_what_there_is(log: &PartitionLog) -> (Vec<u8>, Vec<(u64, u64)>) {
    let (mut at, mut bytes, mut refused) = (Offset::ZERO, Vec::new(), Vec::new());
    while at < log.log_end().offset() {
        let want =
            Want { from: at, upto: log.log_end().offset(), max_bytes: 300, at_least_one: true, committed: false };
        let read = match log.read(want) {
            Ok(Read::Nothing) => panic!("nothing at {at}"),
            Ok(Read::Hot(records)) => Ok(records),
            Ok(Read::Cold(source)) => block_on(log.complete(source, LIMIT)).map(Option::unwrap),
            Err(error) => Err(error),
        };
        match read {
            Ok(records) => {
                at = records.next().unwrap();
                bytes.extend_from_slice(&records.bytes);
            }
            Err(ReadError::Log(LogError::Corrupt { .. })) => {
                let range = log.lost().find(|range| range.from.offset <= at && at < range.to);
                let range = range.expect("what is refused is known to be lost");
                refused.push((range.from.offset.get(), range.to.get()));
                at = range.to;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (bytes, refused)
}

/// A log of 28 batches that are in the tier and two that are not, killed; its newest file has some of both.
fn partly_tiered(bench: &Bench, disk: &TestDisk) -> (Vec<u8>, crate::log::SegmentInfo) {
    let dir = disk.open();
    let log = bench.open(&dir, 0);
    let mut sent = fill(&log, 0, 0..28);
    bench.upload(&log, 0);
    sent.extend(fill(&log, 0, 28..30));
    until_recorded(&log, disk);
    let newest = *log.local().segments().last().unwrap();
    assert_eq!((newest.bytes - 64) as usize, sent.len() / 30 * 5);
    let local = Arc::clone(log.local());
    drop(log);
    disk.kill(dir, local);
    disk.env().disk.remove_file(&disk.path().join(id().to_string()).join("checkpoint")).unwrap();
    (sent, newest)
}

#[test]
fn rot_that_a_restart_finds_is_read_from_the_tier_if_that_has_it() {
    for at in [9, 80] {
        let (bench, disk) = (Bench::new(), TestDisk::new());
        let (mut sent, newest) = partly_tiered(&bench, &disk);
        let size = sent.len() / 30;
        damage(&disk, newest.name, 64 + size as u64 + at);
        for epoch in 1..3 {
            let dir = disk.open();
            let log = bench.open(&dir, epoch);
            assert_eq!(log.local().damaged().len(), 1, "it is known, and still known after another restart");
            assert_eq!(log.lost().count(), 0, "the tier has it");
            assert!(read_all(&log, Offset::ZERO).0 == sent, "byte for byte");
            sent.extend(fill(&log, epoch, 30 + i64::from(epoch)..31 + i64::from(epoch)));
            until_recorded(&log, &disk);
            let local = Arc::clone(log.local());
            drop(log);
            disk.kill(dir, local);
        }
        // Once the tier has all of the segment, it stands in for that, and the local copy goes.
        let log = bench.open(&disk.open(), 3);
        bench.upload(&log, 3);
        log.local().finish_sealed().unwrap();
        let findings = scrub(&log);
        assert!(findings.iter().any(|finding| matches!(finding, Finding::Quarantined(_))), "{findings:?}");
        assert!(log.local().damaged().is_empty());
        assert!(read_all(&log, Offset::ZERO).0 == sent);
    }
}

#[test]
fn rot_that_a_restart_finds_and_the_tier_lacks_is_refused_by_name_and_nothing_else() {
    for at in [9, 80] {
        let (bench, disk) = (Bench::new(), TestDisk::new());
        let (sent, newest) = partly_tiered(&bench, &disk);
        let size = sent.len() / 30;
        damage(&disk, newest.name, 64 + 3 * size as u64 + at);
        let lost = (28 * 3, 29 * 3);
        let mut good = [&sent[..28 * size], &sent[29 * size..]].concat();
        for epoch in 1..3 {
            let dir = disk.open();
            let log = bench.open(&dir, epoch);
            let more = fill(&log, epoch, 0..2);
            good.extend_from_slice(&more);
            let (read, refused) = read_what_there_is(&log);
            assert!(read == good, "{} bytes instead of {}", read.len(), good.len());
            assert_eq!(refused, [lost], "in life {epoch}");
            until_recorded(&log, &disk);
            let local = Arc::clone(log.local());
            drop(log);
            disk.kill(dir, local);
        }
        // Nothing behind it is tiered, until somebody gives up what is lost.
        let log = bench.open(&disk.open(), 3);
        let view = |log: &Arc<PartitionLog>| {
            let committed = HighWatermark::at(log.synced_end().offset());
            log.upload_view(LeaderEpoch::new(3), committed, TailLimits::default(), true).uploadable_end
        };
        assert_eq!(view(&log), Offset::new(lost.0));
        let gone = TierRecord::LogStart { partition: id(), epoch: LeaderEpoch::new(3), offset: Offset::new(lost.1) };
        block_on(bench.tier.commits.commit(vec![gone])).unwrap();
        log.local().advance_log_start(LogStart::at(Offset::new(lost.1))).unwrap();
        bench.upload(&log, 3);
        assert!(read_all(&log, Offset::new(lost.1)).0 == good[28 * size..]);
    }
}

#[test]
fn a_file_that_is_gone_is_refused_by_name_where_the_tier_lacks_it() {
    for (index, lost) in [(5, None), (2, None), (6, Some((28 * 3, 30 * 3)))] {
        let (bench, disk) = (Bench::new(), TestDisk::new());
        let dir = disk.open();
        let log = bench.open(&dir, 0);
        let mut sent = fill(&log, 0, 0..28);
        bench.upload(&log, 0);
        log.local().roll(NOW).unwrap();
        sent.extend(fill(&log, 0, 28..30));
        until_recorded(&log, &disk);
        let name = log.local().segments()[index].name;
        let local = Arc::clone(log.local());
        drop(log);
        disk.kill(dir, local);
        let partition = disk.path().join(id().to_string());
        disk.env().disk.remove_file(&partition.join("checkpoint")).unwrap();
        disk.env().disk.remove_file(&partition.join(format!("{name}.log"))).unwrap();
        let log = bench.open(&disk.open(), 1);
        assert_eq!(log.log_end().offset(), Offset::new(90), "no offset is given out again");
        let (read, refused) = read_what_there_is(&log);
        assert_eq!(refused, lost.into_iter().collect::<Vec<_>>(), "file {index}");
        let good = lost.map_or(sent.len(), |_| sent.len() / 30 * 28);
        assert!(read == sent[..good], "file {index}: {} bytes instead of {good}", read.len());
        fill(&log, 1, 30..31);
    }
}

#[test]
fn a_scrub_looks_at_everything_and_remembers_what_it_found() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let dir = disk.open();
    let log = bench.open(&dir, 0);
    let sent = fill(&log, 0, 0..29);
    until_recorded(&log, &disk);
    log.local().maintain();
    assert!(scrub(&log).iter().all(|finding| *finding == Finding::Sound));
    assert!(!log.local().scrub_checkpoint().unwrap());
    let (segments, size) = (log.local().segments(), sent.len() as u64 / 29);
    let partition = disk.path().join(id().to_string());
    let flip = |name: String, at: u64| {
        let file = disk.env().disk.open(&partition.join(name), crate::env::Open::Write).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[std::io::IoSlice::new(&[byte[0] ^ 2])], at).unwrap();
    };
    let index = partition.join(format!("{}.index", segments[1].name));
    let written = disk.env().disk.read(&index).unwrap();
    flip(format!("{}.index", segments[1].name), 90);
    disk.env().disk.remove_file(&partition.join(format!("{}.index", segments[2].name))).unwrap();
    flip(format!("{}.log", segments[3].name), 20);
    flip("checkpoint".to_owned(), 40);
    // Two batches of one sealed segment, and one of the active.
    damage(&disk, segments[4].name, 64 + 80);
    damage(&disk, segments[4].name, 64 + 2 * size + 80);
    damage(&disk, segments[5].name, 64 + size + 80);
    let findings = scrub(&log);
    assert!(matches!(
        findings[..],
        [Finding::Sound, Finding::Mended, Finding::Mended, Finding::Mended, Finding::Damaged(_), Finding::Damaged(_)]
    ));
    let lost: Vec<_> = log.lost().map(|range| (range.from.offset.get(), range.to.get())).collect();
    assert_eq!(lost, [(60, 63), (66, 69), (78, 81)]);
    assert_eq!(disk.env().disk.read(&index).unwrap(), written);
    assert!(log.local().scrub_checkpoint().unwrap() && !log.local().scrub_checkpoint().unwrap());
    let progress = crate::log::ScrubProgress { whole: Some(NOW), under_way: Some((NOW, Offset::new(30))) };
    log.local().note_scrubbed(progress).unwrap();
    let again = scrub(&log);
    assert!(again[..4].iter().all(|finding| *finding == Finding::Sound), "{again:?}");
    let local = Arc::clone(log.local());
    drop(log);
    disk.kill(dir, local);
    let log = bench.open(&disk.open(), 1);
    assert_eq!(log.local().scrub_progress(), progress);
    let (read, refused) = read_what_there_is(&log);
    assert_eq!(refused, lost, "nothing of it is given out before the next scrub comes by");
    assert_eq!(read.len() as u64, 26 * size);
}

#[test]
fn the_tier_stands_in_for_what_is_rotten() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let dir = disk.open();
    let log = bench.open(&dir, 0);
    let mut sent = fill(&log, 0, 0..30);
    bench.upload(&log, 0);
    log.local().finish_sealed().unwrap();
    assert!(scrub(&log).iter().all(|finding| *finding == Finding::Sound));
    let third = log.local().segments()[2];
    damage(&disk, third.name, third.bytes / 2);
    assert!(read_all(&log, Offset::ZERO).0 != sent, "nobody has noticed yet");
    let findings = scrub(&log);
    assert!(matches!(findings[2], Finding::Quarantined(rot) if rot.segment == third.name), "{findings:?}");
    assert_eq!(log.local_start().offset(), third.end);
    sent.extend(fill(&log, 0, 30..32));
    assert!(read_all(&log, Offset::ZERO).0 == sent, "byte for byte, from the tier");
    assert!(log.local().damaged().is_empty());
    let local = Arc::clone(log.local());
    drop(log);
    disk.close(dir, local);
    let partition = disk.path().join(id().to_string());
    assert!(disk.env().disk.exists(&partition.join(format!("{}.rot", third.name))).unwrap());
    let log = bench.open(&disk.open(), 1);
    assert!(read_all(&log, Offset::ZERO).0 == sent);
}

#[test]
fn rot_that_the_tier_lacks_is_named_and_nothing_else_is_refused() {
    for in_header in [false, true] {
        let (bench, disk) = (Bench::new(), TestDisk::new());
        let log = bench.open(&disk.open(), 0);
        let sent = fill(&log, 0, 0..30);
        synced(&log);
        log.local().finish_sealed().unwrap();
        let third = log.local().segments()[2];
        let batch = (third.bytes - 64) / (third.end.get() - third.name.base.get()) * 3;
        // The second batch of the segment: its length field, or its records.
        damage(&disk, third.name, 64 + batch + if in_header { 9 } else { 80 });
        let findings = scrub(&log);
        let Finding::Damaged(range) = findings[2] else { panic!("{findings:?}") };
        assert_eq!(range.from.offset, third.name.base.plus(3));
        assert_eq!(range.to, if in_header { third.end } else { third.name.base.plus(6) });
        assert_eq!(log.local().damaged(), [range]);
        let want = |from| Want {
            from,
            upto: log.log_end().offset(),
            max_bytes: 1 << 20,
            at_least_one: true,
            committed: false,
        };
        let read = |from: Offset| match log.read(want(from)) {
            Ok(Read::Nothing) => panic!("nothing"),
            Ok(Read::Hot(records)) => Ok(records),
            Ok(Read::Cold(source)) => block_on(log.complete(source, LIMIT)).map(Option::unwrap),
            Err(error) => Err(error),
        };
        let (mut at, mut bytes) = (Offset::ZERO, Vec::new());
        while at < log.log_end().offset() {
            match read(at) {
                Ok(records) => {
                    at = records.next().unwrap();
                    bytes.extend_from_slice(&records.bytes);
                }
                Err(ReadError::Log(LogError::Corrupt { segment, .. })) => {
                    assert_eq!((segment, at), (third.name, range.from.offset));
                    at = range.to;
                }
                Err(error) => panic!("{error}"),
            }
        }
        let cut = sent.len() / 30 * ((range.to.get() - range.from.offset.get()) / 3) as usize;
        assert_eq!(bytes.len(), sent.len() - cut, "all but the damaged range");
        assert!(matches!(read(range.from.offset.plus(1)), Err(ReadError::Log(_))), "in the middle of it as well");

        // What is good before it goes to the tier, and nothing else.
        let sources: Arc<dyn UnitSources> = Arc::new(One(Arc::clone(&log), LeaderEpoch::new(0)));
        let commits = bench.tier.commits.clone();
        let store = Arc::clone(&bench.store);
        let uploader =
            Uploader::start(&real_env(), store, Uuid::from_u128(1), commits, sources, UploadConfig::default());
        eventually(|| log.manifest().is_some_and(|manifest| manifest.end().offset() == range.from.offset));
        uploader.stop();
    }
}

#[test]
fn an_upload_finds_rot_and_goes_up_to_it() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let log = bench.open(&disk.open(), 0);
    fill(&log, 0, 0..30);
    synced(&log);
    log.local().finish_sealed().unwrap();
    let third = log.local().segments()[2];
    damage(&disk, third.name, third.bytes / 2);
    let sources: Arc<dyn UnitSources> = Arc::new(One(Arc::clone(&log), LeaderEpoch::new(0)));
    let (commits, store) = (bench.tier.commits.clone(), Arc::clone(&bench.store));
    let uploader = Uploader::start(&real_env(), store, Uuid::from_u128(1), commits, sources, UploadConfig::default());
    eventually(|| {
        let rot = log.local().damaged().first().map(|range| range.from.offset);
        rot.is_some() && log.manifest().map(|manifest| manifest.end().offset()) == rot
    });
    uploader.stop();
    assert!(log.local().damaged()[0].from.offset > third.name.base);
}

#[test]
fn rot_that_a_restart_finds_is_no_loss_if_the_tier_has_all() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let dir = disk.open();
    let log = bench.open(&dir, 0);
    let mut sent = fill(&log, 0, 0..30);
    let idempotent = batch_from(7, 0, 0, 3);
    let original = log.append(idempotent.clone(), LeaderEpoch::new(0), NOW).unwrap();
    sent.extend_from_slice(&idempotent.clone().stamp(original.base_offset.to_wire(), 0, None).to_bytes());
    bench.upload(&log, 0);
    until_recorded(&log, &disk);
    let newest = *log.local().segments().last().unwrap();
    assert!(newest.bytes > 64 + 80);
    let local = Arc::clone(log.local());
    drop(log);
    disk.kill(dir, local);
    let partition = disk.path().join(id().to_string());
    disk.env().disk.remove_file(&partition.join("checkpoint")).unwrap();
    damage(&disk, newest.name, 64 + 80);
    let log = bench.open(&disk.open(), 1);
    assert_eq!(log.local_start().offset(), newest.end, "it starts at the tier's end");
    assert!(read_all(&log, Offset::ZERO).0 == sent);
    assert!(log.append(idempotent, LeaderEpoch::new(1), NOW).unwrap().duplicate);
    assert!(disk.env().disk.exists(&partition.join(format!("{}.rot", newest.name))).unwrap());
}

/// The class of what the simulation found at seed 6529: an error of the disk that passes is no loss.
#[test]
fn damage_that_reads_whole_again_is_forgotten_also_after_a_restart() {
    for restarted in [false, true] {
        let (bench, disk) = (Bench::new(), TestDisk::new());
        let mut dir = disk.open();
        let mut log = bench.open(&dir, 0);
        let sent = fill(&log, 0, 0..12);
        until_recorded(&log, &disk);
        let size = sent.len() as u64 / 12;
        let sealed = log.local().segments()[0];
        assert!(sealed.sealed && (sealed.bytes - 64) >= 3 * size);
        let places = [64 + 80, 64 + 2 * size + 80];
        places.iter().for_each(|at| damage(&disk, sealed.name, *at));
        assert!(matches!(scrub(&log)[0], Finding::Damaged(_)));
        assert_eq!(read_what_there_is(&log).1, [(0, 3), (6, 9)]);
        // One of the two can be read again, and then the other as well.
        damage(&disk, sealed.name, places[1]);
        if restarted {
            // The restart has nothing to read again.
            log.local().checkpoint().unwrap();
            let local = Arc::clone(log.local());
            drop(log);
            disk.kill(dir, local);
            dir = disk.open();
            log = bench.open(&dir, 1);
            assert_eq!(log.local().damaged().len(), 2, "nobody has looked yet");
            assert_eq!(log.local().take_remembered_damage(), [sealed.name]);
        }
        assert!(log.local().take_remembered_damage().is_empty());
        assert!(matches!(scrub(&log)[0], Finding::Damaged(_)));
        assert_eq!(read_what_there_is(&log).1, [(0, 3)]);
        damage(&disk, sealed.name, places[0]);
        assert!(scrub(&log).iter().all(|finding| matches!(finding, Finding::Sound | Finding::Mended)));
        assert!(log.local().damaged().is_empty() && read_all(&log, Offset::ZERO).0 == sent);
        let local = Arc::clone(log.local());
        drop(log);
        disk.kill(dir, local);
        let log = bench.open(&disk.open(), 2);
        assert!(log.local().damaged().is_empty() && read_all(&log, Offset::ZERO).0 == sent);
    }
}

/// The class of what the simulation found in `rot_in_heads_of_batches_stays_where_it_is`, seed 2: a leader epoch lies outside
/// of the checksum, and a later start has given out so many that a rotten one passes for one of them.
#[test]
fn a_leader_epoch_that_rots_stays_damaged_and_blames_no_other_batch() {
    for found_by_scrub in [false, true] {
        let (bench, disk) = (Bench::new(), TestDisk::new());
        let mut dir = disk.open();
        let mut log = bench.open(&dir, 0);
        let sent = fill(&log, 0, 0..12);
        until_recorded(&log, &disk);
        let size = sent.len() / 12;
        let sealed = log.local().segments()[0];
        assert!(sealed.sealed && sealed.bytes - 64 >= 3 * size as u64);
        // The last byte of the second batch's epoch: 255 instead of 0.
        damage(&disk, sealed.name, 64 + size as u64 + 15);
        if found_by_scrub {
            assert!(matches!(scrub(&log)[0], Finding::Damaged(_)));
        }
        let rest = [&sent[..size], &sent[2 * size..]].concat();
        for epoch in [1, 400, 401] {
            let local = Arc::clone(log.local());
            drop(log);
            disk.kill(dir, local);
            disk.env().disk.remove_file(&disk.path().join(id().to_string()).join("checkpoint")).unwrap();
            dir = disk.open();
            log = bench.open(&dir, epoch);
            assert!(read_what_there_is(&log) == (rest.clone(), vec![(3, 6)]));
            assert!(matches!(scrub(&log)[0], Finding::Damaged(_)));
            assert!(read_what_there_is(&log) == (rest.clone(), vec![(3, 6)]), "a scrub cannot tell");
            assert_eq!(log.local().epoch_at(Offset::new(35)), Some(LeaderEpoch::new(0)));
        }
    }
}

/// What the disk cannot answer, the tier can.
#[test]
fn a_look_up_by_time_goes_on_in_the_tier() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let log = bench.open(&disk.open(), 0);
    let size = fill(&log, 0, 0..12).len() as u64 / 12;
    bench.upload(&log, 0);
    damage(&disk, log.local().segments()[0].name, 64 + size + 80);
    let found = block_on(log.at_timestamp(Timestamp::from_millis(1100), log.log_end().offset()));
    assert_eq!(found.unwrap().unwrap().offset, Offset::new(3));
}

/// A flipped bit in a record's timestamp would be another answer, and nobody would know.
#[test]
fn a_look_up_by_time_does_not_believe_a_rotten_batch() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let log = bench.open(&disk.open(), 0);
    let size = fill(&log, 0, 0..12).len() as u64 / 12;
    synced(&log);
    let end = log.log_end().offset();
    let find = |batch: i64| block_on(log.at_timestamp(Timestamp::from_millis(1000 + 100 * batch), end));
    assert_eq!(find(1).unwrap().unwrap().offset, Offset::new(3));
    assert_eq!(block_on(log.max_timestamp()).unwrap().unwrap().offset, Offset::new(33));
    // A byte of the batch's first record, and one of the last batch of all.
    let segments = log.local().segments();
    damage(&disk, segments[0].name, 64 + size + 80);
    assert!(matches!(find(1), Err(LookupError::Log(LogError::Corrupt { .. }))), "{:?}", find(1));
    assert_eq!(find(2).unwrap().unwrap().offset, Offset::new(6));
    let newest = segments.last().unwrap();
    damage(&disk, newest.name, newest.bytes - size + 80);
    let latest = block_on(log.max_timestamp());
    assert!(matches!(latest, Err(LookupError::Log(LogError::Corrupt { .. }))), "{latest:?}");
}

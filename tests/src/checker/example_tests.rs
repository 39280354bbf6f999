//! Each anomaly is found in a history that was made by hand to have it, and in no other that is nearly so.

use super::*;

/// A history of one partition and one group, built step by step on a clock of its own.
struct Build {
    history: History,
    clock: u64,
}

fn build() -> Build {
    Build { history: History::default(), clock: 0 }
}

impl Build {
    fn span(&mut self) -> Span {
        self.clock += 10;
        Span { began: self.clock, ended: self.clock + 5 }
    }

    fn send(self, client: ClientNo, value: Value, sent: Sent) -> Build {
        self.batch(client, &[value], sent)
    }

    fn batch(self, client: ClientNo, values: &[Value], sent: Sent) -> Build {
        self.records(client, values.iter().map(|value| SentRecord::plain(*value)).collect(), sent)
    }

    fn keyed(self, key: Key, value: Value, sent: Sent) -> Build {
        self.records(1, vec![SentRecord { value, key: Some(key), tombstone: false }], sent)
    }

    fn tombstone(self, key: Key, value: Value, sent: Sent) -> Build {
        self.records(1, vec![SentRecord { value, key: Some(key), tombstone: true }], sent)
    }

    fn records(mut self, client: ClientNo, records: Vec<SentRecord>, sent: Sent) -> Build {
        let span = self.span();
        self.history.push(Event::Send { client, partition: 0, records, span, sent });
        self
    }

    fn send_during(mut self, client: ClientNo, value: Value, times: (u64, u64), sent: Sent) -> Build {
        let span = Span { began: times.0, ended: times.1 };
        let records = vec![SentRecord::plain(value)];
        self.history.push(Event::Send { client, partition: 0, records, span, sent });
        self
    }

    fn poll(self, client: ClientNo, records: &[Polled]) -> Build {
        self.poll_from(client, 0, records)
    }

    fn poll_from(mut self, client: ClientNo, log_start: u64, records: &[Polled]) -> Build {
        let span = self.span();
        self.history.push(Event::Poll { client, partition: 0, span, log_start, records: records.to_vec() });
        self
    }

    fn seek(mut self, client: ClientNo) -> Build {
        self.history.push(Event::Seek { client, partition: 0 });
        self
    }

    fn drain(mut self, start: u64, records: &[Polled]) -> Build {
        let span = self.span();
        self.history.push(Event::Drain { partition: 0, span, start, records: records.to_vec() });
        self
    }

    fn trim(mut self, before: u64, outcome: Outcome) -> Build {
        let span = self.span();
        self.history.push(Event::Trim { partition: 0, before, span, outcome });
        self
    }

    fn commit(mut self, offset: u64, outcome: Outcome) -> Build {
        let span = self.span();
        self.history.push(Event::Commit { group: 5, partition: 0, offset, term: None, span, outcome });
        self
    }

    fn held(mut self, client: ClientNo, epoch: i32, times: (u64, u64)) -> Build {
        let (term, span) = (Term { client, epoch }, Span { began: times.0, ended: times.1 });
        self.history.push(Event::Held { group: 5, partition: 0, term, span });
        self
    }

    fn commit_as(mut self, client: ClientNo, epoch: i32, times: (u64, u64), outcome: Outcome) -> Build {
        let (term, span) = (Some(Term { client, epoch }), Span { began: times.0, ended: times.1 });
        self.history.push(Event::Commit { group: 5, partition: 0, offset: 3, term, span, outcome });
        self
    }

    fn committed(mut self, found: Option<u64>) -> Build {
        let span = self.span();
        self.history.push(Event::Committed { group: 5, partition: 0, found, span });
        self
    }

    fn compacted(self) -> Build {
        self.compacted_with(Tombstones::MayGo)
    }

    fn compacted_with(mut self, tombstones: Tombstones) -> Build {
        self.history.compacts(0, tombstones);
        self
    }

    fn anomalies(self) -> Vec<Anomaly> {
        check(&self.history)
    }
}

fn three() -> Build {
    build().send(1, 100, Sent::Acked(0)).send(1, 101, Sent::Acked(1)).send(1, 102, Sent::Acked(2))
}

#[test]
fn a_good_history_has_no_anomaly() {
    let all = [(0, 100), (1, 101), (2, 102)];
    let history = three()
        .send(2, 103, Sent::Unknown)
        .send(2, 104, Sent::Refused)
        .poll(7, &all[..2])
        .poll(7, &all[2..])
        .seek(7)
        .poll(7, &all)
        .poll(8, &all[..1])
        .drain(0, &all);
    assert_eq!(history.anomalies(), []);
}

#[test]
fn an_unknown_send_may_appear_or_not() {
    let history = three().send(2, 103, Sent::Unknown).drain(0, &[(0, 100), (1, 101), (2, 102), (3, 103)]);
    assert_eq!(history.anomalies(), []);
}

#[test]
fn an_unknown_send_may_take_effect_after_a_later_one() {
    let history = build().send(1, 100, Sent::Unknown).send(1, 101, Sent::Acked(0)).drain(0, &[(0, 101), (1, 100)]);
    assert_eq!(history.anomalies(), []);
}

#[test]
fn gaps_that_hold_no_record_are_no_skips() {
    let history = build().send(1, 100, Sent::Acked(0)).send(1, 101, Sent::Acked(9)).poll(7, &[(0, 100), (9, 101)]);
    assert_eq!(history.anomalies(), []);
}

#[test]
fn a_lost_write_is_found_where_later_ones_were_read() {
    let found = three().poll(7, &[(0, 100)]).seek(7).poll(7, &[(2, 102)]).anomalies();
    assert_eq!(found, [Anomaly::LostWrite { partition: 0, offset: Some(1), value: 101 }]);
}

#[test]
fn a_lost_write_is_found_by_draining() {
    let lost = Anomaly::LostWrite { partition: 0, offset: Some(1), value: 101 };
    let skip = Anomaly::InternalPollSkip { partition: 0, client: ClientNo::MAX, after: 0, next: 2, skipped: 1 };
    assert_eq!(three().drain(0, &[(0, 100), (2, 102)]).anomalies(), [lost, skip]);
}

#[test]
fn a_lost_tail_is_unseen_once_everything_was_read() {
    let unseen = Anomaly::Unseen { partition: 0, offset: 2, value: 102 };
    assert_eq!(three().drain(0, &[(0, 100), (1, 101)]).anomalies(), [unseen]);
    // Without a drain nobody can know.
    assert_eq!(three().poll(7, &[(0, 100), (1, 101)]).anomalies(), []);
}

#[test]
fn what_was_read_and_is_gone_is_lost_even_if_it_was_never_acknowledged() {
    let lost = Anomaly::LostWrite { partition: 0, offset: Some(0), value: 100 };
    assert_eq!(build().send(1, 100, Sent::Unknown).poll(7, &[(0, 100)]).drain(0, &[]).anomalies(), [lost]);
}

#[test]
fn a_duplicate_acknowledgement_without_an_offset_still_binds() {
    let lost = Anomaly::LostWrite { partition: 0, offset: None, value: 100 };
    assert_eq!(build().send(1, 100, Sent::AckedSomewhere).drain(0, &[]).anomalies(), [lost]);
    assert_eq!(build().send(1, 100, Sent::AckedSomewhere).drain(0, &[(0, 100)]).anomalies(), []);
}

#[test]
fn retention_is_no_loss() {
    assert_eq!(three().drain(2, &[(2, 102)]).anomalies(), []);
    // Nor is it where only the log start of some answer tells of it.
    assert_eq!(three().poll_from(7, 2, &[(2, 102)]).anomalies(), []);
    assert_eq!(three().poll(7, &[(0, 100)]).poll_from(7, 2, &[(2, 102)]).anomalies(), []);
}

#[test]
fn a_log_start_that_goes_back_is_found() {
    let went_back = [Anomaly::LogStartWentBack { partition: 0, before: 2, after: 0 }];
    let found = three().poll_from(7, 2, &[(2, 102)]).seek(7).poll(7, &[(0, 100), (1, 101), (2, 102)]).anomalies();
    assert_eq!(found, went_back);
    let all = [(0, 100), (1, 101), (2, 102)];
    assert_eq!(three().trim(2, Outcome::Done).drain(0, &all).anomalies(), went_back);
    for outcome in [Outcome::Unknown, Outcome::Refused] {
        assert_eq!(three().trim(2, outcome).drain(0, &all).anomalies(), []);
    }
    assert_eq!(three().trim(2, Outcome::Done).drain(2, &all[2..]).anomalies(), []);
}

#[test]
fn a_duplicate_is_found() {
    let found = three().drain(0, &[(0, 100), (1, 101), (2, 102), (3, 101)]).anomalies();
    assert_eq!(found, [Anomaly::Duplicate { partition: 0, value: 101, offsets: vec![1, 3] }]);
}

#[test]
fn an_acknowledged_offset_that_is_not_the_one_read_is_a_duplicate() {
    let found = build().send(1, 100, Sent::Acked(4)).poll(7, &[(5, 100)]).anomalies();
    assert_eq!(found, [Anomaly::Duplicate { partition: 0, value: 100, offsets: vec![4, 5] }]);
}

#[test]
fn two_values_at_one_offset_are_found() {
    let history = build().send(1, 100, Sent::Unknown).send(2, 200, Sent::Unknown);
    let found = history.poll(7, &[(0, 100)]).poll(8, &[(0, 200)]).anomalies();
    assert_eq!(found, [Anomaly::InconsistentOffset { partition: 0, offset: 0, values: vec![100, 200] }]);
}

#[test]
fn a_poll_that_skips_is_found_between_polls_and_within_one() {
    let all = [(0, 100), (1, 101), (2, 102)];
    let between = three().poll(7, &all[..1]).poll(7, &all[2..]).drain(0, &all).anomalies();
    assert_eq!(between, [Anomaly::PollSkip { partition: 0, client: 7, after: 0, next: 2, skipped: 1 }]);
    let within = three().poll(8, &[all[0], all[2]]).drain(0, &all).anomalies();
    assert_eq!(within, [Anomaly::InternalPollSkip { partition: 0, client: 8, after: 0, next: 2, skipped: 1 }]);
    // Another client may have been there; and one that set its position skips nothing.
    assert_eq!(three().poll(7, &all[..1]).poll(8, &all).poll(7, &all[1..]).anomalies(), []);
    assert_eq!(three().poll(8, &all).poll(7, &all[..1]).seek(7).poll(7, &all[2..]).anomalies(), []);
}

#[test]
fn a_poll_that_goes_back_is_found_unless_its_client_did() {
    let (first, second) = ([(0, 100), (1, 101)], [(1, 101), (2, 102)]);
    let found = three().poll(7, &first).poll(7, &second).anomalies();
    assert_eq!(found, [Anomaly::NonMonotonicPoll { partition: 0, client: 7, after: 1, next: 1 }]);
    assert_eq!(three().poll(7, &first).seek(7).poll(7, &second).anomalies(), []);
}

#[test]
fn an_answer_in_the_wrong_order_is_found() {
    let found = three().poll(7, &[(1, 101), (0, 100), (2, 102)]).anomalies();
    let skip = Anomaly::InternalPollSkip { partition: 0, client: 7, after: 0, next: 2, skipped: 1 };
    let reorder = Anomaly::InternalNonMonotonicPoll { partition: 0, client: 7, after: 1, next: 0 };
    assert_eq!(found, [skip, reorder]);
}

#[test]
fn sends_of_one_producer_that_change_places_are_found() {
    let found = build().send(1, 100, Sent::Acked(5)).send(1, 101, Sent::Acked(3)).anomalies();
    let reordered = [Anomaly::NonMonotonicSend { partition: 0, client: 1, earlier: 100, later: 101 }];
    assert_eq!(found, reordered);
    // Also where only a read tells where the later one went.
    let found = build().send(1, 100, Sent::Acked(5)).send(1, 101, Sent::Unknown).poll(7, &[(3, 101)]).anomalies();
    assert_eq!(found, reordered);
}

#[test]
fn sends_of_two_producers_that_change_places_are_found_unless_they_overlap() {
    let found = build().send(1, 100, Sent::Acked(5)).send(2, 101, Sent::Acked(3)).anomalies();
    assert_eq!(found, [Anomaly::RealTimeReorder { partition: 0, earlier: 100, later: 101 }]);
    let overlapping =
        build().send_during(1, 100, (0, 10), Sent::Acked(5)).send_during(2, 101, (5, 20), Sent::Acked(3)).anomalies();
    assert_eq!(overlapping, []);
}

#[test]
fn records_of_a_batch_that_change_places_or_part_are_found() {
    let batch = || build().batch(1, &[100, 101], Sent::Unknown);
    assert_eq!(batch().drain(0, &[(0, 100), (1, 101)]).anomalies(), []);
    assert_eq!(batch().drain(0, &[]).anomalies(), []);
    let found = batch().drain(0, &[(0, 101), (1, 100)]).anomalies();
    assert_eq!(found, [Anomaly::InternalNonMonotonicSend { partition: 0, client: 1, earlier: 100, later: 101 }]);
    let found = batch().drain(0, &[(0, 100), (2, 101)]).anomalies();
    assert_eq!(found, [Anomaly::InternalSendSkip { partition: 0, client: 1, earlier: 100, later: 101 }]);
}

#[test]
fn half_a_batch_is_found_unless_the_log_starts_in_its_middle() {
    let batch = || build().batch(1, &[100, 101], Sent::Unknown);
    let torn = |there, missing| Anomaly::TornBatch { partition: 0, client: 1, there, missing };
    assert_eq!(batch().drain(0, &[(0, 100)]).anomalies(), [torn(100, 101)]);
    assert_eq!(batch().drain(0, &[(1, 101)]).anomalies(), [torn(101, 100)]);
    assert_eq!(batch().drain(1, &[(1, 101)]).anomalies(), []);
}

#[test]
fn what_nobody_sent_is_found_and_what_was_refused_too() {
    let phantom = |offset, value| Anomaly::Phantom { partition: 0, offset, value };
    assert_eq!(build().poll(7, &[(0, 9)]).anomalies(), [phantom(0, 9)]);
    assert_eq!(build().send(1, 9, Sent::Refused).poll(7, &[(0, 9)]).anomalies(), [phantom(0, 9)]);
}

#[test]
fn compaction_may_take_what_a_later_record_replaces() {
    let history = || build().keyed(1, 100, Sent::Acked(0)).keyed(2, 101, Sent::Acked(1)).keyed(1, 102, Sent::Acked(2));
    let rest = [(1, 101), (2, 102)];
    assert_eq!(history().compacted().drain(0, &rest).anomalies(), []);
    assert_eq!(
        history().drain(0, &rest).anomalies(),
        [Anomaly::LostWrite { partition: 0, offset: Some(0), value: 100 }]
    );
    // The last of a key stays.
    let lost = Anomaly::LostWrite { partition: 0, offset: Some(1), value: 101 };
    assert_eq!(history().compacted().drain(0, &[(2, 102)]).anomalies(), [lost]);
    // And what has no key.
    let found = build().compacted().send(1, 100, Sent::Acked(0)).send(1, 101, Sent::Acked(1)).drain(0, &[(1, 101)]);
    assert_eq!(found.anomalies(), [Anomaly::LostWrite { partition: 0, offset: Some(0), value: 100 }]);
}

#[test]
fn a_tombstone_goes_after_what_it_deletes() {
    let history = || build().compacted().keyed(1, 100, Sent::Acked(0)).tombstone(1, 101, Sent::Acked(1));
    let and_more = |history: Build| history.keyed(2, 102, Sent::Acked(2));
    assert_eq!(and_more(history()).drain(0, &[(2, 102)]).anomalies(), []);
    assert_eq!(and_more(history()).drain(0, &[(1, 101), (2, 102)]).anomalies(), []);
    // Unless it must stay.
    let stays = and_more(history()).compacted_with(Tombstones::Stay);
    let early = Anomaly::LostWrite { partition: 0, offset: Some(1), value: 101 };
    assert_eq!(stays.drain(0, &[(2, 102)]).anomalies(), [early]);
    let lost = Anomaly::LostWrite { partition: 0, offset: Some(1), value: 101 };
    let skip = Anomaly::InternalPollSkip { partition: 0, client: ClientNo::MAX, after: 0, next: 2, skipped: 1 };
    assert_eq!(and_more(history()).drain(0, &[(0, 100), (2, 102)]).anomalies(), [lost, skip]);
}

#[test]
fn a_committed_offset_that_is_gone_is_found() {
    let lost = |found| Anomaly::LostCommit { group: 5, partition: 0, committed: 8, found };
    let history = || build().commit(7, Outcome::Done).commit(8, Outcome::Done);
    assert_eq!(history().committed(Some(8)).anomalies(), []);
    assert_eq!(history().committed(None).anomalies(), [lost(None)]);
    assert_eq!(history().committed(Some(7)).anomalies(), [lost(Some(7))]);
}

#[test]
fn a_commit_that_was_seen_may_not_be_unseen() {
    // Nobody acknowledged it; but it was read, and then the older one is back.
    let history = || build().commit(7, Outcome::Done).commit(8, Outcome::Unknown);
    assert_eq!(history().committed(Some(8)).committed(Some(8)).anomalies(), []);
    assert_eq!(history().committed(Some(7)).committed(Some(8)).anomalies(), []);
    let lost = Anomaly::LostCommit { group: 5, partition: 0, committed: 8, found: Some(7) };
    assert_eq!(history().committed(Some(8)).committed(Some(7)).anomalies(), [lost]);
    // A commit of which nothing is known may come after one that began later.
    let late = build().commit(7, Outcome::Unknown).commit(8, Outcome::Done).committed(Some(8)).committed(Some(7));
    assert_eq!(late.anomalies(), []);
}

#[test]
fn an_offset_may_be_committed_again() {
    let again = build().commit(7, Outcome::Done).commit(8, Outcome::Done).commit(7, Outcome::Done);
    assert_eq!(again.committed(Some(7)).anomalies(), []);
    let lost = Anomaly::LostCommit { group: 5, partition: 0, committed: 8, found: Some(7) };
    let before = build().commit(7, Outcome::Done).commit(7, Outcome::Done).commit(8, Outcome::Done);
    assert_eq!(before.committed(Some(7)).anomalies(), [lost]);
}

#[test]
fn an_offset_that_nobody_committed_is_found() {
    let phantom = [Anomaly::PhantomCommit { group: 5, partition: 0, found: 9 }];
    assert_eq!(build().commit(7, Outcome::Done).committed(Some(9)).anomalies(), phantom);
    assert_eq!(build().commit(9, Outcome::Refused).committed(Some(9)).anomalies(), phantom);
    assert_eq!(build().committed(Some(9)).commit(9, Outcome::Done).anomalies(), phantom);
}

#[test]
fn a_partition_with_two_owners_is_found() {
    let one_after_the_other = build().held(1, 4, (10, 20)).held(2, 5, (20, 30)).held(1, 7, (31, 40));
    assert_eq!(one_after_the_other.anomalies(), []);
    // Whoever is told of the partition again while it has it is its owner still.
    assert_eq!(build().held(1, 4, (10, 20)).held(1, 5, (15, 30)).anomalies(), []);
    let two = |first, second| [Anomaly::TwoOwners { group: 5, partition: 0, first, second }];
    assert_eq!(build().held(1, 4, (10, 20)).held(2, 5, (19, 30)).anomalies(), two(1, 2));
    assert_eq!(build().held(2, 5, (19, 30)).held(1, 4, (10, 20)).anomalies(), two(1, 2));
    assert_eq!(build().held(1, 4, (10, 90)).held(1, 6, (20, 30)).held(2, 5, (40, 50)).anomalies(), two(1, 2));
}

#[test]
fn a_commit_of_one_who_was_followed_by_another_is_found() {
    let history = || build().held(1, 4, (10, 20)).held(2, 5, (30, 60));
    let stale = [Anomaly::StaleCommit { group: 5, partition: 0, client: 1, epoch: 4, owner: 2 }];
    assert_eq!(history().commit_as(1, 4, (40, 50), Outcome::Done).anomalies(), stale);
    for outcome in [Outcome::Refused, Outcome::Unknown] {
        assert_eq!(history().commit_as(1, 4, (40, 50), outcome).anomalies(), []);
    }
    // It may have taken effect before the other one had the partition, or after.
    assert_eq!(history().commit_as(1, 4, (25, 50), Outcome::Done).anomalies(), []);
    assert_eq!(history().commit_as(1, 4, (40, 70), Outcome::Done).anomalies(), []);
    // Who holds it commits, at that epoch or at a later one.
    assert_eq!(history().commit_as(2, 5, (40, 50), Outcome::Done).anomalies(), []);
    assert_eq!(history().commit_as(2, 9, (40, 50), Outcome::Done).anomalies(), []);
}

/// An anomaly that no history here has may be one that is never found.
#[test]
fn every_anomaly_has_a_history_that_must_fail() {
    let names = |source: &'static str, before: &'static str| {
        let of = source.split(before).skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap());
        of.collect::<std::collections::BTreeSet<&str>>()
    };
    let all = include_str!("anomaly.rs").split("pub enum Anomaly").nth(1).unwrap();
    let defined: std::collections::BTreeSet<&str> = all
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {"))
        .filter(|name| name.chars().all(char::is_alphanumeric))
        .collect();
    let here = names(include_str!("example_tests.rs"), concat!("Anomaly", "::"));
    assert!(defined.len() > 15, "{defined:?}");
    assert_eq!(defined.difference(&here).collect::<Vec<_>>(), Vec::<&&str>::new());
}

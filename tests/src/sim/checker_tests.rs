//! Each anomaly is found in a history that was made by hand to have it, and in no other.

use super::*;

struct Build {
    history: History,
    clock: u64,
}

fn build() -> Build {
    Build { history: History::default(), clock: 0 }
}

impl Build {
    fn send(mut self, client: ClientNo, value: Value, sent: Sent) -> Build {
        self.clock += 10;
        let (began, ended) = (self.clock, self.clock + 5);
        self.history.push(Event::Send { client, partition: 0, value, began, ended, sent });
        self
    }

    fn send_during(mut self, client: ClientNo, value: Value, times: (u64, u64), sent: Sent) -> Build {
        let (began, ended) = times;
        self.history.push(Event::Send { client, partition: 0, value, began, ended, sent });
        self
    }

    fn poll(mut self, client: ClientNo, records: &[(u64, Value)]) -> Build {
        self.history.push(Event::Poll { client, partition: 0, records: records.to_vec() });
        self
    }

    fn seek(mut self, client: ClientNo) -> Build {
        self.history.push(Event::Seek { client, partition: 0 });
        self
    }

    fn drain(mut self, start: u64, records: &[(u64, Value)]) -> Build {
        self.history.push(Event::Drain { partition: 0, start, records: records.to_vec() });
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
fn a_lost_tail_is_found_by_draining() {
    let lost = Anomaly::LostWrite { partition: 0, offset: Some(2), value: 102 };
    assert_eq!(three().drain(0, &[(0, 100), (1, 101)]).anomalies(), [lost]);
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
    let skip = |client| Anomaly::PollSkip { partition: 0, client, after: 0, next: 2, skipped: 1 };
    let all = [(0, 100), (1, 101), (2, 102)];
    let between = three().poll(7, &all[..1]).poll(7, &all[2..]).drain(0, &all).anomalies();
    assert_eq!(between, [skip(7)]);
    let within = three().poll(8, &[all[0], all[2]]).drain(0, &all).anomalies();
    assert_eq!(within, [skip(8)]);
}

#[test]
fn a_poll_that_goes_back_is_found() {
    let found = three().poll(7, &[(0, 100), (1, 101)]).poll(7, &[(1, 101), (2, 102)]).anomalies();
    assert_eq!(found, [Anomaly::NonMonotonicPoll { partition: 0, client: 7, after: 1, next: 1 }]);
}

#[test]
fn an_answer_in_the_wrong_order_is_found() {
    let found = three().poll(7, &[(1, 101), (0, 100), (2, 102)]).anomalies();
    let reorder = Anomaly::InternalReorder { partition: 0, client: 7, after: 1, next: 0 };
    let skip = Anomaly::PollSkip { partition: 0, client: 7, after: 0, next: 2, skipped: 1 };
    assert_eq!(found, [skip, reorder]);
}

#[test]
fn sends_of_one_producer_that_change_places_are_found() {
    let found = build().send(1, 100, Sent::Acked(5)).send(1, 101, Sent::Acked(3)).anomalies();
    assert_eq!(found, [Anomaly::NonMonotonicSend { partition: 0, client: 1, earlier: 100, later: 101 }]);
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
fn what_nobody_sent_is_found_and_what_was_refused_too() {
    let phantom = |offset, value| Anomaly::Phantom { partition: 0, offset, value };
    assert_eq!(build().poll(7, &[(0, 9)]).anomalies(), [phantom(0, 9)]);
    assert_eq!(build().send(1, 9, Sent::Refused).poll(7, &[(0, 9)]).anomalies(), [phantom(0, 9)]);
}

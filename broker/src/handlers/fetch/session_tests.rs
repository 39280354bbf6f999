//! Sessions as a client meets them.

use super::*;
use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchTopic, ForgottenTopic};

const VERSION: i16 = 12;

fn sessions(runtime: usize, runtimes: usize, slots: usize) -> Sessions {
    Sessions::new(runtime, runtimes, Bounds { slots, partitions: 1000 })
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

fn request(id: i32, epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions
        .iter()
        .map(|(partition, offset)| {
            FetchPartition::default().with_partition(*partition).with_fetch_offset(*offset).with_partition_max_bytes(1)
        })
        .collect();
    FetchRequest::default()
        .with_session_id(id)
        .with_session_epoch(epoch)
        .with_topics(vec![FetchTopic::default().with_topic(topic()).with_partitions(partitions)])
}

fn answer(partition: i32, high_watermark: i64, records: &'static [u8]) -> PartitionData {
    PartitionData::default()
        .with_partition_index(partition)
        .with_high_watermark(high_watermark)
        .with_log_start_offset(0)
        .with_records(Some(Bytes::from_static(records)))
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::from_origin(Duration::from_secs(seconds))
}

fn partitions(plan: &Plan) -> Vec<(i32, i64)> {
    plan.partitions.iter().map(|(name, wanted)| (name.partition, wanted.offset)).collect()
}

#[test]
fn an_incremental_answer_holds_only_news() {
    let mut sessions = sessions(1, 2, 10);
    let full = sessions.plan(&request(0, 0, &[(0, 5), (1, 7)]), VERSION, at(0), 42).unwrap();
    assert_eq!(full.session_id % 2, 1, "the id names the runtime");
    for (name, _) in &full.partitions {
        assert!(full.include(name, &answer(name.partition, 9, b"")), "a full answer holds everything");
    }

    let next = sessions.plan(&request(full.session_id, 1, &[(1, 9)]), VERSION, at(1), 0).unwrap();
    assert_eq!(partitions(&next), [(0, 5), (1, 9)]);
    let (first, second) = (&next.partitions[0].0, &next.partitions[1].0);
    assert!(!next.include(first, &answer(0, 9, b"")), "nothing new");
    assert!(next.include(first, &answer(0, 9, b"records")));
    assert!(next.include(second, &answer(1, 10, b"")), "the high watermark moved");
    assert!(next.include(second, &answer(1, 10, b"").with_error_code(6)));
    assert!(next.include(second, &answer(1, 10, b"")), "after an error everything is news");
}

#[test]
fn a_partition_with_records_goes_to_the_end_of_the_line() {
    let mut sessions = sessions(0, 1, 10);
    let full = sessions.plan(&request(0, 0, &[(0, 0), (1, 0), (2, 0)]), VERSION, at(0), 7).unwrap();
    full.include(&full.partitions[0].0, &answer(0, 9, b"records"));
    let next = sessions.plan(&request(full.session_id, 1, &[]), VERSION, at(1), 0).unwrap();
    assert_eq!(partitions(&next), [(1, 0), (2, 0), (0, 0)]);
}

#[test]
fn wrong_ids_epochs_and_naming_are_refused() {
    let mut sessions = sessions(0, 1, 10);
    let id = sessions.plan(&request(0, 0, &[(0, 0)]), VERSION, at(0), 1).unwrap().session_id;
    let code = |result: Result<Plan, ResponseError>| result.unwrap_err().code();
    assert_eq!(code(sessions.plan(&request(id + 1, 1, &[]), VERSION, at(0), 1)), 70);
    assert_eq!(code(sessions.plan(&request(id, 2, &[]), VERSION, at(0), 1)), 71);
    assert_eq!(code(sessions.plan(&request(id, 1, &[]), 13, at(0), 1)), 106);
    sessions.plan(&request(id, 1, &[]), VERSION, at(0), 1).unwrap();
    assert_eq!(code(sessions.plan(&request(id, 1, &[]), VERSION, at(0), 1)), 71, "an epoch is used once");
}

#[test]
fn forgetting_everything_closes_the_session() {
    let mut sessions = sessions(0, 1, 10);
    let id = sessions.plan(&request(0, 0, &[(0, 0)]), VERSION, at(0), 1).unwrap().session_id;
    let forget = request(id, 1, &[])
        .with_forgotten_topics_data(vec![ForgottenTopic::default().with_topic(topic()).with_partitions(vec![0])]);
    let plan = sessions.plan(&forget, VERSION, at(0), 1).unwrap();
    assert_eq!((plan.session_id, plan.partitions.len(), sessions.len()), (0, 0, 0));
}

#[test]
fn a_final_epoch_closes_and_fetches_without_a_session() {
    let mut sessions = sessions(0, 1, 10);
    let id = sessions.plan(&request(0, 0, &[(0, 0)]), VERSION, at(0), 1).unwrap().session_id;
    let plan = sessions.plan(&request(id, -1, &[(3, 3)]), VERSION, at(0), 1).unwrap();
    assert_eq!((partitions(&plan), plan.session_id, sessions.len()), (vec![(3, 3)], 0, 0));
}

#[test]
fn slots_are_bounded_and_only_old_sessions_make_room() {
    let mut sessions = sessions(0, 1, 2);
    let first = sessions.plan(&request(0, 0, &[(0, 0)]), VERSION, at(0), 9).unwrap().session_id;
    let second = sessions.plan(&request(0, 0, &[(0, 0)]), VERSION, at(50), 9).unwrap().session_id;
    assert!(first > 0 && second > 0 && first != second);
    assert_eq!(sessions.plan(&request(0, 0, &[(0, 0)]), VERSION, at(60), 9).unwrap().session_id, 0);
    let third = sessions.plan(&request(0, 0, &[(0, 0)]), VERSION, at(121), 77).unwrap().session_id;
    assert!(third > 0);
    assert!(sessions.plan(&request(first, 1, &[]), VERSION, at(121), 9).is_err(), "the oldest was evicted");
    assert!(sessions.plan(&request(second, 1, &[]), VERSION, at(121), 9).is_ok());
}

#[test]
fn the_epoch_wraps_to_one() {
    let mut sessions = sessions(0, 1, 2);
    let id = sessions.plan(&request(0, 0, &[(0, 0)]), VERSION, at(0), 9).unwrap().session_id;
    sessions.sessions[&id].lock().next_epoch = i32::MAX;
    sessions.plan(&request(id, i32::MAX, &[]), VERSION, at(0), 9).unwrap();
    sessions.plan(&request(id, 1, &[]), VERSION, at(0), 9).unwrap();
}

#[test]
fn a_session_keeps_neither_its_requests_nor_partitions_without_bound() {
    let mut sessions = sessions(0, 1, 10);
    let frame = bytes::Bytes::from(b"t".repeat(1000));
    let mut asked = request(0, 0, &[(0, 0)]);
    asked.topics[0].topic = StrBytes::from_utf8(frame.slice(..1)).unwrap().into();
    let opened = sessions.plan(&asked, VERSION, at(0), 1).unwrap();
    let id = opened.session_id;
    drop((asked, opened));
    assert!(frame.is_unique(), "the session holds its first request's frame");

    let many: Vec<(i32, i64)> = (0..MAX_PARTITIONS as i32).map(|partition| (partition + 1, 0)).collect();
    assert_eq!(sessions.plan(&request(id, 1, &many), VERSION, at(0), 1).err().unwrap().code(), 70);
    assert!(sessions.is_empty());
    let more: Vec<(i32, i64)> = (0..=MAX_PARTITIONS as i32).map(|partition| (partition, 0)).collect();
    assert_eq!(sessions.plan(&request(0, 0, &more), VERSION, at(0), 1).unwrap().session_id, 0);
}

#[test]
fn a_partition_that_is_named_often_is_fetched_once() {
    let plan = sessions(0, 1, 10).plan(&request(0, -1, &[(0, 5), (1, 7), (0, 6), (0, 9)]), VERSION, at(0), 42).unwrap();
    assert_eq!(partitions(&plan), [(0, 9), (1, 7)], "in the first place, and the last word on it");
}

#[test]
fn what_sessions_remember_is_bounded_together() {
    let mut sessions = sessions(0, 1, 10);
    let many: Vec<(i32, i64)> = (0..400).map(|n| (n, 0)).collect();
    let first = sessions.plan(&request(0, 0, &many), VERSION, at(0), 1).unwrap();
    let second = sessions.plan(&request(0, 0, &many), VERSION, at(0), 2).unwrap();
    assert!(first.session_id != 0 && second.session_id != 0);
    // Beyond it there is no new session, and one that grows ends.
    assert_eq!(sessions.plan(&request(0, 0, &many), VERSION, at(0), 3).unwrap().session_id, 0);
    let more: Vec<(i32, i64)> = (400..700).map(|n| (n, 0)).collect();
    let grown = sessions.plan(&request(first.session_id, 1, &more), VERSION, at(0), 4);
    assert_eq!(grown.unwrap_err(), ResponseError::FetchSessionIdNotFound);
    assert_eq!(sessions.len(), 1);
    assert!(sessions.plan(&request(second.session_id, 1, &[(0, 1)]), VERSION, at(0), 5).is_ok());
}

#[test]
fn a_name_that_no_topic_can_have_is_not_remembered() {
    let mut sessions = sessions(0, 1, 10);
    let mut long = request(0, 0, &[(0, 5), (1, 7)]);
    long.topics[0].topic = TopicName(StrBytes::from_string("x".repeat(30_000)));
    let plan = sessions.plan(&long, VERSION, at(0), 42).unwrap();
    assert_eq!((plan.session_id, sessions.len(), plan.partitions.len()), (0, 0, 2));
}

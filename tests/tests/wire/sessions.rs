//! Fetch sessions (KIP-227), by name and by id.

use crate::ask::{
    Fetch, NONE, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, name, offsets, partitions, produce, record, topic,
};
use esker_bench::client::{Client, Connection};
use esker_tests::harness::{Broker, Options};
use kafka_protocol::messages::fetch_request::ForgottenTopic;
use std::time::{Duration, Instant};
use uuid::Uuid;

const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
const FETCH_SESSION_TOPIC_ID_ERROR: i16 = 106;

/// Error, session id, and what is told of each partition: number, error, records.
async fn told(connection: &Connection, fetch: Fetch, id: i32, epoch: i32) -> (i16, i32, Vec<(i32, i16, usize)>) {
    let answer = fetch.change(|r| r.with_session_id(id).with_session_epoch(epoch)).whole(connection).await;
    let (error, id) = (answer.error_code, answer.session_id);
    let told = partitions(answer).iter().map(|p| (p.partition_index, p.error_code, offsets(p).len())).collect();
    (error, id, told)
}

#[tokio::test]
async fn sessions_tell_only_what_is_new() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    for version in [7, 12, 13, 17] {
        a_session_from_its_first_fetch_to_its_last(&client, version).await;
    }
    wrong_ids_and_epochs(&client).await;
    an_incremental_fetch_waits(&client).await;
    a_topic_that_comes_again_is_another(&client).await;
}

async fn a_session_from_its_first_fetch_to_its_last(client: &Client, version: i16) {
    let topic_name = format!("session-{version}");
    let (connection, id) = topic(client, &topic_name, 3, &[]).await;
    let here = (topic_name.as_str(), id);
    produce(&connection, 9, here, 1, record("x")).await;
    let new = || Fetch::new(version);
    let full = new().of(here, 0, 0).of(here, 1, 0).of(here, 2, 0);
    let (error, session, all) = told(&connection, full, 0, 0).await;
    assert_eq!((error, all), (NONE, vec![(0, NONE, 0), (1, NONE, 1), (2, NONE, 0)]), "everything, first");
    assert!(session > 0);
    // Nothing but the offset of what was read changes: nothing is told.
    assert_eq!(told(&connection, new().of(here, 1, 1), session, 1).await, (NONE, session, vec![]));
    produce(&connection, 9, here, 2, record("x")).await;
    assert_eq!(told(&connection, new(), session, 2).await, (NONE, session, vec![(2, NONE, 1)]));
    // It is still there as long as the client has not moved on.
    assert_eq!(told(&connection, new(), session, 3).await, (NONE, session, vec![(2, NONE, 1)]));
    assert_eq!(told(&connection, new().of(here, 2, 1), session, 4).await, (NONE, session, vec![]));
    // Forgotten is never told of again.
    let forgotten = if version >= 13 {
        ForgottenTopic::default().with_topic_id(id)
    } else {
        ForgottenTopic::default().with_topic(name(&topic_name))
    };
    let forget = new().change(|r| r.with_forgotten_topics_data(vec![forgotten.with_partitions(vec![2])]));
    assert_eq!(told(&connection, forget, session, 5).await, (NONE, session, vec![]));
    produce(&connection, 9, here, 2, record("y")).await;
    produce(&connection, 9, here, 0, record("y")).await;
    assert_eq!(told(&connection, new(), session, 6).await, (NONE, session, vec![(0, NONE, 1)]));
    // An unknown partition is told of every time, but disturbs nobody.
    let unknown = (9, UNKNOWN_TOPIC_OR_PARTITION, 0);
    assert_eq!(
        told(&connection, new().of(here, 9, 0).of(here, 0, 1), session, 7).await,
        (NONE, session, vec![unknown])
    );
    assert_eq!(told(&connection, new(), session, 8).await, (NONE, session, vec![unknown]));
    // The last fetch is one without a session.
    assert_eq!(told(&connection, new().of(here, 1, 1), session, -1).await, (NONE, 0, vec![(1, NONE, 0)]));
    assert_eq!(told(&connection, new(), session, 9).await, (FETCH_SESSION_ID_NOT_FOUND, 0, vec![]));
}

async fn wrong_ids_and_epochs(client: &Client) {
    let (connection, id) = topic(client, "wrong-epoch", 1, &[]).await;
    let here = ("wrong-epoch", id);
    let (_, session, _) = told(&connection, Fetch::new(12).of(here, 0, 0), 0, 0).await;
    let error = async |fetch: Fetch, id: i32, epoch: i32| {
        let (error, id, told) = told(&connection, fetch, id, epoch).await;
        assert_eq!((id, told), (0, vec![]), "nothing but the error");
        error
    };
    assert_eq!(error(Fetch::new(12), session, 7).await, INVALID_FETCH_SESSION_EPOCH);
    assert_eq!(error(Fetch::new(12), session + 4096, 1).await, FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(error(Fetch::new(12), 0, 1).await, FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(error(Fetch::new(13), session, 1).await, FETCH_SESSION_TOPIC_ID_ERROR);
    assert_eq!(told(&connection, Fetch::new(12), session, 1).await, (NONE, session, vec![]), "it is unharmed");
    // A full fetch that names a session ends that one and opens another.
    let (_, other, _) = told(&connection, Fetch::new(12).of(here, 0, 0), session, 0).await;
    assert!(other != session && other > 0);
    assert_eq!(error(Fetch::new(12), session, 2).await, FETCH_SESSION_ID_NOT_FOUND);
}

async fn an_incremental_fetch_waits(client: &Client) {
    let (connection, id) = topic(client, "session-wait", 2, &[]).await;
    let here = ("session-wait", id);
    let writer = client.own_connection("session-wait", 0).await.unwrap();
    let (_, session, _) = told(&connection, Fetch::new(12).of(here, 0, 0).of(here, 1, 0), 0, 0).await;
    let started = Instant::now();
    let idle = Fetch::new(12).change(|r| r.with_max_wait_ms(300));
    assert_eq!(told(&connection, idle, session, 1).await, (NONE, session, vec![]));
    assert!(started.elapsed() >= Duration::from_millis(299), "a session without news waits, too");
    let waiting = Fetch::new(12).change(|r| r.with_max_wait_ms(20_000).with_session_id(session).with_session_epoch(2));
    let pending = connection.send_at(&waiting.request, 12).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let started = Instant::now();
    produce(&writer, 9, here, 1, record("x")).await;
    let answer = partitions(pending.answer().await.unwrap());
    assert!(started.elapsed() < Duration::from_secs(10), "partitions that only the session knows wake it");
    assert_eq!(answer.iter().map(|p| (p.partition_index, offsets(p).len())).collect::<Vec<_>>(), [(1, 1)]);
}

async fn a_topic_that_comes_again_is_another(client: &Client) {
    let (connection, old) = topic(client, "session-again", 1, &[]).await;
    let (_, session, _) = told(&connection, Fetch::new(13).of(("", old), 0, 0), 0, 0).await;
    client.delete_topic("session-again").await.unwrap();
    client.create_topic("session-again", 1, &[]).await.unwrap();
    let new = client.topics(Some("session-again")).await.unwrap()[0].id;
    produce(&connection, 13, ("", new), 0, record("x")).await;
    let gone = vec![(0, UNKNOWN_TOPIC_ID, 0)];
    assert_eq!(told(&connection, Fetch::new(13), session, 1).await, (NONE, session, gone));
    let forget = vec![ForgottenTopic::default().with_topic_id(old).with_partitions(vec![0])];
    let swap = Fetch::new(13).of(("", new), 0, 0).change(|r| r.with_forgotten_topics_data(forget));
    assert_eq!(told(&connection, swap, session, 2).await, (NONE, session, vec![(0, NONE, 1)]));
    assert_ne!(new, Uuid::nil());
}

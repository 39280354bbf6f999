//! ApiVersions, its fallback, and versions that nobody has.

use crate::ask::frame;
use esker_bench::client::Client;
use esker_tests::harness::{Broker, Options};
use kafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest};
use kafka_protocol::protocol::Decodable;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;

/// What the broker sends back to `bytes`, without its length; empty if it closes.
fn exchange(broker: &Broker, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(broker.bootstrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut length = [0; 4];
    if stream.read_exact(&mut length).is_err() {
        return Vec::new();
    }
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn versions_are_told_and_others_refused() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    an_unknown_version_of_api_versions_is_answered(&broker);
    a_version_that_is_not_there_closes(&broker, &client).await;
    software_names_are_checked(&client).await;
    transactions_are_refused_by_name(&client).await;
}

fn an_unknown_version_of_api_versions_is_answered(broker: &Broker) {
    for version in [5, 99, i16::MAX, -1] {
        let answer = exchange(broker, &frame(18, version, 77, b"whatever it is by then"));
        assert_eq!(answer.get(..4), Some(&77_i32.to_be_bytes()[..]), "the correlation id, and no tags");
        let mut body = bytes::Bytes::copy_from_slice(&answer[4..]);
        let body = ApiVersionsResponse::decode(&mut body, 0).unwrap();
        assert_eq!(body.error_code, UNSUPPORTED_VERSION);
        let own: Vec<_> = body.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        assert!(own.contains(&(18, 0, 4)), "{own:?}");
    }
}

async fn a_version_that_is_not_there_closes(broker: &Broker, client: &Client) {
    let connection = client.any().await.unwrap();
    let expected: [(i16, i16, i16); 20] = [
        (0, 0, 13),
        (1, 4, 18),
        (2, 1, 11),
        (3, 0, 13),
        (8, 2, 10),
        (9, 1, 10),
        (10, 0, 6),
        (11, 0, 9),
        (12, 0, 4),
        (13, 0, 5),
        (14, 0, 5),
        (15, 0, 6),
        (16, 0, 5),
        (18, 0, 4),
        (19, 2, 7),
        (20, 1, 6),
        (22, 0, 5),
        (23, 2, 4),
        (32, 1, 4),
        (44, 0, 1),
    ];
    for (key, min, max) in expected {
        assert_eq!(connection.versions().get(&key), Some(&(min, max)), "API {key}");
        if key != 18 {
            assert!(exchange(broker, &frame(key, max + 1, 1, &[0; 20])).is_empty(), "API {key}, version {}", max + 1);
        }
    }
}

async fn software_names_are_checked(client: &Client) {
    let connection = client.any().await.unwrap();
    for (software, code) in [("a-b.c", 0), ("", INVALID_REQUEST), ("-a", INVALID_REQUEST), ("a b", INVALID_REQUEST)] {
        for version in [3, 4] {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(crate::ask::text(software))
                .with_client_software_version(crate::ask::text("1"));
            let answer = connection.send_at(&request, version).await.unwrap().answer().await.unwrap();
            assert_eq!(answer.error_code, code, "{software:?} in version {version}");
        }
    }
}

async fn transactions_are_refused_by_name(client: &Client) {
    let connection = client.any().await.unwrap();
    for version in 0..=5 {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(crate::ask::text("tx").into()))
            .with_transaction_timeout_ms(1000);
        let answer = connection.send_at(&request, version).await.unwrap().answer().await.unwrap();
        assert_eq!(answer.error_code, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "InitProducerId {version}");
    }
    for version in 1..=6 {
        let request = FindCoordinatorRequest::default().with_key_type(1);
        let request = if version >= 4 {
            request.with_coordinator_keys(vec![crate::ask::text("tx")])
        } else {
            request.with_key(crate::ask::text("tx"))
        };
        let answer = connection.send_at(&request, version).await.unwrap().answer().await.unwrap();
        let error = answer.coordinators.first().map_or(answer.error_code, |found| found.error_code);
        assert_eq!(error, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "FindCoordinator {version}");
    }
}

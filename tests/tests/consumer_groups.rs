//! Consumer groups (KIP-848) with other people's clients: two members that share, a static one that comes back, regular
//! expressions, and the migration of a group with members from the classic protocol and back.
//!
//! Needs what `tests/clients/setup` sets up, hence the feature; a client that is missing fails the test.
#![cfg(feature = "clients")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests use real time and processes")]

use esker_tests::harness::clients::Program;
use esker_tests::harness::{Broker, Options};

/// Members are told of changes twice a second instead of every five.
fn quick() -> Options {
    Options::new().set("group.consumer.min.heartbeat.interval.ms", 100).set("group.consumer.heartbeat.interval.ms", 500)
}

async fn story(program: Program) -> Vec<String> {
    let broker = Broker::start(quick()).await;
    broker.client().create_topic("orders", 6, &[]).await.unwrap();
    let told = program.run("consumers", &broker.bootstrap(), &["orders"]).await;
    told.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn java() {
    let expected = [
        "alone 6",
        "shared 3 3",
        "described Consumer Stable uniform 2 true",
        "returned 6",
        "committed 6",
        "static 6 without a rebalance",
        "regex 6",
        "refused InvalidRegularExpression",
        "upgraded 3 3",
        "downgraded 6",
    ];
    assert_eq!(story(Program::Java).await, expected);
}

#[tokio::test]
async fn confluent_kafka() {
    let expected = [
        "alone 6",
        "shared 3 3",
        "returned 6",
        "committed 6",
        "static 3 without a rebalance",
        "upgraded 3 3",
        "downgraded 6",
    ];
    assert_eq!(story(Program::Confluent).await, expected);
}

//! The same requests to Esker and to Apache Kafka: answers compared field by field.
//!
//! A *script* asks a broker one thing after another and takes down every answer; its *transcript* is free of what no two
//! brokers have in common (ids, ports, the time). `golden/kafka-4.3.1/` holds the transcripts of Apache Kafka 4.3.1, one
//! file per script, one line per answer. The test plays every script to a fresh Esker and compares. What may differ is
//! named in `differential/exceptions.rs`, each with its reason; one that excuses nothing any more fails the test as well.
//!
//! `ESKER_KAFKA=127.0.0.1:9092 cargo test -p esker-tests --test differential` asks the Kafka of that address first, which
//! must be one node, just started on an empty directory with `node.id=1` and `group.initial.rebalance.delay.ms=0` and `group.consumer.assignment.interval.ms=0`, and
//! writes the files anew: their change is then Kafka's, or the scripts'.
//!
//! ```text
//!  script -> Session: request by name and shape -> bytes -> broker -> bytes -> answer by name and shape -> transcript
//!                                                                        golden transcript -> compare -> differences
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::indexing_slicing, clippy::disallowed_methods, clippy::disallowed_types, reason = "tests")]

#[path = "differential/compare.rs"]
mod compare;
#[path = "differential/exceptions.rs"]
mod exceptions;
#[path = "differential/scripts/mod.rs"]
mod scripts;
#[path = "differential/session.rs"]
mod session;
#[path = "differential/transcript.rs"]
mod transcript;

use esker_protocol::api::Api;
use esker_tests::harness::{Broker, Options};
use session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use transcript::Transcript;

fn golden(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/kafka-4.3.1").join(format!("{script}.jsonl"))
}

/// Plays every script to the broker at `address`, in their order.
fn play(address: &str, is_kafka: bool) -> Vec<(&'static str, Transcript)> {
    let (mut transcripts, mut names) = (Vec::new(), BTreeMap::new());
    for (name, script) in scripts::ALL {
        let mut session = Session::new(address, is_kafka, names);
        script(&mut session);
        let transcript = session.finish();
        names = transcript.named.clone();
        transcripts.push((*name, transcript));
    }
    transcripts
}

#[tokio::test(flavor = "multi_thread")]
async fn esker_answers_as_kafka_does() {
    if let Ok(kafka) = std::env::var("ESKER_KAFKA") {
        for (name, transcript) in tokio::task::spawn_blocking(move || play(&kafka, true)).await.unwrap() {
            transcript.write(&golden(name));
        }
    }
    let options = Options::new()
        .set("node.id", 1)
        .set("group.initial.rebalance.delay.ms", 0)
        .set("group.consumer.assignment.interval.ms", 0);
    let broker = Broker::start(options).await;
    let address = broker.bootstrap();
    let ours = tokio::task::spawn_blocking(move || play(&address, false)).await.unwrap();
    let mut excused = exceptions::Excused::default();
    let mut differences = Vec::new();
    for (name, transcript) in &ours {
        differences.extend(compare::compare(name, &Transcript::read(&golden(name)), transcript, &mut excused));
    }
    differences.extend(excused.idle());
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn the_scripts_ask_every_version_of_every_api() {
    let asked: BTreeSet<String> =
        scripts::ALL.iter().flat_map(|(name, _)| Transcript::read(&golden(name)).cases).map(|case| case.api).collect();
    let mut unasked: Vec<String> = Vec::new();
    for range in esker_protocol::api::versions().api_keys {
        let api = Api::with_code(range.api_key).unwrap();
        let versions = (api.accepted_from..=api.newest).map(|version| format!("{} {version}", api.name));
        unasked.extend(versions.filter(|version| !asked.contains(version)));
    }
    assert!(unasked.is_empty(), "{unasked:?}");
}

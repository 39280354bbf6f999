//! The cells of the client matrix that every run of the tests affords: `tests/clients/run` has the others, and the report.
//!
//! Needs what `tests/clients/setup` sets up, hence the feature; a client that is missing fails the test.
#![cfg(feature = "clients")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests use real time and processes")]

use esker_tests::harness::clients::{installed, outside};
use esker_tests::harness::esker;
use std::path::Path;

/// One client through all features, against a broker of its own.
fn every_feature_of(client: &str) {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/run");
    let target = installed().parent().expect("the clients lie in target/").to_owned();
    let output = outside(run)
        .args(["--no-setup", "--only", client, "--broker"])
        .arg(esker())
        .env("CARGO_TARGET_DIR", target)
        .output()
        .expect("tests/clients/run starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let passed = said.lines().filter(|line| line.contains(" pass ")).count();
    assert!(passed > 15, "only {passed} cells were run:\n{said}");
}

#[test]
fn kcat() {
    every_feature_of("kcat");
}

#[test]
fn confluent_kafka() {
    every_feature_of("confluent-kafka");
}

#[test]
fn kafka_python() {
    every_feature_of("kafka-python");
}

#[test]
fn aiokafka() {
    every_feature_of("aiokafka");
}

#[test]
fn java() {
    every_feature_of("java-4");
}

//! The S3 server of the tests is one to trust: its conditional writes are atomic, and its faults are what they say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests run tasks of their own")]

use esker_tests::harness::{Fault, S3};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig};
use std::sync::Arc;

fn store(server: &S3) -> Arc<AmazonS3> {
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let builder = server.credentials().into_iter().fold(AmazonS3Builder::new(), |builder, (key, value)| {
        builder.with_config(key.to_ascii_lowercase().parse().expect("a key of AmazonS3Builder"), value)
    });
    Arc::new(builder.with_bucket_name("bucket").with_allow_http(true).with_retry(retry).build().expect("a store"))
}

fn create() -> PutOptions {
    PutOptions::from(PutMode::Create)
}

#[tokio::test]
async fn of_sixteen_creates_one_wins_and_its_bytes_stay() {
    let server = S3::start();
    let store = store(&server);
    for round in 0..20 {
        let key = Path::from(format!("race/{round}"));
        let racers: Vec<_> = (0..16)
            .map(|racer| {
                let (store, key) = (Arc::clone(&store), key.clone());
                tokio::spawn(async move { store.put_opts(&key, format!("{racer}").into(), create()).await.is_ok() })
            })
            .collect();
        let mut winners = Vec::new();
        for (racer, handle) in racers.into_iter().enumerate() {
            if handle.await.unwrap() {
                winners.push(racer.to_string());
            }
        }
        let bytes = store.get(&key).await.unwrap().bytes().await.unwrap();
        assert_eq!(winners, [String::from_utf8_lossy(&bytes)], "round {round}");
    }
}

#[tokio::test]
async fn faults_are_what_they_say() {
    let server = S3::start();
    let store = store(&server);
    let cases = [(Fault::Unavailable, false), (Fault::Conflict, false), (Fault::Failed, true), (Fault::Lost, true)];
    for (i, (fault, takes_effect)) in cases.into_iter().enumerate() {
        let key = Path::from(format!("faulty/{i}"));
        server.set_faults(move |_| Some(fault));
        assert!(store.put_opts(&key, "x".into(), create()).await.is_err(), "{fault:?}");
        server.heal();
        assert_eq!(store.head(&key).await.is_ok(), takes_effect, "{fault:?}");
    }
    assert_eq!(server.keys().iter().filter(|key| key.starts_with("faulty/")).count(), 2);
}

//! What `/readyz` says of a store that keeps the broker from its work.
#![allow(clippy::disallowed_methods, reason = "tests look at files")]

use crate::{PATIENCE, Story, objects};
use esker_tests::harness::{Asked, Fault, Options, S3, wait_for};
use std::path::PathBuf;

/// Something else lies where the next commit of the tier log must go: nobody can tell any more what the log says.
#[tokio::test]
async fn a_tier_log_that_cannot_be_gone_on_with_is_told_and_is_gone_on_with_when_it_is_mended() {
    let mut story = Story::begin(Options::new(), 1_000).await;
    story.broker.announce("the tier log");
    assert_eq!(story.broker.admin_get("/readyz").unwrap().0, 200);
    let log = story.broker.store_folder().join("tier/log");
    let last = objects(&log).pop().unwrap();
    let number: u64 = last.file_name().unwrap().to_str().unwrap().parse().unwrap();
    // Several, because one may be committed meanwhile.
    let wrong: Vec<PathBuf> = (number + 1..number + 8).map(|number| log.join(format!("{number:020}"))).collect();
    for file in &wrong {
        // As a writer would that never overwrites: made beside it, and linked.
        let beside = file.with_extension("beside");
        std::fs::write(&beside, b"not a commit").unwrap();
        let _ = std::fs::hard_link(&beside, file);
        std::fs::remove_file(&beside).unwrap();
    }
    let first = story.log.sent;
    story.log.produce(40).await;
    let told = wait_for("/readyz to tell", PATIENCE, || async {
        let (status, body) = story.broker.admin_get("/readyz")?;
        (status == 503).then_some(body)
    })
    .await;
    assert!(told.contains("tier: "), "{told}");
    story.log.produce(8).await;
    story.log.all_is_there(first, "who reads the tail").await;
    for file in &wrong {
        if std::fs::read(file).is_ok_and(|bytes| bytes == b"not a commit") {
            std::fs::remove_file(file).unwrap();
        }
    }
    wait_for("/readyz to be content", PATIENCE, || async {
        (story.broker.admin_get("/readyz")?.0 == 200).then_some(())
    })
    .await;
    story.log.caught_up().await;
    story.log.all_is_there(0, "in the end").await;
}

/// What goes wrong with a request.
type Plan = fn(&Asked) -> Option<Fault>;

/// Wherever a start has to wait for the store, `/readyz` says that it is the store that it waits for.
#[tokio::test]
async fn a_start_that_waits_for_the_store_says_so() {
    let s3 = S3::start();
    let mut story = Story::begin(s3.serve(Options::new()), 1_000).await;
    story.broker.announce("could not register");
    let waits: [(&str, Plan); 3] = [
        ("everything", |_| Some(Fault::Outage)),
        ("the tier log", |asked| asked.path.contains("/tier/").then_some(Fault::Unavailable)),
        ("writes", |asked| (asked.method == "PUT").then_some(Fault::Unavailable)),
    ];
    for (what, fault) in waits {
        story.broker.kill();
        s3.set_faults(fault);
        story.broker.launch();
        wait_for(&format!("/readyz to tell of {what}"), PATIENCE, || async {
            let (status, body) = story.broker.admin_get("/readyz")?;
            (status == 503 && body.contains("store: ")).then_some(())
        })
        .await;
        s3.heal();
        wait_for("the broker to be ready", PATIENCE, || async {
            (story.broker.admin_get("/readyz")?.0 == 200).then_some(())
        })
        .await;
        story.log.client.forget().await;
        story.log.produce(8).await;
    }
    story.log.caught_up().await;
    story.log.all_is_there(0, "in the end").await;
}

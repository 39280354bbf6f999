//! Clients from outside Rust, and each through the whole story: create, produce with every codec, consume by assignment,
//! by group, by time, resume after a commit, and read everything back from the tier when the broker's disk is gone.
//!
//! Needs what `tests/clients/setup` sets up, hence the feature; a client that is missing fails the test.
#![cfg(feature = "clients")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests use real time and processes")]

use esker_bench::client::{At, Client};
use esker_tests::harness::clients::{Program, kcat, outside, sorted};
use esker_tests::harness::records::{FIRST_TIMESTAMP, Line, assert_same, sample, with_offsets};
use esker_tests::harness::{Broker, Options, wait_for};
use std::process::{Child, Stdio};
use std::time::Duration;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PARTITIONS: i32 = 4;
const COUNT: usize = 300;
const PATIENCE: Duration = Duration::from_secs(60);

/// Small segments, and no local copy of what is tiered beyond one of them.
const TIERED: [&str; 3] = ["segment.bytes=65536", "local.retention.bytes=65536", "retention.ms=-1"];

/// Waits until all of a topic is in the tier.
async fn wait_until_tiered(client: &Client, topic: &str, partitions: i32) {
    for partition in 0..partitions {
        let at = |at: At| async move {
            let found = client.retry(|| client.offset(topic, partition, at)).await.unwrap();
            found.map_or(-1, |(offset, _)| offset)
        };
        let end = at(At::End).await;
        wait_for("everything to be in the tier", PATIENCE, || async {
            (at(At::LastTiered).await == end - 1).then_some(())
        })
        .await;
    }
}

/// One client program through the whole story.
async fn whole_story(program: Program) {
    let mut broker = Broker::start(Options::new().eager_tier()).await;
    let bootstrap = broker.bootstrap();
    let lines = sample(COUNT, PARTITIONS, program.abilities());
    let expected = with_offsets(&lines);

    for codec in CODECS {
        let topic = format!("all-{codec}");
        program.create(&bootstrap, &topic, PARTITIONS, &TIERED).await;
        program.produce(&bootstrap, &topic, codec, &lines).await;
        let found = program.consume(&bootstrap, &topic, COUNT).await;
        assert_same(&format!("{program:?}, {codec}, by assignment"), &found, &expected);
    }
    let topic = "all-zstd";

    let shared = program.group(&bootstrap, topic, "two", COUNT).await;
    for member in [0, 1] {
        assert!(shared.iter().any(|(who, _)| *who == member), "{program:?}: member {member} read nothing");
    }
    let read = sorted(shared.into_iter().map(|(_, line)| line).collect());
    assert_same(&format!("{program:?}, by group"), &read, &expected);

    let mut read = program.resume(&bootstrap, topic, "resumes", 100).await;
    read.extend(program.resume(&bootstrap, topic, "resumes", COUNT - 100).await);
    assert_same(&format!("{program:?}, resumed after a commit"), &sorted(read), &expected);

    // Record i has the timestamp FIRST + i and lies in partition i % 4.
    let by_time = program.time(&bootstrap, topic, FIRST_TIMESTAMP + 101).await;
    assert_eq!(by_time, [Some(26), Some(25), Some(25), Some(25)], "{program:?}, by time");
    let after_all = program.time(&bootstrap, topic, FIRST_TIMESTAMP + COUNT as i64).await;
    assert_eq!(after_all, [None; 4], "{program:?}, after the last record");

    let client = broker.client();
    for codec in CODECS {
        wait_until_tiered(&client, &format!("all-{codec}"), PARTITIONS).await;
    }
    assert!(broker.terminate().await.success());
    broker.wipe_disk();
    broker.restart().await;
    for codec in CODECS {
        let found = program.consume(&bootstrap, &format!("all-{codec}"), COUNT).await;
        assert_same(&format!("{program:?}, {codec}, from the tier"), &found, &expected);
    }
    let by_time = program.time(&bootstrap, topic, FIRST_TIMESTAMP + 101).await;
    assert_eq!(by_time, [Some(26), Some(25), Some(25), Some(25)], "{program:?}, by time, from the tier");
}

#[tokio::test]
async fn kafka_python() {
    whole_story(Program::KafkaPython).await;
}

#[tokio::test]
async fn confluent_kafka() {
    whole_story(Program::Confluent).await;
}

#[tokio::test]
async fn java() {
    whole_story(Program::Java).await;
}

#[tokio::test]
async fn each_reads_what_the_others_wrote() {
    let broker = Broker::start(Options::new()).await;
    let bootstrap = broker.bootstrap();
    let all = [Program::KafkaPython, Program::Confluent, Program::Java];
    for (i, writer) in all.into_iter().enumerate() {
        // Null header values are the one thing that not everybody can write.
        let lines = sample(100, 2, writer.abilities());
        let expected = with_offsets(&lines);
        let codec = CODECS[i + 1];
        let topic = format!("from-{i}");
        writer.create(&bootstrap, &topic, 2, &[]).await;
        writer.produce(&bootstrap, &topic, codec, &lines).await;
        for reader in all.into_iter().filter(|reader| *reader != writer) {
            let found = reader.consume(&bootstrap, &topic, lines.len()).await;
            assert_same(&format!("{reader:?} of {writer:?}, {codec}"), &found, &expected);
        }
        let records = broker.client().read(&topic, 0, 0, 50).await.unwrap();
        let found: Vec<Line> = records.into_iter().map(|record| Line { partition: 0, record }).collect();
        assert_same(&format!("our own of {writer:?}, {codec}"), &found, &expected[..50]);
    }
}

/// A kcat that consumes as a member of a group until it is dropped.
struct Member {
    child: Child,
    output: tempfile::NamedTempFile,
    errors: tempfile::NamedTempFile,
}

impl Member {
    fn start(bootstrap: &str, group: &str, topic: &str) -> Self {
        let (output, errors) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let child = outside("kcat")
            .args(["-b", bootstrap, "-G", group, "-X", "auto.offset.reset=earliest", "-u", "-f", "%p %o %s\n", topic])
            .stdin(Stdio::null())
            .stdout(output.reopen().unwrap())
            .stderr(errors.reopen().unwrap())
            .spawn()
            .expect("kcat: run tests/run, or tests/clients/setup");
        Self { child, output, errors }
    }

    fn printed(&self) -> Vec<String> {
        std::fs::read_to_string(self.output.path()).unwrap().lines().map(str::to_owned).collect()
    }

    /// The number of partitions in its newest assignment, which kcat tells on stderr.
    fn assigned(&self) -> usize {
        let errors = std::fs::read_to_string(self.errors.path()).unwrap();
        errors.lines().rev().find(|line| line.contains("assigned:")).map_or(0, |line| line.matches('[').count())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn kcat_through_the_whole_story() {
    let mut broker = Broker::start(Options::new().eager_tier()).await;
    let bootstrap = broker.bootstrap();
    let client = broker.client();
    let input: String = (0..COUNT).map(|i| format!("key-{i}:value {i}\n")).collect();

    let mut expected = String::new();
    for i in 0..COUNT {
        expected += &format!("{i} key-{i} value {i} h=1,h=2\n");
    }
    for codec in CODECS {
        // The first message creates the topic.
        let topic = format!("kcat-{codec}");
        let produce = ["-P", "-b", &bootstrap, "-t", &topic, "-z", codec, "-K:", "-H", "h=1", "-H", "h=2", "-p", "0"];
        kcat(&produce, &input).await;
        let consume = ["-C", "-b", &bootstrap, "-t", &topic, "-p", "0", "-o", "beginning", "-e", "-q"];
        let format = [&consume[..], &["-f", "%o %k %s %h\n"]].concat();
        assert_eq!(kcat(&format, "").await, expected, "{codec}");
    }

    // Null values, and 1 MB.
    let large = "x".repeat(1_000_000);
    let more = "message.max.bytes=1048000";
    kcat(&["-P", "-b", &bootstrap, "-t", "kcat-large", "-z", "lz4", "-X", more], &large).await;
    kcat(&["-P", "-b", &bootstrap, "-t", "kcat-large", "-K:", "-Z"], "gone:\n").await;
    let sizes = ["-C", "-b", &bootstrap, "-t", "kcat-large", "-o", "beginning", "-e", "-q", "-f", "%o %K %S\n"];
    assert_eq!(kcat(&sizes, "").await, "0 -1 1000000\n1 4 -1\n");

    // By time: the middle of three messages, a second apart by their own timestamps.
    let listed = kcat(&["-Q", "-b", &bootstrap, "-t", "kcat-none:0:0"], "").await;
    assert!(listed.contains("offset 0"), "{listed}");
    let later = kcat(&["-Q", "-b", &bootstrap, "-t", "kcat-none:0:33000000000000"], "").await;
    assert!(later.contains("offset -1") || later.contains("(END)"), "{later}");

    // A group of two.
    client.create_topic("kcat-group", PARTITIONS, &[]).await.unwrap();
    let members = [Member::start(&bootstrap, "g", "kcat-group"), Member::start(&bootstrap, "g", "kcat-group")];
    wait_for("both members to hold two partitions", PATIENCE, || async {
        members.iter().all(|member| member.assigned() == 2).then_some(())
    })
    .await;
    for partition in 0..PARTITIONS {
        kcat(&["-P", "-b", &bootstrap, "-t", "kcat-group", "-p", &partition.to_string()], &input).await;
    }
    wait_for("the group to read everything", PATIENCE, || async {
        (members.iter().map(|member| member.printed().len()).sum::<usize>() >= COUNT * 4).then_some(())
    })
    .await;
    let mut read: Vec<String> = Vec::new();
    for member in &members {
        assert_eq!(member.printed().len(), COUNT * 2, "each member reads its own two partitions");
        read.extend(member.printed());
    }
    read.sort();
    read.dedup();
    assert_eq!(read.len(), COUNT * 4);
    drop(members);

    // From the tier, without the disk.
    for codec in CODECS {
        wait_until_tiered(&client, &format!("kcat-{codec}"), 1).await;
    }
    assert!(broker.terminate().await.success());
    broker.wipe_disk();
    broker.restart().await;
    for codec in CODECS {
        let topic = format!("kcat-{codec}");
        let consume = ["-C", "-b", &bootstrap, "-t", &topic, "-o", "beginning", "-e", "-q", "-f", "%o %k %s %h\n"];
        assert_eq!(kcat(&consume, "").await, expected, "{codec}, from the tier");
    }
}

//! DescribeLogDirs: every directory with its partitions, their sizes and its room, and one that failed.

use crate::ask::{NONE, name, produce, records, topic};
use esker_bench::client::Connection;
use esker_storage::offset::PartitionId;
use esker_tests::harness::{Broker, Options, wait_for};
use kafka_protocol::messages::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const KAFKA_STORAGE_ERROR: i16 = 56;

async fn describe(
    connection: &Connection,
    version: i16,
    topics: Option<&[(&str, &[i32])]>,
) -> Vec<DescribeLogDirsResult> {
    let topics = topics.map(|topics| {
        let topic = |(topic, partitions): &(&str, &[i32])| {
            DescribableLogDirTopic::default().with_topic(name(topic)).with_partitions(partitions.to_vec())
        };
        topics.iter().map(topic).collect()
    });
    let request = DescribeLogDirsRequest::default().with_topics(topics);
    let answer = connection.send_at(&request, version).await.unwrap().answer().await.unwrap();
    assert_eq!(answer.error_code, NONE);
    answer.results
}

/// Topic and partition to size and directory.
fn sizes(dirs: &[DescribeLogDirsResult]) -> BTreeMap<(String, i32), (i64, String)> {
    let mut sizes = BTreeMap::new();
    for dir in dirs {
        for topic in &dir.topics {
            for partition in &topic.partitions {
                assert_eq!((partition.offset_lag, partition.is_future_key), (0, false));
                let key = (topic.name.to_string(), partition.partition_index);
                let before = sizes.insert(key, (partition.partition_size, dir.log_dir.to_string()));
                assert!(before.is_none(), "a partition is in one directory");
            }
        }
    }
    sizes
}

#[tokio::test]
async fn directories_are_described_and_one_of_them_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let both = format!("{},{}", a.display(), b.display());
    let mut broker = Broker::start(Options::new().set("log.dirs", both)).await;
    let client = broker.client();
    let (connection, id) = topic(&client, "sized", 4, &[("remote.storage.enable", "false")]).await;
    topic(&client, "other", 1, &[]).await;
    for partition in 0..4 {
        for _ in 0..=partition {
            assert_eq!(produce(&connection, 9, ("sized", id), partition, records(1, 10_000)).await.error_code, NONE);
        }
    }
    for version in 1..=4 {
        let dirs = describe(&connection, version, None).await;
        let paths: Vec<&str> = dirs.iter().map(|dir| dir.log_dir.as_str()).collect();
        assert_eq!(paths, [a.to_str().unwrap(), b.to_str().unwrap()]);
        for dir in &dirs {
            assert_eq!(dir.error_code, NONE);
            if version >= 4 {
                assert!(dir.total_bytes >= dir.usable_bytes && dir.usable_bytes > 0, "{dir:?}");
            } else {
                assert_eq!((dir.total_bytes, dir.usable_bytes), (-1, -1));
            }
            assert!(!dir.topics.is_empty(), "partitions are spread");
        }
        let all = sizes(&dirs);
        assert_eq!(all.len(), 5);
        for partition in 0..4 {
            let size = all[&("sized".to_owned(), partition)].0;
            assert!((1..100).contains(&(size - 10_000 * (i64::from(partition) + 1) - 64)) || size > 10_000, "{size}");
            assert!(size > i64::from(partition + 1) * 10_000 && size < i64::from(partition + 2) * 10_000, "{size}");
        }
        let some = describe(&connection, version, Some(&[("sized", &[1, 3, 77]), ("nowhere", &[0])])).await;
        assert_eq!(some.len(), 2, "every directory, whatever is asked for");
        let some = sizes(&some);
        assert_eq!(
            some.keys().map(|(topic, partition)| (topic.as_str(), *partition)).collect::<Vec<_>>(),
            [("sized", 1), ("sized", 3)]
        );
        assert!(sizes(&describe(&connection, version, Some(&[])).await).is_empty());
    }

    // The directory of one partition becomes a file: its next segment cannot be made.
    broker.announce("log directory");
    broker.announce("log maintenance was put off");
    let placed = sizes(&describe(&connection, 4, None).await);
    let (lost, _) = placed.iter().find(|((topic, _), (_, dir))| topic == "sized" && Path::new(dir) == a).unwrap();
    let (kept, _) = placed.iter().find(|((topic, _), (_, dir))| topic == "sized" && Path::new(dir) == b).unwrap();
    let path = a.join(PartitionId { topic: id, partition: lost.1 as u32 }.to_string());
    assert!(path.is_dir(), "{}", path.display());
    std::fs::rename(&path, a.join("elsewhere")).unwrap();
    std::fs::write(&path, b"").unwrap();
    crate::settings::set(&connection, "sized", &[("segment.bytes", "20000")]).await;
    wait_for("the directory to fail", Duration::from_secs(30), || async {
        let _ = produce(&connection, 9, ("sized", id), lost.1, records(1, 19_000)).await;
        let dirs = describe(&connection, 4, None).await;
        (dirs[0].error_code == KAFKA_STORAGE_ERROR).then_some(())
    })
    .await;
    let dirs = describe(&connection, 4, None).await;
    assert_eq!((dirs[0].topics.len(), dirs[0].total_bytes, dirs[0].usable_bytes), (0, -1, -1));
    assert_eq!((dirs[1].error_code, dirs[1].topics.is_empty()), (NONE, false));
    assert_eq!(produce(&connection, 9, ("sized", id), lost.1, records(1, 10)).await.error_code, KAFKA_STORAGE_ERROR);
    assert_eq!(produce(&connection, 9, ("sized", id), kept.1, records(1, 10)).await.error_code, NONE);
    std::fs::remove_file(&path).unwrap();
}

//! Fuzz target of the metadata log: its records, and the images that they lead to.
//!
//! See `esker_protocol::fuzz` for what a target is.

use super::delta::Delta;
use super::image::Image;
use super::records::{
    AddPartitions, Assignment, CreateTopic, DeleteTopic, ElectController, FormatCluster, LeaderChange, LeaderEpochs,
    ProducerIds, Record, RegisterBroker, Resource, SetConfigs,
};
use crate::config::{BrokerId, Listener};
use esker_protocol::fuzz::{MEMORY, PER_BYTE, Target};
use esker_storage::offset::LeaderEpoch;
use std::sync::Arc;
use uuid::Uuid;

/// The targets of this module.
pub const TARGETS: &[Target] = &[Target {
    name: "metadata_replay",
    covers: &["broker/src/metadata/records.rs", "broker/src/metadata/delta.rs"],
    memory: MEMORY,
    per_byte: PER_BYTE,
    run: replay,
    seeds: replay_seeds,
}];

/// Records, one to a line: those that fit lead to an image that holds together, and its own records lead to it again.
fn replay(data: &[u8]) {
    let mut delta = Delta::new(Arc::new(Image::empty()));
    for line in data.split(|byte| *byte == b'\n') {
        let Ok(record) = serde_json::from_slice::<Record>(line) else { continue };
        let mut next = delta.clone();
        // What a broker does: a commit with a record that does not fit, or that leads astray, is not gone on from.
        if next.apply(&record).is_ok() && next.check().is_ok() {
            delta = next;
        }
    }
    let (image, _) = delta.finish(1);
    assert_eq!(image.check(), Ok(()));
    let mut again = Delta::new(Arc::new(Image::empty()));
    for record in image.to_records() {
        let applied = again.apply(&record);
        assert!(applied.is_ok(), "{applied:?}: {record:?}");
    }
    let (again, _) = again.finish(1);
    assert_eq!(again.to_records(), image.to_records());
}

fn replay_seeds() -> Vec<Vec<u8>> {
    let (id, broker, topic) = (Uuid::from_u128(7), BrokerId::new(1), Uuid::from_u128(9));
    let assignment = || Assignment {
        replicas: vec![broker],
        isr: vec![broker],
        leader: Some(broker),
        leader_epoch: LeaderEpoch::new(1),
    };
    let listener = Listener { name: "PLAINTEXT".to_owned(), host: "localhost".to_owned(), port: 9092 };
    let records = [
        Record::FormatCluster(FormatCluster { cluster_id: id }),
        Record::RegisterBroker(RegisterBroker {
            id: broker,
            incarnation: id,
            listeners: vec![listener],
            log_dirs: vec![id],
        }),
        Record::ElectController(ElectController { broker, incarnation: id, epoch: 1 }),
        Record::CreateTopic(CreateTopic {
            name: "orders".to_owned(),
            id: topic,
            partitions: vec![assignment()],
            configs: [("retention.ms".to_owned(), "5".to_owned())].into(),
        }),
        Record::AddPartitions(AddPartitions { topic, first: 1, partitions: vec![assignment()] }),
        Record::SetConfigs(SetConfigs {
            resource: Resource::Topic(topic),
            changes: [("retention.ms".to_owned(), None)].into(),
        }),
        Record::SetConfigs(SetConfigs {
            resource: Resource::Cluster,
            changes: [("log.retention.ms".to_owned(), Some("7".to_owned()))].into(),
        }),
        Record::LeaderEpochs(LeaderEpochs {
            topic,
            partitions: vec![LeaderChange {
                partition: 1,
                leader: None,
                leader_epoch: LeaderEpoch::new(2),
                isr: vec![broker],
            }],
        }),
        Record::ProducerIds(ProducerIds { broker, end: 1000 }),
        Record::DeleteTopic(DeleteTopic { id: topic }),
    ];
    let lines: Vec<String> = records.iter().flat_map(serde_json::to_string).collect();
    vec![lines.join("\n").into_bytes(), lines.get(..9).unwrap_or_default().join("\n").into_bytes()]
}

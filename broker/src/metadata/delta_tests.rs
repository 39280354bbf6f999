//! Tests of replay: any records, in any order.

use super::*;
use crate::config::Listener;
use crate::metadata::{Assignment, LeaderChange, Resource, SetConfigs};
use esker_storage::offset::LeaderEpoch;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn broker() -> impl Strategy<Value = BrokerId> {
    (0u32..4).prop_map(BrokerId::new)
}

fn topic_id() -> impl Strategy<Value = Uuid> {
    (1u128..5).prop_map(Uuid::from_u128)
}

fn assignment() -> impl Strategy<Value = Assignment> {
    (broker(), 0u32..3).prop_map(|(first, epoch)| Assignment {
        replicas: vec![first, BrokerId::new(first.get() + 1)],
        isr: vec![first],
        leader: Some(first),
        leader_epoch: LeaderEpoch::new(epoch),
    })
}

fn changes() -> impl Strategy<Value = BTreeMap<String, Option<String>>> {
    prop::collection::btree_map("[ab]", prop::option::of("[xy]"), 0..3)
}

/// Records over so few topics and brokers that they meet often.
pub(in crate::metadata) fn arbitrary_record() -> impl Strategy<Value = Record> {
    let resource = prop_oneof![
        topic_id().prop_map(Resource::Topic),
        "[gh]".prop_map(Resource::Group),
        broker().prop_map(Resource::Broker),
        Just(Resource::Cluster)
    ];
    let leader = (0u32..4, 0u32..5).prop_map(|(partition, epoch)| LeaderChange {
        partition,
        leader: None,
        leader_epoch: LeaderEpoch::new(epoch),
        isr: vec![],
    });
    prop_oneof![
        topic_id().prop_map(|cluster_id| Record::FormatCluster(FormatCluster { cluster_id })),
        (broker(), any::<u128>()).prop_map(|(id, incarnation)| Record::RegisterBroker(RegisterBroker {
            id,
            incarnation: Uuid::from_u128(incarnation),
            listeners: vec![Listener { name: "PLAINTEXT".into(), host: "h".into(), port: 9092 }],
            log_dirs: vec![Uuid::from_u128(1)],
        })),
        (broker(), 0u32..20).prop_map(|(broker, epoch)| Record::ElectController(ElectController {
            broker,
            incarnation: Uuid::nil(),
            epoch
        })),
        ("[a-d]", topic_id(), prop::collection::vec(assignment(), 1..4)).prop_map(|(name, id, partitions)| {
            Record::CreateTopic(CreateTopic { name, id, partitions, configs: BTreeMap::new() })
        }),
        topic_id().prop_map(|id| Record::DeleteTopic(DeleteTopic { id })),
        (topic_id(), 0u32..5, prop::collection::vec(assignment(), 1..3))
            .prop_map(|(topic, first, partitions)| Record::AddPartitions(AddPartitions { topic, first, partitions })),
        (resource, changes()).prop_map(|(resource, changes)| Record::SetConfigs(SetConfigs { resource, changes })),
        (topic_id(), prop::collection::vec(leader, 0..3))
            .prop_map(|(topic, partitions)| { Record::LeaderEpochs(LeaderEpochs { topic, partitions }) }),
        (broker(), 0u64..5000).prop_map(|(broker, end)| Record::ProducerIds(ProducerIds { broker, end })),
    ]
}

/// The records that fit, in the in-sync sets that invariants ask for.
fn replay(base: &Arc<Image>, records: &[Record], version: u64) -> (Vec<Record>, Arc<Image>, Changes) {
    let mut delta = Delta::new(Arc::clone(base));
    let mut applied = Vec::new();
    for record in records {
        let mut record = record.clone();
        if let Record::LeaderEpochs(epochs) = &mut record {
            for change in &mut epochs.partitions {
                let partition = delta.image().topic_by_id(epochs.topic).and_then(|t| t.partition(change.partition));
                change.isr = partition.map(|p| p.replicas.clone()).unwrap_or_default();
                change.leader = change.isr.last().copied();
            }
        }
        let before = delta.image().clone();
        match delta.apply(&record) {
            Ok(()) => applied.push(record),
            Err(_) => assert_eq!(*delta.image(), before, "a refused record changed the image"),
        }
    }
    let (image, changes) = delta.finish(version);
    (applied, image, changes)
}

#[test]
fn refuses_what_does_not_fit() {
    let id = Uuid::from_u128(1);
    let partition = |epoch| Assignment {
        replicas: vec![BrokerId::new(1)],
        isr: vec![BrokerId::new(1)],
        leader: Some(BrokerId::new(1)),
        leader_epoch: LeaderEpoch::new(epoch),
    };
    let create = |name: &str, id| {
        Record::CreateTopic(CreateTopic {
            name: name.into(),
            id,
            partitions: vec![partition(5)],
            configs: BTreeMap::new(),
        })
    };
    let mut delta = Delta::new(Arc::new(Image::empty()));
    delta.apply(&create("a", id)).unwrap();
    assert_eq!(delta.apply(&create("a", Uuid::from_u128(2))), Err(ReplayError::TopicExists("a".into())));
    assert_eq!(delta.apply(&create("b", id)), Err(ReplayError::TopicExists("b".into())));
    let epochs = |number, epoch| {
        let change = LeaderChange {
            partition: number,
            leader: None,
            leader_epoch: LeaderEpoch::new(epoch),
            isr: vec![BrokerId::new(1)],
        };
        Record::LeaderEpochs(LeaderEpochs { topic: id, partitions: vec![change] })
    };
    assert_eq!(delta.apply(&epochs(1, 6)), Err(ReplayError::Partition { topic: id, partition: 1 }));
    assert!(matches!(delta.apply(&epochs(0, 4)), Err(ReplayError::Backwards { .. })));
    delta.apply(&epochs(0, 6)).unwrap();
    let add = |first| Record::AddPartitions(AddPartitions { topic: id, first, partitions: vec![partition(0)] });
    assert!(delta.apply(&add(0)).is_err() && delta.apply(&add(2)).is_err());
    delta.apply(&add(1)).unwrap();
    assert_eq!(delta.image().partition_count(), 2);
    delta.apply(&Record::DeleteTopic(DeleteTopic { id })).unwrap();
    assert_eq!(delta.apply(&Record::DeleteTopic(DeleteTopic { id })), Err(ReplayError::UnknownTopic(id)));
    let ids = |end| Record::ProducerIds(ProducerIds { broker: BrokerId::new(1), end });
    delta.apply(&ids(1000)).unwrap();
    assert!(delta.apply(&ids(1000)).is_err());
    let elect =
        |epoch| Record::ElectController(ElectController { broker: BrokerId::new(1), incarnation: Uuid::nil(), epoch });
    assert!(delta.apply(&elect(0)).is_err());
    delta.apply(&elect(1)).unwrap();
    assert!(delta.apply(&elect(1)).is_err());
    // The topic came and went within the delta: nobody need hear of it.
    assert!(delta.finish(1).1.topics.is_empty());
}

proptest! {
    #[test]
    fn replay_is_one_function_of_the_records(
        first in prop::collection::vec(arbitrary_record(), 0..40),
        second in prop::collection::vec(arbitrary_record(), 0..40),
    ) {
        let empty = Arc::new(Image::empty());
        let (one, base, changes) = replay(&empty, &first, 1);
        prop_assert_eq!(&changes, &Changes::between(&empty, &base));
        let (two, image, changes) = replay(&base, &second, 2);
        // The delta says what the images differ in.
        prop_assert_eq!(&changes, &Changes::between(&base, &image));
        prop_assert_eq!(changes.is_empty(), Changes::between(&image, &base).is_empty());
        // What was replayed in two commits can be replayed in one,
        let all: Vec<Record> = one.into_iter().chain(two).collect();
        let (applied, again, _) = replay(&empty, &all, 2);
        prop_assert_eq!(&applied, &all);
        prop_assert_eq!(&again, &image);
        // or from a snapshot.
        let snapshot = image.to_records();
        let (applied, restored, _) = replay(&empty, &snapshot, 2);
        prop_assert_eq!(&applied, &snapshot);
        prop_assert_eq!(&restored, &image);
        image.check().unwrap();
    }
}

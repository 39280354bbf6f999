//! Whatever is asked for in whatever order: plans fit the image, keep its invariants, and are pure.

use super::*;
use crate::config::{Listener, Values};
use crate::metadata::Delta;
use proptest::prelude::*;
use std::sync::Arc;
use uuid::Uuid;

/// Any command, over so few names that they meet often; the seed makes ids that differ.
#[derive(Clone, Debug)]
enum Any {
    Create(Vec<(String, Replicas, Values)>, bool),
    Delete(Vec<(String, bool)>),
    Add(Vec<MorePartitions>, bool),
    Alter(Vec<ConfigAlteration>, bool),
    Ids(u32),
    Start(u32),
    Elect(u32),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![9 => "[ab][._][ab]", 1 => "\\PC{0,5}", 1 => Just("__consumer_offsets".to_owned())]
}

fn ids() -> impl Strategy<Value = Vec<Vec<BrokerId>>> {
    prop::collection::vec(prop::collection::vec((0u32..5).prop_map(BrokerId::new), 0..3), 0..4)
}

fn replicas() -> impl Strategy<Value = Replicas> {
    prop_oneof![
        4 => (prop::option::of(0u32..8), prop::option::of(0u32..4))
            .prop_map(|(partitions, factor)| Replicas::Automatic { partitions, factor }),
        1 => ids().prop_map(Replicas::Manual),
        1 => (any::<u32>(), any::<u32>())
            .prop_map(|(p, f)| Replicas::Automatic { partitions: Some(p), factor: Some(f) }),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "retention.ms",
        "cleanup.policy",
        "log.retention.ms",
        "num.partitions",
        "flush.ms",
        "consumer.session.timeout.ms",
    ])
    .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["1", "-1", "50000", "delete", "compact", "compact,delete", "", "x"])
        .prop_map(str::to_owned)
}

fn alteration() -> impl Strategy<Value = ConfigAlteration> {
    use AlterOperation::*;
    let resource = prop_oneof![
        3 => name().prop_map(ResourceName::Topic),
        1 => name().prop_map(ResourceName::Group),
        1 => prop::option::of((0u32..4).prop_map(BrokerId::new)).prop_map(ResourceName::Broker),
    ];
    let operation = prop::sample::select(vec![Set, Delete, Append, Subtract]);
    let operations = prop::collection::vec((key(), operation, prop::option::of(value())), 0..3);
    (resource, any::<bool>(), operations).prop_map(|(resource, replace, operations)| ConfigAlteration {
        resource,
        replace,
        operations,
    })
}

fn any_command() -> impl Strategy<Value = Any> {
    let configs = || prop::collection::btree_map(key(), value(), 0..2);
    let more = (name(), -2i32..12, prop::option::of(ids())).prop_map(|(name, count, manual)| MorePartitions {
        name,
        count,
        manual,
    });
    prop_oneof![
        (prop::collection::vec((name(), replicas(), configs()), 0..4), any::<bool>())
            .prop_map(|(t, v)| Any::Create(t, v)),
        prop::collection::vec((name(), any::<bool>()), 0..3).prop_map(Any::Delete),
        (prop::collection::vec(more, 0..3), any::<bool>()).prop_map(|(t, v)| Any::Add(t, v)),
        (prop::collection::vec(alteration(), 0..3), any::<bool>()).prop_map(|(r, v)| Any::Alter(r, v)),
        any::<u32>().prop_map(Any::Ids),
        (1u32..4).prop_map(Any::Start),
        (1u32..4).prop_map(Any::Elect),
    ]
}

/// Plans a command twice; its records, after looking that it is pure and answers every item.
fn plan<C: Command>(command: &C, image: &Image, rules: &Rules) -> Plan<C::Answer>
where
    C::Answer: PartialEq + std::fmt::Debug,
{
    let plan = command.plan(image, rules);
    assert_eq!(command.plan(image, rules).records, plan.records);
    plan
}

proptest! {
    #[test]
    fn plans_fit_the_image_and_keep_its_invariants(commands in prop::collection::vec(any_command(), 1..30)) {
        let settings = [("topic.max.partitions", "6"), ("cluster.max.partitions", "20")];
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let rules = Rules::new(&BrokerConfig::from_values(settings, "box").unwrap());
        let mut image = Arc::new(Image::empty());
        for (number, command) in (1u128..).zip(commands) {
            let records = match command {
                Any::Create(topics, validate_only) => {
                    let topics: Vec<NewTopic> = (0u128..)
                        .zip(topics)
                        .map(|(item, (name, replicas, configs))| NewTopic {
                            name,
                            id: Uuid::from_u128(number * 100 + item),
                            replicas,
                            configs,
                        })
                        .collect();
                    let count = topics.len();
                    let plan = plan(&CreateTopics { topics, validate_only }, &image, &rules);
                    prop_assert_eq!(plan.answer.len(), count);
                    let created = plan.answer.iter().filter(|answer| answer.is_ok()).count();
                    prop_assert_eq!(plan.records.len(), if validate_only { 0 } else { created });
                    plan.records
                }
                Any::Delete(topics) => {
                    let reference = |(name, by_id): &(String, bool)| match image.topic(name) {
                        Some(topic) if *by_id => TopicRef::Id(topic.id),
                        _ => TopicRef::Name(name.clone()),
                    };
                    let topics: Vec<TopicRef> = topics.iter().map(reference).collect();
                    let count = topics.len();
                    let plan = plan(&DeleteTopics { topics }, &image, &rules);
                    prop_assert_eq!(plan.answer.len(), count);
                    plan.records
                }
                Any::Add(topics, validate_only) => {
                    let count = topics.len();
                    let plan = plan(&AddPartitions { topics, validate_only }, &image, &rules);
                    prop_assert_eq!(plan.answer.len(), count);
                    plan.records
                }
                Any::Alter(resources, validate_only) => {
                    let count = resources.len();
                    let plan = plan(&AlterConfigs { resources, validate_only }, &image, &rules);
                    prop_assert_eq!(plan.answer.len(), count);
                    prop_assert!(!validate_only || plan.records.is_empty());
                    plan.records
                }
                Any::Ids(count) => plan(&AllocateProducerIds { broker: rules.node_id, count }, &image, &rules).records,
                Any::Start(id) => {
                    let listeners = vec![Listener { name: "PLAINTEXT".into(), host: "h".into(), port: 9092 }];
                    let incarnation = Uuid::from_u128(number);
                    let start = RegisterBroker { id: BrokerId::new(id), incarnation, listeners, log_dirs: vec![] };
                    plan(&start, &image, &rules).records
                }
                Any::Elect(id) => election(&image, BrokerId::new(id), Uuid::from_u128(number), Uuid::nil()),
            };
            let mut delta = Delta::new(Arc::clone(&image));
            for record in &records {
                delta.apply(record).unwrap();
            }
            delta.check().unwrap();
            image = delta.finish(image.version() + 1).0;
            image.check().unwrap();
            prop_assert!(image.partition_count() <= 20);
            prop_assert!(image.topics().all(|topic| check_topic_name(&topic.name).is_ok()));
            prop_assert!(image.topics().all(|topic| topic.partition_count() <= 6));
            // No two names that metrics could not tell apart.
            let unified: std::collections::BTreeSet<String> =
                image.topics().map(|topic| topic.name.replace('.', "_")).collect();
            prop_assert_eq!(unified.len(), image.topic_count());
        }
    }
}

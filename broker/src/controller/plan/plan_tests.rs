//! Tables: an image, a command, what comes of it.

use super::*;
use crate::config::{Listener, Values};
use crate::metadata::{
    Assignment, ControllerTerm, CreateTopic, Delta, LeaderChange, LeaderEpochs, Resource, SetConfigs,
};
use ResponseError::*;
use esker_storage::offset::LeaderEpoch;
use std::sync::Arc;
use uuid::Uuid;

fn broker(n: u32) -> BrokerId {
    BrokerId::new(n)
}

fn values(pairs: &[(&str, &str)]) -> Values {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn rules() -> Rules {
    let config = values(&[("topic.max.partitions", "20"), ("cluster.max.partitions", "50"), ("num.partitions", "3")]);
    Rules::new(&BrokerConfig::from_values(config, "box").unwrap())
}

fn registered(ids: &[u32]) -> Image {
    let mut image = Image::empty();
    for id in ids {
        let listeners = vec![Listener { name: "PLAINTEXT".into(), host: "h".into(), port: 9092 }];
        let start = RegisterBroker { id: broker(*id), incarnation: Uuid::nil(), listeners, log_dirs: vec![] };
        image = after(&image, &start.plan(&image, &rules()).records);
    }
    image
}

fn after(image: &Image, records: &[Record]) -> Image {
    let mut delta = Delta::new(Arc::new(image.clone()));
    for record in records {
        delta.apply(record).unwrap();
    }
    let image = delta.finish(image.version() + 1).0;
    image.check().unwrap();
    Arc::unwrap_or_clone(image)
}

fn topic(name: &str, partitions: Option<u32>, factor: Option<u32>) -> NewTopic {
    // Ids need only differ.
    let id = Uuid::from_u128(name.bytes().fold(1, |id, byte| (id * 257 + u128::from(byte)) % (1 << 110)));
    NewTopic { name: name.into(), id, replicas: Replicas::Automatic { partitions, factor }, configs: Values::new() }
}

fn create(image: &Image, topics: Vec<NewTopic>) -> (Image, Vec<Result<CreatedTopic, Refusal>>) {
    let plan = CreateTopics { topics, validate_only: false }.plan(image, &rules());
    (after(image, &plan.records), plan.answer)
}

fn errors<T>(answers: &[Result<T, Refusal>]) -> Vec<Option<ResponseError>> {
    answers.iter().map(|answer| answer.as_ref().err().map(|refusal| refusal.error)).collect()
}

#[test]
fn names() {
    for name in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
        check_topic_name(name).unwrap();
    }
    for name in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"x".repeat(250)] {
        assert_eq!(check_topic_name(name).unwrap_err().error, InvalidTopicException, "{name}");
    }
    let (image, _) = create(&registered(&[1]), vec![topic("a.b", None, None), topic("a_bc", None, None)]);
    for (name, expected) in [
        ("a_b", Some(InvalidTopicException)),
        ("a.b", Some(TopicAlreadyExists)),
        ("a.bc", Some(InvalidTopicException)),
        ("a-b", None),
        ("a.b.c", None),
        ("ab", None),
        ("a", None),
    ] {
        assert_eq!(errors(&create(&image, vec![topic(name, None, None)]).1), [expected], "{name}");
    }
    // Also with each other.
    let (_, answers) = create(&registered(&[1]), vec![topic("x.y", None, None), topic("x_y", None, None)]);
    assert_eq!(errors(&answers), [None, Some(InvalidTopicException)]);
}

#[test]
fn creation_is_refused_item_by_item() {
    let image = registered(&[1, 2]);
    let manual = |name: &str, brokers: &[&[u32]]| NewTopic {
        replicas: Replicas::Manual(brokers.iter().map(|ids| ids.iter().map(|id| broker(*id)).collect()).collect()),
        ..topic(name, None, None)
    };
    let configured =
        |name: &str, pairs: &[(&str, &str)]| NewTopic { configs: values(pairs), ..topic(name, None, None) };
    let cases: Vec<(NewTopic, Option<ResponseError>)> = vec![
        (topic("default", None, None), None),
        (topic("two", Some(2), Some(2)), None),
        (topic("none", Some(0), None), Some(InvalidPartitions)),
        (topic("unreplicated", None, Some(0)), Some(InvalidReplicationFactor)),
        (topic("three-replicas", None, Some(3)), Some(InvalidReplicationFactor)),
        (topic("wide", Some(21), None), Some(InvalidPartitions)),
        (topic("huge", Some(u32::MAX), Some(u32::MAX)), Some(InvalidPartitions)),
        (manual("manual", &[&[2, 1], &[1, 2]]), None),
        (manual("unknown-broker", &[&[3]]), Some(InvalidReplicaAssignment)),
        (manual("twice", &[&[1, 1]]), Some(InvalidReplicaAssignment)),
        (manual("uneven", &[&[1], &[1, 2]]), Some(InvalidReplicaAssignment)),
        (manual("nowhere", &[&[]]), Some(InvalidReplicaAssignment)),
        (configured("kept", &[("retention.ms", "-1"), ("cleanup.policy", "compact")]), None),
        (configured("unknown-key", &[("retention.msec", "-1")]), Some(InvalidConfig)),
        (configured("unhonoured", &[("compression.type", "brotli")]), Some(InvalidConfig)),
        (configured("at-odds", &[("retention.ms", "5"), ("local.retention.ms", "6")]), Some(InvalidConfig)),
        (topic("same", None, None), Some(InvalidRequest)),
        (topic("same", None, None), Some(InvalidRequest)),
    ];
    let (topics, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let (created, answers) = create(&image, topics.clone());
    assert_eq!(errors(&answers), expected);
    for (topic, answer) in topics.iter().zip(&answers) {
        assert_eq!(created.topic(&topic.name).is_some(), answer.is_ok(), "{}", topic.name);
    }
    assert_eq!(created.topic("default").unwrap().partitions.len(), 3);
    let manual = created.topic("manual").unwrap();
    assert_eq!(manual.partitions[0].leader, Some(broker(2)));
    assert_eq!(manual.partitions[0].replicas, [broker(2), broker(1)]);
    let message = answers[13].as_ref().unwrap_err().message.clone();
    assert!(message.contains("did you mean \"retention.ms\""), "{message}");

    let validated = CreateTopics { topics, validate_only: true }.plan(&image, &rules());
    assert!(validated.records.is_empty());
    assert_eq!(validated.answer, answers);
}

#[test]
fn the_cluster_is_bounded() {
    let mut image = registered(&[1]);
    for (name, expected) in [("a", None), ("b", None), ("c", Some(InvalidPartitions))] {
        let (next, answers) = create(&image, vec![topic(name, Some(20), None)]);
        assert_eq!(errors(&answers), [expected]);
        image = next;
    }
    let more = |count| {
        let topics = vec![MorePartitions { name: "a".into(), count, manual: None }];
        errors(&AddPartitions { topics, validate_only: false }.plan(&image, &rules()).answer)
    };
    assert_eq!(more(21), [Some(InvalidPartitions)]);
}

#[test]
fn leaders_are_spread_and_no_broker_has_a_partition_twice() {
    let mut image = registered(&[1, 5, 9]);
    for (name, count, factor) in [("a", 1, 2), ("b", 1, 2), ("c", 1, 2), ("d", 7, 3), ("e", 5, 1)] {
        let (next, answers) = create(&image, vec![topic(name, Some(count), Some(factor))]);
        assert_eq!(errors(&answers), [None]);
        image = next;
    }
    for id in [1, 5, 9] {
        let led = image.topics().flat_map(|topic| &topic.partitions).filter(|p| p.leader == Some(broker(id))).count();
        assert_eq!(led, 5, "broker {id}");
    }
}

#[test]
fn deletion() {
    let (image, _) = create(&registered(&[1]), vec![topic("a", None, None), topic("b", None, None)]);
    let config = BrokerConfig::from_values(Values::new(), "box").unwrap();
    let (image, answers) = create(&image, vec![offsets_topic(Uuid::from_u128(5), &config)]);
    assert_eq!(errors(&answers), [None]);
    let (a, b) = (image.topic("a").unwrap().id, image.topic("b").unwrap().id);
    let name = |name: &str| TopicRef::Name(name.into());
    let delete = DeleteTopics {
        topics: vec![
            name("a"),
            TopicRef::Id(a),
            TopicRef::Id(b),
            name("c"),
            TopicRef::Id(Uuid::nil()),
            name("__consumer_offsets"),
        ],
    };
    let plan = delete.plan(&image, &rules());
    // What is named twice stays.
    let twice = Some(InvalidRequest);
    let expected = [twice, twice, None, Some(UnknownTopicOrPartition), Some(UnknownTopicId), Some(InvalidRequest)];
    assert_eq!(errors(&plan.answer), expected);
    assert_eq!(plan.answer[2], Ok(DeletedTopic { name: "b".into(), id: b }));
    let gone = after(&image, &plan.records);
    let left: Vec<_> = gone.topics().map(|topic| topic.name.to_string()).collect();
    assert_eq!(left, ["__consumer_offsets", "a"]);
    let forbidden = delete.plan(&image, &Rules { delete_topic_enable: false, ..rules() });
    assert!(forbidden.records.is_empty());
    assert_eq!(errors(&forbidden.answer), [Some(TopicDeletionDisabled); 6]);
}

#[test]
fn more_partitions() {
    let image = registered(&[1, 2]);
    let (image, _) = create(&image, vec![topic("a", Some(2), Some(2)), topic("b", Some(1), Some(1))]);
    type Case<'a> = (&'a str, i32, Option<&'a [&'a [u32]]>, Option<ResponseError>);
    let cases: &[Case<'_>] = &[
        ("a", 3, None, None),
        ("a", 2, None, Some(InvalidPartitions)),
        ("a", 1, None, Some(InvalidPartitions)),
        ("a", -1, None, Some(InvalidPartitions)),
        ("a", i32::MAX, None, Some(InvalidPartitions)),
        ("a", 4, Some(&[&[2, 1], &[1, 2]]), None),
        ("a", 4, Some(&[&[2, 1]]), Some(InvalidReplicaAssignment)),
        ("a", 3, Some(&[&[2]]), Some(InvalidReplicaAssignment)),
        ("a", 3, Some(&[&[2, 7]]), Some(InvalidReplicaAssignment)),
        ("c", 3, None, Some(UnknownTopicOrPartition)),
    ];
    for (name, count, manual, expected) in cases {
        let manual = manual.map(|m| m.iter().map(|ids| ids.iter().map(|id| broker(*id)).collect()).collect());
        let topics = vec![MorePartitions { name: (*name).into(), count: *count, manual }];
        let plan = AddPartitions { topics: topics.clone(), validate_only: false }.plan(&image, &rules());
        assert_eq!(errors(&plan.answer), [*expected], "{name} {count}");
        let after = after(&image, &plan.records);
        if expected.is_none() {
            let grown = after.topic(name).unwrap();
            assert_eq!(grown.partition_count(), *count as u32);
            assert_eq!(grown.partitions[..2], image.topic(name).unwrap().partitions[..]);
        }
        assert!(AddPartitions { topics, validate_only: true }.plan(&image, &rules()).records.is_empty());
    }
    let twice = vec![MorePartitions { name: "a".into(), count: 3, manual: None }; 2];
    let plan = AddPartitions { topics: twice, validate_only: false }.plan(&image, &rules());
    assert_eq!(errors(&plan.answer), [Some(InvalidRequest); 2]);
}

#[test]
fn settings_change_key_by_key() {
    use AlterOperation::*;
    let (image, _) = create(
        &registered(&[1]),
        vec![NewTopic {
            configs: values(&[("retention.ms", "5"), ("cleanup.policy", "delete")]),
            ..topic("a", None, None)
        }],
    );
    type Case<'a> = (&'a [(&'a str, AlterOperation, Option<&'a str>)], Result<&'a [(&'a str, &'a str)], ResponseError>);
    let unchanged: &[(&str, &str)] = &[("cleanup.policy", "delete"), ("retention.ms", "5")];
    let cases: &[Case<'_>] = &[
        (&[("retention.ms", Set, Some("6"))], Ok(&[("cleanup.policy", "delete"), ("retention.ms", "6")])),
        (&[("retention.ms", Delete, None)], Ok(&[("cleanup.policy", "delete")])),
        (&[("segment.ms", Delete, None)], Ok(unchanged)),
        (
            &[("cleanup.policy", Append, Some("compact"))],
            Ok(&[("cleanup.policy", "delete,compact"), ("retention.ms", "5")]),
        ),
        (&[("cleanup.policy", Append, Some("delete"))], Ok(unchanged)),
        (&[("cleanup.policy", Subtract, Some("delete"))], Ok(&[("cleanup.policy", ""), ("retention.ms", "5")])),
        (&[("retention.ms", Append, Some("6"))], Err(InvalidConfig)),
        (&[("retention.ms", Set, None)], Err(InvalidRequest)),
        (&[("retention.ms", Set, Some("6")), ("retention.ms", Set, Some("7"))], Err(InvalidRequest)),
        (&[("retention.ms", Set, Some("six"))], Err(InvalidConfig)),
        (&[("local.retention.ms", Set, Some("6"))], Err(InvalidConfig)),
        (&[("message.format.version", Set, Some("2.8"))], Err(InvalidConfig)),
        (&[("message.format.version", Delete, None)], Ok(unchanged)),
        (&[], Ok(unchanged)),
    ];
    for (operations, expected) in cases {
        let command = |validate_only| AlterConfigs {
            resources: vec![ConfigAlteration {
                resource: ResourceName::Topic("a".into()),
                replace: false,
                operations: operations
                    .iter()
                    .map(|(key, operation, value)| ((*key).to_owned(), *operation, value.map(str::to_owned)))
                    .collect(),
            }],
            validate_only,
        };
        let plan = command(false).plan(&image, &rules());
        let new = after(&image, &plan.records).topic("a").unwrap().configs.clone();
        assert_eq!(errors(&plan.answer), [expected.as_ref().err().copied()], "{operations:?}");
        assert_eq!(new, values(expected.unwrap_or(unchanged)), "{operations:?}");
        assert!(command(true).plan(&image, &rules()).records.is_empty());
    }
}

#[test]
fn settings_are_replaced_as_a_whole() {
    let (image, _) = create(
        &registered(&[1]),
        vec![NewTopic { configs: values(&[("retention.ms", "5"), ("segment.ms", "7")]), ..topic("a", None, None) }],
    );
    let replace = |pairs: &[(&str, &str)]| AlterConfigs {
        resources: vec![ConfigAlteration {
            resource: ResourceName::Topic("a".into()),
            replace: true,
            operations: pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), AlterOperation::Set, Some((*v).to_owned())))
                .collect(),
        }],
        validate_only: false,
    };
    let plan = replace(&[("segment.ms", "8")]).plan(&image, &rules());
    assert_eq!(after(&image, &plan.records).topic("a").unwrap().configs, values(&[("segment.ms", "8")]));
    assert!(replace(&[("segment.ms", "7"), ("retention.ms", "5")]).plan(&image, &rules()).records.is_empty());
}

#[test]
fn brokers_have_settings_too() {
    let image = registered(&[1]);
    let set = |id: Option<u32>, key: &str, value: &str| {
        let resource = ResourceName::Broker(id.map(broker));
        let operations = vec![(key.to_owned(), AlterOperation::Set, Some(value.to_owned()))];
        let resources = vec![ConfigAlteration { resource, replace: false, operations }];
        AlterConfigs { resources, validate_only: false }.plan(&image, &rules())
    };
    let plan = set(None, "log.retention.ms", "9");
    let changed = after(&image, &plan.records);
    assert_eq!(changed.configs(&Resource::Cluster), values(&[("log.retention.ms", "9")]));
    let (changed, _) = create(&changed, vec![topic("a", None, None)]);
    let a = changed.topic("a").unwrap();
    assert_eq!(changed.topic_config(a, broker(1), &rules().layers).retention_ms, Some(9));
    assert_eq!(errors(&set(Some(1), "log.retention.ms", "9").answer), [None]);
    assert_eq!(errors(&set(Some(2), "log.retention.ms", "9").answer), [Some(InvalidRequest)]);
    assert_eq!(errors(&set(Some(1), "num.partitions", "9").answer), [Some(InvalidRequest)]);
    assert_eq!(errors(&set(Some(1), "retention.ms", "9").answer), [Some(InvalidRequest)]);
    // What was read may be sent back.
    let same = set(Some(1), "num.partitions", "3");
    assert_eq!((errors(&same.answer), same.records.len()), (vec![None], 0));
}

#[test]
fn every_start_takes_new_epochs_of_what_it_leads() {
    let (image, _) = create(&registered(&[1, 2]), vec![topic("a", Some(2), Some(1)), topic("b", Some(2), Some(2))]);
    let start = RegisterBroker { id: broker(1), incarnation: Uuid::from_u128(9), listeners: vec![], log_dirs: vec![] };
    let plan = start.plan(&image, &rules());
    assert_eq!(plan.answer, 2);
    let started = after(&image, &plan.records);
    for (before, now) in image.topics().zip(started.topics()) {
        for (before, now) in before.partitions.iter().zip(&now.partitions) {
            let mine = before.leader == Some(broker(1));
            assert_eq!(now.leader, before.leader);
            assert_eq!(now.leader_epoch.get(), before.leader_epoch.get() + u32::from(mine));
        }
    }
    // A partition without a leader gets one, if the broker has everything.
    let id = image.topic("b").unwrap().id;
    let orphan = |isr: &[u32]| {
        let isr: Vec<BrokerId> = isr.iter().copied().map(broker).collect();
        let change = LeaderChange { partition: 1, leader: None, leader_epoch: LeaderEpoch::new(4), isr };
        let image = after(&image, &[Record::LeaderEpochs(LeaderEpochs { topic: id, partitions: vec![change] })]);
        let partition = after(&image, &start.plan(&image, &rules()).records).topic("b").unwrap().partitions[1].clone();
        (partition.leader, partition.leader_epoch.get())
    };
    assert_eq!(orphan(&[1]), (Some(broker(1)), 5));
    assert_eq!(orphan(&[2]), (None, 4));
}

#[test]
fn elections_count_up_and_format_once() {
    let cluster = Uuid::from_u128(77);
    let first = election(&Image::empty(), broker(1), Uuid::from_u128(1), cluster);
    let image = after(&Image::empty(), &first);
    assert_eq!(image.cluster_id(), Some(cluster));
    let second = election(&image, broker(2), Uuid::from_u128(2), Uuid::nil());
    assert_eq!(second.len(), 1);
    let term = ControllerTerm { broker: broker(2), incarnation: Uuid::from_u128(2), epoch: 2 };
    assert_eq!(after(&image, &second).controller(), Some(term));
}

#[test]
fn producer_ids_are_never_given_twice() {
    let allocate = AllocateProducerIds { broker: broker(1), count: 1000 };
    let mut image = Image::empty();
    let mut last = 0;
    for _ in 0..3 {
        let plan = allocate.plan(&image, &rules());
        assert_eq!((plan.answer.start, plan.answer.end), (last, last + 1000));
        last = plan.answer.end;
        image = after(&image, &plan.records);
    }
    let end = metadata_end(&image);
    let exhausted = allocate.plan(&end, &rules());
    assert!(exhausted.answer.is_empty() && exhausted.records.is_empty());
}

fn metadata_end(image: &Image) -> Image {
    use crate::metadata::ProducerIds;
    after(image, &[Record::ProducerIds(ProducerIds { broker: broker(1), end: i64::MAX as u64 })])
}

#[test]
fn plans_do_not_depend_on_what_is_not_in_the_image() {
    // The same image by another history: settings set and unset, a topic made and deleted.
    let image = registered(&[1, 2]);
    let id = Uuid::from_u128(3);
    let detour = after(
        &image,
        &[
            Record::CreateTopic(CreateTopic {
                name: "gone".into(),
                id,
                partitions: vec![Assignment {
                    replicas: vec![broker(1)],
                    isr: vec![broker(1)],
                    leader: None,
                    leader_epoch: LeaderEpoch::new(0),
                }],
                configs: Values::new(),
            }),
            Record::SetConfigs(SetConfigs {
                resource: Resource::Cluster,
                changes: [("log.retention.ms".to_owned(), Some("1".to_owned()))].into(),
            }),
            Record::SetConfigs(SetConfigs {
                resource: Resource::Cluster,
                changes: [("log.retention.ms".to_owned(), None)].into(),
            }),
            Record::DeleteTopic(crate::metadata::DeleteTopic { id }),
        ],
    );
    let command = CreateTopics { topics: vec![topic("a", Some(4), Some(2))], validate_only: false };
    assert_eq!(command.plan(&image, &rules()), command.plan(&detour, &rules()));
}

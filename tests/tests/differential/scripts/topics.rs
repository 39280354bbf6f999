//! Topics: created, grown, looked at, deleted.

use crate::session::Session;
use serde_json::{Value as Json, json};

const UNKNOWN: &str = "id:6ba7b810-9dad-11d1-80b4-00c04fd430c8";

fn topic(name: &str, partitions: i32, replication: i32) -> Json {
    json!({"name": name, "num_partitions": partitions, "replication_factor": replication})
}

fn create(topics: Json) -> Json {
    json!({"topics": topics, "timeout_ms": 10_000})
}

fn validate(topics: Json) -> Json {
    json!({"topics": topics, "timeout_ms": 10_000, "validate_only": true})
}

pub(crate) fn play(s: &mut Session) {
    creates(s);
    describes(s);
    grows(s);
    deletes(s);
    cluster(s);
}

fn creates(s: &mut Session) {
    for version in 2..=7 {
        s.change("one", "CreateTopics", version, create(json!([topic(&format!("one-{version}"), 2, 1)])));
    }
    s.each("one that is there", "CreateTopics", create(json!([topic("one-2", 1, 1)])));
    s.from("defaults", "CreateTopics", 4, validate(json!([topic("defaults", -1, -1)])));
    s.each("nothing", "CreateTopics", create(json!([])));
    for name in
        ["", ".", "..", "a b", "a/b", "\u{e9}", &"x".repeat(249), &"x".repeat(250), "__consumer_offsets_", "one_2"]
    {
        s.ask(&format!("name {name:?}"), "CreateTopics", 7, validate(json!([topic(name, 1, 1)])));
    }
    for (partitions, replication) in [(0, 1), (-2, 1), (1, 0), (1, -2), (1, 2), (-1, 1), (1, -1), (i32::MIN, 1)] {
        let what = format!("{partitions} partitions, {replication} replicas");
        s.ask(&what, "CreateTopics", 7, validate(json!([topic("numbers", partitions, replication)])));
        s.ask(&what, "CreateTopics", 2, validate(json!([topic("numbers", partitions, replication)])));
    }
    let twice = json!([topic("twice", 1, 1), topic("once", 1, 1), topic("twice", 1, 1)]);
    s.each("one named twice", "CreateTopics", validate(twice));
    let some = json!([topic("good", 1, 1), topic("bad name", 1, 1), topic("also-good", 1, 1)]);
    s.each("good and bad", "CreateTopics", validate(some));
    configured(s);
    assigned(s);
}

fn configured(s: &mut Session) {
    let configs: &[Json] = &[
        json!([{"name": "cleanup.policy", "value": "compact"}]),
        json!([{"name": "cleanup.policy", "value": "compact,delete"}]),
        json!([{"name": "cleanup.policy", "value": "compost"}]),
        json!([{"name": "cleanup.policy", "value": ""}]),
        json!([{"name": "retention.ms", "value": "-1"}, {"name": "retention.bytes", "value": "1000"}]),
        json!([{"name": "retention.ms", "value": "-2"}]),
        json!([{"name": "retention.ms", "value": "soon"}]),
        json!([{"name": "retention.ms", "value": null}]),
        json!([{"name": "no.such.key", "value": "1"}]),
        json!([{"name": "", "value": "1"}]),
        json!([{"name": "compression.type", "value": "zip"}]),
        json!([{"name": "min.insync.replicas", "value": "0"}]),
        json!([{"name": "max.message.bytes", "value": "-1"}]),
        json!([{"name": "segment.bytes", "value": "13"}]),
        json!([{"name": "min.cleanable.dirty.ratio", "value": "1.5"}]),
        json!([{"name": "message.timestamp.type", "value": "Sometimes"}]),
        json!([{"name": "retention.ms", "value": "1"}, {"name": "retention.ms", "value": "2"}]),
    ];
    for configs in configs {
        let mut configured = topic("configured", 1, 1);
        configured["configs"] = configs.clone();
        let names: Vec<String> = configs.as_array().unwrap().iter().map(|config| config.to_string()).collect();
        s.ask(&names.join(" "), "CreateTopics", 7, validate(json!([configured])));
    }
}

fn assigned(s: &mut Session) {
    let assignments: &[(i32, i32, Json)] = &[
        (-1, -1, json!([{"partition_index": 0, "broker_ids": [1]}])),
        (-1, -1, json!([{"partition_index": 0, "broker_ids": [1]}, {"partition_index": 1, "broker_ids": [1]}])),
        (-1, -1, json!([{"partition_index": 1, "broker_ids": [1]}])),
        (-1, -1, json!([{"partition_index": 0, "broker_ids": [1]}, {"partition_index": 0, "broker_ids": [1]}])),
        (-1, -1, json!([{"partition_index": 0, "broker_ids": []}])),
        (-1, -1, json!([{"partition_index": 0, "broker_ids": [1, 1]}])),
        (-1, -1, json!([{"partition_index": 0, "broker_ids": [2]}])),
        (-1, -1, json!([{"partition_index": -1, "broker_ids": [1]}])),
        (1, -1, json!([{"partition_index": 0, "broker_ids": [1]}])),
        (-1, 1, json!([{"partition_index": 0, "broker_ids": [1]}])),
    ];
    for (partitions, replication, assignment) in assignments {
        let mut assigned = topic("assigned", *partitions, *replication);
        assigned["assignments"] = assignment.clone();
        let what = format!("{partitions} {replication} {assignment}");
        s.ask(&what, "CreateTopics", 7, validate(json!([assigned])));
    }
}

fn describes(s: &mut Session) {
    let id = s.topic("described", 3, &[("cleanup.policy", "compact")]);
    let named = json!([{"name": "described"}]);
    s.each(
        "one",
        "Metadata",
        json!({"topics": named, "include_topic_authorized_operations": true,
        "include_cluster_authorized_operations": true}),
    );
    s.each("one, without operations", "Metadata", json!({"topics": named}));
    s.from("unknown", "Metadata", 4, json!({"topics": [{"name": "nobody"}, {"name": "described"}]}));
    s.each("invalid", "Metadata", json!({"topics": [{"name": "a b"}]}));
    s.each("empty name", "Metadata", json!({"topics": [{"name": ""}]}));
    s.each("twice", "Metadata", json!({"topics": [{"name": "described"}, {"name": "described"}]}));
    s.from("none", "Metadata", 1, json!({"topics": []}));
    s.from("by id", "Metadata", 10, json!({"topics": [{"topic_id": id, "name": null}]}));
    s.from("by an unknown id", "Metadata", 10, json!({"topics": [{"topic_id": UNKNOWN, "name": null}]}));
    s.from("by id and name", "Metadata", 10, json!({"topics": [{"topic_id": id, "name": "described"}]}));
    s.from("by neither", "Metadata", 10, json!({"topics": [{"name": null}]}));

    s.ask(
        "named",
        "DescribeTopicPartitions",
        0,
        json!({"topics": [{"name": "one-2"}, {"name": "described"}],
        "response_partition_limit": 100}),
    );
    s.ask(
        "unknown",
        "DescribeTopicPartitions",
        0,
        json!({"topics": [{"name": "nobody"}, {"name": "described"}],
        "response_partition_limit": 100}),
    );
    s.ask("invalid", "DescribeTopicPartitions", 0, json!({"topics": [{"name": "a b"}], "response_partition_limit": 1}));
    s.ask(
        "two of three",
        "DescribeTopicPartitions",
        0,
        json!({"topics": [{"name": "described"}],
        "response_partition_limit": 2}),
    );
    s.ask(
        "the third",
        "DescribeTopicPartitions",
        0,
        json!({"topics": [{"name": "described"}],
        "response_partition_limit": 2, "cursor": {"topic_name": "described", "partition_index": 2}}),
    );
    s.ask(
        "beyond",
        "DescribeTopicPartitions",
        0,
        json!({"topics": [{"name": "described"}],
        "response_partition_limit": 2, "cursor": {"topic_name": "described", "partition_index": 3}}),
    );
    s.ask(
        "before it",
        "DescribeTopicPartitions",
        0,
        json!({"topics": [{"name": "described"}],
        "response_partition_limit": 2, "cursor": {"topic_name": "a", "partition_index": 1}}),
    );
    s.ask(
        "after it",
        "DescribeTopicPartitions",
        0,
        json!({"topics": [{"name": "described"}],
        "response_partition_limit": 2, "cursor": {"topic_name": "z", "partition_index": 0}}),
    );
    s.ask(
        "a cursor below 0",
        "DescribeTopicPartitions",
        0,
        json!({"topics": [{"name": "described"}],
        "response_partition_limit": 2, "cursor": {"topic_name": "described", "partition_index": -1}}),
    );
    s.ask("no partitions", "DescribeTopicPartitions", 0, json!({"topics": [{"name": "described"}]}));
    s.ask(
        "fewer than none",
        "DescribeTopicPartitions",
        0,
        json!({"topics": [{"name": "described"}],
        "response_partition_limit": -1}),
    );
    s.ask(
        "from a topic on",
        "DescribeTopicPartitions",
        0,
        json!({"topics": [], "response_partition_limit": 3,
        "cursor": {"topic_name": "one-6", "partition_index": 0}}),
    );
}

fn grows(s: &mut Session) {
    s.topic("grows", 2, &[]);
    let more = |count: i32| json!([{"name": "grows", "count": count, "assignments": null}]);
    for count in [2, 1, 0, -1] {
        s.each(&format!("to {count}"), "CreatePartitions", json!({"topics": more(count), "timeout_ms": 10_000}));
    }
    s.each(
        "to 3, perhaps",
        "CreatePartitions",
        json!({"topics": more(3), "timeout_ms": 10_000, "validate_only": true}),
    );
    for version in 0..=3 {
        let topics = more(3 + i32::from(version));
        s.change("to one more", "CreatePartitions", version, json!({"topics": topics, "timeout_ms": 10_000}));
    }
    s.each(
        "unknown",
        "CreatePartitions",
        json!({"topics": [{"name": "nobody", "count": 3, "assignments": null}],
        "timeout_ms": 10_000}),
    );
    s.each(
        "twice",
        "CreatePartitions",
        json!({"topics": [{"name": "grows", "count": 20, "assignments": null},
        {"name": "grows", "count": 21, "assignments": null}], "timeout_ms": 10_000, "validate_only": true}),
    );
    for assignments in [
        json!([]),
        json!([{"broker_ids": [1]}]),
        json!([{"broker_ids": [2]}]),
        json!([{"broker_ids": []}]),
        json!([{"broker_ids": [1]}, {"broker_ids": [1]}]),
        json!([{"broker_ids": [1, 1]}]),
    ] {
        s.ask(
            &format!("to {assignments}"),
            "CreatePartitions",
            3,
            json!({"topics": [{"name": "grows", "count": 7,
            "assignments": assignments}], "timeout_ms": 10_000, "validate_only": true}),
        );
    }
    s.ask("none", "CreatePartitions", 3, json!({"topics": [], "timeout_ms": 10_000}));
    s.ask("as it is now", "Metadata", 12, json!({"topics": [{"name": "grows"}]}));
}

fn deletes(s: &mut Session) {
    for version in 1..=5 {
        s.topic(&format!("gone-{version}"), 1, &[]);
        let names = json!([format!("gone-{version}"), "nobody"]);
        s.change("one", "DeleteTopics", version, json!({"topic_names": names, "timeout_ms": 10_000}));
    }
    let id = s.topic("gone-6", 1, &[]);
    s.topic("gone-7", 1, &[]);
    for topics in [
        json!([{"name": null, "topic_id": UNKNOWN}]),
        json!([{"name": null}]),
        json!([{"name": "gone-6", "topic_id": id}]),
        json!([{"name": "gone-7"}, {"name": "gone-7"}]),
        json!([{"name": ""}]),
        json!([{"name": "a b"}]),
        json!([{"name": null, "topic_id": id}, {"name": "gone-6"}]),
        json!([]),
    ] {
        let what = topics.to_string().replace(&id, "ours");
        s.change(&what, "DeleteTopics", 6, json!({"topics": topics, "timeout_ms": 10_000}));
    }
    s.change("by id", "DeleteTopics", 6, json!({"topics": [{"name": null, "topic_id": id}], "timeout_ms": 10_000}));
    s.ask("deleted", "Metadata", 12, json!({"topics": [{"name": "gone-6"}]}));
    s.from("by its id", "Metadata", 12, json!({"topics": [{"name": null, "topic_id": id}]}));
}

fn cluster(s: &mut Session) {
    s.each("who is there", "DescribeCluster", json!({"endpoint_type": 1}));
    s.each(
        "and what may I do",
        "DescribeCluster",
        json!({"endpoint_type": 1,
        "include_cluster_authorized_operations": true, "include_fenced_brokers": true}),
    );
    for endpoint in [0, 2, 3] {
        s.from(&format!("endpoints {endpoint}"), "DescribeCluster", 1, json!({"endpoint_type": endpoint}));
    }
}

//! What tools ask of a cluster.

use crate::session::Session;
use serde_json::{Value as Json, json};

pub(crate) fn play(s: &mut Session) {
    security(s);
    moves(s);
    features(s);
    quorum(s);
    resources(s);
    transactions(s);
}

fn security(s: &mut Session) {
    s.each(
        "all rules",
        "DescribeAcls",
        json!({"resource_type_filter": 1, "resource_name_filter": null,
        "pattern_type_filter": 1, "principal_filter": null, "host_filter": null, "operation": 1, "permission_type": 1}),
    );
    let rule = json!({"resource_type": 2, "resource_name": "t", "resource_pattern_type": 3, "principal": "User:a",
        "host": "*", "operation": 3, "permission_type": 3});
    s.each("two rules", "CreateAcls", json!({"creations": [rule, rule]}));
    s.each("none", "CreateAcls", json!({"creations": []}));
    let filter = json!({"resource_type_filter": 2, "resource_name_filter": null, "pattern_type_filter": 3,
        "principal_filter": null, "host_filter": null, "operation": 1, "permission_type": 1});
    s.each("two filters", "DeleteAcls", json!({"filters": [filter, filter]}));
    s.each("none", "DeleteAcls", json!({"filters": []}));
    for users in [
        Json::Null,
        json!([]),
        json!([{"name": "a"}]),
        json!([{"name": "a"}, {"name": "b"}, {"name": "a"}]),
        json!([{"name": ""}]),
    ] {
        s.ask(&users.to_string(), "DescribeUserScramCredentials", 0, json!({"users": users}));
    }
    for components in [
        json!([]),
        json!([{"entity_type": "user", "match_type": 0, "match": "a"}]),
        json!([{"entity_type": "user", "match_type": 1, "match": null}]),
        json!([{"entity_type": "user", "match_type": 2, "match": null}, {"entity_type": "client-id", "match_type": 2, "match": null}]),
        json!([{"entity_type": "ip", "match_type": 2, "match": null}]),
        json!([{"entity_type": "ip", "match_type": 2, "match": null}, {"entity_type": "user", "match_type": 2, "match": null}]),
        json!([{"entity_type": "ip", "match_type": 0, "match": "1.2.3.4"}, {"entity_type": "user", "match_type": 0, "match": "a"}]),
        json!([{"entity_type": "user", "match_type": 0, "match": null}]),
        json!([{"entity_type": "user", "match_type": 1, "match": "a"}]),
        json!([{"entity_type": "user", "match_type": 2, "match": "a"}]),
        json!([{"entity_type": "user", "match_type": 9, "match": null}]),
        json!([{"entity_type": "user", "match_type": 1, "match": null}, {"entity_type": "user", "match_type": 1, "match": null}]),
        json!([{"entity_type": "user", "match_type": 0, "match": "a"}, {"entity_type": "user", "match_type": 0, "match": "b"}]),
        json!([{"entity_type": "", "match_type": 1, "match": null}]),
        json!([{"entity_type": "planet", "match_type": 1, "match": null}]),
    ] {
        s.each(&components.to_string(), "DescribeClientQuotas", json!({"components": components}));
    }
    s.each("strict", "DescribeClientQuotas", json!({"components": [], "strict": true}));
}

fn moves(s: &mut Session) {
    for topics in [
        json!([{"topic": "listed", "partitions": [0, 1]}]),
        json!([{"topic": "listed", "partitions": [7, -1]}]),
        json!([{"topic": "nobody", "partitions": [0]}]),
        json!([{"topic": "listed", "partitions": []}]),
        json!([]),
        Json::Null,
    ] {
        s.each(&topics.to_string(), "ElectLeaders", json!({"topic_partitions": topics, "timeout_ms": 10_000}));
        s.from(
            &format!("unclean {topics}"),
            "ElectLeaders",
            1,
            json!({"topic_partitions": topics, "timeout_ms": 10_000,
            "election_type": 1}),
        );
    }
    s.from(
        "an unknown kind",
        "ElectLeaders",
        1,
        json!({"topic_partitions": [{"topic": "listed", "partitions": [0]}],
        "timeout_ms": 10_000, "election_type": 2}),
    );
    for (topic, index, replicas) in [
        ("listed", 0, json!([1])),
        ("listed", 0, Json::Null),
        ("listed", 0, json!([])),
        ("listed", 0, json!([2])),
        ("listed", 0, json!([1, 1])),
        ("listed", 0, json!([1, 2])),
        ("listed", 0, json!([-1])),
        ("listed", 9, json!([1])),
        ("listed", -1, json!([1])),
        ("nobody", 0, json!([1])),
        ("nobody", 0, Json::Null),
        ("listed", 0, json!([2, 2])),
        ("listed", 0, json!([2, 1])),
    ] {
        let topics = json!([{"name": topic, "partitions": [{"partition_index": index, "replicas": replicas}]}]);
        let what = format!("{topic} {index} to {replicas}");
        s.each(
            &what,
            "AlterPartitionReassignments",
            json!({"timeout_ms": 10_000, "topics": topics,
            "allow_replication_factor_change": true}),
        );
        s.from(
            &format!("{what}, as many"),
            "AlterPartitionReassignments",
            1,
            json!({"timeout_ms": 10_000,
            "topics": topics}),
        );
    }
    s.each("none", "AlterPartitionReassignments", json!({"timeout_ms": 10_000, "topics": []}));
    for topics in [
        Json::Null,
        json!([]),
        json!([{"name": "listed", "partition_indexes": [0, 9]}]),
        json!([{"name": "nobody", "partition_indexes": [0]}]),
    ] {
        s.ask(&topics.to_string(), "ListPartitionReassignments", 0, json!({"timeout_ms": 10_000, "topics": topics}));
    }
}

fn features(s: &mut Session) {
    let update = |name: &str, level: i16, kind: i8| json!([{"feature": name, "max_version_level": level, "upgrade_type": kind, "allow_downgrade": kind > 1}]);
    for (name, level, kind) in [
        ("group.version", 1, 1),
        ("metadata.version", 30, 1),
        ("group.version", 2, 1),
        ("group.version", -1, 1),
        ("metadata.version", 31, 1),
        ("no.such.feature", 1, 1),
        ("no.such.feature", 0, 1),
        ("", 1, 1),
    ] {
        s.each(
            &format!("{name} {level} {kind}"),
            "UpdateFeatures",
            json!({"timeout_ms": 10_000,
            "feature_updates": update(name, level, kind), "validate_only": true}),
        );
    }
    for (name, level, kind) in [
        ("group.version", 1, 0),
        ("group.version", 1, 9),
        ("group.version", 2, 2),
        ("group.version", 1, 2),
        ("group.version", 0, 1),
    ] {
        s.from(
            &format!("{name} {level} {kind}"),
            "UpdateFeatures",
            1,
            json!({"timeout_ms": 10_000,
            "feature_updates": update(name, level, kind), "validate_only": true}),
        );
    }
    s.from("nothing", "UpdateFeatures", 1, json!({"timeout_ms": 10_000, "validate_only": true}));
    s.from(
        "twice",
        "UpdateFeatures",
        1,
        json!({"timeout_ms": 10_000, "validate_only": true, "feature_updates": [
        {"feature": "group.version", "max_version_level": 1, "upgrade_type": 1},
        {"feature": "group.version", "max_version_level": 1, "upgrade_type": 1}]}),
    );
}

fn quorum(s: &mut Session) {
    for topics in [
        json!([{"topic_name": "__cluster_metadata", "partitions": [{"partition_index": 0}]}]),
        json!([{"topic_name": "__cluster_metadata", "partitions": [{"partition_index": 1}]}]),
        json!([{"topic_name": "__cluster_metadata", "partitions": [{"partition_index": 0}, {"partition_index": 1}]}]),
        json!([{"topic_name": "listed", "partitions": [{"partition_index": 0}]}]),
        json!([{"topic_name": "__cluster_metadata", "partitions": [{"partition_index": 0}]},
            {"topic_name": "listed", "partitions": [{"partition_index": 0}]}]),
        json!([]),
    ] {
        s.each(&topics.to_string(), "DescribeQuorum", json!({"topics": topics}));
    }
}

fn resources(s: &mut Session) {
    for kinds in
        [json!([2]), json!([4]), json!([8]), json!([16]), json!([32]), json!([32, 4, 4]), json!([1]), json!([99, 2])]
    {
        s.each(&kinds.to_string(), "ListConfigResources", json!({"resource_types": kinds}));
    }
}

fn transactions(s: &mut Session) {
    for states in [
        json!([]),
        json!(["Ongoing"]),
        json!(["ongoing", "Nonsense", "Empty", ""]),
        json!(["Dead", "PrepareEpochFence"]),
    ] {
        s.each(
            &states.to_string(),
            "ListTransactions",
            json!({"state_filters": states, "duration_filter": -1,
            "transactional_id_pattern": null}),
        );
    }
    s.each(
        "of a producer",
        "ListTransactions",
        json!({"producer_id_filters": [1, -1], "duration_filter": -1,
        "transactional_id_pattern": null}),
    );
    s.from("for a while", "ListTransactions", 1, json!({"duration_filter": 1000, "transactional_id_pattern": null}));
    for pattern in ["", "a.*", "[", "("] {
        s.from(
            &format!("like {pattern:?}"),
            "ListTransactions",
            2,
            json!({"duration_filter": -1,
            "transactional_id_pattern": pattern}),
        );
    }
}

//! Consumer groups (KIP-848): heartbeats, epochs, assignments, offsets of members; what becomes of classic ones.

use super::groups::commit;
use crate::session::{Session, hex};
use serde_json::{Value as Json, json};

pub(crate) fn play(s: &mut Session) {
    let id = s.topic("shared", 3, &[]);
    refused(s);
    one(s, &id);
    drawn(s);
    two(s);
    expressions(s);
    instances(s);
    described(s);
    mixed(s);
}

/// The first heartbeat of a member.
fn joins(group: &str, member: &str, topics: Json) -> Json {
    json!({"group_id": group, "member_id": member, "member_epoch": 0, "instance_id": null, "rack_id": null,
        "rebalance_timeout_ms": 30_000, "subscribed_topic_names": topics, "subscribed_topic_regex": null,
        "server_assignor": null, "topic_partitions": []})
}

/// A heartbeat that changes nothing.
fn beats(group: &str, member: &str, epoch: i64) -> Json {
    json!({"group_id": group, "member_id": member, "member_epoch": epoch, "instance_id": null, "rack_id": null,
        "rebalance_timeout_ms": -1, "subscribed_topic_names": null, "subscribed_topic_regex": null,
        "server_assignor": null, "topic_partitions": null})
}

fn refused(s: &mut Session) {
    let api = "ConsumerGroupHeartbeat";
    let shared = json!(["shared"]);
    for (what, request) in [
        ("without group", joins("", "m", shared.clone())),
        ("without member", joins("refused", "", shared.clone())),
        ("of no group", beats("refused", "m", 1)),
        ("leaving no group", beats("refused", "m", -1)),
        ("an epoch below", beats("refused", "m", -3)),
        ("without topics", joins("refused", "m", Json::Null)),
    ] {
        s.ask(what, api, 1, request);
    }
    let change = |field: &str, value: Json| {
        let mut request = joins("refused", "m", json!(["shared"]));
        request[field] = value;
        request
    };
    for (field, value) in [
        ("rebalance_timeout_ms", json!(-1)),
        ("rebalance_timeout_ms", json!(0)),
        ("topic_partitions", Json::Null),
        ("topic_partitions", json!([{"topic_id": "id:6ba7b810-9dad-11d1-80b4-00c04fd430c8", "partitions": [0]}])),
        ("server_assignor", json!("nobody")),
        ("server_assignor", json!("")),
        ("instance_id", json!("")),
        ("rack_id", json!("")),
        ("subscribed_topic_regex", json!("[")),
        ("member_id", json!("  ")),
        ("group_id", json!("  ")),
    ] {
        s.ask(&format!("{field} {value}"), api, 1, change(field, value));
    }
    let mut late = beats("refused", "m", -2);
    late["instance_id"] = Json::Null;
    s.ask("leaving for a while without instance", api, 1, late);
    s.each("of no group", "ConsumerGroupDescribe", json!({"group_ids": ["no-such-group", ""]}));
    s.each("none", "ConsumerGroupDescribe", json!({"group_ids": []}));
    s.ask("a classic one", "ConsumerGroupDescribe", 1, json!({"group_ids": ["outside-2"]}));
}

fn one(s: &mut Session, id: &str) {
    let api = "ConsumerGroupHeartbeat";
    let joined = s.ask("joins", api, 1, joins("one", "m1", json!(["shared"])));
    let epoch = joined["member_epoch"].as_i64().unwrap();
    s.ask("is alive", api, 1, beats("one", "m1", epoch));
    let mut owns = beats("one", "m1", epoch);
    owns["topic_partitions"] = json!([{"topic_id": id, "partitions": [0, 1, 2]}]);
    s.ask("owns all", api, 1, owns);
    s.ask("with an epoch to come", api, 1, beats("one", "m1", epoch + 1));
    s.ask("with an epoch long past", api, 1, beats("one", "m1", epoch + 100));
    s.ask("a stranger", api, 1, beats("one", "m9", epoch));
    let mut names = beats("one", "m1", epoch);
    names["subscribed_topic_names"] = json!(["shared", "kept", "no-such-topic"]);
    let renamed = s.ask("wants more", api, 1, names);
    let epoch = renamed["member_epoch"].as_i64().unwrap();
    s.ask("with an epoch that was", api, 1, beats("one", "m1", epoch - 1));
    s.each("as it is", "ConsumerGroupDescribe", json!({"group_ids": ["one"], "include_authorized_operations": true}));
    s.each("as a classic one", "DescribeGroups", json!({"groups": ["one"]}));
    let topics = json!([{"name": "shared", "topic_id": id, "partitions": [{"partition_index": 0, "committed_offset": 4,
        "committed_leader_epoch": -1, "committed_metadata": "m"}]}]);
    for (what, epoch, member) in [
        ("commits", epoch, "m1"),
        ("commits with an epoch to come", epoch + 1, "m1"),
        ("commits with an epoch that was", epoch - 1, "m1"),
        ("a stranger commits", epoch, "m9"),
        ("from outside", -1, ""),
    ] {
        s.each(what, "OffsetCommit", commit("one", epoch as i32, member, topics.clone()));
    }
    for (what, epoch, member) in [
        ("fetches", epoch, json!("m1")),
        ("with an epoch to come", epoch + 1, json!("m1")),
        ("a stranger", epoch, json!("m9")),
        ("from outside", -1, Json::Null),
        ("with an epoch that was", epoch - 1, json!("m1")),
    ] {
        s.from(
            what,
            "OffsetFetch",
            9,
            json!({"groups": [{"group_id": "one", "member_id": member, "member_epoch": epoch,
            "topics": [{"name": "shared", "topic_id": id, "partition_indexes": [0, 1]}]}]}),
        );
    }
    s.ask(
        "a consumed topic",
        "OffsetDelete",
        0,
        json!({"group_id": "one", "topics": [{"name": "shared",
        "partitions": [{"partition_index": 0}]}]}),
    );
    s.ask("too early", "DeleteGroups", 2, json!({"groups_names": ["one"]}));
    s.ask(
        "a classic one joins",
        "JoinGroup",
        5,
        json!({"group_id": "one", "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": 10_000, "member_id": "", "protocol_type": "sr", "group_instance_id": null,
        "protocols": [{"name": "x", "metadata": hex(b"x")}]}),
    );
    s.ask("leaves", api, 1, beats("one", "m1", -1));
    s.ask("leaves again", api, 1, beats("one", "m1", -1));
    s.each("empty", "ConsumerGroupDescribe", json!({"group_ids": ["one"]}));
}

/// Version 0, in which the broker draws the member's id.
fn drawn(s: &mut Session) {
    let api = "ConsumerGroupHeartbeat";
    let joined = s.ask("joins", api, 0, joins("drawn", "", json!(["shared"])));
    let (member, epoch) = (joined["member_id"].as_str().unwrap(), joined["member_epoch"].as_i64().unwrap());
    s.ask("is alive", api, 0, beats("drawn", member, epoch));
    s.ask("a stranger", api, 0, beats("drawn", "m9", epoch));
    s.ask("leaves", api, 0, beats("drawn", member, -1));
}

fn two(s: &mut Session) {
    let api = "ConsumerGroupHeartbeat";
    for assignor in ["uniform", "range"] {
        let group = format!("two-{assignor}");
        let joins = |member: &str| {
            // One topic: which of two is whose is up to their ids.
            let mut request = joins(&group, member, json!(["shared"]));
            request["server_assignor"] = json!(assignor);
            request
        };
        let first = s.ask("the first joins", api, 1, joins("m1"));
        let mut epoch = first["member_epoch"].as_i64().unwrap();
        let second = s.ask("the second joins", api, 1, joins("m2"));
        let mut other = second["member_epoch"].as_i64().unwrap();
        for round in 0..3 {
            let answer = s.ask(&format!("the first, round {round}"), api, 1, beats(&group, "m1", epoch));
            epoch = answer["member_epoch"].as_i64().unwrap();
            if !answer["assignment"].is_null() {
                let mut owns = beats(&group, "m1", epoch);
                owns["topic_partitions"] = answer["assignment"]["topic_partitions"].clone();
                let answer = s.ask(&format!("the first owns, round {round}"), api, 1, owns);
                epoch = answer["member_epoch"].as_i64().unwrap();
            }
            let answer = s.ask(&format!("the second, round {round}"), api, 1, beats(&group, "m2", other));
            other = answer["member_epoch"].as_i64().unwrap();
            if !answer["assignment"].is_null() {
                let mut owns = beats(&group, "m2", other);
                owns["topic_partitions"] = answer["assignment"]["topic_partitions"].clone();
                let answer = s.ask(&format!("the second owns, round {round}"), api, 1, owns);
                other = answer["member_epoch"].as_i64().unwrap();
            }
        }
        s.each("both", "ConsumerGroupDescribe", json!({"group_ids": [group]}));
        s.ask("the first leaves", api, 1, beats(&group, "m1", -1));
        s.ask("the second has all", api, 1, beats(&group, "m2", other));
        s.ask("the second leaves", api, 1, beats(&group, "m2", -1));
    }
}

fn expressions(s: &mut Session) {
    let api = "ConsumerGroupHeartbeat";
    let mut joins = joins("matching", "m1", Json::Null);
    joins["subscribed_topic_regex"] = json!("sha.*");
    let answer = s.ask("an expression", api, 1, joins);
    s.settle();
    let epoch = answer["member_epoch"].as_i64().unwrap();
    let answer = s.quietly(api, 1, beats("matching", "m1", epoch));
    let epoch = answer["member_epoch"].as_i64().unwrap();
    s.ask("matches", "ConsumerGroupDescribe", 1, json!({"group_ids": ["matching"]}));
    for wrong in ["[", "(", "*", "a{2", "\\"] {
        let mut request = beats("matching", "m1", epoch);
        request["subscribed_topic_regex"] = json!(wrong);
        s.ask(&format!("expression {wrong:?}"), api, 1, request);
    }
    s.ask("leaves", api, 1, beats("matching", "m1", -1));
}

fn instances(s: &mut Session) {
    let api = "ConsumerGroupHeartbeat";
    let mut joins = joins("instances", "m1", json!(["shared"]));
    joins["instance_id"] = json!("i");
    let first = s.ask("joins", api, 1, joins.clone());
    let epoch = first["member_epoch"].as_i64().unwrap();
    joins["member_id"] = json!("m2");
    s.ask("another takes its place", api, 1, joins.clone());
    let mut late = beats("instances", "m1", -2);
    late["instance_id"] = json!("i");
    s.ask("leaves for a while", api, 1, late.clone());
    s.ask("leaves again", api, 1, late);
    s.ask("is away", "ConsumerGroupDescribe", 1, json!({"group_ids": ["instances"]}));
    s.ask("another takes its place now", api, 1, joins);
    let mut beat = beats("instances", "m1", epoch);
    beat["instance_id"] = json!("i");
    s.ask("the first comes back", api, 1, beat);
    let mut gone = beats("instances", "m2", -1);
    gone["instance_id"] = json!("i");
    s.ask("leaves for good", api, 1, gone);
}

fn described(s: &mut Session) {
    s.from("consumer groups", "ListGroups", 5, json!({"types_filter": ["consumer"]}));
    s.ask("deleted", "DeleteGroups", 2, json!({"groups_names": ["one"]}));
    s.ask("gone", "ConsumerGroupDescribe", 1, json!({"group_ids": ["one"]}));
}

/// A classic member and a group with offsets become members of a consumer group.
fn mixed(s: &mut Session) {
    let api = "ConsumerGroupHeartbeat";
    s.ask("a group with offsets only", api, 1, joins("outside-5", "m1", json!(["shared"])));
    s.ask("is one now", "ConsumerGroupDescribe", 1, json!({"group_ids": ["outside-5"]}));
    s.ask("leaves", api, 1, beats("outside-5", "m1", -1));
    s.ask(
        "a group of another type",
        "JoinGroup",
        3,
        json!({"group_id": "registry", "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": 10_000, "member_id": "", "protocol_type": "sr",
        "protocols": [{"name": "v0", "metadata": hex(b"x")}]}),
    );
    s.ask("joins it", api, 1, joins("registry", "m1", json!(["shared"])));
}

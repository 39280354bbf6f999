//! Classic groups: found, joined, left; offsets kept; described, listed, deleted.

use crate::session::{Session, hex};
use serde_json::{Value as Json, json};

const UNKNOWN: &str = "id:6ba7b810-9dad-11d1-80b4-00c04fd430c8";

pub(crate) fn play(s: &mut Session) {
    // The first one who asks has the internal topic created, which takes Kafka a while.
    while s.quietly("FindCoordinator", 2, json!({"key": "g", "key_type": 0}))["error_code"] != 0 {
        s.settle();
    }
    while s.quietly("DescribeGroups", 0, json!({"groups": ["g"]}))["groups"][0]["error_code"] != 0 {
        s.settle();
    }
    s.each("a group", "FindCoordinator", json!({"key": "g", "key_type": 0, "coordinator_keys": ["g", "h"]}));
    s.each("a group without name", "FindCoordinator", json!({"key": "", "key_type": 0, "coordinator_keys": [""]}));
    s.from("what is not there", "FindCoordinator", 1, json!({"key": "g", "key_type": 9, "coordinator_keys": ["g"]}));
    s.from("nothing", "FindCoordinator", 4, json!({"key_type": 0, "coordinator_keys": []}));
    strangers(s);
    alone(s);
    two(s);
    statics(s);
    offsets(s);
    looks(s);
    ends(s);
}

fn join(group: &str, member: &str, metadata: &[u8]) -> Json {
    json!({"group_id": group, "session_timeout_ms": 10_000, "rebalance_timeout_ms": 10_000, "member_id": member,
        "group_instance_id": null, "protocol_type": "consumer", "protocols": [{"name": "range", "metadata": hex(metadata)}],
        "reason": null})
}

/// A member of its own group in every version, and what it does there.
fn alone(s: &mut Session) {
    for version in 0..=9 {
        let group = format!("alone-{version}");
        s.send("JoinGroup", version, &join(&group, "", b"m"));
        let mut joined = s.answer_to("JoinGroup", version);
        s.note("joins", "JoinGroup", version, joined.clone());
        if version >= 4 {
            let given = joined["member_id"].as_str().unwrap().to_owned();
            s.send("JoinGroup", version, &join(&group, &given, b"m"));
            joined = s.answer_to("JoinGroup", version);
            s.note("joins again", "JoinGroup", version, joined.clone());
        }
        let member = joined["member_id"].as_str().unwrap().to_owned();
        let sync = |generation: i32, member: &str| {
            json!({"group_id": group, "generation_id": generation, "member_id": member, "group_instance_id": null,
                "protocol_type": "consumer", "protocol_name": "range",
                "assignments": [{"member_id": member, "assignment": hex(b"yours")}]})
        };
        let version = version.min(5);
        s.ask("an old generation syncs", "SyncGroup", version, sync(0, &member));
        s.ask("a stranger syncs", "SyncGroup", version, sync(1, "stranger"));
        s.ask("syncs", "SyncGroup", version, sync(1, &member));
        s.ask("syncs again", "SyncGroup", version, sync(1, &member));
        if version == 5 {
            for (kind, name) in [("sr", "range"), ("consumer", "roundrobin")] {
                let mut wrong = sync(1, &member);
                wrong["protocol_type"] = json!(kind);
                wrong["protocol_name"] = json!(name);
                s.ask(&format!("syncs as {kind} {name}"), "SyncGroup", version, wrong);
            }
        }
        let beat = |generation: i32, member: &str| json!({"group_id": group, "generation_id": generation, "member_id": member, "group_instance_id": null});
        let version = version.min(4);
        s.ask("is alive", "Heartbeat", version, beat(1, &member));
        s.ask("is of another generation", "Heartbeat", version, beat(2, &member));
        s.ask("is a stranger", "Heartbeat", version, beat(1, "stranger"));
        s.ask("is nobody", "Heartbeat", version, beat(1, ""));
        s.each("as it is", "DescribeGroups", json!({"groups": [group]}));
        s.ask("deleted too early", "DeleteGroups", 2, json!({"groups_names": [group]}));
        let leave = |member: &str| {
            json!({"group_id": group, "member_id": member, "members": [
                {"member_id": member, "group_instance_id": null, "reason": null}]})
        };
        s.ask("a stranger leaves", "LeaveGroup", version, leave("stranger"));
        s.ask("leaves", "LeaveGroup", version, leave(&member));
        s.ask("leaves again", "LeaveGroup", version, leave(&member));
        s.ask("is alive no more", "Heartbeat", version, beat(1, &member));
        s.each("empty", "DescribeGroups", json!({"groups": [group], "include_authorized_operations": true}));
    }
}

/// Requests that no member sends.
fn strangers(s: &mut Session) {
    s.each("without a name", "JoinGroup", join("", "", b"m"));
    s.each("a member that nobody knows", "JoinGroup", join("strange", "stranger", b"m"));
    for timeout in [0, -1, 5999, 1_800_001] {
        let mut request = join("strange", "", b"m");
        request["session_timeout_ms"] = json!(timeout);
        s.each(&format!("a session of {timeout} ms"), "JoinGroup", request);
    }
    let mut request = join("strange", "", b"m");
    request["protocols"] = json!([]);
    s.each("without protocols", "JoinGroup", request);
    let mut request = join("strange", "", b"m");
    request["protocol_type"] = json!("");
    s.each("without a protocol type", "JoinGroup", request);
    let beat = json!({"group_id": "nowhere", "generation_id": 1, "member_id": "m", "group_instance_id": null});
    s.each("of no group", "Heartbeat", beat);
    s.each(
        "of a group without name",
        "Heartbeat",
        json!({"group_id": "", "generation_id": 1, "member_id": "m",
        "group_instance_id": null}),
    );
    s.each(
        "of no group",
        "SyncGroup",
        json!({"group_id": "nowhere", "generation_id": 1, "member_id": "m",
        "group_instance_id": null, "protocol_type": null, "protocol_name": null, "assignments": []}),
    );
    s.each(
        "from no group",
        "LeaveGroup",
        json!({"group_id": "nowhere", "member_id": "m", "members": [
        {"member_id": "m", "group_instance_id": null, "reason": null},
        {"member_id": "", "group_instance_id": "i", "reason": null}]}),
    );
    s.from("nobody", "LeaveGroup", 3, json!({"group_id": "nowhere", "members": []}));
    s.each("that are not there", "DescribeGroups", json!({"groups": ["nowhere", ""]}));
    s.each("none", "DescribeGroups", json!({"groups": []}));
    s.each("that are not there", "DeleteGroups", json!({"groups_names": ["nowhere", ""]}));
    s.each("none", "DeleteGroups", json!({"groups_names": []}));
}

/// Two members: a rebalance, an assignment, another one.
fn two(s: &mut Session) {
    let joined = |s: &mut Session, what: &str, version: i16| {
        let answer = s.answer_to("JoinGroup", version);
        s.note(what, "JoinGroup", version, answer.clone());
        answer["member_id"].as_str().unwrap().to_owned()
    };
    let version = 3;
    s.on("first").send("JoinGroup", version, &join("two", "", b"one"));
    let first = joined(s, "the first joins", version);
    let sync = |generation: i32, member: &str, assignments: Json| {
        json!({"group_id": "two", "generation_id": generation, "member_id": member, "group_instance_id": null,
            "protocol_type": null, "protocol_name": null, "assignments": assignments})
    };
    s.ask("the first syncs", "SyncGroup", 3, sync(1, &first, json!([{"member_id": first, "assignment": hex(b"all")}])));
    let mut other = join("two", "", b"two");
    other["protocols"] = json!([{"name": "roundrobin", "metadata": hex(b"x")}]);
    s.on("third").ask("one with another protocol", "JoinGroup", version, other);
    let mut other = join("two", "", b"two");
    other["protocol_type"] = json!("sr");
    s.ask("one of another type", "JoinGroup", version, other);
    s.on("second").send("JoinGroup", version, &join("two", "", b"two"));
    s.hear_nothing("the second waits", "JoinGroup", version);
    let beat = |generation: i32, member: &str| json!({"group_id": "two", "generation_id": generation, "member_id": member, "group_instance_id": null});
    s.on("first").ask("the first is told", "Heartbeat", 3, beat(1, &first));
    s.ask("the first syncs late", "SyncGroup", 3, sync(1, &first, json!([])));
    s.ask("the first commits late", "OffsetCommit", 7, json!({"group_id": "two", "generation_id_or_member_epoch": 1,
        "member_id": first, "group_instance_id": null, "topics": [{"name": "out", "partitions": [
            {"partition_index": 0, "committed_offset": 5, "committed_leader_epoch": -1, "committed_metadata": "late"}]}]}));
    s.send("JoinGroup", version, &join("two", &first, b"one"));
    let again = joined(s, "the first joins again", version);
    assert_eq!(again, first);
    let second = {
        s.on("second");
        joined(s, "the second is in", version)
    };
    s.send("SyncGroup", 3, &sync(2, &second, json!([])));
    s.hear_nothing("the second waits for its share", "SyncGroup", 3);
    s.on("first").ask(
        "the first shares",
        "SyncGroup",
        3,
        sync(
            2,
            &first,
            json!([
        {"member_id": first, "assignment": hex(b"mine")}, {"member_id": "stranger", "assignment": hex(b"theirs")}]),
        ),
    );
    s.on("second").hear("the second has none", "SyncGroup", 3);
    s.on("first").ask(
        "the first commits",
        "OffsetCommit",
        7,
        json!({"group_id": "two",
        "generation_id_or_member_epoch": 1, "member_id": first, "group_instance_id": null, "topics": [{"name": "out",
            "partitions": [{"partition_index": 0, "committed_offset": 6, "committed_leader_epoch": 0,
                "committed_metadata": null}]}]}),
    );
    s.ask("two members", "DescribeGroups", 5, json!({"groups": ["two"]}));
    s.ask("the second goes", "LeaveGroup", 1, json!({"group_id": "two", "member_id": second}));
    s.ask("the first is told again", "Heartbeat", 3, beat(2, &first));
    s.ask("the first goes", "LeaveGroup", 1, json!({"group_id": "two", "member_id": first}));
    s.on("");
}

/// Members that keep their place.
fn statics(s: &mut Session) {
    let version = 9;
    let mut join = join("static", "", b"m");
    join["group_instance_id"] = json!("i");
    s.send("JoinGroup", version, &join);
    let joined = s.answer_to("JoinGroup", version);
    s.note("joins", "JoinGroup", version, joined.clone());
    let member = joined["member_id"].as_str().unwrap().to_owned();
    let sync = |generation: i32, member: &str, instance: Json| {
        json!({"group_id": "static", "generation_id": generation, "member_id": member, "group_instance_id": instance,
            "protocol_type": "consumer", "protocol_name": "range",
            "assignments": [{"member_id": member, "assignment": hex(b"mine")}]})
    };
    s.ask("syncs", "SyncGroup", 5, sync(1, &member, json!("i")));
    s.send("JoinGroup", version, &join);
    let again = s.answer_to("JoinGroup", version);
    s.note("comes back", "JoinGroup", version, again.clone());
    let back = again["member_id"].as_str().unwrap().to_owned();
    let beat = |member: &str, instance: Json| json!({"group_id": "static", "generation_id": 1, "member_id": member, "group_instance_id": instance});
    s.ask("its former self is fenced", "Heartbeat", 4, beat(&member, json!("i")));
    s.ask("is alive", "Heartbeat", 4, beat(&back, json!("i")));
    s.ask("another instance", "Heartbeat", 4, beat(&back, json!("j")));
    s.ask("its former self syncs", "SyncGroup", 5, sync(1, &member, json!("i")));
    s.ask("syncs again", "SyncGroup", 5, sync(1, &back, json!("i")));
    s.ask(
        "its former self commits",
        "OffsetCommit",
        9,
        json!({"group_id": "static",
        "generation_id_or_member_epoch": 1, "member_id": member, "group_instance_id": "i", "topics": [{"name": "out",
            "partitions": [{"partition_index": 0, "committed_offset": 6, "committed_leader_epoch": 0,
                "committed_metadata": null}]}]}),
    );
    s.each("a static one", "DescribeGroups", json!({"groups": ["static"]}));
    s.ask(
        "its former self leaves",
        "LeaveGroup",
        5,
        json!({"group_id": "static", "members": [
        {"member_id": member, "group_instance_id": "i", "reason": "late"}]}),
    );
    s.ask(
        "another leaves",
        "LeaveGroup",
        5,
        json!({"group_id": "static", "members": [
        {"member_id": "", "group_instance_id": "j", "reason": null}]}),
    );
    s.ask(
        "is sent away",
        "LeaveGroup",
        5,
        json!({"group_id": "static", "members": [
        {"member_id": "", "group_instance_id": "i", "reason": null}]}),
    );
}

pub(crate) fn commit(group: &str, generation: i32, member: &str, topics: Json) -> Json {
    json!({"group_id": group, "generation_id_or_member_epoch": generation, "member_id": member,
        "group_instance_id": null, "retention_time_ms": -1, "topics": topics})
}

/// Offsets that are kept from outside, and asked for.
fn offsets(s: &mut Session) {
    let id = s.topic("kept", 3, &[]);
    let partition = |index: i32, offset: i64, metadata: Json| {
        json!({"partition_index": index, "committed_offset": offset, "committed_leader_epoch": 0,
            "committed_metadata": metadata})
    };
    let kept = |partitions: Json| json!([{"name": "kept", "topic_id": id, "partitions": partitions}]);
    for version in 2..=10 {
        let group = format!("outside-{version}");
        let two = kept(json!([partition(0, 5, json!("note")), partition(1, 7, Json::Null)]));
        s.ask("from outside", "OffsetCommit", version, commit(&group, -1, "", two));
    }
    let one = kept(json!([partition(0, 5, json!("note"))]));
    s.each("a member of no group", "OffsetCommit", commit("no-such-group", 1, "m", one.clone()));
    s.each("a generation of an empty group", "OffsetCommit", commit("outside-2", 1, "m", one.clone()));
    s.each("a member of an empty group", "OffsetCommit", commit("outside-2", -1, "m", one.clone()));
    s.each("a group without name", "OffsetCommit", commit("", -1, "", one));
    s.each("no topics", "OffsetCommit", commit("outside-2", -1, "", json!([])));
    s.each("no partitions", "OffsetCommit", commit("outside-2", -1, "", kept(json!([]))));
    s.each(
        "a negative offset",
        "OffsetCommit",
        commit("outside-2", -1, "", kept(json!([partition(0, -1, json!(""))]))),
    );
    s.each(
        "an unknown partition",
        "OffsetCommit",
        commit("outside-2", -1, "", kept(json!([partition(9, 1, json!(""))]))),
    );
    s.each(
        "a long note",
        "OffsetCommit",
        commit("outside-2", -1, "", kept(json!([partition(2, 1, json!("x".repeat(4097)))]))),
    );
    let unknown = json!([{"name": "nobody", "topic_id": UNKNOWN, "partitions": [partition(0, 1, json!(""))]},
        {"name": "kept", "topic_id": id, "partitions": [partition(2, 3, json!(""))]}]);
    s.each("an unknown topic", "OffsetCommit", commit("outside-2", -1, "", unknown));

    let asked = |group: &str, topics: Json| {
        json!({"group_id": group, "topics": topics, "groups": [{"group_id": group, "member_id": null, "member_epoch": -1,
            "topics": topics}]})
    };
    let by_name = |indexes: Json| json!([{"name": "kept", "partition_indexes": indexes}]);
    for version in 1..=10 {
        let topics = |indexes: Json| {
            if version >= 10 { json!([{"topic_id": id, "partition_indexes": indexes}]) } else { by_name(indexes) }
        };
        s.ask("kept", "OffsetFetch", version, asked("outside-6", topics(json!([0, 1, 2]))));
        s.ask("one twice", "OffsetFetch", version, asked("outside-6", topics(json!([0, 0]))));
        s.ask("an unknown partition", "OffsetFetch", version, asked("outside-6", topics(json!([9, -1]))));
        s.ask("no partitions", "OffsetFetch", version, asked("outside-6", topics(json!([]))));
        s.ask("none", "OffsetFetch", version, asked("outside-6", json!([])));
        s.ask("of no group", "OffsetFetch", version, asked("no-such-group", topics(json!([0]))));
        s.ask("of a group without name", "OffsetFetch", version, asked("", topics(json!([0]))));
        if version >= 2 {
            s.ask("all", "OffsetFetch", version, asked("outside-6", Json::Null));
            s.ask("all of no group", "OffsetFetch", version, asked("no-such-group", Json::Null));
        }
        let unknown = if version >= 10 {
            json!([{"topic_id": UNKNOWN, "partition_indexes": [0]}])
        } else {
            json!([{"name": "nobody", "partition_indexes": [0]}])
        };
        s.ask("an unknown topic", "OffsetFetch", version, asked("outside-6", unknown));
    }
    s.from(
        "two groups",
        "OffsetFetch",
        8,
        json!({"require_stable": true, "groups": [
        {"group_id": "outside-2", "member_id": null, "member_epoch": -1, "topics": null},
        {"group_id": "outside-3", "member_id": null, "member_epoch": -1, "topics": null}]}),
    );
    s.from("no group", "OffsetFetch", 8, json!({"groups": []}));
    s.from(
        "a member that nobody knows",
        "OffsetFetch",
        9,
        json!({"groups": [
        {"group_id": "outside-2", "member_id": "m", "member_epoch": 1, "topics": null}]}),
    );

    for (what, group, topics) in [
        ("of no group", "no-such-group", json!([{"name": "kept", "partitions": [{"partition_index": 0}]}])),
        ("one", "outside-3", json!([{"name": "kept", "partitions": [{"partition_index": 0}]}])),
        (
            "it again",
            "outside-3",
            json!([{"name": "kept", "partitions": [{"partition_index": 0}, {"partition_index": 9}]}]),
        ),
        ("of an unknown topic", "outside-3", json!([{"name": "nobody", "partitions": [{"partition_index": 0}]}])),
        ("none", "outside-3", json!([])),
        ("without name", "", json!([])),
    ] {
        s.ask(what, "OffsetDelete", 0, json!({"group_id": group, "topics": topics}));
    }
    s.ask("what is left", "OffsetFetch", 7, json!({"group_id": "outside-3", "topics": null}));
}

fn looks(s: &mut Session) {
    s.each("all", "ListGroups", json!({}));
    for state in ["Empty", "empty", "Stable", "Dead", "Nonsense", ""] {
        s.from(&format!("in state {state:?}"), "ListGroups", 4, json!({"states_filter": [state]}));
    }
    for kind in ["classic", "Classic", "consumer", "share", "streams", "Nonsense", ""] {
        s.from(&format!("of type {kind:?}"), "ListGroups", 5, json!({"types_filter": [kind]}));
    }
    s.from("of both", "ListGroups", 5, json!({"types_filter": ["classic", "consumer"], "states_filter": ["Empty"]}));
}

fn ends(s: &mut Session) {
    // A topic that goes takes the offsets that were kept for it along.
    s.topic("brief", 1, &[]);
    let partition = json!({"partition_index": 0, "committed_offset": 4, "committed_leader_epoch": -1,
        "committed_metadata": "brief"});
    let topics = json!([{"name": "brief", "partitions": [partition]}]);
    s.ask("of a brief topic", "OffsetCommit", 7, commit("brief", -1, "", topics));
    s.quietly("DeleteTopics", 5, json!({"topic_names": ["brief"], "timeout_ms": 10_000}));
    s.settle();
    s.topic("brief", 1, &[]);
    s.ask(
        "of its successor",
        "OffsetFetch",
        7,
        json!({"group_id": "brief", "topics": [{"name": "brief",
        "partition_indexes": [0]}]}),
    );
    s.each("outside-4 and others", "DeleteGroups", json!({"groups_names": ["outside-4", "outside-4", "nowhere"]}));
    s.ask("gone", "DescribeGroups", 6, json!({"groups": ["outside-4"]}));
}

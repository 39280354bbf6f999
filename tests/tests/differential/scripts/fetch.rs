//! Records out: where a fetch begins and ends, leader epochs, sessions.

use super::produce::{batch, request};
use crate::session::{Session, hex};
use esker_bench::batch::Codec;
use serde_json::{Value as Json, json};

const UNKNOWN: &str = "id:6ba7b810-9dad-11d1-80b4-00c04fd430c8";

struct Topic {
    name: &'static str,
    id: String,
}

impl Topic {
    fn partition(&self, index: i32, offset: i64, change: impl Fn(&mut Json)) -> Json {
        let mut partition = json!({"partition": index, "fetch_offset": offset, "partition_max_bytes": 1 << 20,
            "current_leader_epoch": -1, "last_fetched_epoch": -1, "log_start_offset": -1});
        change(&mut partition);
        json!({"topic": self.name, "topic_id": self.id, "partitions": [partition]})
    }
}

fn fetch(topics: Json) -> Json {
    json!({"replica_id": -1, "max_wait_ms": 0, "min_bytes": 0, "max_bytes": 10 << 20, "session_epoch": -1,
        "topics": topics})
}

pub(crate) fn play(s: &mut Session) {
    let topic = Topic { name: "out", id: s.topic("out", 2, &[]) };
    for count in [1, 2, 3] {
        s.quietly("Produce", 9, request("out", UNKNOWN, 0, json!(hex(&batch(count, Codec::None))), -1));
    }
    let at = |offset: i64| fetch(json!([topic.partition(0, offset, |_| ())]));
    for offset in [0, 1, 3, 4, 6] {
        s.each(&format!("from {offset}"), "Fetch", at(offset));
    }
    for offset in [7, 1000, -1, i64::MIN] {
        s.each(&format!("from {offset}, out of range"), "Fetch", at(offset));
    }
    s.each("an empty partition", "Fetch", fetch(json!([topic.partition(1, 0, |_| ())])));
    s.each("an unknown partition", "Fetch", fetch(json!([topic.partition(2, 0, |_| ())])));
    s.each("a partition below 0", "Fetch", fetch(json!([topic.partition(-1, 0, |_| ())])));
    let unknown = Topic { name: "nobody", id: UNKNOWN.to_owned() };
    s.each("an unknown topic", "Fetch", fetch(json!([unknown.partition(0, 0, |_| ())])));
    s.each(
        "one known, one not",
        "Fetch",
        fetch(json!([unknown.partition(0, 0, |_| ()), topic.partition(0, 5, |_| ())])),
    );
    s.each("nothing", "Fetch", fetch(json!([])));
    for (field, value) in [
        ("current_leader_epoch", 0),
        ("current_leader_epoch", 1),
        ("current_leader_epoch", -2),
        ("last_fetched_epoch", 0),
        ("last_fetched_epoch", 3),
        ("partition_max_bytes", 0),
        ("partition_max_bytes", 1),
        ("partition_max_bytes", 100),
        ("partition_max_bytes", -1),
    ] {
        let request = fetch(json!([topic.partition(0, 1, |partition| partition[field] = json!(value))]));
        s.each(&format!("{field} {value}"), "Fetch", request);
    }
    for (field, value) in [
        ("max_bytes", 0),
        ("max_bytes", 1),
        ("max_bytes", 100),
        ("max_bytes", -1),
        ("replica_id", 7),
        ("isolation_level", 1),
        ("isolation_level", 2),
        ("min_bytes", -1),
        ("max_wait_ms", -1),
    ] {
        let mut request = at(0);
        request[field] = json!(value);
        let newest = if field == "replica_id" { 4 } else { 0 };
        if newest == 0 {
            s.each(&format!("{field} {value}"), "Fetch", request);
        } else {
            s.ask(&format!("{field} {value}"), "Fetch", 12, request);
        }
    }
    let twice = json!([{"topic": "out", "topic_id": topic.id, "partitions": [
        topic.partition(0, 0, |_| ())["partitions"][0], topic.partition(0, 3, |_| ())["partitions"][0],
    ]}]);
    s.each("twice", "Fetch", fetch(twice));
    sessions(s, &topic);
}

fn sessions(s: &mut Session, topic: &Topic) {
    for version in [7, 12, 13, 18] {
        let open = |id: i64, epoch: i32, topics: Json| {
            let mut request = fetch(topics);
            request["session_id"] = json!(id);
            request["session_epoch"] = json!(epoch);
            request
        };
        let both = json!([{"topic": "out", "topic_id": topic.id, "partitions": [
            topic.partition(0, 3, |_| ())["partitions"][0], topic.partition(1, 0, |_| ())["partitions"][0],
        ]}]);
        s.send("Fetch", version, &open(0, 0, both));
        let opened = s.answer_to("Fetch", version);
        let id = opened["session_id"].as_i64().unwrap();
        s.note("a session", "Fetch", version, opened);
        // What was sent is sent again, until it is asked for from further on.
        s.ask("nothing new", "Fetch", version, open(id, 1, json!([])));
        s.ask("from further on", "Fetch", version, open(id, 2, json!([topic.partition(0, 6, |_| ())])));
        s.ask("nothing at all", "Fetch", version, open(id, 3, json!([])));
        s.ask("an epoch that was", "Fetch", version, open(id, 3, json!([])));
        s.ask("an epoch to come", "Fetch", version, open(id, 9, json!([])));
        s.ask("out of range", "Fetch", version, open(id, 4, json!([topic.partition(0, 100, |_| ())])));
        s.ask("and again", "Fetch", version, open(id, 5, json!([])));
        s.ask("an unknown session", "Fetch", version, open(1, 1, json!([])));
        let mut forget = open(id, 6, json!([]));
        forget["forgotten_topics_data"] = json!([{"topic": "out", "topic_id": topic.id, "partitions": [0]}]);
        s.ask("forgotten", "Fetch", version, forget);
        s.ask("an unknown partition joins", "Fetch", version, open(id, 7, json!([topic.partition(9, 0, |_| ())])));
        s.ask("closed", "Fetch", version, open(id, -1, json!([])));
        s.ask("after its end", "Fetch", version, open(id, 8, json!([])));
    }
}

//! Settings: read, changed key by key, replaced, refused.

use crate::session::Session;
use serde_json::{Value as Json, json};

const TOPIC: i32 = 2;
const BROKER: i32 = 4;
const LOGGER: i32 = 8;
const METRICS: i32 = 16;
const GROUP: i32 = 32;

fn describe(kind: i32, name: &str, keys: Json) -> Json {
    json!({"resources": [{"resource_type": kind, "resource_name": name, "configuration_keys": keys}]})
}

pub(crate) fn play(s: &mut Session) {
    s.topic("set", 1, &[("retention.ms", "1000"), ("cleanup.policy", "compact,delete")]);
    s.ask("every key of a topic", "DescribeConfigs", 4, describe(TOPIC, "set", Json::Null));
    s.ask("every key of a group", "DescribeConfigs", 4, describe(GROUP, "any", Json::Null));
    let keys = json!(["retention.ms", "cleanup.policy", "max.message.bytes", "no.such.key"]);
    s.each("some keys of a topic", "DescribeConfigs", describe(TOPIC, "set", keys.clone()));
    let mut with_synonyms = describe(TOPIC, "set", keys);
    with_synonyms["include_synonyms"] = json!(true);
    s.each("with synonyms", "DescribeConfigs", with_synonyms);
    s.ask("no keys", "DescribeConfigs", 4, describe(GROUP, "any", json!([])));
    let keys = json!([
        "log.retention.ms",
        "log.retention.hours",
        "num.partitions",
        "message.max.bytes",
        "node.id",
        "compression.type",
        "log.cleanup.policy",
        "min.insync.replicas",
        "auto.create.topics.enable"
    ]);
    let mut broker = describe(BROKER, "1", keys.clone());
    broker["include_synonyms"] = json!(true);
    s.each("some keys of a broker", "DescribeConfigs", broker);
    s.ask("of all brokers", "DescribeConfigs", 4, describe(BROKER, "", Json::Null));
    for (kind, name) in [
        (TOPIC, "nobody"),
        (TOPIC, "a b"),
        (TOPIC, ""),
        (BROKER, "2"),
        (BROKER, "x"),
        (BROKER, "-1"),
        (LOGGER, "2"),
        (LOGGER, ""),
        (LOGGER, "x"),
        (GROUP, ""),
        (0, ""),
        (0, "set"),
        (1, "x"),
        (3, "x"),
        (64, "x"),
        (-1, "x"),
        (METRICS, ""),
    ] {
        s.each(&format!("{kind} {name:?}"), "DescribeConfigs", describe(kind, name, json!(["retention.ms"])));
    }
    s.each("nothing", "DescribeConfigs", json!({"resources": []}));
    s.ask(
        "one twice",
        "DescribeConfigs",
        4,
        json!({"resources": [
            {"resource_type": TOPIC, "resource_name": "set", "configuration_keys": ["retention.ms"]},
            {"resource_type": TOPIC, "resource_name": "set", "configuration_keys": ["cleanup.policy"]},
        ]}),
    );
    incremental(s);
    whole(s);
}

fn alter(kind: i32, name: &str, configs: Json) -> Json {
    json!({"resources": [{"resource_type": kind, "resource_name": name, "configs": configs}]})
}

fn incremental(s: &mut Session) {
    let (set, delete, append, subtract) = (0, 1, 2, 3);
    let op =
        |name: &str, operation: i32, value: Json| json!({"name": name, "config_operation": operation, "value": value});
    let cases: Vec<(&str, Json)> = vec![
        ("set one", json!([op("retention.ms", set, json!("2000"))])),
        ("set it to null", json!([op("retention.ms", set, Json::Null)])),
        ("set nonsense", json!([op("retention.ms", set, json!("soon"))])),
        ("set an unknown key", json!([op("no.such.key", set, json!("1"))])),
        ("set a broker's key", json!([op("num.partitions", set, json!("1"))])),
        ("delete one", json!([op("retention.ms", delete, Json::Null)])),
        ("delete it again", json!([op("retention.ms", delete, Json::Null)])),
        ("delete an unknown key", json!([op("no.such.key", delete, Json::Null)])),
        ("append to a list", json!([op("cleanup.policy", append, json!("compact"))])),
        ("append what is there", json!([op("cleanup.policy", append, json!("delete"))])),
        ("append nonsense", json!([op("cleanup.policy", append, json!("compost"))])),
        ("append to a number", json!([op("retention.ms", append, json!("1"))])),
        ("append nothing", json!([op("cleanup.policy", append, Json::Null)])),
        ("subtract from a list", json!([op("cleanup.policy", subtract, json!("compact"))])),
        ("subtract what is not there", json!([op("cleanup.policy", subtract, json!("compact"))])),
        ("subtract the rest", json!([op("cleanup.policy", subtract, json!("delete"))])),
        ("subtract from a number", json!([op("retention.ms", subtract, json!("1"))])),
        ("an unknown operation", json!([op("retention.ms", 9, json!("1"))])),
        ("one key twice", json!([op("retention.ms", set, json!("1")), op("retention.ms", delete, Json::Null)])),
        ("one good, one bad", json!([op("retention.ms", set, json!("3")), op("segment.bytes", set, json!("x"))])),
        ("an empty key", json!([op("", set, json!("1"))])),
        ("an empty value", json!([op("retention.ms", set, json!(""))])),
        ("nothing", json!([])),
    ];
    for (what, configs) in cases {
        s.change(what, "IncrementalAlterConfigs", 1, alter(TOPIC, "set", configs));
        s.ask(
            &format!("after: {what}"),
            "DescribeConfigs",
            4,
            describe(TOPIC, "set", json!(["retention.ms", "cleanup.policy"])),
        );
    }
    let one = json!([op("retention.ms", set, json!("1"))]);
    for (kind, name) in [
        (TOPIC, "nobody"),
        (TOPIC, ""),
        (TOPIC, "a b"),
        (BROKER, "2"),
        (BROKER, "x"),
        (GROUP, ""),
        (0, "x"),
        (1, "x"),
        (64, "x"),
    ] {
        s.each(&format!("{kind} {name:?}"), "IncrementalAlterConfigs", alter(kind, name, one.clone()));
    }
    for (kind, name, key, value) in [
        (BROKER, "1", "log.retention.ms", "5000"),
        (BROKER, "", "message.max.bytes", "2000000"),
        (BROKER, "1", "node.id", "2"),
        (BROKER, "1", "no.such.key", "2"),
        (BROKER, "1", "log.retention.ms", "x"),
        (GROUP, "g", "consumer.session.timeout.ms", "50000"),
        (GROUP, "g", "consumer.session.timeout.ms", "1"),
        (GROUP, "g", "consumer.heartbeat.interval.ms", "x"),
        (GROUP, "g", "no.such.key", "1"),
        (GROUP, "g", "consumer.heartbeat.interval.ms", "6000"),
    ] {
        let request = alter(kind, name, json!([op(key, set, json!(value))]));
        s.change(&format!("{kind} {name:?} {key}={value}"), "IncrementalAlterConfigs", 1, request);
    }
    s.ask(
        "the group",
        "DescribeConfigs",
        4,
        describe(GROUP, "g", json!(["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"])),
    );
    s.ask("all brokers", "DescribeConfigs", 4, describe(BROKER, "", Json::Null));
    for (kind, name, key) in [
        (BROKER, "1", "log.retention.ms"),
        (BROKER, "", "message.max.bytes"),
        (GROUP, "g", "consumer.session.timeout.ms"),
        (GROUP, "g", "consumer.heartbeat.interval.ms"),
    ] {
        s.change(
            &format!("{key} back"),
            "IncrementalAlterConfigs",
            1,
            alter(kind, name, json!([op(key, delete, Json::Null)])),
        );
    }
    let mut perhaps = alter(TOPIC, "set", json!([op("retention.ms", set, json!("77"))]));
    perhaps["validate_only"] = json!(true);
    s.each("perhaps", "IncrementalAlterConfigs", perhaps);
    let level = |level: &str| json!([{"name": "root", "config_operation": 0, "value": level}]);
    for wanted in ["DEBUGG", "INFO"] {
        s.ask(&format!("level {wanted}"), "IncrementalAlterConfigs", 1, alter(LOGGER, "1", level(wanted)));
    }
    s.ask(
        "one twice",
        "IncrementalAlterConfigs",
        1,
        json!({"resources": [
        {"resource_type": TOPIC, "resource_name": "set", "configs": [op("retention.ms", set, json!("5"))]},
        {"resource_type": TOPIC, "resource_name": "set", "configs": [op("retention.ms", set, json!("6"))]},
        {"resource_type": TOPIC, "resource_name": "out", "configs": [op("retention.ms", set, json!("6"))]},
    ], "validate_only": true}),
    );
}

fn whole(s: &mut Session) {
    for (what, configs) in [
        ("two keys", json!([{"name": "retention.ms", "value": "4000"}, {"name": "segment.bytes", "value": "2000000"}])),
        ("another", json!([{"name": "retention.bytes", "value": "4000"}])),
        ("null", json!([{"name": "retention.ms", "value": null}])),
        ("nonsense", json!([{"name": "retention.ms", "value": "x"}])),
        ("unknown", json!([{"name": "no.such.key", "value": "x"}])),
        ("twice", json!([{"name": "retention.ms", "value": "1"}, {"name": "retention.ms", "value": "2"}])),
        ("none", json!([])),
    ] {
        s.change(what, "AlterConfigs", 2, alter(TOPIC, "set", configs));
        s.ask(
            &format!("after: {what}"),
            "DescribeConfigs",
            4,
            describe(TOPIC, "set", json!(["retention.ms", "retention.bytes", "segment.bytes", "cleanup.policy"])),
        );
    }
    let one = json!([{"name": "retention.ms", "value": "1"}]);
    for (kind, name) in [(TOPIC, "nobody"), (TOPIC, ""), (BROKER, "2"), (LOGGER, "1"), (GROUP, ""), (0, "x"), (64, "x")]
    {
        s.each(&format!("{kind} {name:?}"), "AlterConfigs", alter(kind, name, one.clone()));
    }
    s.each("nothing", "AlterConfigs", json!({"resources": []}));
}

//! Fuzz targets of what a person writes: properties files, settings, listeners, ids.
//!
//! See `esker_protocol::fuzz` for what a target is.

use super::per_ip::parse_per_ip;
use super::{
    BrokerConfig, Layers, Listener, Scope, check_topic_values, find, id_text, parse_id, parse_properties, parse_set,
};
use esker_protocol::fuzz::{MEMORY, PER_BYTE, Target};
use uuid::Uuid;

/// The targets of this module.
pub const TARGETS: &[Target] = &[
    Target {
        name: "properties",
        covers: &["broker/src/config/properties.rs", "broker/src/config/broker.rs", "broker/src/config/key.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: properties,
        seeds: property_seeds,
    },
    Target {
        name: "listeners",
        covers: &["broker/src/config/listener.rs", "broker/src/config/per_ip.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: listeners,
        seeds: listener_seeds,
    },
    Target {
        name: "id_text",
        covers: &["broker/src/config/id_text.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: ids,
        seeds: id_seeds,
    },
];

/// A properties file: whatever was read can be written with escapes and read as the same, and a broker or a topic takes
/// it or says why not.
fn properties(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = parse_set(&text);
    let Ok(values) = parse_properties(&text) else { return };
    let escaped = |text: &str| text.chars().map(|c| format!("\\{c}")).collect::<String>();
    // A letter behind a backslash may stand for something else, and the white space at the end of a value goes.
    let plain = |text: &str| !text.contains(['t', 'n', 'r', 'f', 'u', '\n', '\r']);
    if values.iter().all(|(key, value)| plain(key) && plain(value)) {
        let again: String =
            values.iter().map(|(key, value)| format!("{}={}\n", escaped(key), escaped(value))).collect();
        assert!(parse_properties(&again).is_ok_and(|again| again == values), "{again:?} instead of {values:?}");
    }
    let _ = check_topic_values(&values, &Layers::default());
    for (name, value) in &values {
        for scope in [Scope::Broker, Scope::Topic] {
            let _ = find(scope, name).map(|key| key.validate(value));
        }
    }
    if let Ok(config) = BrokerConfig::from_values(values, "localhost") {
        assert_eq!(config.listeners.len(), config.advertised_listeners.len());
        let _ = config.default_store_directory();
    }
}

fn property_seeds() -> Vec<Vec<u8>> {
    vec![
        b"# a comment\nnode.id=3\nlisteners : PLAINTEXT://:9092,\\\n  PLAINTEXT2://[::1]:0\nlog.dirs /a,/b\n".to_vec(),
        b"retention.ms=604800000\ncleanup.policy=compact,delete\nmax.message.bytes=1000012\n".to_vec(),
        b"a\\u0041\\=b=c\\td\\ \nadvertised.listeners=PLAINTEXT://host:9092\ncluster.id=AAAAAAAAAAAAAAAAAAAABw\n"
            .to_vec(),
    ]
}

/// Listeners: each says itself as it was read; and counts by address.
fn listeners(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(counts) = parse_per_ip(text) {
        let again: Vec<String> = counts.iter().map(|(address, count)| format!("{address}:{count}")).collect();
        assert_eq!(parse_per_ip(&again.join(",")), Ok(counts));
    }
    let Ok(listeners) = Listener::parse_list(text) else { return };
    assert!(!listeners.is_empty());
    let again: Vec<String> = listeners.iter().map(ToString::to_string).collect();
    assert_eq!(Listener::parse_list(&again.join(",")), Ok(listeners));
}

fn listener_seeds() -> Vec<Vec<u8>> {
    vec![
        b"PLAINTEXT://127.0.0.1:9092, INTERNAL://[::1]:0".to_vec(),
        b"a_b-c://:65535".to_vec(),
        b"10.0.0.1:5,[::1]:0".to_vec(),
    ]
}

/// An id has one spelling.
fn ids(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(id) = parse_id(text) {
        assert_eq!(id_text(id), text);
    }
    if let Some(bytes) = data.first_chunk() {
        let id = Uuid::from_bytes(*bytes);
        assert_eq!(parse_id(&id_text(id)), Some(id));
    }
}

fn id_seeds() -> Vec<Vec<u8>> {
    vec![id_text(Uuid::from_u128(7)).into_bytes(), id_text(Uuid::max()).into_bytes()]
}

//! Tests of how the metadata log's records are written.

use super::*;
use crate::metadata::delta::tests::arbitrary_record;
use proptest::prelude::*;

#[test]
fn a_person_can_read_it() {
    let record = Record::CreateTopic(CreateTopic {
        name: "orders".into(),
        id: Uuid::from_u128(7),
        partitions: vec![Assignment {
            replicas: vec![BrokerId::new(1)],
            isr: vec![BrokerId::new(1)],
            leader: Some(BrokerId::new(1)),
            leader_epoch: LeaderEpoch::new(0),
        }],
        configs: BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]),
    });
    let text = r#"{"kind":"CreateTopic","name":"orders","id":"00000000-0000-0000-0000-000000000007","partitions":[{"replicas":[1],"isr":[1],"leader":1,"leader_epoch":0}],"configs":{"retention.ms":"5"}}"#;
    assert_eq!(serde_json::to_string(&record).unwrap(), text);
    assert_eq!(serde_json::from_str::<Record>(text).unwrap(), record);
}

#[test]
fn what_is_not_known_is_named() {
    let refused = |text: &str| serde_json::from_str::<Record>(text).unwrap_err().to_string();
    assert!(refused(r#"{"kind":"SplitTopic","id":3}"#).contains("SplitTopic"));
    let id = r#""00000000-0000-0000-0000-000000000007""#;
    assert!(refused(&format!(r#"{{"kind":"DeleteTopic","id":{id},"soft":true}}"#)).contains("soft"));
    assert!(refused(r#"{"kind":"DeleteTopic"}"#).contains("id"));
    assert!(refused("{}").contains("kind"));
}

proptest! {
    #[test]
    fn reads_what_it_writes(record in arbitrary_record()) {
        let text = serde_json::to_string(&record).unwrap();
        prop_assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text in "\\PC*") {
        let _ = serde_json::from_str::<Record>(&text);
    }
}

//! Topics that come, change and go while the broker crashes.

use super::cast::{Cast, TOPIC};
use super::stage::UNKNOWN_TOPIC;
use esker_tests::sim::Chance;
use esker_tests::sim::client::{CallError, value_of, values_batch};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Kafka's number for a count of partitions that a topic has already.
const INVALID_PARTITIONS: i16 = 37;
/// A key that is changed again and again, and does no harm.
const ALTERED: &str = "message.timestamp.after.max.ms";

impl Cast {
    /// Creates, widens and deletes a topic of one name; no new one holds what an old one acknowledged, and what was
    /// acknowledged of it holds.
    pub(crate) async fn churn(self: Arc<Self>, topic: &'static str, rounds: u64) {
        let mut client = self.stage.client();
        let mut gone = BTreeSet::new();
        for round in 0..rounds {
            self.stage.create(topic, 1, &[]).await;
            let mut widened = false;
            if self.stage.world.draw(|rng| rng.happens(Chance::percent(50))) {
                widened = loop {
                    match client.create_partitions(topic, 3).await {
                        Ok(()) | Err(CallError::Kafka(INVALID_PARTITIONS)) => break true,
                        Err(CallError::Kafka(UNKNOWN_TOPIC)) => panic!("{topic} was created and is not there"),
                        Err(_) => self.stage.pause().await,
                    }
                };
            }
            let mut values = BTreeSet::new();
            for n in 0..3 {
                let (value, partition) = (round * 100 + n, if widened { n as i32 } else { 0 });
                match client.produce(topic, partition, values_batch(&[value], 0, None)).await {
                    Ok(_) => {
                        values.insert(value);
                    }
                    Err(CallError::Kafka(UNKNOWN_TOPIC)) => {
                        panic!("{topic}-{partition} is there, but not for producers")
                    }
                    Err(_) => {}
                }
            }
            if let Ok(fetched) = client.fetch(topic, 0, 0, 100).await {
                let old = fetched.records.iter().map(value_of).find(|value| gone.contains(value));
                assert_eq!(old, None, "a new topic has a record of an old one");
            }
            loop {
                match client.delete_topic(topic).await {
                    Ok(()) | Err(CallError::Kafka(UNKNOWN_TOPIC)) => break,
                    Err(_) => self.stage.pause().await,
                }
            }
            gone.append(&mut values);
        }
    }

    /// Changes a topic's configuration; the last change that was acknowledged is what is shown.
    pub(crate) async fn alter(self: Arc<Self>, rounds: u64) {
        let mut client = self.stage.client();
        let (mut acknowledged, mut unknown) = (None, BTreeSet::new());
        for round in 0..rounds {
            let value = (3_600_001 + round).to_string();
            match client.alter_topic(TOPIC, ALTERED, &value).await {
                Ok(()) => acknowledged = Some(value),
                Err(_) => {
                    unknown.insert(value);
                }
            }
            self.stage.pause().await;
            if let Ok(shown) = client.topic_config(TOPIC, ALTERED).await {
                let right = Some(&shown) == acknowledged.as_ref() || unknown.contains(&shown);
                assert!(right || acknowledged.is_none(), "{ALTERED} is {shown} after {acknowledged:?}, {unknown:?}");
            }
        }
    }
}

//! What a sender shares with the tasks that wait for its answers: [`Books`] say what was acknowledged, and hand back what
//! was not.

use super::Clock;
use super::meter::Meter;
use crate::client::ClientError;
use bytes::Bytes;
use kafka_protocol::messages::ProduceResponse;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc;

/// Kafka's DUPLICATE_SEQUENCE_NUMBER: it is there already.
pub(super) const DUPLICATE: i16 = 46;

/// A batch that is done.
#[derive(Debug)]
pub(super) struct Sealed {
    /// Which batch of its sender.
    pub(super) order: u64,
    /// Where it goes.
    pub(super) partition: i32,
    /// The batch.
    pub(super) bytes: Bytes,
    /// When each of its records was due.
    pub(super) intended: Vec<u64>,
}

/// Batches that were not acknowledged.
pub(super) struct Failure {
    /// Why not.
    pub(super) error: ClientError,
    /// These.
    pub(super) batches: Vec<Sealed>,
}

/// What the tasks that wait for answers share with their sender.
pub(super) struct Books {
    clock: Clock,
    /// What is counted.
    pub(super) meter: Meter,
    size: u64,
    acknowledged: Mutex<BTreeMap<i32, u64>>,
    failed: mpsc::UnboundedSender<Failure>,
}

impl Books {
    /// Nothing yet; values have `size` bytes.
    pub(super) fn new(clock: Clock, meter: Meter, size: u64, failed: mpsc::UnboundedSender<Failure>) -> Self {
        Self { clock, meter, size, acknowledged: Mutex::default(), failed }
    }

    /// Takes a batch as acknowledged now.
    pub(super) fn acknowledge(&self, batch: &Sealed) {
        let now = self.clock.now();
        *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).entry(batch.partition).or_default() +=
            batch.intended.len() as u64;
        self.meter.lock().take(now, &batch.intended, self.size);
    }

    /// Takes an answer's word on each batch.
    pub(super) fn settle(&self, answer: Result<ProduceResponse, ClientError>, batches: Vec<Sealed>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.fail(error, batches),
        };
        self.meter.lock().answered(self.clock.now());
        let codes: BTreeMap<i32, i16> = answer
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .map(|partition| (partition.index, partition.error_code))
            .collect();
        for batch in batches {
            match codes.get(&batch.partition).copied() {
                Some(0 | DUPLICATE) => self.acknowledge(&batch),
                Some(code) => self.fail(ClientError::kafka(code, "Produce"), vec![batch]),
                None => self.fail(ClientError::Malformed("a partition has no answer".into()), vec![batch]),
            }
        }
    }

    /// Hands batches back.
    pub(super) fn fail(&self, error: ClientError, batches: Vec<Sealed>) {
        // The receiver is there as long as the sender goes on.
        drop(self.failed.send(Failure { error, batches }));
    }

    /// How many records of each partition were acknowledged; from here on none.
    pub(super) fn acknowledged(&self) -> BTreeMap<i32, u64> {
        std::mem::take(&mut *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

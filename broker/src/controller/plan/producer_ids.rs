//! Giving out producer ids, in blocks.

use super::{Command, Plan, Rules};
use crate::config::BrokerId;
use crate::metadata::{Image, ProducerIds, Record};
use std::ops::Range;

/// Give a broker a block of producer ids that nobody else has, nor ever had.
#[derive(Clone, Copy, Debug)]
pub struct AllocateProducerIds {
    /// The broker.
    pub broker: BrokerId,
    /// How many.
    pub count: u32,
}

impl Command for AllocateProducerIds {
    /// The block. Empty when all 2^63 ids were given out.
    type Answer = Range<u64>;

    fn plan(&self, image: &Image, _: &Rules) -> Plan<Self::Answer> {
        let start = image.next_producer_id();
        // The protocol's ids are signed.
        let end = start.saturating_add(u64::from(self.count)).min(i64::MAX as u64);
        let records =
            if end > start { vec![Record::ProducerIds(ProducerIds { broker: self.broker, end })] } else { Vec::new() };
        Plan { records, answer: start..end.max(start) }
    }
}

//! One pass over the partitions of a fetch: what there is to read now.
//!
//! Sizes as Kafka limits them: the first partition that has anything gives at least one whole batch, however large;
//! after that, a partition gives at most its own limit and what is left of the request's. A partition whose records
//! must come from the disk or the tier reserves its limit, so that those behind it cannot crowd it out.

use super::session::{Name, Plan, Wanted};
use crate::handlers::Handlers;
use crate::partition::{Bound, ColdRead, Partition, Read, read_code};
use bytes::Bytes;
use esker_protocol::error_code::ErrorCode;
use esker_protocol::record::batches;
use esker_storage::env::Monotonic;
use esker_storage::offset::{LeaderEpoch, Offset};
use esker_storage::partition_log::Records;
use futures_util::future::join_all;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, EpochEndOffset, PartitionData};
use std::sync::Arc;

/// Versions that name topics by id (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;

/// What a fetch asks for as a whole.
pub(super) struct Request {
    pub(super) version: i16,
    pub(super) read_committed: bool,
    pub(super) min_bytes: usize,
    pub(super) max_bytes: usize,
    pub(super) deadline: Monotonic,
}

/// What a pass found.
pub(super) struct Look {
    /// An answer for each partition of the plan, in its order.
    pub(super) answers: Vec<PartitionData>,
    /// The partitions that are here, to wait for.
    pub(super) partitions: Vec<Arc<Partition>>,
    /// Bytes of records in the answers.
    pub(super) bytes: usize,
    /// Whether something had to be read from the disk or the tier.
    pub(super) reads_history: bool,
    /// Something that must not wait: an error, a diverged log, a partition that gave all it may.
    urgent: bool,
    /// One past what each partition of `answers` was asked to give, where it was read.
    reads: Vec<Option<Reading>>,
}

/// What a partition had when it was read.
#[derive(Clone, Copy)]
struct Reading {
    /// Where the read began.
    from: i64,
    /// Where what may be read ended.
    end: i64,
}

/// What is left to give.
struct Room {
    left: usize,
    given: bool,
}

impl Look {
    /// Reads what is there now; ends by the request's deadline.
    pub(super) async fn take(handlers: &Handlers, plan: &Plan, request: &Request) -> Look {
        let mut look = Look {
            answers: Vec::with_capacity(plan.partitions.len()),
            partitions: Vec::new(),
            bytes: 0,
            reads_history: false,
            urgent: false,
            reads: Vec::with_capacity(plan.partitions.len()),
        };
        let mut room = Room { left: request.max_bytes, given: false };
        let mut cold = Vec::new();
        for (name, wanted) in &plan.partitions {
            look.partition(handlers, request, name, wanted, &mut room, &mut cold);
        }
        if !cold.is_empty() {
            look.reads_history = true;
            look.warm(handlers, request, cold).await;
        }
        look
    }

    /// Whether the answer should go out rather than wait for more.
    pub(super) fn is_enough(&self, request: &Request) -> bool {
        self.urgent || self.bytes >= request.min_bytes || self.partitions.is_empty() || self.is_cut_short()
    }

    /// Whether a partition had more than it gave: a limit or the end of a segment came first. Nobody would be woken for
    /// the rest, which is there already.
    fn is_cut_short(&self) -> bool {
        self.answers.iter().zip(&self.reads).any(|(answer, reading)| {
            let Some(Reading { from, end }) = *reading else { return false };
            let records = answer.records.as_deref().unwrap_or_default();
            batches(records).last().map_or(from, |last| last.header.next_offset()) < end
        })
    }

    /// Whether another look might find something else: a mark of a partition has moved since this one, a partition has left,
    /// or what was on the disk or in the tier may have come.
    pub(super) fn is_outdated(&self) -> bool {
        self.reads_history
            || self.partitions.len() != self.answers.len()
            || self.answers.iter().zip(&self.partitions).any(|(answer, partition)| {
                answer.high_watermark != partition.high_watermark().offset().to_wire()
                    || answer.last_stable_offset != partition.last_stable().offset().to_wire()
                    || answer.log_start_offset != partition.log_start().offset().to_wire()
                    || partition.ended().is_some()
            })
    }

    /// Whether a partition that is here was not here at the time of `before`, or is not any more.
    pub(super) fn found_others_than(&self, before: &[Arc<Partition>]) -> bool {
        self.partitions.len() != before.len() || self.partitions.iter().zip(before).any(|(a, b)| !Arc::ptr_eq(a, b))
    }

    fn partition(
        &mut self,
        handlers: &Handlers,
        request: &Request,
        name: &Name,
        wanted: &Wanted,
        room: &mut Room,
        cold: &mut Vec<(usize, ColdRead)>,
    ) {
        let mut answer = empty(name.partition);
        self.reads.push(None);
        let found = if request.version >= TOPIC_ID_VERSION {
            handlers.partition_by_id(name.topic_id, name.partition)
        } else {
            handlers.partition_by_name(&name.topic, name.partition)
        };
        let result = match found {
            Ok(partition) => {
                let result = self.read(&partition, request, wanted, room, cold, &mut answer);
                self.partitions.push(partition);
                result
            }
            Err(code) => Err(code),
        };
        if let Err(code) = result {
            answer.error_code = code.code();
            self.urgent = true;
            handlers.metrics.failed_fetch.inc();
        }
        self.answers.push(answer);
    }

    fn read(
        &mut self,
        partition: &Arc<Partition>,
        request: &Request,
        wanted: &Wanted,
        room: &mut Room,
        cold: &mut Vec<(usize, ColdRead)>,
        answer: &mut PartitionData,
    ) -> Result<(), ErrorCode> {
        // Anything below 0 is no epoch here; ListOffsets takes all but -1 for one. So does Kafka.
        partition.check_epoch(wanted.current_leader_epoch.max(-1))?;
        // The marks first: what is read afterwards may be newer than they say, never older.
        answer.log_start_offset = partition.log_start().offset().to_wire();
        answer.high_watermark = partition.high_watermark().offset().to_wire();
        answer.last_stable_offset = partition.last_stable().offset().to_wire();
        if request.read_committed {
            // Of none so far; read_uncommitted keeps its null.
            answer.aborted_transactions = Some(Vec::new());
        }
        let offset = Offset::from_wire(wanted.offset).ok_or(ErrorCode::OFFSET_OUT_OF_RANGE)?;
        // Before the start is out of range even where the logs diverge.
        if offset < partition.log_start().offset() {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        if LeaderEpoch::from_wire(wanted.last_fetched_epoch).is_some_and(|epoch| epoch > partition.leader_epoch()) {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        if let Some((epoch, end)) = diverged(partition, wanted) {
            answer.diverging_epoch =
                EpochEndOffset::default().with_epoch(epoch.to_wire()).with_end_offset(end.to_wire());
            self.urgent = true;
            return Ok(());
        }
        let bound = if request.read_committed { Bound::Committed } else { Bound::Uncommitted };
        let end = if request.read_committed { answer.last_stable_offset } else { answer.high_watermark };
        if let Some(reading) = self.reads.last_mut() {
            *reading = Some(Reading { from: wanted.offset, end });
        }
        let own = usize::try_from(wanted.max_bytes).unwrap_or(0);
        let limit = own.min(room.left);
        if limit == 0 && room.given {
            return Ok(());
        }
        match partition.read(offset, bound, limit, !room.given).map_err(|error| read_code(&error))? {
            Read::Nothing => {}
            Read::Hot(records) => {
                room.given = true;
                room.left = room.left.saturating_sub(records.len());
                self.give(answer, records, limit);
            }
            Read::Cold(read) => {
                room.given = true;
                room.left = room.left.saturating_sub(limit);
                cold.push((self.answers.len(), read));
            }
        }
        Ok(())
    }

    /// Reads what is not in memory, all of it together, as far as the deadline lets it come.
    async fn warm(&mut self, handlers: &Handlers, request: &Request, cold: Vec<(usize, ColdRead)>) {
        // Who has enough already does not wait: what is begun goes on, and the next fetch finds it done.
        let has_enough = self.urgent || (self.bytes > 0 && self.bytes >= request.min_bytes);
        let deadline = if has_enough { handlers.env.now() } else { request.deadline };
        let reads = cold.into_iter().map(|(index, read)| async move {
            let (limit, is_tiered) = (read.limit(), read.is_tiered());
            (index, limit, is_tiered, read.complete(deadline).await)
        });
        for (index, limit, is_tiered, result) in join_all(reads).await {
            let Some(mut answer) = self.answers.get_mut(index).map(std::mem::take) else { continue };
            match result {
                Ok(Some(records)) => {
                    if is_tiered {
                        handlers.metrics.tier_bytes_out.inc_by(records.len() as u64);
                    }
                    self.give(&mut answer, records, limit);
                }
                // Not in time: the read goes on, and the next fetch finds it done.
                Ok(None) => {}
                Err(error) => {
                    answer.error_code = read_code(&error).code();
                    self.urgent = true;
                    handlers.metrics.failed_fetch.inc();
                }
            }
            if let Some(slot) = self.answers.get_mut(index) {
                *slot = answer;
            }
        }
    }

    fn give(&mut self, answer: &mut PartitionData, records: Records, limit: usize) {
        self.bytes += records.len();
        self.urgent |= records.len() >= limit;
        if let Some(aborted) = &mut answer.aborted_transactions {
            aborted.extend(records.aborted.iter().map(|entry| {
                let producer = AbortedTransaction::default().with_producer_id(entry.producer_id.into());
                producer.with_first_offset(entry.first.to_wire())
            }));
        }
        answer.records = Some(records.bytes);
    }
}

fn empty(partition: i32) -> PartitionData {
    // Records are empty, never null: librdkafka refuses null.
    PartitionData::default()
        .with_partition_index(partition)
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_aborted_transactions(None)
        .with_records(Some(Bytes::new()))
}

/// Whether the client's last record is not in this log: where its epoch ended here (KIP-595).
fn diverged(partition: &Partition, wanted: &Wanted) -> Option<(LeaderEpoch, Offset)> {
    let epoch = LeaderEpoch::from_wire(wanted.last_fetched_epoch)?;
    let (known, end) = partition.local_end_of_epoch(epoch)?;
    (known < epoch || end.to_wire() < wanted.offset).then_some((known, end))
}

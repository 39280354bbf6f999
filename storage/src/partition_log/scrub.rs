//! Rot in the local part of a partition: found, and made up for from the tier where that has it.

use super::{LookupError, PartitionLog};
use crate::env::Pool;
use crate::env::mutation::{self, Mutation};
use crate::log::{DamagedRange, Rot, Scrubbed};
use crate::offset::Offset;
use crate::segment::{Boundary, SegmentName};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that are read at a time.
const STEP: u64 = 1 << 20;

/// What became of a segment that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is as it was written, or gone meanwhile.
    Sound,
    /// Its batches are; its header or its index was not, and was made again from them.
    Mended,
    /// It was rotten, and is read from the tier now, with all before it.
    Quarantined(Rot),
    /// It is rotten, and the tier has what this range has lost: that is read from there.
    Covered(DamagedRange),
    /// It is rotten, and the tier does not have all that this range has lost.
    Damaged(DamagedRange),
}

/// What came of reading the batches of a segment.
struct Looked {
    worst: Finding,
    rotten: Vec<DamagedRange>,
    /// Whether all of it was read, but what is rotten.
    whole: bool,
}

impl PartitionLog {
    /// Reads a local segment at no more than `rate` bytes a second, checks every batch, and does what is to be done about
    /// rot; then looks at what stands beside the batches. `read` hears of the bytes. Damage that was known before, and is
    /// read as it was appended now, is forgotten.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn scrub(
        &self,
        name: SegmentName,
        rate: u64,
        read: impl Fn(u64) + Send + Sync,
    ) -> Result<Finding, LookupError> {
        let mut known = self.log.damage_in(name);
        let looked = self.scrub_batches(name, rate, read).await?;
        if !looked.whole {
            return Ok(looked.worst);
        }
        let overlap = |a: &DamagedRange, b: &DamagedRange| a.from.offset < b.to && b.from.offset < a.to;
        known.retain(|known| !looked.rotten.iter().any(|rotten| overlap(&known.range, rotten)));
        let log = Arc::clone(&self.log);
        let beside = looked.worst == Finding::Sound;
        let finish = move || {
            log.forget_damage(&known);
            if beside { log.scrub_beside(name) } else { Ok(false) }
        };
        let mended = self.env.blocking(Pool::Maintenance, finish).await??;
        Ok(if mended { Finding::Mended } else { looked.worst })
    }

    /// The batches of a segment.
    async fn scrub_batches(
        &self,
        name: SegmentName,
        rate: u64,
        read: impl Fn(u64) + Send + Sync,
    ) -> Result<Looked, LookupError> {
        let mut at: Option<Boundary> = None;
        let mut looked = Looked { worst: Finding::Sound, rotten: Vec::new(), whole: false };
        loop {
            let (log, from) = (Arc::clone(&self.log), at);
            match self.env.blocking(Pool::Maintenance, move || log.scrub_step(name, from, STEP)).await?? {
                Scrubbed::Until(next) => {
                    let before = at.map_or(0, |at| at.position.get());
                    let bytes = next.position.get().saturating_sub(before);
                    read(bytes);
                    at = Some(next);
                    self.env.sleep(Duration::from_millis(bytes.saturating_mul(1000) / rate.max(1))).await;
                }
                Scrubbed::Gone => return Ok(looked),
                Scrubbed::Whole => return Ok(Looked { whole: true, ..looked }),
                Scrubbed::Rotten(rot) => {
                    let (found, behind) = self.make_up_for(rot).await?;
                    if !matches!((looked.worst, found), (Finding::Damaged(_), Finding::Covered(_))) {
                        looked.worst = found;
                    }
                    if let Finding::Covered(range) | Finding::Damaged(range) = found {
                        looked.rotten.push(range);
                    }
                    // What lies behind the rot is looked at as well.
                    match behind {
                        Some(behind) if behind.offset < rot.end && behind.position > rot.at.position => {
                            at = Some(behind);
                        }
                        behind => return Ok(Looked { whole: behind.is_some(), ..looked }),
                    }
                }
            }
        }
    }

    /// Has the tier stand in for a rotten segment, if it has all of that and of what lies before it; or else takes note of
    /// what is damaged. What was done, and where the segment goes on if it stays.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn make_up_for(&self, rot: Rot) -> Result<(Finding, Option<Boundary>), LookupError> {
        let log = Arc::clone(&self.log);
        let is_sealed = log.segments().iter().any(|segment| segment.name == rot.segment && segment.sealed);
        let tiered = self.tier_has(self.local_start().offset(), rot.end);
        if is_sealed && (tiered || mutation::active(Mutation::QuarantinedUntiered)) {
            self.env.blocking(Pool::Maintenance, move || log.quarantine(&rot)).await??;
            return Ok((Finding::Quarantined(rot), None));
        }
        let tier_end = self.tier_end();
        let noted = self.env.blocking(Pool::Maintenance, move || log.note_rot(&rot, |_, to| to <= tier_end)).await?;
        let Some((range, behind)) = noted else { return Ok((Finding::Sound, None)) };
        let covered = self.tier_has(range.from.offset, range.to);
        Ok((if covered { Finding::Covered(range) } else { Finding::Damaged(range) }, Some(behind)))
    }

    /// The damaged ranges of the local log that the tier does not make up for, and that are not given up.
    pub fn lost(&self) -> impl Iterator<Item = DamagedRange> {
        let made_up_for = self.tier_end().max(self.log_start().offset());
        self.log.damaged().into_iter().filter(move |range| range.to > made_up_for)
    }

    /// Whether the tier stands in for what is damaged locally at `from`.
    pub(super) fn tier_stands_in(&self, from: Offset) -> bool {
        let damaged = self.log.damage_ahead(from).is_some_and(|range| range.from.offset <= from);
        damaged && self.tier_has(from, from.next())
    }

    fn tier_end(&self) -> Offset {
        self.manifest().map_or(Offset::ZERO, |manifest| manifest.end().offset())
    }

    /// Whether everything from `from` to, not including, `to` is in the tier.
    fn tier_has(&self, from: Offset, to: Offset) -> bool {
        self.manifest().is_some_and(|manifest| {
            let any = manifest.last().is_some() || !manifest.pages().is_empty();
            any && manifest.first_start() <= from && to <= manifest.end().offset()
        })
    }
}

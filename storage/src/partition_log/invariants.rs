//! What holds of a partition's offsets at every moment.
//!
//! ```text
//!   log start      local start   tier end      high watermark   synced end   log end
//!      |---------------|------------|---------------|---------------|-----------|
//!      `---- tier ------------------'
//!                      `------------------- local log --------------------------'
//! ```
//!
//! The [`Marks`] are where they all stand; [`broken_rule`] is the predicate. The simulation asks it after every step.

use super::PartitionLog;
use crate::log::{local_reaches_tier, synced_not_beyond_end};
use crate::offset::{HighWatermark, LocalStart, LogEnd, LogStart, SyncedEnd, TierEnd};
use crate::tier::units_tile;

/// Where the offsets of a partition stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The log start.
    pub log_start: LogStart,
    /// The local start.
    pub local_start: LocalStart,
    /// The tier's end; 0 if it has nothing.
    pub tier_end: TierEnd,
    /// Whether the units that the tier lists one by one meet.
    pub units_tile: bool,
    /// The high watermark.
    pub high_watermark: HighWatermark,
    /// The synced end.
    pub synced_end: SyncedEnd,
    /// The log end.
    pub log_end: LogEnd,
}

/// The rule that does not hold, if there is one.
pub fn broken_rule(marks: &Marks) -> Option<&'static str> {
    let from = TierEnd::at(marks.tier_end.offset().max(marks.log_start.offset()));
    let rules = [
        (local_reaches_tier(marks.local_start, from), "a record is neither here nor in the tier"),
        (marks.units_tile, "two units of the tier do not meet"),
        (marks.tier_end.offset() <= marks.log_end.offset(), "the tier has what the log has not"),
        (synced_not_beyond_end(marks.synced_end, marks.log_end), "more is synced than was appended"),
        (marks.high_watermark.offset() <= marks.log_end.offset(), "more is committed than was appended"),
    ];
    rules.into_iter().find(|(holds, _)| !holds).map(|(_, rule)| rule)
}

impl PartitionLog {
    /// Where its offsets stand now.
    pub fn marks(&self, high_watermark: HighWatermark) -> Marks {
        let manifest = self.manifest();
        Marks {
            log_start: self.log_start(),
            local_start: self.local_start(),
            tier_end: manifest.as_ref().map(|manifest| manifest.end()).unwrap_or_default(),
            units_tile: manifest.as_ref().is_none_or(|manifest| units_tile(manifest.log_start(), manifest.recent())),
            high_watermark,
            synced_end: self.synced_end(),
            log_end: self.log_end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::Offset;

    #[test]
    fn each_rule_is_noticed_when_it_is_broken() {
        let at = Offset::new;
        let good = Marks {
            log_start: LogStart::at(at(1)),
            local_start: LocalStart::at(at(3)),
            tier_end: TierEnd::at(at(5)),
            units_tile: true,
            high_watermark: HighWatermark::at(at(7)),
            synced_end: SyncedEnd::at(at(7)),
            log_end: LogEnd::at(at(9)),
        };
        assert_eq!(broken_rule(&good), None);
        assert_eq!(broken_rule(&Marks { log_start: LogStart::at(at(3)), tier_end: TierEnd::default(), ..good }), None);
        let broken = [
            Marks { local_start: LocalStart::at(at(6)), ..good },
            Marks { units_tile: false, ..good },
            Marks { tier_end: TierEnd::at(at(10)), ..good },
            Marks { synced_end: SyncedEnd::at(at(10)), ..good },
            Marks { high_watermark: HighWatermark::at(at(10)), ..good },
        ];
        let mut rules: Vec<_> = broken.iter().filter_map(broken_rule).collect();
        rules.dedup();
        assert_eq!(rules.len(), broken.len(), "{rules:?}");
    }
}

//! Total retention: what of a partition is too old or too much, in the tier.
//!
//! The leader of a partition asks [`expired_before`] now and then, commits the answer as a
//! [`TierRecord::LogStart`](super::TierRecord::LogStart), and moves its own log start with it. The objects behind the
//! units that this drops are then orphans, which the sweeper deletes after a grace.
//!
//! As Kafka deletes whole segments, this drops whole units, oldest first: by time as long as the latest timestamp of a
//! unit is too old, by size as long as what remains is still as large as the limit.

use super::TierError;
use super::manifest::Manifest;
use super::read::TierReader;
use super::unit::{UnitMeta, total};
use crate::env::Timestamp;
use crate::offset::Offset;

/// What a partition keeps in all. `None` is without limit, Kafka's -1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TotalRetention {
    /// `retention.ms`.
    pub ms: Option<i64>,
    /// `retention.bytes`.
    pub bytes: Option<u64>,
}

/// Goes through units, oldest first, and finds the first that stays: pure.
#[derive(Clone, Copy, Debug)]
struct Expiry {
    retention: TotalRetention,
    now: Timestamp,
    /// The bytes of everything that was not given up.
    left: u64,
    before: Option<Offset>,
}

impl Expiry {
    /// Whether a unit is given up; once one is not, no later one is.
    fn gives_up(&mut self, unit: &UnitMeta) -> bool {
        let old = self
            .retention
            .ms
            .zip(unit.max_timestamp)
            .is_some_and(|(ms, latest)| latest.millis() < self.now.millis().saturating_sub(ms));
        let rest = self.left.saturating_sub(unit.data.len());
        let much = self.retention.bytes.is_some_and(|limit| rest >= limit);
        if old || much {
            self.left = rest;
            self.before = Some(unit.end);
        }
        old || much
    }
}

/// Where the log start of a partition belongs by its total retention; `None` if it can stay. `tail_bytes` is what the
/// partition holds beyond its tier, on the local disk alone.
///
/// # Errors
/// [`TierError::Corrupt`], [`TierError::Retry`], [`TierError::Refused`], for a page that has to be read.
pub async fn expired_before(
    reader: &TierReader,
    manifest: &Manifest,
    retention: TotalRetention,
    tail_bytes: u64,
    now: Timestamp,
) -> Result<Option<Offset>, TierError> {
    if retention == TotalRetention::default() {
        return Ok(None);
    }
    let start = manifest.log_start().offset();
    let left = manifest.bytes().saturating_add(tail_bytes);
    let mut expiry = Expiry { retention, now, left, before: None };
    for page in manifest.pages() {
        let units = reader.page(page).await?;
        // A page counts with all of its units until the last of them is gone.
        let gone = total(units.iter().filter(|unit| unit.end <= start).map(|unit| unit.data.len()));
        expiry.left = expiry.left.saturating_sub(gone);
        if !units.iter().filter(|unit| unit.end > start).all(|unit| expiry.gives_up(unit)) {
            return Ok(expiry.before);
        }
    }
    // Stops at the first that stays.
    let _ = manifest.recent().iter().all(|unit| expiry.gives_up(unit));
    Ok(expiry.before)
}

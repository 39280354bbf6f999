//! The tier: what object storage holds of each partition, how it gets there, and how it is read.
mod cache;
mod committer;
mod error;
mod footer;
mod image;
mod key;
mod lookup;
mod manifest;
mod object;
mod persist;
mod plan;
mod read;
mod record;
mod retention;
mod scrub;
mod sections;
mod source;
mod streams;
mod sweep;
mod tier_log;
mod unit;
mod upload;
mod view;
mod writer;

#[cfg(test)]
mod testing;

pub use cache::{CacheBytes, CacheCounts};
pub use committer::{CommitterConfig, TierCommits};
pub use error::TierError;
pub use image::{SHARDS, TierImage};
pub use key::{DATA_PREFIX, ObjectKey, PAGE_PREFIX, SHARD_PREFIX};
pub use manifest::{Located, Manifest, PAGE_UNITS, PageRef, page_fits, unit_fits, units_tile};
pub use object::{check_section, check_unit, read_footer, read_section};
pub use persist::{RootLine, ShardRef, read_page, write_page};
pub use plan::{DueRange, ObjectPlan, UploadConfig, UploadPlanner, bytes_between, plans_are_disjoint};
pub use read::{ReadConfig, TierRead, TierReader};
pub use record::{Refusal, TierRecord, Verdict};
pub use retention::{TotalRetention, expired_before};
pub use scrub::{Finding, ScrubDepth, ScrubReport, scrub};
pub use sections::{Epochs, UnitIndex, UnitIndexEntry, decode_aborted, decode_epochs};
pub use source::{PartitionView, SegmentView, SourceChunk, UnitSource, UnitSources};
pub use sweep::{SweepConfig, SweepCounts, Sweeper};
pub use tier_log::{TIER_LOG, TierLog};
pub use unit::{AbortedTransaction, Section, UnitMeta, unit_is_sound};
pub use upload::{UploadCounts, Uploader};
pub use writer::{ObjectWriter, PART_LEN, UnitRange, UnitState};

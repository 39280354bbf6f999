//! The tier: what object storage holds of each partition, how it gets there, and how it is read.
//!
//! The nouns: a *unit* is a range of one partition's log, cut at batch boundaries; an *object* holds one or more units
//! and explains itself by a footer; a *manifest* lists a partition's units; the *tier log* is the numbered log whose
//! commits change manifests; an *image* is every manifest after one commit; an *orphan* is an object that no manifest
//! names.
//!
//! ```text
//!  local log --UnitSource--> upload --ObjectWriter--> object          (writer, footer, sections, key)
//!                 ^ plan        |
//!                 |             `--- units ---> TierCommits --commit--> tier log   (committer, tier_log, record)
//!                 `------------------ image <-------'                  (image, manifest, persist)
//!                                       |
//!   merging: small units -> run -> one unit, along with an upload                 (merge, merging)
//!   rewriter: stretch -> run -> new units, committed by one swap                   (rewrite, swap)
//!   reader: offset or time -> unit -> view -> chunk -> batches         (read, lookup, view, cache, streams)
//!   retention: log start -> units dropped -> orphans -> sweeper -> gone   (retention, sweep; scrub proves it, repair mends it)
//! ```
//!
//! **Order of effects.** Object, then commit, and only then may a local copy go. Log start, then deletion. Doom, then
//! deletion of what could still be named. A crash between two of these leaves an orphan, which costs some bytes until
//! the sweeper comes, and nothing else.
//!
//! **Rewriting** replaces adjacent units in one commit, which is refused if any of them was replaced since the rewrite
//! was made; see [`Swap`]. The old objects go after a grace in which their readers finish.
//!
//! **Fencing** is in the tier log itself: a leader has its epoch opened there first, and [`unit_fits`] refuses every
//! unit of another epoch, and every unit that does not start where the tier ends. So an upload that lands late, twice,
//! or from a deposed leader changes nothing.
//!
//! **What grows.** A commit is as large as its records, a snapshot rewrites the shards that changed, and old units are
//! in pages that are read on demand: neither commits nor memory nor a start grow with history.
//!
//! Layers: `unit`, `key`, `record`, `manifest`, `swap`, `image` and `plan` are pure; everything else does input and output
//! through [`env`](crate::env) alone.

mod cache;
mod committer;
mod error;
mod footer;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod image;
mod key;
mod lookup;
mod manifest;
mod merge;
mod merging;
mod object;
mod persist;
mod plan;
mod read;
mod record;
mod repair;
mod retention;
mod rewrite;
mod scrub;
mod sections;
mod source;
mod streams;
mod swap;
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
pub use manifest::{Located, Manifest, PAGE_UNITS, PageRef, Refusal, page_fits, unit_fits, units_tile};
pub use merge::{MergeConfig, pages_to_merge, plan_merges, run_to_merge};
pub use object::{UnitBatches, check_section, check_unit, read_footer, read_section, read_state};
pub use persist::{RootLine, ShardRef, TIER_LOG, read_page, write_page};
pub use plan::{DueRange, ObjectPlan, UploadConfig, UploadPlanner, bytes_between, plans_are_disjoint};
pub use read::{ReadConfig, TierRead, TierReader};
pub use record::{TierRecord, Verdict};
pub use repair::{MendedPage, delete_damaged_snapshots, mend_pages};
pub use retention::{TotalRetention, expired_before};
pub use rewrite::{Rewriter, Run, Stretch, joined_state};
pub use scrub::{Finding, ScrubDepth, ScrubReport, Settled, scrub, scrub_settled};
pub use sections::{Epochs, UnitIndex, UnitIndexEntry, decode_aborted, decode_epochs};
pub use source::{PartitionView, SegmentView, SourceChunk, TailLimits, UnitSource, UnitSources};
pub use swap::{Change, MAX_SWAPPED, RunMark, Swap, swap_fits};
pub use sweep::{SweepConfig, SweepCounts, Sweeper};
pub use tier_log::TierLog;
pub use unit::{AbortedTransaction, Revision, Section, UnitMeta, unit_is_sound};
pub use upload::{UploadCounts, Uploader};
pub use writer::{ObjectWriter, PART_LEN, UnitRange, UnitState};

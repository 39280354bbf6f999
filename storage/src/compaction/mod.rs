//! Log compaction: of each key only the newest record stays (`cleanup.policy=compact`).
//!
//! ```text
//!   look_at: segments, ages, the first dirty offset --plan--> Candidate (dirty ratio, lags) --dirtiest--> Pass
//!   Pass:    dirty records --> KeyMap (newest offset of each key, bounded)
//!            every batch up to there --Rules--> as it is | rewritten | gone --> cleaned segment --swap--> log
//! ```
//!
//! The nouns: a record is **dirty** until a pass has compared it with what came before; a **pass** covers as many dirty
//! records as its [`KeyMap`] holds keys; the **rules** say what stays of a batch; a **cleaned** segment stands for the run of
//! segments that it was made of. Offsets never change: a cleaned segment is sparse.
//!
//! The tier is compacted by passes of its own ([`TierCompactor`]), with the same rules, unit by unit. A local tombstone goes
//! only when such a pass has covered it: what it hides may be in the tier still.
//!
//! `key_map`, `transactions`, `rules` and `plan` are pure. `pass` reads and writes through the log, whose swap is what makes
//! it safe at every point of a crash ([`crate::log`], `swap`); `progress` is what a restart knows.

#[cfg(feature = "fuzz")]
pub mod fuzz;
mod key_map;
mod pass;
mod plan;
mod progress;
mod rules;
mod tier_pass;
mod transactions;
mod view;

pub use key_map::KeyMap;
pub use pass::{Pass, PassConfig, PassReport, Step};
pub use plan::{Aged, Candidate, CompactionConfig, CompactionState, candidate, dirtiest, group, only_settled};
pub use progress::{Progress, read as read_progress, told as told_progress, write as write_progress};
pub use rules::{Counts, DECOMPRESS_LIMIT, EVERYTHING, Kept, Rules, hides_nothing, is_newest, may_go};
pub use tier_pass::{Pause, TierCompactor, TierPartition, tier_candidate};
pub use transactions::{Aborted, Open};
pub use view::look_at;

#[cfg(test)]
mod compaction_tests;

//! The local log: what a broker's disks hold of each partition.
//!
//! ```text
//!   LogDir  one disk: lock, identity, failed state, the record of what was synced
//!     |-- SyncGroup  rounds of syncs across all its partitions (group_commit, rounds)
//!     `-- Log        one partition: append, read, seal, checkpoint, recover (local_log, append, read, upkeep, recovery)
//!           |-- Producers     who wrote what lately: sequences, duplicates (producers)
//!           |-- Unstable      which transactions hold back committed readers (unstable, transactions)
//!           |-- LeaderEpochs  who led from which offset on (epochs)
//!           `-- segments      the bytes (crate::segment); compaction swaps runs of them (swap)
//! ```
//!
//! What a disk can do to it, and what comes of that (`rot_tests`, `durability_tests`, `full_tests` and the simulation hold it to this):
//!
//! | what | where | outcome |
//! | --- | --- | --- |
//! | a flipped bit | `identity` | the directory does not open: its partitions are offline, those of others are not |
//! | | `synced` | that mark claims nothing: rot in that tail would pass for a torn one |
//! | | `checkpoint` | everything is scanned |
//! | | an index | made again from the data, with what was aborted: by who needs it, and by the scrub |
//! | a file that is gone | data | its records as rotten ones, if what lies before it is there; a first one is a hole, named by the open |
//! | | a batch, once it is synced | found by the open (beyond the checkpoint), the scrub, an upload or a compaction; never uploaded or compacted. The tier stands in for the segment, or for the range if that is all it has; else the range is named and refused (CORRUPT_MESSAGE), nothing else is, and nothing behind it is tiered until somebody gives it up (DeleteRecords, retention) |
//! | | `cleaned`, `scrubbed` | the log is cleaned, or scrubbed, once more |
//! | | `lock`, `clean`, `*.rot` | nothing: their names count |
//! | | a data file's header | written again from the file's name: by the open if the first batch is good, and by the scrub; else as a file that is gone |
//! | a torn write | a batch, `*.tmp`, a slot of `synced` | cut, removed, claims nothing |
//! | EIO of a write or a sync | anywhere | the directory is fenced: its partitions are offline |
//! | EIO of a read | a fetch | KAFKA_STORAGE_ERROR for that partition |
//! | | the scrub | as a flipped bit there |
//! | | the start | as a flipped bit in `identity`; in a partition, that partition is offline |
//! | no room | above the mark | produce is refused (NOT_ENOUGH_REPLICAS) until there is room |
//! | | before that | the append is refused likewise; the roll, index or checkpoint is done later; nothing is fenced, retention goes on; a log that cannot be opened is tried again |
//!
//! A [`Log`] is appended to under one lock and read without any. What is appended becomes durable in rounds that cover
//! every partition of a directory, and a log's [`LogObserver`] hears of each. What a planner may delete is said by
//! [`retention`]; nothing here decides by itself to drop a record.

mod append;
mod appender;
pub mod checkpoint;
pub mod config;
mod cut;
mod damage;
pub mod dir;
pub mod epochs;
mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod good_again;
mod group_commit;
pub mod identity;
mod local_log;
mod open_dir;
pub mod producers;
pub mod producers_codec;
mod read;
mod recovery;
mod recovery_scan;
pub mod retention;
mod room;
mod rounds;
mod scrub;
pub mod scrub_record;
mod survey;
mod swap;
pub mod synced_record;
mod transactions;
mod unit_source;
mod unstable;
mod upkeep;

pub use append::Appended;
pub use config::{LogConfig, OpenFrom};
pub use damage::{DamagedRange, Met};
pub use dir::{Durability, LogDir};
pub use epochs::{EpochEnd, EpochStart, LeaderEpochs};
pub use error::{AppendError, DirFailed, LogError, ReadError};
pub use group_commit::SyncGroup;
pub use local_log::{Log, LogObserver, SegmentInfo, local_reaches_tier, synced_not_beyond_end};
pub use open_dir::{LogDirConfig, OpenDirError};
pub use producers::{ActiveProducer, LastBatch, ProducerError, Producers};
pub use read::LocalRead;
pub use recovery_scan::OpenReport;
pub use room::RoomLeft;
pub use scrub::{Rot, Scrubbed};
pub use scrub_record::ScrubProgress;
pub use swap::{stands_for, tiles};
pub use transactions::EndTransaction;
pub use unit_source::UploadChunk;

#[cfg(test)]
mod durability_tests;
#[cfg(test)]
mod faulty_disk;
#[cfg(test)]
mod full_tests;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod rot_tests;
#[cfg(test)]
mod settings_tests;
#[cfg(test)]
pub(crate) mod test_support;

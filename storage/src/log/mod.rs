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
//! A [`Log`] is appended to under one lock and read without any. What is appended becomes durable in rounds that cover
//! every partition of a directory, and a log's [`LogObserver`] hears of each. What a planner may delete is said by
//! [`retention`]; nothing here decides by itself to drop a record.

mod append;
mod appender;
pub mod checkpoint;
pub mod config;
mod cut;
pub mod dir;
pub mod epochs;
mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
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
mod rounds;
mod survey;
mod swap;
pub mod synced_record;
mod transactions;
mod unit_source;
mod unstable;
mod upkeep;

pub use append::Appended;
pub use config::{LogConfig, OpenFrom};
pub use dir::{Durability, LogDir};
pub use epochs::{EpochEnd, EpochStart, LeaderEpochs};
pub use error::{AppendError, DirFailed, LogError, ReadError};
pub use group_commit::SyncGroup;
pub use local_log::{Log, LogObserver, SegmentInfo, local_reaches_tier, synced_not_beyond_end};
pub use open_dir::{LogDirConfig, OpenDirError};
pub use producers::{LastBatch, ProducerError, Producers};
pub use read::LocalRead;
pub use recovery_scan::OpenReport;
pub use swap::{stands_for, tiles};
pub use transactions::EndTransaction;
pub use unit_source::UploadChunk;

#[cfg(test)]
mod durability_tests;
#[cfg(test)]
mod faulty_disk;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod settings_tests;
#[cfg(test)]
pub(crate) mod test_support;

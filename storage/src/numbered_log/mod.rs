//! Numbered logs: sequences of commits in the object store, agreed upon by conditional creates alone.
//!
//! The nouns: a *commit* is an object of numbered name that holds a few records; whoever creates number N has
//! committed it. A *snapshot* holds the state after a commit, so that a start need not replay from the first. A
//! *writer* is one opened log, known by a random id; it numbers its commits by a *sequence* of its own. The
//! *position* is the last commit that a log has seen.
//!
//! ```text
//! <prefix>/log/00000000000000000001      commit 1
//! <prefix>/log/00000000000000000002      commit 2
//! <prefix>/snapshot/00000000000000000002 the state after commit 2
//!
//! an object:  {"esker":"commit","format":1,"log":"cluster","cluster":"..","number":2,"writer":"..","sequence":1,
//!              "at":1764000000000,"records":2,"crc32":"0badf00d"}      one line
//!             {"topic":{..}}                                           one record per line
//!             {"partition":{..}}
//! ```
//!
//! **Settling.** The answer to a create can be lost, and a store may report a conflict with no object there. So after
//! anything but success the object is read back: ours is committed, a foreign one means that the caller replays it
//! and decides again, and where there is none the *same bytes* are created under the *same number* again. A log
//! never moves on while a number is unsettled ([`Outcome::Unsettled`]), because a create that seemed to fail can
//! still land.
//!
//! **Deleted numbers.** Commits below a snapshot are deleted after a grace, which frees their numbers for a writer
//! that slept meanwhile. Every snapshot therefore records the last sequence of each recent writer, the newest
//! snapshot is never deleted, and after every create the log looks whether there is a snapshot at or past the number:
//! if so, that record alone decides whether the commit took effect. That look is a listing of the few snapshots. It
//! costs as much as the create, but needs no clock, and no pointer object that could be stale.
//!
//! The tail is found by reading from the newest snapshot on until a number is absent; commits are never listed but to
//! delete them.
//!
//! What the records mean is the caller's: the `cluster` log holds metadata, the `tier` log holds tier units.

mod content;
mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod lines;
mod log;
mod mend;
mod name;
mod snapshot;
mod store_format;

pub use content::{Commit, Record};
pub use error::LogError;
pub use log::{NumberedLog, Opened, Outcome, SnapshotOutcome};
pub use mend::{Reach, delete_damaged_snapshots};
pub use name::{LogName, MAX_NUMBER_DIGITS};
pub use snapshot::Swept;
pub use store_format::{FORMAT_KEY, FormatError, STORE_FORMAT, StoreFormat, open_or_format, prove_conditional};

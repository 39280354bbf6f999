//! Segments: runs of one partition's batches, each in a file, `active` (being appended to) or `sealed` (immutable).
//!
//! ```text
//!   log ---append---> ActiveWriter --pwritev--> data file <--map-- slices to sockets
//!                        | seal                     ^ pread
//!                        v                          |
//!                     SealedSegment --- index file  Walk: our own code, batch header by batch header
//!                        ^
//!                     CleanedWriter: what compaction leaves of a run of them
//! ```
//!
//! Batches lie in a data file verbatim, after a header of 64 bytes. The nouns: [`SegmentName`] and [`FileName`] are
//! the grammar of names; a [`Boundary`] is where a batch starts or ends; a [`SparseIndex`] says where to start
//! looking; a [`Walk`] goes from batch to batch; a [`Segment`] is anything that can be looked into.

pub mod aborted;
pub mod active;
pub mod batches;
pub mod cleaned;
pub mod fields;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod header;
pub mod index;
pub mod index_file;
pub mod lookup;
pub mod name;
pub mod open_files;
pub mod scan;
pub mod sealed;
pub mod walk;

pub use aborted::AbortedTransaction;
pub use active::{ActiveSegment, ActiveWriter, FilePlan};
pub use cleaned::{CleanedFile, CleanedWriter};
pub use header::{DataHeader, HEADER_LEN};
pub use index::{BatchMark, IndexEntry, IndexLimits, LatestTimestamp, SparseIndex};
pub use index_file::Summary;
pub use lookup::{Boundary, MappedRange, Segment, Target};
pub use name::{FileName, SegmentName};
pub use open_files::OpenFiles;
pub use sealed::SealedSegment;
pub use walk::parse_mark;
pub use walk::{SegmentError, Spacing, Walk};

//! Record batches: Kafka's unit of validation, storage and transfer (record batch v2, KIP-98, KIP-32, KIP-534).
//!
//! A batch stays the bytes that its producer sent, as that producer compressed it. This module reads those bytes; it
//! does not turn them into objects. Four nouns carry it: a [`BatchHeader`] is the parsed head of a batch, a
//! [`ValidatedBatch`] is a batch that [`validate`](fn@validate) has checked (the only thing a log accepts), a [`StampedBatch`] is
//! the same batch with its offsets assigned, and a [`Record`] is a borrowed view of one record within.
//!
//! ```text
//!  Produce request                                                           log
//!   records: Bytes --validate--> ValidatedBatch --stamp(offset, epoch)--> StampedBatch { head, tail }
//!                   |                                                         |  pwritev, payload uncopied
//!                   +-- Rejection (error code, record errors)                 v
//!                                         records() / stream() / first_at_or_after() <-- stored bytes
//!
//!  byte  0           8         12        16     17    21          23            27           35
//!        | base      | length  | leader  | magic| crc | attributes| last offset | base       | max
//!        | offset i64| i32     | epoch   | i8=2 | u32 | i16       | delta i32   | timestamp  | timestamp
//!
//!  byte  43          51        53         57      61
//!        | producer  | producer| base     | record| records, compressed as one block if the attributes say so
//!        | id i64    | epoch   | sequence | count |
//! ```
//!
//! The length counts from byte 12, the CRC-32C covers byte 21 to the end: base offset, length and leader epoch lie
//! outside it, so that a broker assigns offsets without touching the checksum.

mod builder;
mod checksum;
mod codec;
mod compress;
mod control;
mod filter;
mod header;
mod lookup;
mod lz4_high;
mod patch;
mod recompress;
mod records;
mod rejection;
mod shape;
mod split;
mod validate;
mod varint;
mod window;

pub use builder::{BatchBuilder, BuildError, RecordHeader};
pub use codec::{Compression, Scratch};
pub use compress::{GZIP_DEFAULT, GZIP_LEVELS, LZ4_DEFAULT, LZ4_LEVELS, StoredAs, ZSTD_DEFAULT, ZSTD_LEVELS};
pub use control::{ControlKind, Marker, end_transaction_marker};
pub use filter::{Filtered, NewHorizon, filter, without_records};
pub use header::{BatchHeader, Damage, Producer, TimestampType, check_stored};
pub use lookup::{RecordPosition, first_at_or_after, max_timestamp_record};
pub use patch::{StampedBatch, ValidatedBatch};
pub use records::{Header, Headers, Record, RecordStream, Records, records, stream};
pub use rejection::{Rejection, RejectionKind};
pub use shape::Malformed;
pub use split::{BatchSlice, Batches, batches};
pub use validate::{Rules, Walk, validate};

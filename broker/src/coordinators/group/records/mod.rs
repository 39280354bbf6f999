//! The records of `__consumer_offsets`, byte for byte as Kafka writes them, so that tools that read the topic work.
//!
//! A *key* names what a record is about and a *value* says what is now true of it; a record without value (a
//! *tombstone*) says that it is gone. Both start with a big-endian `i16` version:
//!
//! ```text
//! key 0, 1   committed offset   group:string topic:string partition:i32            (1 is written)
//! key 2      classic group      group:string
//! value of an offset            v0: offset:i64 metadata:string committed:i64
//!                               v1: offset:i64 metadata:string committed:i64 expires:i64
//!                               v2: as v0
//!                               v3: offset:i64 leader_epoch:i32 metadata:string committed:i64   (written)
//!                               v4: v3 in the flexible encoding
//! value of a group              protocol_type:string generation:i32 protocol:string? leader:string?
//!                               [v2+ state_since:i64] members:[member]                          (3 is written)
//! member                        id:string [v3+ instance:string?] client_id:string client_host:string
//!                               [v1+ rebalance_ms:i32] session_ms:i32 subscription:bytes assignment:bytes
//!
//! key 3      consumer group     group:string
//! key 5      member             group:string member:string
//! key 6      target's epoch     group:string
//! key 7      target             group:string member:string
//! key 8      current assignment group:string member:string
//! key 16     regular expression group:string regex:string
//!                               values: version 0 of each, in the flexible encoding
//! value of a consumer group     epoch:i32 {0: metadata_hash:i64}
//! value of a member             instance:string? rack:string? client_id:string client_host:string topics:[string]
//!                               regex:string? rebalance_ms:i32 assignor:string?
//!                               {0: there:i8 session_ms:i32 protocols:[name:string metadata:bytes]}
//! value of a target's epoch     epoch:i32 {0: computed:i64}
//! value of a target             [topic:uuid partitions:[i32]]
//! value of an assignment        epoch:i32 previous_epoch:i32 state:i8 assigned:[held] revoking:[held]
//! held                          topic:uuid partitions:[i32] {0: epochs:[i32]}
//! value of an expression        topics:[string] version:i64 resolved:i64
//! ```
//!
//! `string` is an `i16` length and UTF-8, `string?` has the length -1 for null, `bytes` and arrays have an `i32` length;
//! the flexible encoding has unsigned varints of the length plus one, and tagged fields (`{tag: field}`) after each
//! structure.
//!
//! Version 1 of an offset's value is written when a client (OffsetCommit 2-4) asked for a retention of its own, as
//! Kafka does. Keys of other versions belong to protocols that this coordinator does not speak; they decode to
//! [`GroupRecord::Other`] and are left alone. Decoding never trusts a length: nothing is allocated that the record's
//! own bytes do not back.
//!
//! - [`record`]: which kind a record is; [`offset`], [`classic`], [`consumer`]: what each kind says.
//! - [`embedded`]: the consumers' own messages, which classic members carry; `wire`: numbers, strings, arrays.

pub mod classic;
pub mod consumer;
pub mod embedded;
pub mod offset;
pub mod record;
mod wire;

pub use classic::{GroupValue, MemberValue};
pub use consumer::{
    ClassicMemberValue, ConsumerGroupValue, ConsumerMemberValue, ConsumerRecord, CurrentValue, HeldPartitions,
    MemberState, Partitions, RegexValue, TargetEpochValue,
};
pub use embedded::subscribed_topics;
pub use offset::{OffsetKey, OffsetValue};
pub use record::{GroupRecord, LogRecord};
pub use wire::RecordError;

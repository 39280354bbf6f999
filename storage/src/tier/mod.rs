//! The tier: what object storage holds of each partition, how it gets there, and how it is read.
mod error;
mod footer;
mod key;
mod object;
mod sections;
mod unit;
mod writer;

#[cfg(test)]
mod testing;

pub use error::TierError;
pub use key::{DATA_PREFIX, ObjectKey, PAGE_PREFIX, SHARD_PREFIX};
pub use object::{check_section, check_unit, read_footer, read_section};
pub use sections::{Epochs, UnitIndex, UnitIndexEntry, decode_aborted, decode_epochs};
pub use unit::{AbortedTransaction, Section, UnitMeta, unit_is_sound};
pub use writer::{ObjectWriter, PART_LEN, UnitRange, UnitState};

//! The bytes around an object's units: its head, its footer, and the trailer by which the footer is found.
//!
//! ```text
//! 0      8  magic "eskerobj"
//! 8      2  format version, 1              (integers big-endian)
//! 10     6  zero
//! 16    16  the attempt that wrote it
//! 32        units, one after the other:  data | index | producers | epochs | aborted
//! F         footer, JSON: {"esker":"tier-object","format":1,"units":[...]}
//! E-24   8  F
//! E-16   4  length of the footer
//! E-12   4  CRC-32 (IEEE) of the head and the footer
//! E-8    8  magic "eskerend"
//! E         the end of the object
//! ```
//!
//! The footer is not needed to read: whoever has a unit's description from the tier log knows where its sections
//! are. It makes the object explain itself: to the sweeper, to the scrub, and to a person who has lost everything
//! else.

use super::TierError;
use super::unit::{UnitMeta, unit_is_sound};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes before the first unit.
pub(super) const HEAD_LEN: u64 = 32;
/// Bytes after the footer.
pub(super) const TRAILER_LEN: u64 = 24;
/// The version of the format.
pub(super) const FORMAT: u16 = 1;
/// A footer's greatest size.
pub(super) const MAX_FOOTER: u32 = 16 << 20;

const HEAD_MAGIC: &[u8; 8] = b"eskerobj";
const TRAILER_MAGIC: &[u8; 8] = b"eskerend";

#[derive(Serialize, Deserialize)]
struct Footer {
    esker: Marker,
    format: u16,
    units: Vec<UnitMeta>,
}

#[derive(Serialize, Deserialize)]
enum Marker {
    #[serde(rename = "tier-object")]
    TierObject,
}

/// An object's first bytes.
pub(super) fn encode_head(attempt: Uuid) -> [u8; HEAD_LEN as usize] {
    let mut head = [0; HEAD_LEN as usize];
    let fields = HEAD_MAGIC.iter().copied().chain(FORMAT.to_be_bytes()).chain([0; 6]).chain(*attempt.as_bytes());
    head.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    head
}

/// An object's last bytes: footer and trailer, for a footer that starts at `position`.
///
/// # Errors
/// [`TierError::Invalid`] for more units than a footer can hold.
pub(super) fn encode_tail(
    head: &[u8; HEAD_LEN as usize],
    position: u64,
    units: &[UnitMeta],
) -> Result<Vec<u8>, TierError> {
    let footer = Footer { esker: Marker::TierObject, format: FORMAT, units: units.to_vec() };
    let mut bytes = serde_json::to_vec(&footer).map_err(|error| TierError::Invalid { reason: error.to_string() })?;
    let len = u32::try_from(bytes.len()).ok().filter(|len| *len <= MAX_FOOTER);
    let len = len.ok_or_else(|| TierError::Invalid { reason: "too many units for one object".to_owned() })?;
    let crc = checksum(head, &bytes);
    bytes.extend_from_slice(&position.to_be_bytes());
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes.extend_from_slice(TRAILER_MAGIC);
    Ok(bytes)
}

fn checksum(head: &[u8], footer: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(footer);
    hasher.finalize()
}

/// Where a footer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Where the footer starts.
    pub position: u64,
    /// Its length.
    pub len: u32,
    crc: u32,
}

/// Reads the last [`TRAILER_LEN`] bytes of an object of `size` bytes.
///
/// # Errors
/// [`TierError::Corrupt`] if they are no trailer of such an object.
pub(super) fn decode_trailer(key: &str, size: u64, bytes: &[u8]) -> Result<Trailer, TierError> {
    let corrupt = || TierError::corrupt(key, "it does not end in a trailer");
    let (position, rest) = bytes.split_first_chunk::<8>().ok_or_else(corrupt)?;
    let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
    let (crc, magic) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
    let trailer = Trailer {
        position: u64::from_be_bytes(*position),
        len: u32::from_be_bytes(*len),
        crc: u32::from_be_bytes(*crc),
    };
    let end = trailer.position.checked_add(u64::from(trailer.len)).and_then(|end| end.checked_add(TRAILER_LEN));
    let fits = magic == TRAILER_MAGIC && end == Some(size) && trailer.position >= HEAD_LEN;
    if fits && trailer.len <= MAX_FOOTER { Ok(trailer) } else { Err(corrupt()) }
}

/// The units that a footer lists, after checking that they tile the object.
///
/// # Errors
/// [`TierError::Corrupt`] if head or footer are not what was written, or of another version.
pub(super) fn decode_footer(
    key: &str,
    trailer: Trailer,
    head: &[u8],
    footer: &[u8],
) -> Result<Vec<UnitMeta>, TierError> {
    if checksum(head, footer) != trailer.crc || !head.starts_with(HEAD_MAGIC) {
        return Err(TierError::corrupt(key, "its head or footer is damaged"));
    }
    let footer: Footer = serde_json::from_slice(footer).map_err(|error| TierError::corrupt(key, error))?;
    if footer.format != FORMAT {
        return Err(TierError::corrupt(key, format!("format {}, this version knows {FORMAT}", footer.format)));
    }
    if units_tile_object(key, &footer.units, trailer.position) {
        Ok(footer.units)
    } else {
        Err(TierError::corrupt(key, "its units do not fill it"))
    }
}

/// Whether `units` lie one after the other from the head to the footer.
pub(super) fn units_tile_object(key: &str, units: &[UnitMeta], footer: u64) -> bool {
    let mut position = HEAD_LEN;
    let tile = units.iter().all(|unit| {
        let adjoins = unit.data.position() == position && &*unit.key == key && unit_is_sound(unit);
        position = unit.aborted.range().end;
        adjoins
    });
    tile && position == footer
}

//! Who a log directory belongs to: the file `identity` in it.
//!
//! One JSON object on one line, to be read by a person as well:
//! `{"format":1,"cluster":"...","broker":1,"directory":"...","crc":1234}`. It is written once, when the directory is
//! made, and keeps a broker from serving another cluster's or another broker's records. The CRC-32 is that of the object
//! without it: a rotten identity is a failure of this directory, and not another broker's.

use crate::env::{Disk, write_atomically};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use uuid::Uuid;

/// The file's name.
pub const FILE_NAME: &str = "identity";

const FORMAT: u32 = 1;

/// Who a log directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster.
    pub cluster: Uuid,
    /// The broker's id.
    pub broker: u32,
    /// The directory's own id; a new one means that the directory was lost (KIP-858).
    pub directory: Uuid,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    #[serde(flatten)]
    identity: Identity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc: Option<u32>,
}

impl Stored {
    fn of(format: u32, identity: Identity) -> io::Result<Stored> {
        let bare = serde_json::to_vec(&Stored { format, identity, crc: None }).map_err(io::Error::other)?;
        Ok(Stored { format, identity, crc: Some(crc32fast::hash(&bare)) })
    }
}

/// Reads a directory's identity; `None` if it has none yet.
///
/// # Errors
/// What the disk answers, and `InvalidData` for a file that cannot be understood.
pub fn read(disk: &dyn Disk, directory: &Path) -> io::Result<Option<Identity>> {
    let bytes = match disk.read(&directory.join(FILE_NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    decode(&bytes).map(Some)
}

/// The identity that `bytes` hold.
///
/// # Errors
/// `InvalidData` for what cannot be understood.
pub(super) fn decode(bytes: &[u8]) -> io::Result<Identity> {
    let stored: Stored =
        serde_json::from_slice(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if stored.crc != Stored::of(stored.format, stored.identity)?.crc {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the identity is damaged"));
    }
    if stored.format != FORMAT {
        let reason = format!("unknown identity format {}", stored.format);
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(stored.identity)
}

/// The identity's bytes.
///
/// # Errors
/// None in practice: numbers and UUIDs can be written.
pub(super) fn encode(identity: &Identity) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(&Stored::of(FORMAT, *identity)?).map_err(io::Error::other)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Gives a directory its identity, durably.
///
/// # Errors
/// What the disk answers.
pub fn write(disk: &dyn Disk, directory: &Path, identity: &Identity) -> io::Result<()> {
    write_atomically(disk, &directory.join(FILE_NAME), &encode(identity)?)
}

//! Sealed lines: a header and records as JSON lines under one checksum, which a person can read with any pager.
//!
//! ```text
//! {"esker":"commit", ...header ,"crc32":"0badf00d"}\n
//! \--------- checked ----------/                     \-- {record}\n{record}\n  checked --/
//! ```
//!
//! The checksum, CRC-32 (IEEE), covers everything but itself, so that no field of the header can rot unnoticed.
//! Commits, snapshots and what snapshots name are all of this form.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The greatest size of sealed lines.
pub const MAX_SEALED: usize = 64 << 20;
/// `,"crc32":"` + 8 digits + `"}`.
const CHECKSUM_LEN: usize = 10 + 8 + 2;

/// Why bytes are not what was sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// They are not as they were written.
    #[error("{0}")]
    Damaged(&'static str),
    /// They are as they were written, but this version does not understand them.
    #[error("not understood: {0}")]
    Unknown(String),
}

/// The bytes of `header`, which must be a JSON object, and `records`.
///
/// # Errors
/// What cannot be written as JSON, or exceeds [`MAX_SEALED`], in words.
pub fn seal<H: Serialize, R: Serialize>(header: &H, records: &[R]) -> Result<Bytes, String> {
    let mut head = serde_json::to_vec(header).map_err(|error| error.to_string())?;
    // The closing brace: the checksum takes its place.
    head.pop();
    let mut body = Vec::new();
    for record in records {
        serde_json::to_writer(&mut body, record).map_err(|error| error.to_string())?;
        body.push(b'\n');
        if body.len() > MAX_SEALED {
            return Err(format!("more than {MAX_SEALED} bytes of records"));
        }
    }
    let checksum = checksum(&head, &body);
    head.extend_from_slice(format!(",\"crc32\":\"{checksum:08x}\"}}\n").as_bytes());
    head.extend_from_slice(&body);
    Ok(Bytes::from(head))
}

/// The header and the records that `bytes` hold.
///
/// # Errors
/// [`UnsealError`]; a checksum that differs is always `Damaged`.
pub fn unseal<H: DeserializeOwned, R: DeserializeOwned>(bytes: &[u8]) -> Result<(H, Vec<R>), UnsealError> {
    let newline = bytes.iter().position(|&byte| byte == b'\n').ok_or(UnsealError::Damaged("no header line"))?;
    let (line, rest) = bytes.split_at(newline);
    let body = rest.get(1..).unwrap_or_default();
    let head = line.len().checked_sub(CHECKSUM_LEN).ok_or(UnsealError::Damaged("a header without checksum"))?;
    let (head, tail) = line.split_at(head);
    let expected = format!(",\"crc32\":\"{:08x}\"}}", checksum(head, body));
    if tail != expected.as_bytes() {
        return Err(UnsealError::Damaged("its checksum does not match"));
    }
    // The bytes are as they were written, so what cannot be understood now was written by another version.
    let unknown = |error: serde_json::Error| UnsealError::Unknown(error.to_string());
    let header = serde_json::from_slice(line).map_err(unknown)?;
    let mut records = Vec::new();
    for line in body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        records.push(serde_json::from_slice(line).map_err(unknown)?);
    }
    Ok((header, records))
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

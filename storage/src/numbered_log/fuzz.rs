//! Fuzz targets of numbered logs: commits, snapshots, their names, and the store's identity.
//!
//! See `esker_protocol::fuzz` for what a target is.

use super::content::{self, Kind, Stamp, Writers};
use super::lines::{seal, unseal};
use super::name::LogName;
use super::store_format;
use crate::env::Timestamp;
use esker_protocol::fuzz::{MEMORY, PER_BYTE, Target};
use serde_json::Value;
use uuid::Uuid;

/// The targets of this module.
pub const TARGETS: &[Target] = &[
    Target {
        name: "sealed_lines",
        covers: &["storage/src/numbered_log/lines.rs", "storage/src/numbered_log/content.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: lines,
        seeds: line_seeds,
    },
    Target {
        name: "numbered_name",
        covers: &["storage/src/numbered_log/name.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: names,
        seeds: name_seeds,
    },
    Target {
        name: "store_format",
        covers: &["storage/src/numbered_log/store_format.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: format,
        seeds: format_seeds,
    },
];

/// Sealed lines of a header, which is JSON, and whatever bytes.
pub fn resealed(header: &[u8], body: &[u8]) -> Vec<u8> {
    let head = header.strip_suffix(b"}").unwrap_or(header);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    let checksum = format!(",\"crc32\":\"{:08x}\"}}\n", hasher.finalize());
    [head, checksum.as_bytes(), body].concat()
}

fn name() -> LogName {
    LogName::new("cluster", Uuid::from_u128(7))
}

fn stamp() -> Stamp {
    Stamp { number: 5, writer: Uuid::from_u128(9), sequence: 3, at: Timestamp::from_millis(1_764_000_000_000) }
}

/// Whether there is a number that is no integer: none of ours is, and in text they are not exact.
fn has_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_float),
        Value::Object(fields) => fields.values().any(has_float),
        _ => false,
    }
}

/// Sealed lines, as they are and with a checksum that matches.
fn lines(data: &[u8]) {
    let newline = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, body) = data.split_at(newline);
    // What stands where the checksum would, or the header alone.
    let header = line.get(..line.len().saturating_sub(20)).unwrap_or_default();
    let body = body.get(1..).unwrap_or_default();
    for bytes in [data.to_vec(), resealed(header, body), resealed(line, body)] {
        if let Ok((header, records)) = unseal::<Value, Value>(&bytes)
            && header.is_object()
            && !records.iter().any(has_float)
        {
            let again = seal(&header, &records).map(|bytes| unseal::<Value, Value>(&bytes));
            // The header has got its checksum a second time, which stands first now.
            assert!(again.is_ok_and(|again| again.is_ok_and(|(_, again)| again == records)));
        }
        let commit = content::decode_commit::<Value>(&name(), 5, &bytes);
        let snapshot = content::decode::<Value>(&name(), Kind::Snapshot, 5, "key", &bytes);
        assert!(commit.is_err() || snapshot.is_err(), "a commit is a snapshot as well");
        if let Ok(commit) = commit {
            let stamp = Stamp { number: 5, writer: commit.writer, sequence: commit.sequence, at: commit.at };
            let again = content::encode(&name(), stamp, None, &commit.records);
            let again = again.and_then(|bytes| content::decode_commit::<Value>(&name(), 5, &bytes));
            assert!(again.as_ref().is_ok_and(|again| *again == commit), "{again:?} instead of {commit:?}");
        }
    }
}

fn line_seeds() -> Vec<Vec<u8>> {
    let records = [serde_json::json!({"a": 1}), serde_json::json!(["b", null])];
    let commit = content::encode(&name(), stamp(), None, &records);
    let snapshot = content::encode(&name(), stamp(), Some(&Writers::new()), &records);
    [commit, snapshot].into_iter().flatten().map(|bytes| bytes.to_vec()).collect()
}

/// A name has one spelling, and is a commit's or a snapshot's.
fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let name = name();
    let (commit, snapshot) = (name.parse_commit(text), name.parse_snapshot(text));
    assert!(commit.is_none() || snapshot.is_none());
    assert!(commit.is_none_or(|number| name.commit(number) == text));
    assert!(snapshot.is_none_or(|number| name.snapshot(number) == text));
}

fn name_seeds() -> Vec<Vec<u8>> {
    vec![name().commit(42).into_bytes(), name().snapshot(u64::MAX).into_bytes()]
}

/// A store's identity: what is understood is of the one format.
fn format(data: &[u8]) {
    if let Ok(found) = store_format::decode(data) {
        assert_eq!(found.format, store_format::STORE_FORMAT);
        let again = serde_json::to_vec(&found).map(|bytes| store_format::decode(&bytes));
        assert!(again.is_ok_and(|again| again == Ok(found)));
    }
}

fn format_seeds() -> Vec<Vec<u8>> {
    vec![
        br#"{"esker":"store","format":1,"cluster":"00000000-0000-0000-0000-000000000007","created":1764000000000}"#
            .to_vec(),
    ]
}

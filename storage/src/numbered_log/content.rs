//! The contents of a commit or a snapshot: sealed lines (see [`lines`](super::lines)) under a header that says which
//! log's object they are, and whose.

use super::lines::{UnsealError, seal, unseal};
use super::{LogError, LogName};
use crate::env::Timestamp;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The version of the objects' format.
const FORMAT: u32 = 1;

/// What a log's records and snapshot lines must be.
pub trait Record: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Record for T {}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Commit,
    Snapshot,
}

/// The last that the log holds of one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WriterMark {
    /// The sequence of its last commit.
    pub(super) sequence: u64,
    /// That commit's number.
    pub(super) number: u64,
}

/// The writers of a log's recent commits.
pub(super) type Writers = BTreeMap<Uuid, WriterMark>;

/// The first line of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) esker: Kind,
    format: u32,
    log: String,
    cluster: Uuid,
    pub(super) number: u64,
    pub(super) writer: Uuid,
    pub(super) sequence: u64,
    pub(super) at: Timestamp,
    records: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) writers: Option<Writers>,
}

/// What identifies an object among those of its log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) number: u64,
    pub(super) writer: Uuid,
    pub(super) sequence: u64,
    pub(super) at: Timestamp,
}

/// A commit: some records, created in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit<R> {
    /// Its number: the first commit of a log has number 1.
    pub number: u64,
    /// Who wrote it.
    pub writer: Uuid,
    /// Which one of the writer's commits it is.
    pub sequence: u64,
    /// When it was written, by the writer's clock.
    pub at: Timestamp,
    /// What it says.
    pub records: Vec<R>,
}

/// Encodes an object; `writers` is given for a snapshot only.
pub(super) fn encode<R: Serialize>(
    name: &LogName,
    stamp: Stamp,
    writers: Option<&Writers>,
    records: &[R],
) -> Result<Bytes, LogError> {
    let header = Header {
        esker: if writers.is_some() { Kind::Snapshot } else { Kind::Commit },
        format: FORMAT,
        log: name.prefix.clone(),
        cluster: name.cluster,
        number: stamp.number,
        writer: stamp.writer,
        sequence: stamp.sequence,
        at: stamp.at,
        records: records.len() as u64,
        writers: writers.cloned(),
    };
    seal(&header, records).map_err(|reason| LogError::Invalid { reason: format!("cannot be written: {reason}") })
}

/// Decodes an object, after checking that it is `kind` `number` of `name`.
pub(super) fn decode<R: DeserializeOwned>(
    name: &LogName,
    kind: Kind,
    number: u64,
    key: &str,
    bytes: &[u8],
) -> Result<(Header, Vec<R>), LogError> {
    let corrupt = |reason: String| LogError::Corrupt { key: key.to_owned(), reason };
    let incompatible = |reason: String| LogError::Incompatible { key: key.to_owned(), reason };
    let (header, records): (Header, Vec<R>) = unseal(bytes).map_err(|error| match error {
        UnsealError::Damaged(reason) => corrupt(reason.to_owned()),
        UnsealError::Unknown(reason) => incompatible(reason),
    })?;
    if header.format != FORMAT {
        return Err(incompatible(format!("format {}, this version knows {FORMAT}", header.format)));
    }
    if header.cluster != name.cluster {
        return Err(incompatible(format!("it belongs to cluster {}, not {}", header.cluster, name.cluster)));
    }
    if (header.esker, header.number, header.log.as_str()) != (kind, number, name.prefix.as_str()) {
        return Err(corrupt(format!("it holds {:?} {} of {}", header.esker, header.number, header.log)));
    }
    if records.len() as u64 != header.records {
        return Err(corrupt(format!("{} records instead of {}", records.len(), header.records)));
    }
    Ok((header, records))
}

/// Decodes commit `number` of `name`.
pub(super) fn decode_commit<R: Record>(name: &LogName, number: u64, bytes: &[u8]) -> Result<Commit<R>, LogError> {
    let (header, records) = decode(name, Kind::Commit, number, &name.commit(number), bytes)?;
    Ok(Commit { number, writer: header.writer, sequence: header.sequence, at: header.at, records })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> LogName {
        LogName::new("cluster", Uuid::from_u128(7))
    }

    fn stamp(number: u64) -> Stamp {
        Stamp { number, writer: Uuid::from_u128(9), sequence: 3, at: Timestamp::from_millis(1_764_000_000_000) }
    }

    #[test]
    fn a_person_can_read_it() {
        let bytes = encode(&name(), stamp(2), None, &["a\nb".to_owned()]).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.starts_with(
            r#"{"esker":"commit","format":1,"log":"cluster","cluster":"00000000-0000-0000-0000-000000000007","number":2,"#
        ));
        assert!(text.ends_with("\"}\n\"a\\nb\"\n"), "{text}");
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["crc32"].as_str().unwrap().len(), 8);
    }

    #[test]
    fn an_object_of_another_cluster_or_format_is_named() {
        let bytes = encode(&LogName::new("cluster", Uuid::nil()), stamp(2), None, &[1u32]).unwrap();
        assert!(matches!(decode_commit::<u32>(&name(), 2, &bytes), Err(LogError::Incompatible { .. })));
        let bytes = encode(&name(), stamp(2), None, &["text"]).unwrap();
        assert!(matches!(decode_commit::<u32>(&name(), 2, &bytes), Err(LogError::Incompatible { .. })));
        let bytes = encode(&name(), stamp(2), None, &[1u32]).unwrap();
        assert!(matches!(decode_commit::<u32>(&name(), 3, &bytes), Err(LogError::Corrupt { .. })));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(records in proptest::collection::vec(".*", 0..20), number in 1u64..) {
            let bytes = encode(&name(), stamp(number), None, &records).unwrap();
            let commit: Commit<String> = decode_commit(&name(), number, &bytes).unwrap();
            prop_assert_eq!(commit.records, records);
            prop_assert_eq!((commit.writer, commit.sequence), (Uuid::from_u128(9), 3));
        }

        #[test]
        fn no_changed_byte_passes(at: prop::sample::Index, flip in 1u8..) {
            let mut bytes = encode(&name(), stamp(5), None, &["abc", "def"]).unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(decode_commit::<String>(&name(), 5, &bytes).is_err());
        }

        #[test]
        fn no_input_panics(bytes: Vec<u8>) {
            let _ = decode_commit::<String>(&name(), 5, &bytes);
        }
    }
}

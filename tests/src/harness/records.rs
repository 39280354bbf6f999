//! Records that are worth comparing, the same on every run: [`sample`] makes them, [`Line`] carries them to other
//! languages.
//!
//! Among them are null and empty keys and values, headers whose names repeat, one value of 1 MB, bytes that do not
//! compress, and timestamps that rise by one millisecond from [`FIRST_TIMESTAMP`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use esker_bench::batch::{Record, seal};

/// The timestamp of the first record of a sample.
pub const FIRST_TIMESTAMP: i64 = 1_700_000_000_000;

/// How large the one large value is.
pub const LARGE: usize = 1_000_000;

/// `batch` after `change`, with a checksum that fits again.
pub fn changed(batch: &Bytes, change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    change(&mut bytes);
    seal(&mut bytes);
    bytes.freeze()
}

/// What a client's own interface can express.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// Headers with a null value.
    pub null_headers: bool,
}

/// A record together with its partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The partition.
    pub partition: i32,
    /// The record.
    pub record: Record,
}

/// `count` records over `partitions` partitions, by turns.
///
/// Never are key and value both null: kafka-python refuses such a record.
pub fn sample(count: usize, partitions: i32, abilities: Abilities) -> Vec<Line> {
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    (0..count)
        .map(|i| {
            let key = match i % 7 {
                1 => None,
                2 => Some(Bytes::new()),
                _ => Some(Bytes::from(format!("key-{i}"))),
            };
            let value = match i {
                _ if i % 11 == 0 && key.is_some() => None,
                _ if i % 13 == 0 => Some(Bytes::new()),
                17 => Some(noise.bytes(LARGE)),
                _ if i % 3 == 0 => Some(noise.bytes(i % 500)),
                _ => Some(Bytes::from(format!("value {i} ").repeat(i % 40 + 1))),
            };
            let last = if abilities.null_headers { None } else { Some(Bytes::new()) };
            let headers = match i % 4 {
                0 => vec![
                    ("twice".to_owned(), Some(Bytes::from_static(b"first"))),
                    ("twice".to_owned(), Some(noise.bytes(9))),
                    ("last".to_owned(), last),
                ],
                _ => Vec::new(),
            };
            let timestamp = FIRST_TIMESTAMP + i as i64;
            let partition = (i % partitions as usize) as i32;
            Line { partition, record: Record { offset: 0, timestamp, key, value, headers } }
        })
        .collect()
}

/// `lines` with the offsets that they have if each partition held nothing before, sorted by partition and offset.
pub fn with_offsets(lines: &[Line]) -> Vec<Line> {
    let mut lines = lines.to_vec();
    lines.sort_by_key(|line| line.partition);
    let mut next = (-1, 0);
    for line in &mut lines {
        next = if next.0 == line.partition { (next.0, next.1 + 1) } else { (line.partition, 0) };
        line.record.offset = next.1;
    }
    lines
}

/// Fails with the first difference, without printing megabytes.
///
/// # Panics
/// If the two differ.
pub fn assert_same(what: &str, found: &[Line], expected: &[Line]) {
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            found == expected,
            "{what}: record {i} differs\n found    {}\n expected {}",
            found.summary(),
            expected.summary()
        );
    }
    assert_eq!(found.len(), expected.len(), "{what}: number of records");
}

impl Line {
    /// The line that the Python and Java programs read.
    pub fn to_produce(&self) -> String {
        let record = &self.record;
        let headers: Vec<String> =
            record.headers.iter().map(|(name, value)| format!("{name}:{}", encode(value.as_ref()))).collect();
        format!(
            "{}\t{}\t{}\t{}\t{}",
            self.partition,
            record.timestamp,
            encode(record.key.as_ref()),
            encode(record.value.as_ref()),
            headers.join(",")
        )
    }

    /// Reads a line that they printed.
    pub fn from_consumed(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split('\t').collect();
        let [partition, offset, timestamp, key, value, headers] = fields[..] else { return None };
        let header = |text: &str| {
            let (name, value) = text.split_once(':')?;
            Some((name.to_owned(), decode(value)?))
        };
        let headers = headers.split(',').filter(|h| !h.is_empty()).map(header).collect::<Option<Vec<_>>>()?;
        Some(Self {
            partition: partition.parse().ok()?,
            record: Record {
                offset: offset.parse().ok()?,
                timestamp: timestamp.parse().ok()?,
                key: decode(key)?,
                value: decode(value)?,
                headers,
            },
        })
    }

    fn summary(&self) -> String {
        let mut text = format!("{self:?}");
        if text.len() > 400 {
            text.truncate((0..=400).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
            text.push_str("...");
        }
        text
    }
}

fn encode(bytes: Option<&Bytes>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| STANDARD.encode(bytes))
}

/// `Some(None)` for null; `None` for what is not base64.
fn decode(text: &str) -> Option<Option<Bytes>> {
    if text == "-" { Some(None) } else { STANDARD.decode(text).ok().map(|bytes| Some(Bytes::from(bytes))) }
}

/// Bytes that do not compress: xorshift64.
#[derive(Clone, Debug)]
pub struct Noise(pub u64);

impl Noise {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(count);
        Bytes::from(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_printed_is_read() {
        for line in with_offsets(&sample(60, 3, Abilities { null_headers: true })) {
            let (partition, rest) =
                line.to_produce().split_once('\t').map(|(p, r)| (p.to_owned(), r.to_owned())).unwrap();
            let consumed = format!("{partition}\t{}\t{rest}", line.record.offset);
            assert_eq!(Line::from_consumed(&consumed), Some(line));
        }
    }
}

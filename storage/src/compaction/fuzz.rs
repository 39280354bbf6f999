//! Fuzz target of what compaction keeps beside a log: up to where it was cleaned.
//!
//! See `esker_protocol::fuzz` for what a target is.

use super::progress::{self, Progress};
use crate::offset::Offset;
use esker_protocol::fuzz::{MEMORY, PER_BYTE, Target};

/// The targets of this module.
pub const TARGETS: &[Target] = &[Target {
    name: "cleaned",
    covers: &["storage/src/compaction/progress.rs"],
    memory: MEMORY,
    per_byte: PER_BYTE,
    run: cleaned,
    seeds: cleaned_seeds,
}];

/// The file, as it is and with a checksum that matches.
fn cleaned(data: &[u8]) {
    let body = data.get(..data.len().saturating_sub(4)).unwrap_or_default();
    let resealed = [body, &crc32fast::hash(body).to_be_bytes()].concat();
    for bytes in [data, &resealed] {
        if let Ok(known) = progress::decode(bytes) {
            let again = progress::decode(&progress::encode(known));
            assert!(again.is_ok_and(|again| again == known));
        }
    }
}

fn cleaned_seeds() -> Vec<Vec<u8>> {
    let to = |local, tier| progress::encode(Progress { local, tier });
    vec![to(Some(Offset::ZERO), None), to(Some(Offset::new(9000)), Some(Offset::new(8000)))]
}

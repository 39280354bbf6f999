//! What the ordinary tests do with the fuzz targets: replay their corpora, change their seeds, and find the decoders that
//! have none.
//!
//! A target is a function over bytes, see `esker_protocol::fuzz`; its *corpus* is what the fuzzer found worth keeping,
//! in `tests/fuzz/corpus/<target>/`. A [`Mutator`] makes new inputs of old ones, from a seed: it is what a machine
//! without a fuzzer has. [`mod@decoders`] reads the sources for functions that take bytes apart.

mod decoders;
mod mutator;

pub use decoders::{Decoder, decoders};
pub use mutator::Mutator;

pub use esker_protocol::fuzz::Target;
use std::path::PathBuf;

/// Every target, in the order of the crates.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    let crates = [&[esker_protocol::fuzz::TARGETS], esker_storage::FUZZ_TARGETS, esker_broker::FUZZ_TARGETS];
    crates.into_iter().flatten().copied().flatten()
}

/// The folder of the fuzzer's crate.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// A target's corpus: each file's name and bytes, by name. Empty where there is none.
///
/// # Panics
/// If it cannot be read.
pub fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(folder().join("corpus").join(target.name)) else { return Vec::new() };
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let entry = entry.expect("the corpus can be listed");
            let bytes = std::fs::read(entry.path()).expect("the corpus can be read");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    files.sort();
    files
}

//! The fuzz targets in the ordinary tests: their seeds and corpora, replayed and changed, within their memory.
//!
//! The fuzzer itself is `cargo fuzz`, see CONTRIBUTING. `ESKER_FUZZ_SECONDS` has each target run for so long on changed
//! inputs, `ESKER_FUZZ_TARGET` chooses one, and `ESKER_FUZZ_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests read files and clocks")]

#[path = "../fuzz/counting.rs"]
mod counting;

use esker_tests::fuzz::{Mutator, Target, corpus, decoders, folder, targets};
use esker_tests::tidy::read_workspace;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Changed inputs of each target in an ordinary run, ...
const CHANGED: usize = 3000;
/// ... as far as this is enough for them.
const TIME: Duration = Duration::from_secs(2);
/// The largest input that a corpus keeps.
const MAX_INPUT: usize = 64 << 10;
/// The most that a target's corpus may take.
const MAX_CORPUS: usize = 256 << 10;
/// Inputs that are made longer than this are not made longer again.
const MAX_CHANGED: usize = 8 << 10;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `target` on `input`, and says where it came from if that fails.
fn run(target: &Target, input: &[u8], origin: &str) {
    let mut peak = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| peak = counting::peak_of(|| (target.run)(input))));
    let bound = target.memory + target.per_byte * input.len();
    if outcome.is_err() || peak > bound {
        let kept = std::env::temp_dir().join(format!("esker-fuzz-{}", target.name));
        let _ = std::fs::write(&kept, input);
        let hex: String = input.iter().take(4096).map(|byte| format!("{byte:02x}")).collect();
        panic!(
            "target {} fails on {origin}: {peak} bytes held, {bound} are the bound; the input is in {}:\n{hex}",
            target.name,
            kept.display()
        );
    }
}

fn chosen() -> impl Iterator<Item = &'static Target> {
    let chosen = std::env::var("ESKER_FUZZ_TARGET").ok();
    targets().filter(move |target| chosen.as_ref().is_none_or(|name| name == target.name))
}

#[test]
fn seeds_and_corpora_hold() {
    for target in chosen() {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty() && seeds.iter().all(|seed| !seed.is_empty()), "{} has no seed", target.name);
        for (number, seed) in seeds.iter().enumerate() {
            run(target, seed, &format!("seed {number}"));
        }
        for (name, input) in corpus(target) {
            run(target, &input, &format!("corpus file {name}"));
        }
        run(target, &[], "nothing");
    }
}

#[test]
fn changed_inputs_hold() {
    let seed = setting("ESKER_FUZZ_SEED").unwrap_or(0x5eed);
    let seconds = setting("ESKER_FUZZ_SECONDS").map(Duration::from_secs);
    for target in chosen() {
        let mut inputs = (target.seeds)();
        inputs.extend(corpus(target).into_iter().map(|(_, input)| input));
        let mut mutator = Mutator::new(seed);
        let (started, mut done) = (Instant::now(), 0);
        while match seconds {
            Some(seconds) => started.elapsed() < seconds,
            None => done < CHANGED && started.elapsed() < TIME,
        } {
            let (at, other) = (done % inputs.len(), (done * 7 + 3) % inputs.len());
            let changed = mutator.change(&inputs[at], &inputs[other]);
            run(target, &changed, &format!("change {done} of seed {seed}"));
            // Now and then one is gone on from.
            if done % 16 == 0 && changed.len() < MAX_CHANGED && inputs.len() < 4096 {
                inputs.push(changed);
            }
            done += 1;
        }
        println!("{}: {done} changed inputs in {:?}", target.name, started.elapsed());
    }
}

#[test]
fn every_decoder_has_a_target() {
    let root = folder().join("../..");
    let sources = read_workspace(&root).unwrap();
    let found = decoders(&sources);
    assert!(found.len() > 30, "only {} decoders found: is this the workspace?", found.len());
    let covered: BTreeSet<&str> = targets().flat_map(|target| target.covers).copied().collect();
    let bare: Vec<_> = found.iter().filter(|decoder| !covered.contains(decoder.path.as_str())).collect();
    assert!(bare.is_empty(), "decoders without a fuzz target (see esker_protocol::fuzz): {bare:#?}");
    for path in covered {
        assert!(root.join(path).is_file(), "a target covers {path}, which is not there");
    }
}

#[test]
fn every_target_has_its_fuzzer_and_a_small_corpus() {
    let names: Vec<&str> = targets().map(|target| target.name).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), distinct.len(), "two targets have one name");
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let binaries: BTreeSet<&str> = manifest
        .lines()
        .skip_while(|line| *line != "[[bin]]")
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .collect();
    assert_eq!(binaries, distinct, "tests/fuzz/Cargo.toml has other binaries than there are targets");
    for target in targets() {
        let sizes: Vec<usize> = corpus(target).iter().map(|(_, input)| input.len()).collect();
        assert!(sizes.iter().all(|size| *size <= MAX_INPUT), "{} has a large input", target.name);
        assert!(sizes.iter().sum::<usize>() <= MAX_CORPUS, "{} has a large corpus", target.name);
    }
    for entry in std::fs::read_dir(folder().join("corpus")).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(distinct.contains(name.to_str().unwrap()), "a corpus {name:?} without target");
    }
}

//! Each named mistake is caught by the seeds that run without it: the same stories, the same seeds, one line changed.

use super::broker::{FAILING_SYNC_SEEDS, LATE_LEADER_SEEDS, POWER_CUT_SEEDS, STORM_SEEDS};
use super::rot::{ROT_SEEDS, rot_in_data};
use super::stage::{FAILING_SYNCS, POWER_CUTS, STORM};
use super::story::{story, story_of_a_late_leader};
use esker_storage::env::mutation::{Mutation, switch_on};
use esker_tests::sim::{StoreFaults, World, first_failure};
use std::collections::BTreeSet;
use std::future::Future;

/// The mutation is caught by one of the seeds that `broker` runs this story with.
pub(crate) fn catches<T, F>(mutation: Mutation, seeds: u64, story: impl Fn(World) -> F)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let caught = {
        let _on = switch_on(mutation);
        first_failure(0..seeds, story)
    };
    let failure = caught.unwrap_or_else(|| panic!("{} is not caught", mutation.name()));
    println!("{} is caught by seed {}: {:?}", mutation.name(), failure.seed, failure.kind);
}

#[test]
fn mutation_sync_left_out_is_caught() {
    catches(Mutation::SyncLeftOut, STORM_SEEDS, |world| story(world, STORM));
}

#[test]
fn mutation_directory_sync_left_out_is_caught() {
    catches(Mutation::DirectorySyncLeftOut, STORM_SEEDS, |world| story(world, STORM));
}

#[test]
fn mutation_failed_sync_ignored_is_caught() {
    catches(Mutation::FailedSyncIgnored, FAILING_SYNC_SEEDS, |world| story(world, FAILING_SYNCS));
}

#[test]
fn mutation_duplicate_appended_is_caught() {
    catches(Mutation::DuplicateAppended, STORM_SEEDS, |world| story(world, STORM));
}

#[test]
fn mutation_rot_uploaded_is_caught() {
    catches(Mutation::RotUploaded, ROT_SEEDS, rot_in_data);
}

#[test]
fn mutation_uncommitted_read_is_caught() {
    catches(Mutation::UncommittedRead, STORM_SEEDS, |world| story(world, STORM));
}

#[test]
fn mutation_commit_not_waited_for_is_caught() {
    catches(Mutation::CommitNotWaitedFor, POWER_CUT_SEEDS, |world| story(world, POWER_CUTS));
}

#[test]
fn mutation_stale_generation_accepted_is_caught() {
    catches(Mutation::StaleGenerationAccepted, STORM_SEEDS, |world| story(world, STORM));
}

#[test]
fn mutation_metadata_answered_early_is_caught() {
    catches(Mutation::MetadataAnsweredEarly, STORM_SEEDS, |world| story(world, STORM));
}

#[test]
fn mutation_answer_before_write_is_caught() {
    catches(Mutation::AnswerBeforeWrite, STORM_SEEDS, |world| story(world, STORM));
}

#[test]
fn mutation_local_drop_before_commit_is_caught() {
    catches(Mutation::LocalDropBeforeCommit, STORM_SEEDS, |world| story(world, STORM));
}

#[test]
fn mutation_stale_unit_accepted_is_caught() {
    catches(Mutation::StaleUnitAccepted, LATE_LEADER_SEEDS, |world| story_of_a_late_leader(world, StoreFaults::none()));
}

#[test]
fn mutation_lost_answer_new_number_is_caught() {
    catches(Mutation::LostAnswerNewNumber, STORM_SEEDS, |world| story(world, STORM));
}

#[test]
fn mutation_swap_without_sync_is_caught() {
    catches(Mutation::SwapWithoutSync, POWER_CUT_SEEDS, |world| story(world, POWER_CUTS));
}

#[test]
fn mutation_tombstone_removed_early_is_caught() {
    catches(Mutation::TombstoneRemovedEarly, STORM_SEEDS, |world| story(world, STORM));
}

#[test]
fn mutation_newest_record_dropped_is_caught() {
    catches(Mutation::NewestRecordDropped, STORM_SEEDS, |world| story(world, STORM));
}

/// The tier still has the record that a local tombstone hides, and no pass over the tier has covered it.
#[test]
fn mutation_tier_not_awaited_is_caught() {
    use esker_protocol::record::{BatchBuilder, BatchHeader, Scratch};
    use esker_storage::compaction::{Aborted, Kept, KeyMap, Rules};
    use esker_storage::env::Timestamp;
    use esker_storage::offset::Offset;
    let clean = |now: i64, batch: &[u8]| {
        let mut newest = KeyMap::new(1 << 16, 1);
        assert!(newest.put(b"key", Offset::new(10)));
        let (aborted, last) = (Aborted::default(), std::collections::BTreeMap::new());
        let now = Timestamp::from_millis(now);
        let mut rules = Rules::new(newest, Offset::new(20), aborted, last, now, 100, Offset::ZERO);
        rules.apply(&BatchHeader::parse(batch).unwrap(), batch, &mut Scratch::default()).unwrap()
    };
    let mut tombstone = BatchBuilder::default();
    tombstone.push(1, Some(b"key"), None, &[]);
    let tombstone = tombstone.build_trusted().unwrap().stamp(10, 0, None).to_bytes();
    let Kept::As(stamped) = clean(1000, &tombstone) else { panic!("it gets its horizon") };
    // A reader whose older part comes from the tier reads the record, and then its tombstone or nothing.
    let hidden = |kept: Kept| kept != Kept::Nothing;
    assert!(hidden(clean(2000, &stamped)));
    let _on = switch_on(Mutation::TierNotAwaited);
    assert!(!hidden(clean(2000, &stamped)), "tier-not-awaited is not caught");
}

/// A mistake that no simulation is asked to find proves nothing: whoever adds one shows it caught, here or beside its story.
#[test]
#[allow(clippy::disallowed_methods, reason = "the test reads sources")]
fn every_mutation_has_a_test_that_catches_it() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation");
    let sources: String = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap().split_whitespace().collect::<String>())
        .collect();
    let caught = |mutation: &Mutation| {
        let name = format!("Mutation::{mutation:?}");
        [format!("catches({name},"), format!("switch_on({name})")].iter().any(|call| sources.contains(call))
    };
    let missed: Vec<&Mutation> = Mutation::ALL.iter().filter(|mutation| !caught(mutation)).collect();
    assert!(missed.is_empty(), "nothing catches {missed:?}");
}

/// A predicate that ARCHITECTURE.md lists and that nothing calls holds nothing up. (Those that a debug assertion calls are
/// called in the simulation's own profile as well.)
#[test]
#[allow(clippy::disallowed_methods, reason = "the test reads sources")]
fn every_invariant_that_is_listed_is_called() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let table = page.split("## What must always hold").nth(1).unwrap().split("\n## ").next().unwrap();
    let predicates = table.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.split('|').nth(2));
    let names: BTreeSet<&str> = predicates
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(|path| path.rsplit("::").next().unwrap())
        .collect();
    let mut sources = Vec::new();
    let mut folders: Vec<_> = ["storage/src", "broker/src", "tests"].iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if file.ends_with(".rs") && !file.ends_with("_tests.rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                let production = source.split("#[cfg(test)]").next().unwrap();
                sources
                    .extend(production.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned));
            }
        }
    }
    let is_word = |line: &str, at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let count = |what: &str| {
        let in_line = |line: &String| line.match_indices(what).filter(|(at, _)| is_word(line, *at)).count();
        sources.iter().map(in_line).sum::<usize>()
    };
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let (calls, definitions) = (count(&format!("{name}(")), count(&format!("fn {name}(")));
        let is_module = count(&format!("mod {name};")) > 0;
        assert!(
            is_module || (definitions > 0 && calls > definitions),
            "{name}: {calls} calls, {definitions} definitions"
        );
    }
}

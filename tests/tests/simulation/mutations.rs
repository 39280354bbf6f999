//! Each named mistake is caught by the seeds that run without it: the same stories, the same seeds, one line changed.

use super::stage::STORM;
use super::story::{story, story_of_a_late_leader};
use esker_storage::env::mutation::{Mutation, switch_on};
use esker_tests::sim::{StoreFaults, World, first_failure};
use std::future::Future;

/// The mutation is caught by one of the seeds that `broker` runs this story with.
fn catches<T, F>(mutation: Mutation, seeds: u64, story: impl Fn(World) -> F)
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
    catches(Mutation::SyncLeftOut, 100, |world| story(world, STORM));
}

#[test]
fn mutation_answer_before_write_is_caught() {
    catches(Mutation::AnswerBeforeWrite, 100, |world| story(world, STORM));
}

#[test]
fn mutation_local_drop_before_commit_is_caught() {
    catches(Mutation::LocalDropBeforeCommit, 100, |world| story(world, STORM));
}

#[test]
fn mutation_stale_unit_accepted_is_caught() {
    catches(Mutation::StaleUnitAccepted, 20, |world| story_of_a_late_leader(world, StoreFaults::none()));
}

#[test]
fn mutation_lost_answer_new_number_is_caught() {
    catches(Mutation::LostAnswerNewNumber, 100, |world| story(world, STORM));
}

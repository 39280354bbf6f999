//! Mutations: named mistakes that tests switch on, to prove that they would be noticed.
//!
//! Each guarantee of Esker has a mistake that breaks it. Production code asks [`active`] at the place where the mistake
//! would be made; without the cargo feature `mutations` the answer is a constant `false` and the branch is compiled out.
//! With the feature (only the `tests` crate turns it on) a mistake is made where a test has switched it on for
//! its own thread, which is all of a simulated run, or where the environment variable `ESKER_MUTATION` names it, for
//! the processes that tests start.
//!
//! ```text
//!  if !mutation::active(Mutation::SyncLeftOut) {
//!      file.sync_data()?;
//!  }
//! ```

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// An offset counts as synced though nothing was synced. (The group commit's round.)
    SyncLeftOut,
    /// New names are not synced with what they name. (The group commit's round.)
    DirectorySyncLeftOut,
    /// A sync that failed counts as one that succeeded. (The group commit's round.)
    FailedSyncIgnored,
    /// A batch whose checksum is wrong counts as whole when a log is recovered. (The scan of a segment.)
    TornBatchKept,
    /// A batch that was appended before is appended again. (The log's append.)
    DuplicateAppended,
    /// A batch whose checksum is wrong is uploaded. (The source of units, and the
    /// writer of objects.)
    RotUploaded,
    /// Consumers are given what is appended and not committed. (The partition leader's read.)
    UncommittedRead,
    /// A group is answered before the records of the answer are committed. (The coordinator's log.)
    CommitNotWaitedFor,
    /// A member of an older generation commits offsets. (The group's state.)
    StaleGenerationAccepted,
    /// A member of a consumer group commits at an epoch that is over, for what it lost since. (The consumer group's state.)
    StaleEpochAccepted,
    /// A member of a consumer group is given what another has not let go of. (The consumer group's reconciliation.)
    UnreleasedAssigned,
    /// A change of the metadata is answered before it is committed. (The controller.)
    MetadataAnsweredEarly,
    /// A produce is answered before its batch was written. (The partition leader's append.)
    AnswerBeforeWrite,
    /// A local segment goes when its upload has ended, without waiting for the commit. (Local retention.)
    LocalDropBeforeCommit,
    /// A tier unit of an older leader epoch, or one that does not start at the tier's end, is accepted. (The tier
    /// log's replay.)
    StaleUnitAccepted,
    /// A commit whose answer was lost is written again under the next number, without a look at the first. (The
    /// numbered log's append.)
    LostAnswerNewNumber,
    /// DeleteRecords is answered before the new log start would survive a crash. (The log's start.)
    LogStartNotSaved,
    /// A cleaned segment takes the place of its run without being synced. (The swap of compaction.)
    SwapWithoutSync,
    /// A tombstone goes at once, not after `delete.retention.ms`. (Compaction's filter.)
    TombstoneRemovedEarly,
    /// A local tombstone goes although the tier may still have what it hides. (Compaction's filter.)
    TierNotAwaited,
    /// Of two records of a key the newer one goes. (Compaction's filter.)
    NewestRecordDropped,
    /// Compaction goes on beyond what was committed, up to the active segment. (Compaction's planner.)
    CleanedBeyondStable,
    /// Units are replaced by a rewrite although one of them was replaced since it was made. (The tier log's replay.)
    ChangedUnitSwapped,
    /// A unit that takes the place of several has the producers and epochs of the first of them. (The tier's rewrites.)
    OldestStateKept,
    /// A partition whose log directory failed before the start is made anew in another. (The hosted partitions.)
    LostMadeAnew,
    /// Appends are taken although the disk is nearly full. (The log directory's mark.)
    MarkIgnored,
    /// Zeros are written ahead over the end of what is there. (The active segment.)
    ZerosOverTail,
    /// Rot that was found is served all the same. (The log's damaged ranges.)
    RotServed,
    /// The scrub takes a batch whose checksum is wrong for whole. (The scrub of local segments.)
    RotOverlooked,
    /// A rotten segment goes although the tier does not have all of it. (The partition's log.)
    QuarantinedUntiered,
    /// A unit is accepted although its object is about to be deleted. (The tier log's replay.)
    DoomedUnitAccepted,
    /// An object that nothing names is deleted though it could still be named. (The sweeper.)
    PendingDeletedUndoomed,
    /// A unit counts that was begun before its partition left the tier. (The tier log's replay.)
    EarlierStayAccepted,
    /// An object that was replaced is deleted while readers may still be on it. (The sweeper.)
    ReplacedDeletedAtOnce,
}

impl Mutation {
    /// Every mutation.
    pub const ALL: &[Mutation] = &[
        Mutation::SyncLeftOut,
        Mutation::DirectorySyncLeftOut,
        Mutation::FailedSyncIgnored,
        Mutation::TornBatchKept,
        Mutation::DuplicateAppended,
        Mutation::RotUploaded,
        Mutation::UncommittedRead,
        Mutation::CommitNotWaitedFor,
        Mutation::StaleGenerationAccepted,
        Mutation::StaleEpochAccepted,
        Mutation::UnreleasedAssigned,
        Mutation::MetadataAnsweredEarly,
        Mutation::AnswerBeforeWrite,
        Mutation::LocalDropBeforeCommit,
        Mutation::StaleUnitAccepted,
        Mutation::LostAnswerNewNumber,
        Mutation::LogStartNotSaved,
        Mutation::SwapWithoutSync,
        Mutation::TombstoneRemovedEarly,
        Mutation::TierNotAwaited,
        Mutation::NewestRecordDropped,
        Mutation::CleanedBeyondStable,
        Mutation::ChangedUnitSwapped,
        Mutation::OldestStateKept,
        Mutation::RotOverlooked,
        Mutation::QuarantinedUntiered,
        Mutation::DoomedUnitAccepted,
        Mutation::PendingDeletedUndoomed,
        Mutation::EarlierStayAccepted,
        Mutation::ReplacedDeletedAtOnce,
        Mutation::LostMadeAnew,
        Mutation::MarkIgnored,
        Mutation::ZerosOverTail,
        Mutation::RotServed,
    ];

    /// Its name, as `ESKER_MUTATION` and reports write it.
    pub const fn name(self) -> &'static str {
        match self {
            Mutation::SyncLeftOut => "sync-left-out",
            Mutation::DirectorySyncLeftOut => "directory-sync-left-out",
            Mutation::FailedSyncIgnored => "failed-sync-ignored",
            Mutation::TornBatchKept => "torn-batch-kept",
            Mutation::DuplicateAppended => "duplicate-appended",
            Mutation::RotUploaded => "rot-uploaded",
            Mutation::UncommittedRead => "uncommitted-read",
            Mutation::CommitNotWaitedFor => "commit-not-waited-for",
            Mutation::StaleGenerationAccepted => "stale-generation-accepted",
            Mutation::StaleEpochAccepted => "stale-epoch-accepted",
            Mutation::UnreleasedAssigned => "unreleased-assigned",
            Mutation::MetadataAnsweredEarly => "metadata-answered-early",
            Mutation::AnswerBeforeWrite => "answer-before-write",
            Mutation::LocalDropBeforeCommit => "local-drop-before-commit",
            Mutation::StaleUnitAccepted => "stale-unit-accepted",
            Mutation::LostAnswerNewNumber => "lost-answer-new-number",
            Mutation::LogStartNotSaved => "log-start-not-saved",
            Mutation::SwapWithoutSync => "swap-without-sync",
            Mutation::TombstoneRemovedEarly => "tombstone-removed-early",
            Mutation::TierNotAwaited => "tier-not-awaited",
            Mutation::NewestRecordDropped => "newest-record-dropped",
            Mutation::CleanedBeyondStable => "cleaned-beyond-stable",
            Mutation::ChangedUnitSwapped => "changed-unit-swapped",
            Mutation::OldestStateKept => "oldest-state-kept",
            Mutation::RotOverlooked => "rot-overlooked",
            Mutation::QuarantinedUntiered => "quarantined-untiered",
            Mutation::DoomedUnitAccepted => "doomed-unit-accepted",
            Mutation::PendingDeletedUndoomed => "pending-deleted-undoomed",
            Mutation::EarlierStayAccepted => "earlier-stay-accepted",
            Mutation::ReplacedDeletedAtOnce => "replaced-deleted-at-once",
            Mutation::LostMadeAnew => "lost-made-anew",
            Mutation::MarkIgnored => "mark-ignored",
            Mutation::ZerosOverTail => "zeros-over-tail",
            Mutation::RotServed => "rot-served",
        }
    }

    /// The mutation of a name.
    pub fn named(name: &str) -> Option<Mutation> {
        Mutation::ALL.iter().copied().find(|mutation| mutation.name() == name)
    }
}

/// Whether the mistake is to be made: never, in a build without the feature `mutations`.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub const fn active(_: Mutation) -> bool {
    false
}

#[cfg(feature = "mutations")]
pub use switch::{SwitchedOn, active, switch_on};

#[cfg(feature = "mutations")]
mod switch {
    use super::Mutation;
    use std::cell::Cell;
    use std::marker::PhantomData;
    use std::sync::OnceLock;

    thread_local! {
        static HERE: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    static PROCESS: OnceLock<Option<Mutation>> = OnceLock::new();

    /// Whether the mistake is to be made on this thread, or in this process.
    pub fn active(mutation: Mutation) -> bool {
        let process = || std::env::var("ESKER_MUTATION").ok().and_then(|name| Mutation::named(&name));
        HERE.get() == Some(mutation) || *PROCESS.get_or_init(process) == Some(mutation)
    }

    /// Makes the mistake on this thread until the answer is dropped.
    #[must_use]
    pub fn switch_on(mutation: Mutation) -> SwitchedOn {
        SwitchedOn { before: HERE.replace(Some(mutation)), _this_thread: PhantomData }
    }

    /// While it lives, a mistake is made on the thread that switched it on.
    #[derive(Debug)]
    pub struct SwitchedOn {
        before: Option<Mutation>,
        /// It must be dropped where it was made.
        _this_thread: PhantomData<*const ()>,
    }

    impl Drop for SwitchedOn {
        fn drop(&mut self) {
            HERE.set(self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for mutation in Mutation::ALL {
            assert_eq!(Mutation::named(mutation.name()), Some(*mutation));
        }
        assert_eq!(Mutation::named("none"), None);
    }

    #[cfg(feature = "mutations")]
    #[test]
    fn a_switch_is_of_one_thread_and_ends_with_its_guard() {
        assert!(!active(Mutation::SyncLeftOut));
        {
            let _on = switch_on(Mutation::SyncLeftOut);
            assert!(active(Mutation::SyncLeftOut));
            assert!(!active(Mutation::StaleUnitAccepted));
        }
        assert!(!active(Mutation::SyncLeftOut));
    }
}

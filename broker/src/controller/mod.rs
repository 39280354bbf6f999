//! The controller: decides every change of the cluster's metadata and commits it to the metadata log.
//!
//! Four nouns. A [`Command`] is a request to change the metadata; its plan is a pure function from the newest image to
//! records and an answer. The [`Journal`] is the metadata log with the image that it replays to. The [`Controller`] is
//! the handle by which the rest of the broker submits commands. A [`Refusal`] is the protocol's error for one item of a
//! command, with a sentence.
//!
//! ```text
//!  handler -> Controller::submit(command, limit) -> bounded queue -> run:
//!     take what waits -> plan each on the image as the ones before leave it -> check -> Journal::commit (one object)
//!       committed: publish the image, then answer all      foreign: replay it, plan all again, or step down
//!       unsettled: settle until it is known; whoever waited too long was told REQUEST_TIMED_OUT meanwhile
//! ```
//!
//! Any broker can be the controller. It becomes it by committing `ElectController`, and learns that it no longer is when
//! its next number is taken by another's election: no clock, no lease. Until then nothing it decided was visible to
//! anybody, because nothing is answered or published before its commit has settled.

mod error;
mod handle;
mod journal;
mod outcome;
mod plan;
mod producer_ids;
mod queue;
mod run;
#[cfg(test)]
pub(crate) mod testing;

pub use error::{Refusal, SubmitError};
pub use handle::Controller;
pub use journal::{Journal, JournalError, delete_damaged_snapshots};
pub use outcome::{ControllerState, Settled};
pub use plan::{
    AddPartitions, AllocateProducerIds, AlterConfigs, AlterOperation, Command, ConfigAlteration, CreateTopics,
    CreatedTopic, DeleteTopics, DeletedTopic, MorePartitions, NewTopic, Plan, RegisterBroker, Replicas, ResourceName,
    Rules, TopicRef, check_assignment, check_topic_name, offsets_topic,
};
pub use producer_ids::{PRODUCER_ID_BLOCK, ProducerIdPool};

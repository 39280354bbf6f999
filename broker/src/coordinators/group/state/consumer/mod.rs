//! A consumer group (KIP-848): the coordinator assigns, and brings each member to its assignment step by step.
//!
//! Three epochs, each of which only goes up:
//!
//! ```text
//! a subscription or a topic changed, a member left      everybody's target computed       heartbeat by heartbeat
//!                    group epoch          ────────>        target epoch        ────────>       member epoch
//! ```
//!
//! A member that must give something up keeps its epoch until it says that it did (`UnrevokedPartitions`); what others
//! have not given up yet it does not get (`UnreleasedPartitions`). So a partition never has two owners.
//!
//! Records are the one way in which the lasting state changes: a request makes a [`draft`](draft::Draft) of what it
//! would change, the draft's records are encoded, and then the group applies them, as a replay would. What does not fit
//! the log leaves the group as it was. Deadlines are not recorded, and begin anew after a load.
//!
//! - `group`: the state, and what a record does to it; `timers`: its deadlines; `draft`: a change in the making.
//! - `subscription`: names and regular expressions to topics; `reconcile`: one member's next step, pure.
//! - `advance`: what a heartbeat and a join have in common; `heartbeat`, `leave`: the requests.
//! - `classic`: members of the classic protocol during a migration; `access`: offsets and descriptions.
//! - `invariants`: what holds after every call.

mod access;
mod advance;
mod classic;
mod draft;
mod group;
mod heartbeat;
pub(super) mod invariants;
mod leave;
mod reconcile;
mod subscription;
mod timers;

pub(super) use classic::{CONSUMER_PROTOCOL_TYPE, Joining, by_id, serialized};
pub(super) use group::ConsumerGroup;
pub(super) use heartbeat::validate;
pub(super) use leave::Leaving;

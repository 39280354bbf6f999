//! Groups of both protocols as a pure state machine: `(state, request, now) -> (records, answers)`.
//!
//! A [`GroupMachine`] holds the groups of one coordinator partition. It does no I/O, has no clock and no timers: every
//! call brings `now`, [`GroupMachine::next_deadline`] says when it wants to be called again, and what happened comes
//! back in an [`Output`]. A join or sync that must wait for others keeps its [`Token`](super::request::Token) in the
//! group, and its answer appears in the output of whichever later call decides it.
//!
//! A classic group:
//!
//! ```text
//!            first join             all joined, or time is up           leader's assignment
//!   Empty ───────────────> Preparing ───────────────────> Completing ───────────────> Stable
//!     ^                     │  ^  ^                           │                          │
//!     └── nobody is left ───┘  │  └── join, leave, expiry ────┘                          │
//!                              └────── join with changes, leave, expiry, missing sync ───┘
//! ```
//!
//! State changes at once, and only what was written survives a reload: offsets, and groups as of their last Stable or
//! Empty. A rebalance under way is forgotten; its members are told to find the coordinator again.
//!
//! - `machine`: which group, creation and removal, deadlines; `entry`: a group of either protocol; `replay`: loading.
//! - `group`, `member`: one classic group's members, protocols and leader.
//! - `join`, `sync`, `leave`: its requests; `rebalance`: from one generation to the next.
//! - `consumer`: a consumer group; `crossing`: where the protocols meet; `migrate`: from one to the other.
//! - `offsets`: commit and expiry; `committed`: the table behind them.
//! - `step`: one call's surroundings and outcome.
//! - `invariants`: what holds after every call, as predicates.

mod committed;
mod consumer;
mod crossing;
mod entry;
mod group;
mod invariants;
mod join;
mod leave;
mod machine;
mod member;
mod migrate;
mod offsets;
mod rebalance;
mod replay;
mod step;
mod sync;

pub use machine::GroupMachine;
pub use step::Output;

#[cfg(test)]
mod tests;

//! Assignors: who of a consumer group is to have which partitions. Pure functions from who subscribes to what, and what
//! each was to have before, to what each is to have now.
//!
//! Whatever the assignor, every partition of a subscribed topic goes to exactly one member that subscribes to the topic.
//!
//! - [`spec`]: what an assignor is given, and what it gives; `choice`: which one, by name.
//! - `uniform`: as even as it can be over all topics together, moving as little as it can. The default.
//! - `range`: as even as it can be topic by topic, in contiguous ranges, so that equal topics are split alike.

mod choice;
mod range;
pub mod spec;
mod uniform;

pub use choice::Assignor;
pub use spec::{MemberSpec, Spec};

#[cfg(test)]
mod tests;

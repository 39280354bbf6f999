//! Cluster metadata: the records of the metadata log, the image they replay to, and the broker's copy of it.
//!
//! Four nouns. A [`Record`] is one fact in a commit of the metadata log. The [`Image`] is everything that the commits up
//! to some number say, immutable. A [`Delta`] replays the records of a commit on one image and yields the next, with the
//! [`Changes`] between the two. The [`Publisher`] holds this broker's newest image; whoever acts on the metadata
//! subscribes to it and gets image and changes.
//!
//! ```text
//!  commit N of the metadata log -> records -> Delta::apply ... -> Delta::finish(N)
//!        -> (image N, changes) -> Publisher -> handlers read the image; partitions, coordinators act on the changes
//! ```
//!
//! The same replay serves the controller (which checks its records on a delta before it commits them), a broker that
//! follows it, and a start from a snapshot: [`Image::to_records`] writes an image as records, so there is one decoder.
//! What must hold of every image is [`Image::check`].

mod changes;
mod delta;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod image;
mod invariants;
mod publisher;
mod records;

pub use crate::config::{BrokerId, id_text, parse_id};
pub use changes::{Changes, TopicChange};
pub use delta::{Delta, ReplayError};
pub use image::{Broker, ControllerTerm, Image, Partition, Topic, is_internal};
pub use invariants::Violation;
pub use publisher::{Applier, Published, Publisher, Subscription};
pub use records::{
    AddPartitions, Assignment, CreateTopic, DeleteTopic, ElectController, FormatCluster, LeaderChange, LeaderEpochs,
    ProducerIds, Record, RegisterBroker, Resource, SetConfigs,
};

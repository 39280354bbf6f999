//! Handlers: one file per API, from a decoded request to the response, for every version that is advertised.
//!
//! A handler takes what it needs by name (the image's publisher, the controller, the configuration) and the request's
//! version, and returns the response struct. It leaves out, or sets to its default, what the version does not have, since
//! the encoder refuses a field that is set and cannot be sent. Connections, order and encoding are `net`'s.

pub mod alter_configs;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_topic_partitions;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod list_partition_reassignments;
pub mod metadata;
mod resource;
#[cfg(test)]
pub(crate) mod testing;
mod wire;

//! One file per API: from a decoded request to its answer.

pub mod delete_groups;
pub mod describe_groups;
pub mod find_coordinator;
#[cfg(test)]
#[path = "group_tests.rs"]
mod group_tests;
pub mod heartbeat;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod offset_commit;
pub mod offset_fetch;
pub mod sync_group;
mod wire;

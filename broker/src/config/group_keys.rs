//! The keys of a consumer group, sorted by name: Kafka's.

use super::key::{Check, Key, Kind};

pub(super) const ASSIGNMENT: &str = "consumer.assignment.interval.ms";
pub(super) const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
pub(super) const SESSION: &str = "consumer.session.timeout.ms";

/// Every key of a group, sorted by name.
pub(super) static GROUP_KEYS: &[Key] = &[
    Key::new(ASSIGNMENT, Kind::Int, Some("1000"), "Milliseconds between two assignments of this group.")
        .dynamic()
        .check(Check::AtLeast(0))
        .falls_back_to(&[("group.consumer.assignment.interval.ms", 1)]),
    Key::new(HEARTBEAT, Kind::Int, Some("5000"), "Milliseconds between two heartbeats of a member of this group.")
        .dynamic()
        .check(Check::AtLeast(1))
        .falls_back_to(&[("group.consumer.heartbeat.interval.ms", 1)]),
    Key::new(SESSION, Kind::Int, Some("45000"), "Milliseconds that a member of this group may be silent.")
        .dynamic()
        .check(Check::AtLeast(1))
        .falls_back_to(&[("group.consumer.session.timeout.ms", 1)]),
];

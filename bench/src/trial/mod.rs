//! Trials: programs that start a broker, measure one promise of it, and end with an error where it is not kept.
//!
//! | command | promise |
//! | --- | --- |
//! | [`isolation`] | replaying history leaves a producer's and a tail reader's p99 within 1.2x of what they are without |
//! | [`cold`] | a cold read's first record within two round trips to the store and 5 ms; 80 % of the store's throughput |
//! | [`faults`] | a store that fails leaves p99 of produce and of reading what is hot within 1.2x, and nothing is lost |
//!
//! What is compared is measured in turn, several times, in one run, and judged by a [`ratio`]: on a machine whose
//! speed drifts, figures from different runs say little. Every record that is read is verified.

pub mod cold;
pub mod faults;
mod hot;
pub mod isolation;
mod plain;
mod ratio;

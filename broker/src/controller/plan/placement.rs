//! Placement: which brokers a new partition is on.
//!
//! Goals, in this order: no broker has a partition twice; leaders are spread evenly; replicas follow their leader around
//! the ring of brokers. A topic starts on the ring where the partitions that exist already end, so that many small topics
//! spread as one large one does.

use crate::config::BrokerId;
use crate::controller::Refusal;
use crate::metadata::{Assignment, Image};
use esker_storage::offset::LeaderEpoch;
use kafka_protocol::ResponseError;

/// Where new partitions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// Wherever the controller places them.
    Automatic {
        /// New partitions; `None` for the default number.
        partitions: Option<u32>,
        /// Replicas of each; `None` for the default factor.
        factor: Option<u32>,
    },
    /// On these brokers, the preferred leader first, by partition from the first new one on.
    Manual(Vec<Vec<BrokerId>>),
}

/// `count` new partitions with `factor` replicas each, the first of which is number `first` in the cluster.
pub(super) fn place(image: &Image, first: u64, count: u32, factor: u32) -> Result<Vec<Assignment>, Refusal> {
    let brokers: Vec<BrokerId> = image.brokers().map(|broker| broker.id).collect();
    let there = brokers.len();
    let wanted = usize::try_from(factor).unwrap_or(usize::MAX);
    if wanted == 0 || wanted > there {
        let message = format!(
            "The target replication factor of {factor} cannot be reached because only {there} broker(s) are registered."
        );
        return Err(Refusal::new(ResponseError::InvalidReplicationFactor, message));
    }
    let start = usize::try_from(first % there as u64).unwrap_or_default();
    Ok((0..usize::try_from(count).unwrap_or_default())
        .map(|partition| {
            assignment(brokers.iter().copied().cycle().skip((start + partition) % there).take(wanted).collect())
        })
        .collect())
}

/// The assignments that `manual` asks for, each with `factor` replicas if that is given.
pub(super) fn check_manual(
    image: &Image,
    manual: &[Vec<BrokerId>],
    factor: Option<usize>,
) -> Result<Vec<Assignment>, Refusal> {
    let refuse = |message: String| Err(Refusal::new(ResponseError::InvalidReplicaAssignment, message));
    let mut wanted = factor;
    let mut assignments = Vec::with_capacity(manual.len());
    for (index, replicas) in manual.iter().enumerate() {
        check_assignment(image, replicas)?;
        if *wanted.get_or_insert(replicas.len()) != replicas.len() {
            return refuse(format!(
                "The manual partition assignment {index} includes a different number of replicas than the others."
            ));
        }
        assignments.push(assignment(replicas.clone()));
    }
    Ok(assignments)
}

/// Whether a partition could be on these brokers.
///
/// # Errors
/// INVALID_REPLICA_ASSIGNMENT if there are none of them, or one is named twice or does not exist.
pub fn check_assignment(image: &Image, replicas: &[BrokerId]) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(ResponseError::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return refuse("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    let mut previous = None;
    for broker in sorted {
        if image.broker(broker).is_none() {
            return refuse(format!(
                "The manual partition assignment includes broker {broker}, but no such broker is registered."
            ));
        }
        if previous == Some(broker) {
            return refuse(format!("The manual partition assignment includes the broker {broker} more than once."));
        }
        previous = Some(broker);
    }
    Ok(())
}

/// A new partition: all its replicas are in sync, since there is nothing yet.
fn assignment(replicas: Vec<BrokerId>) -> Assignment {
    Assignment { isr: replicas.clone(), leader: replicas.first().copied(), leader_epoch: LeaderEpoch::new(0), replicas }
}

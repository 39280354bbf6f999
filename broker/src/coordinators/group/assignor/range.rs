//! The range assignor: the partitions of each topic, in their order, are cut into as many ranges as the topic has
//! subscribers, and the first ranges are one longer where it does not divide evenly.
//!
//! Members stand in the order of their instance ids, and those without one after them by their ids: a static member that
//! comes back with another id gets its range again, and topics with as many partitions and the same subscribers are split
//! at the same places.

use super::spec::{MemberSpec, Spec, Targets};
use std::collections::BTreeMap;
use uuid::Uuid;

pub(super) fn assign(spec: &Spec) -> Targets {
    let mut ordered: Vec<(&String, &MemberSpec)> = spec.members.iter().collect();
    ordered.sort_by_key(|(id, member)| (member.instance.is_none(), member.instance.as_deref(), id.as_str()));
    let mut subscribers: BTreeMap<Uuid, i32> = BTreeMap::new();
    for topic in ordered.iter().flat_map(|(_, member)| &member.topics) {
        *subscribers.entry(*topic).or_default() += 1;
    }
    // Of each topic: how many subscribers were served, and the first partition for the next one.
    let mut served: BTreeMap<Uuid, (i32, i32)> = BTreeMap::new();
    let mut targets = Targets::new();
    for (id, member) in ordered {
        let target = targets.entry(id.clone()).or_default();
        for topic in &member.topics {
            let (partitions, members) = (spec.partitions(topic), subscribers.get(topic).copied().unwrap_or(1).max(1));
            let (rank, first) = served.get(topic).copied().unwrap_or_default();
            let extra = i32::from(rank < partitions % members);
            let next = first + partitions / members + extra;
            served.insert(*topic, (rank + 1, next));
            if first < next {
                target.insert(*topic, (first..next).collect());
            }
        }
    }
    targets
}

//! Elections of controllers, and starts of brokers.

use super::{Command, Plan, Rules};
use crate::config::{BrokerId, Listener};
use crate::metadata::{self, ElectController, FormatCluster, Image, LeaderChange, LeaderEpochs, Record};
use uuid::Uuid;

/// The records by which start `incarnation` of broker `broker` becomes the controller; of a new cluster, also its format.
pub(in crate::controller) fn election(
    image: &Image,
    broker: BrokerId,
    incarnation: Uuid,
    cluster_id: Uuid,
) -> Vec<Record> {
    let mut records = Vec::new();
    if image.cluster_id().is_none() {
        records.push(Record::FormatCluster(FormatCluster { cluster_id }));
    }
    let epoch = image.controller().map_or(0, |term| term.epoch).saturating_add(1);
    records.push(Record::ElectController(ElectController { broker, incarnation, epoch }));
    records
}

/// A broker has started: where it is, and new leader epochs for every partition that it goes on to lead.
///
/// New epochs at every start, in the same commit: what a crash took from the end of a log is given out again under the
/// same offsets, and only another epoch tells the two apart.
#[derive(Clone, Debug)]
pub struct RegisterBroker {
    /// `node.id`.
    pub id: BrokerId,
    /// Another for every start of the process.
    pub incarnation: Uuid,
    /// Where clients reach it.
    pub listeners: Vec<Listener>,
    /// The identities of its log directories.
    pub log_dirs: Vec<Uuid>,
}

impl Command for RegisterBroker {
    /// How many partitions the broker leads.
    type Answer = usize;

    fn plan(&self, image: &Image, _: &Rules) -> Plan<usize> {
        let registration = metadata::RegisterBroker {
            id: self.id,
            incarnation: self.incarnation,
            listeners: self.listeners.clone(),
            log_dirs: self.log_dirs.clone(),
        };
        let mut records = vec![Record::RegisterBroker(registration)];
        let mut leads = 0;
        for topic in image.topics() {
            let mut partitions = Vec::new();
            for (number, partition) in (0u32..).zip(&topic.partitions) {
                let free = partition.leader.is_none() || partition.leader == Some(self.id);
                if free && partition.isr.contains(&self.id) {
                    partitions.push(LeaderChange {
                        partition: number,
                        leader: Some(self.id),
                        leader_epoch: partition.leader_epoch.next(),
                        isr: partition.isr.clone(),
                    });
                }
            }
            leads += partitions.len();
            if !partitions.is_empty() {
                records.push(Record::LeaderEpochs(LeaderEpochs { topic: topic.id, partitions }));
            }
        }
        Plan { records, answer: leads }
    }
}

//! What the uploader sees of this broker: the partitions that it leads.

use super::hosted::{Here, Hosted};
use super::leader::Partition;
use esker_storage::offset::PartitionId;
use esker_storage::tier::{PartitionView, TailLimits, UnitSource, UnitSources};
use std::sync::Arc;
use std::time::Duration;

impl UnitSources for Hosted {
    fn views(&self) -> Vec<PartitionView> {
        self.led().iter().map(|partition| partition.upload_view()).collect()
    }

    fn source(&self, partition: &PartitionId) -> Option<Arc<dyn UnitSource>> {
        match self.get(*partition)? {
            Here::Led(partition) => Some(partition.log().upload_source()),
            Here::Offline(_) => None,
        }
    }
}

impl Partition {
    fn upload_view(&self) -> PartitionView {
        let config = self.topic_config();
        // A quarter of what is kept: so long, at most, something may stay after its time.
        let span = config.retention_ms.map_or(config.segment_ms, |kept| config.segment_ms.min(kept / 4));
        let segment = u64::from(config.segment_bytes);
        let bytes = config.retention_bytes.map_or(segment, |kept| segment.min(kept / 4));
        let tail = TailLimits {
            max_bytes: config.tail_max_bytes,
            max_age: Duration::from_millis(config.tail_max_ms),
            unit_max_bytes: config.retention_bytes.map_or(u64::MAX, |kept| segment.max(kept / 4)),
            merged_max_bytes: bytes,
            merged_max_span: Duration::from_millis(span),
        };
        let enabled = config.is_copied() && !self.log().is_failed();
        self.log().upload_view(self.leader_epoch(), self.high_watermark(), tail, enabled)
    }
}

//! What can go wrong with a log, by what its caller must do about it.

use super::producers::ProducerError;
use crate::offset::{LeaderEpoch, LocalStart, LogEnd, PartitionId};
use crate::segment::{SegmentError, SegmentName};
use std::io;
use std::sync::Arc;

/// Why a log directory answers nothing any more.
#[derive(Clone, Debug, thiserror::Error)]
#[error("log directory {directory} failed: {reason}")]
pub struct DirFailed {
    /// Its path.
    pub directory: Arc<str>,
    /// What failed first.
    pub reason: Arc<str>,
}

/// Why a log cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The directory is fenced: nothing in it can be trusted to be durable. The partition has no leader here.
    #[error(transparent)]
    Failed(#[from] DirFailed),
    /// What was synced once is not there any more, or not the same. Only this partition is concerned.
    #[error("partition {partition}, segment {segment}, position {position}: {reason}")]
    Corrupt {
        /// The partition.
        partition: PartitionId,
        /// The segment.
        segment: SegmentName,
        /// Where in its data file.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// There is no room on the disk. Nothing was written; try again when there is.
    #[error("no room on the disk")]
    NoSpace,
    /// The disk answered an error to a read; it may be worth another attempt.
    #[error("disk: {0}")]
    Io(io::Error),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The log is open already.
    #[error("the log of partition {0} is open already")]
    AlreadyOpen(PartitionId),
    /// The request contradicts the log's state: a mistake of the caller's.
    #[error("invalid: {0}")]
    Invalid(&'static str),
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The batch's producer may not write it.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// A newer leader has appended here already.
    #[error("leader epoch {epoch} is older than the log's {newest}")]
    Fenced {
        /// The appender's epoch.
        epoch: LeaderEpoch,
        /// The newest in the log.
        newest: LeaderEpoch,
    },
    /// The log cannot append.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not on this disk: in the tier, or gone.
    #[error("offset is before the local start {local_start}")]
    BelowLocalStart {
        /// The first offset on this disk.
        local_start: LocalStart,
    },
    /// Beyond the last record.
    #[error("offset is beyond the log end {log_end}")]
    AboveEnd {
        /// The log end.
        log_end: LogEnd,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A segment's trouble, named.
pub(super) fn segment_error(partition: PartitionId, segment: SegmentName, error: SegmentError) -> LogError {
    match error {
        SegmentError::Io(error) => LogError::Io(error),
        SegmentError::Broken { position, reason } => {
            LogError::Corrupt { partition, segment, position, reason: reason.to_owned() }
        }
    }
}

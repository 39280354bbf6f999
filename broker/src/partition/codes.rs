//! Storage's errors in the words of the protocol: what a client will do about each decides its code.

use esker_protocol::error_code::ErrorCode;
use esker_storage::log::{AppendError, LogError, ProducerError};
use esker_storage::partition_log::{LookupError, ReadError};

/// The code for a batch that was not appended.
///
/// Never UNKNOWN_SERVER_ERROR: old Java producers use a sequence again after it.
pub fn append_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Producer(ProducerError::OutOfOrderSequence { .. }) => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        AppendError::Producer(ProducerError::InvalidProducerEpoch { .. }) => ErrorCode::INVALID_PRODUCER_EPOCH,
        AppendError::Producer(ProducerError::CoordinatorFenced { .. }) => ErrorCode::TRANSACTION_COORDINATOR_FENCED,
        AppendError::Fenced { .. } => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        // Every client tries again after it, and none asks for another leader, of which there is none with more room.
        AppendError::Log(LogError::NoSpace) => ErrorCode::NOT_ENOUGH_REPLICAS,
        AppendError::Log(error) => log_code(error),
    }
}

/// The code for records that were not read.
pub fn read_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange => ErrorCode::OFFSET_OUT_OF_RANGE,
        // Those very records are damaged, for good: to try again would be in vain, and others are served.
        ReadError::Log(LogError::Corrupt { .. }) => ErrorCode::CORRUPT_MESSAGE,
        ReadError::Log(error) => log_code(error),
        ReadError::Tier(_) => ErrorCode::KAFKA_STORAGE_ERROR,
    }
}

/// The code for a look-up that found no answer.
pub fn lookup_code(error: &LookupError) -> ErrorCode {
    match error {
        LookupError::Log(error) => log_code(error),
        LookupError::Tier(_) => ErrorCode::KAFKA_STORAGE_ERROR,
        LookupError::Ended(_) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
    }
}

fn log_code(error: &LogError) -> ErrorCode {
    match error {
        // The partition moves, or comes back when this broker starts again.
        LogError::Closed | LogError::AlreadyOpen(_) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        // Retriable, whatever it takes to mend it.
        LogError::Failed(_) | LogError::Corrupt { .. } | LogError::NoSpace | LogError::Io(_) | LogError::Invalid(_) => {
            ErrorCode::KAFKA_STORAGE_ERROR
        }
    }
}

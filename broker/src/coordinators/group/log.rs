//! The narrow door from a coordinator's runtime to its partition: append, and read everything again.

use super::records::LogRecord;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

/// Why an append did not take place, or not for sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// This broker does not lead the partition (any more), or its disk failed: the coordinator is elsewhere.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// Not enough replicas, or too slow: the records may or may not be in the log.
    #[error("the records could not be committed")]
    Unavailable,
    /// The batch is larger than the partition takes.
    #[error("the batch is too large")]
    TooLarge,
}

/// Why the log could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// This broker does not lead the partition (any more).
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// Worth another try.
    #[error("the log could not be read")]
    Unavailable,
}

/// One partition of an internal topic, as its coordinator sees it.
pub trait CoordinatorLog: Send + Sync {
    /// Appends `records` as one batch; ready when they are committed (the high watermark passed them).
    ///
    /// Batches enter the log in the order in which their futures are first polled; the runtime polls each at least
    /// once before it asks for the next. A future that fails leaves the batch's fate open: the runtime then waits for
    /// the appends in flight and replays the log.
    ///
    /// # Errors
    /// [`AppendError`] by what the coordinator must do. Every append ends in bounded time.
    fn append(&self, records: Vec<LogRecord>) -> BoxFuture<'static, Result<(), AppendError>>;

    /// Every record from the log's start to the end that it has now, in order, in pages of bounded size. The end is
    /// committed when the stream ends: what the replay has seen cannot go again.
    fn replay(&self) -> BoxStream<'static, Result<Vec<LogRecord>, ReplayError>>;
}

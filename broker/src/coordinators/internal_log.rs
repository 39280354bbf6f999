//! A coordinator's partition of its internal topic: how its records get there and back.

use super::group::{AppendError, CoordinatorLog, LogRecord, ReplayError};
use crate::partition::{Bound, Here, Hosted, Partition, Read};
use bytes::Bytes;
use esker_protocol::record::{BatchBuilder, Compression, Scratch, batches, records};
use esker_storage::env::Env;
use esker_storage::env::mutation::{self, Mutation};
use esker_storage::log;
use esker_storage::offset::{Offset, PartitionId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use std::sync::Arc;
use std::time::Duration;

/// Bytes read at a time when a coordinator loads.
const PAGE: usize = 1 << 20;
/// How long an append may take to be committed. Long enough for a slow disk, short enough for a client's patience.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);
/// How long a page may take to be read from the disk before it counts as a failure.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// What one batch of ours may decompress to; they are not compressed.
const DECOMPRESS_LIMIT: u64 = 64 << 20;

/// One partition of an internal topic.
pub(super) struct InternalLog {
    env: Env,
    hosted: Arc<Hosted>,
    id: PartitionId,
}

impl InternalLog {
    /// The partition `id`, looked up again at each call: it may come and go.
    pub(super) fn new(env: Env, hosted: Arc<Hosted>, id: PartitionId) -> InternalLog {
        InternalLog { env, hosted, id }
    }

    fn partition(&self) -> Option<Arc<Partition>> {
        match self.hosted.get(self.id) {
            Some(Here::Led(partition)) => Some(partition),
            Some(Here::Offline(_)) | None => None,
        }
    }
}

impl CoordinatorLog for InternalLog {
    fn append(&self, records: Vec<LogRecord>) -> BoxFuture<'static, Result<(), AppendError>> {
        let env = self.env.clone();
        let partition = self.partition();
        async move {
            let partition = partition.ok_or(AppendError::NotLeader)?;
            let now = env.wall();
            let mut batch = BatchBuilder::new(Compression::None);
            for record in &records {
                batch.push(now.millis(), Some(&record.key), record.value.as_deref(), &[]);
            }
            let batch = batch.build_trusted().map_err(|_| AppendError::TooLarge)?;
            // Up to here nothing waits: batches enter the log in the order of first polls.
            let appended = partition.append(batch, now).map_err(|error| {
                tracing::warn!(partition = %partition.id(), %error, "a coordinator could not append");
                match error {
                    log::AppendError::Log(log::LogError::NoSpace) => AppendError::Unavailable,
                    _ => AppendError::NotLeader,
                }
            })?;
            let Some(commit) = partition.committed(appended.last_offset.next(), None) else { return Ok(()) };
            if mutation::active(Mutation::CommitNotWaitedFor) {
                return Ok(());
            }
            match env.timeout(COMMIT_LIMIT, commit).await {
                Ok(Ok(Ok(()))) => Ok(()),
                Ok(Ok(Err(_)) | Err(_)) => Err(AppendError::NotLeader),
                Err(_) => Err(AppendError::Unavailable),
            }
        }
        .boxed()
    }

    fn replay(&self) -> BoxStream<'static, Result<Vec<LogRecord>, ReplayError>> {
        let env = self.env.clone();
        let state = self.partition().map(|partition| {
            let end = partition.log().log_end().offset();
            (partition.log_start().offset(), end, partition)
        });
        let Some(state) = state else {
            return Box::pin(stream::once(async { Err(ReplayError::NotLeader) }));
        };
        Box::pin(stream::try_unfold(Some(state), move |state| {
            let env = env.clone();
            async move {
                let Some((from, end, partition)) = state else { return Ok(None) };
                if from >= end {
                    return Ok(None);
                }
                // The end that this replay goes to is committed before it is done: what is not yet is waited for.
                if let Some(commit) = partition.committed(end, None) {
                    match env.timeout(COMMIT_LIMIT, commit).await {
                        Ok(Ok(Ok(()))) => {}
                        Ok(Ok(Err(_)) | Err(_)) => return Err(ReplayError::NotLeader),
                        Err(_) => return Err(ReplayError::Unavailable),
                    }
                }
                let (page, next) = read_page(&env, &partition, from, end).await?;
                Ok(Some((page, Some((next, end, partition)))))
            }
        }))
    }
}

async fn read_page(
    env: &Env,
    partition: &Arc<Partition>,
    from: Offset,
    end: Offset,
) -> Result<(Vec<LogRecord>, Offset), ReplayError> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::warn!(partition = %partition.id(), %error, "a coordinator could not read its log");
        ReplayError::Unavailable
    };
    let bytes = match partition.read(from, Bound::Uncommitted, PAGE, true).map_err(|error| failed(&error))? {
        Read::Nothing => return Ok((Vec::new(), end)),
        Read::Hot(records) => records.bytes,
        Read::Cold(read) => match read.complete(env.now().plus(READ_LIMIT)).await {
            Ok(Some(records)) => records.bytes,
            Ok(None) => return Err(ReplayError::Unavailable),
            Err(error) => return Err(failed(&error)),
        },
    };
    let mut page = Vec::new();
    let mut next = from;
    let mut scratch = Scratch::default();
    for batch in batches(&bytes) {
        next = Offset::from_wire(batch.header.next_offset()).unwrap_or(end);
        if batch.header.is_control() {
            continue;
        }
        for record in records(batch.bytes, &mut scratch, DECOMPRESS_LIMIT).map_err(|error| failed(&error))? {
            let record = record.map_err(|error| failed(&error))?;
            // A record without a key is none of ours; nothing can be learned from it.
            if let Some(key) = record.key
                && record.offset >= from.to_wire()
            {
                let value = record.value.map(Bytes::copy_from_slice);
                page.push(LogRecord { key: Bytes::copy_from_slice(key), value });
            }
        }
    }
    if next <= from {
        return Err(failed(&"a read made no progress"));
    }
    Ok((page, next))
}

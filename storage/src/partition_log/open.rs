//! Opening a partition's log: the local part is brought in line with what the tier has.
//!
//! The tier log must show this leader's `open` first: then no other leader's unit can come any more, and the tier's end
//! is final but for our own uploads. A local log that ends before it is dropped; an empty one starts there, with the
//! producers and leader epochs of that point.

use super::{PartitionLog, Tier};
use crate::env::{Ended, Env, Pool};
use crate::log::{AppendError, EpochStart, LeaderEpochs, Log, LogConfig, LogDir, LogError, OpenFrom, producers_codec};
use crate::offset::{LeaderEpoch, PartitionId};
use crate::tier::{TierError, UnitState};
use std::sync::Arc;
use std::time::Duration;

/// The pause before the tier is asked again for the state of a log's start.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a partition's log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another leader has opened it in the tier since.
    #[error("the tier is not open in leader epoch {epoch}")]
    Fenced {
        /// The epoch of the leader that tried.
        epoch: LeaderEpoch,
    },
    /// The local part cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A newer leader has appended to the local part.
    #[error(transparent)]
    Epoch(#[from] AppendError),
    /// The tier cannot tell the state at its end.
    #[error(transparent)]
    Tier(#[from] TierError),
    /// What the tier tells of its end cannot be understood.
    #[error("the state at the tier's end is damaged: {0}")]
    State(String),
    /// The process is ending.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl PartitionLog {
    /// Opens the log of partition `id` in `dir`, to be led in `epoch`. Waits for the store if its help is needed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        env: &Env,
        tier: &Tier,
        dir: Arc<LogDir>,
        id: PartitionId,
        config: LogConfig,
        epoch: LeaderEpoch,
    ) -> Result<PartitionLog, OpenError> {
        let manifest = tier.commits.image().get(&id).cloned();
        let manifest = manifest.filter(|manifest| manifest.open_epoch() == Some(epoch));
        let manifest = manifest.ok_or(OpenError::Fenced { epoch })?;
        let tiered = manifest.last().is_some() || !manifest.pages().is_empty();
        let from = OpenFrom {
            tier_end: tiered.then(|| manifest.end()),
            log_start: manifest.log_start(),
            newest_epoch: Some(epoch),
        };
        let (log, report) = env.blocking(Pool::Cold, move || Log::open(&dir, id, config, from)).await??;
        if let Some((first, next)) = report.hole {
            tracing::error!(partition = %id, %first, %next, "records are lost: neither the tier nor this disk has them");
        }
        if report.needs_state && tiered {
            let state = loop {
                match tier.reader.last_state(&manifest).await {
                    Ok(state) => break state,
                    Err(error) if error.is_retry() => {
                        tracing::warn!(partition = %id, %error, "waiting for the tier");
                        env.sleep(PAUSE).await;
                    }
                    Err(error) => return Err(error.into()),
                }
            };
            if let Some(state) = state {
                install(&log, &state)?;
                tracing::info!(partition = %id, from = %manifest.end(), "starts at the tier's end");
            }
        }
        log.begin_epoch(epoch)?;
        Ok(PartitionLog::new(env.clone(), log, tier.clone()))
    }
}

fn install(log: &Log, state: &UnitState) -> Result<(), OpenError> {
    let producers = producers_codec::decode(&state.producers).map_err(|error| OpenError::State(error.to_string()))?;
    let starts = state.epochs.iter().map(|(epoch, start)| EpochStart { epoch: *epoch, start: *start }).collect();
    let epochs = LeaderEpochs::from_entries(starts).ok_or_else(|| OpenError::State("epochs do not ascend".into()))?;
    Ok(log.install_state(producers, epochs)?)
}

//! A store's identity, and the proof that it can carry a cluster.
//!
//! `cluster/format` says whose store this is and in which format. It is created once, after a probe has shown that
//! the store's creates are conditional: of two creates the second fails, of sixteen at once exactly one wins, and
//! what is read back is the winner's. Stores that got this wrong have been released by several makers, and a cluster
//! on such a store would lose acknowledged commits, so it is refused.
//!
//! ```text
//! cluster/format         {"esker":"store","format":1,"cluster":"<uuid>","created":<ms since 1970>}
//! cluster/probe/<uuid>   what the probe leaves if it is killed
//! ```

use crate::env::store::{Store, StoreError};
use crate::env::{Env, Timestamp};
use bytes::Bytes;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The key of the marker.
pub const FORMAT_KEY: &str = "cluster/format";
/// The format of stores that this version writes.
pub const STORE_FORMAT: u32 = 1;
/// Writers that race in a probe.
const RACERS: usize = 16;
/// Rounds in which unanswered creates may spoil a race before the store counts as away.
const ROUNDS: usize = 5;

/// A store's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFormat {
    esker: Marker,
    /// The format of what it holds.
    pub format: u32,
    /// The cluster that it belongs to.
    pub cluster: Uuid,
    /// When it was formatted.
    pub created: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Marker {
    Store,
}

/// Why a store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It is away: try again after a pause.
    #[error("the store is away: {reason}")]
    Retry {
        /// What it said.
        reason: String,
    },
    /// It refuses: a person must look.
    #[error("the store refuses: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// Its creates are not conditional, so it cannot carry a cluster.
    #[error("the store cannot carry a cluster: {reason}")]
    NotConditional {
        /// What was observed.
        reason: String,
    },
    /// What it holds was not written by this version, or is damaged.
    #[error("{FORMAT_KEY} cannot be understood: {reason}")]
    Incompatible {
        /// What is wrong with it.
        reason: String,
    },
}

impl From<StoreError> for FormatError {
    fn from(error: StoreError) -> FormatError {
        match error {
            StoreError::Refused { reason } => FormatError::Refused { reason },
            other => FormatError::Retry { reason: other.to_string() },
        }
    }
}

/// The identity of a store; an empty one is proved conditional and formatted first, for `cluster` if that is given
/// and for a new cluster otherwise.
///
/// # Errors
/// See [`FormatError`].
pub async fn open_or_format(store: &dyn Store, env: &Env, cluster: Option<Uuid>) -> Result<StoreFormat, FormatError> {
    if let Some(found) = read(store).await? {
        return Ok(found);
    }
    prove_conditional(store, env).await?;
    let wanted = StoreFormat {
        esker: Marker::Store,
        format: STORE_FORMAT,
        cluster: cluster.unwrap_or_else(|| env.random.uuid()),
        created: env.wall(),
    };
    let mut bytes = serde_json::to_vec(&wanted).map_err(|error| FormatError::Refused { reason: error.to_string() })?;
    bytes.push(b'\n');
    let created = store.put_if_absent(FORMAT_KEY, Bytes::from(bytes)).await;
    // Whatever the answer was, and whoever else was formatting it: what is there now is the identity.
    match (read(store).await?, created) {
        (Some(found), _) => Ok(found),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => {
            Err(FormatError::NotConditional { reason: format!("{FORMAT_KEY} was created and is not there") })
        }
    }
}

async fn read(store: &dyn Store) -> Result<Option<StoreFormat>, FormatError> {
    let bytes = match store.get(FORMAT_KEY).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    decode(&bytes).map(Some)
}

/// The identity that `bytes` hold.
///
/// # Errors
/// [`FormatError::Incompatible`] for what cannot be understood.
pub(super) fn decode(bytes: &[u8]) -> Result<StoreFormat, FormatError> {
    let found: StoreFormat =
        serde_json::from_slice(bytes).map_err(|error| FormatError::Incompatible { reason: error.to_string() })?;
    if found.format != STORE_FORMAT {
        let reason = format!("format {}, this version knows {STORE_FORMAT}", found.format);
        return Err(FormatError::Incompatible { reason });
    }
    Ok(found)
}

/// Shows that a store's creates are conditional.
///
/// # Errors
/// [`FormatError::NotConditional`] if they are not; the others if it could not be found out.
pub async fn prove_conditional(store: &dyn Store, env: &Env) -> Result<(), FormatError> {
    let mut reason = String::new();
    for _ in 0..ROUNDS {
        match race(store, &format!("cluster/probe/{}", env.random.uuid().simple())).await? {
            Race::Conditional => return Ok(()),
            Race::NotConditional(observed) => return Err(FormatError::NotConditional { reason: observed }),
            // A create without an answer may have won: such a round proves nothing.
            Race::Unclear(observed) => reason = observed,
        }
    }
    Err(FormatError::Retry { reason })
}

enum Race {
    Conditional,
    NotConditional(String),
    Unclear(String),
}

async fn race(store: &dyn Store, key: &str) -> Result<Race, FormatError> {
    let body = |racer: usize| Bytes::from(format!("racer {racer} of {key}\n"));
    let outcomes = join_all((0..RACERS).map(|racer| store.put_if_absent(key, body(racer)))).await;
    let mut winners = Vec::new();
    for (racer, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(()) => winners.push(racer),
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(StoreError::Refused { reason }) => return Err(FormatError::Refused { reason }),
            Err(error) => return Ok(Race::Unclear(error.to_string())),
        }
    }
    let again = store.put_if_absent(key, body(RACERS)).await;
    let found = store.get(key).await;
    store.delete(key).await?;
    Ok(match (winners.as_slice(), again, found) {
        ([], _, _) => Race::Unclear("no create succeeded".to_owned()),
        ([_, _, ..], _, _) => Race::NotConditional(format!("{} of {RACERS} creates of one key won", winners.len())),
        (_, Ok(()), _) => Race::NotConditional("an object that existed was created again".to_owned()),
        (_, Err(StoreError::Indefinite { reason }), _) | (_, _, Err(StoreError::Indefinite { reason })) => {
            Race::Unclear(reason)
        }
        ([winner], Err(_), Ok(found)) if found == body(*winner) => Race::Conditional,
        (_, _, Ok(_)) => Race::NotConditional("what is read back is not what won".to_owned()),
        (_, _, Err(error)) => Race::NotConditional(format!("what was created cannot be read: {error}")),
    })
}

#[cfg(test)]
#[path = "store_format_tests.rs"]
mod tests;

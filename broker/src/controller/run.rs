//! The controller's loop: takes what waits, plans it, commits it, answers it.

use super::error::SubmitError;
use super::journal::{Decided, Journal, JournalError};
use super::outcome::ControllerState;
use super::plan::{Rules, election};
use super::queue::Waiting;
use crate::config::BrokerId;
use crate::metadata::{Delta, Image, Record};
use esker_storage::env::Env;
use esker_storage::env::mutation::{self, Mutation};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

/// Commands that share one commit, at most.
const MAX_BATCH: usize = 256;
/// Records after which a commit takes no more commands.
const MAX_RECORDS: usize = 20_000;

/// Elects broker `id`: commits its election, however many foreign commits come before it.
pub(super) async fn elect(
    journal: &mut Journal,
    id: BrokerId,
    incarnation: Uuid,
    cluster: Uuid,
) -> Result<(), JournalError> {
    loop {
        let records = election(journal.image(), id, incarnation, cluster);
        let number = journal.image().version().saturating_add(1);
        let mut delta = Delta::new(Arc::clone(journal.image()));
        for record in &records {
            delta.apply(record).map_err(|error| JournalError::Replay { number, error })?;
        }
        if let Decided::Committed(image) = journal.commit(records, delta).await? {
            tracing::info!(broker = id.get(), version = image.version(), "elected controller");
            journal.elected_as(incarnation);
            return Ok(());
        }
    }
}

/// How often a controller that nothing is asked of looks whether another was elected.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Decides what comes in by `commands` until that is closed, another controller is elected, or the log fails.
pub(super) async fn run(
    env: Env,
    mut journal: Journal,
    mut commands: mpsc::Receiver<Box<dyn Waiting>>,
    states: watch::Sender<ControllerState>,
    rules: Rules,
    incarnation: Uuid,
) {
    let mut received = Vec::new();
    let mut waiting = VecDeque::new();
    loop {
        let mut idle = false;
        match env.timeout(LOOK_EVERY, commands.recv_many(&mut received, MAX_BATCH)).await {
            Ok(0) => return,
            Ok(_) => waiting.extend(received.drain(..)),
            Err(_) => idle = true,
        }
        while idle || !waiting.is_empty() {
            let decided =
                if idle { journal.catch_up().await } else { decide(&mut journal, &mut waiting, &rules).await };
            let end = match decided {
                Ok(()) => deposed(journal.image(), incarnation),
                Err(error) if error.is_retry() && idle => None,
                Err(error) => Some(ControllerState::Failed { reason: error.to_string() }),
            };
            idle = false;
            let Some(end) = end else { continue };
            match &end {
                ControllerState::Failed { reason } => {
                    tracing::error!(%reason, "the metadata log cannot be gone on with")
                }
                _ => tracing::warn!(state = ?end, "another controller was elected: stepping down"),
            }
            states.send_replace(end);
            commands.close();
            while let Ok(late) = commands.try_recv() {
                waiting.push_back(late);
            }
            waiting.into_iter().for_each(|command| command.answer(Err(SubmitError::NotController)));
            return;
        }
        journal.snapshot_if_due().await;
    }
}

/// Who took over, if anybody did.
fn deposed(image: &Image, incarnation: Uuid) -> Option<ControllerState> {
    let term = image.controller()?;
    (term.incarnation != incarnation).then_some(ControllerState::Deposed { by: term.broker })
}

/// Plans the commands at the front of `waiting`, each on the image as those before it leave it, and has their records
/// committed together. Those that were answered are gone from `waiting`; if a foreign commit came first, all are still
/// there, to be planned again.
async fn decide(
    journal: &mut Journal,
    waiting: &mut VecDeque<Box<dyn Waiting>>,
    rules: &Rules,
) -> Result<(), JournalError> {
    // Their submitters were told that time is up, and may have asked again.
    waiting.retain(|command| !command.is_abandoned());
    let mut delta = Delta::new(Arc::clone(journal.image()));
    let mut records = Vec::new();
    let mut planned = 0;
    while records.len() < MAX_RECORDS {
        let Some(command) = waiting.get_mut(planned) else { break };
        let mut trial = delta.clone();
        let new = command.plan(trial.image(), rules);
        match apply(&mut trial, &new) {
            Ok(()) => {
                delta = trial;
                records.extend(new);
                planned += 1;
            }
            Err(defect) => {
                tracing::error!(%defect, "a command was planned against the rules of the metadata");
                if let Some(command) = waiting.remove(planned) {
                    command.answer(Err(SubmitError::Defect));
                }
            }
        }
    }
    if mutation::active(Mutation::MetadataAnsweredEarly) {
        let version = journal.image().version();
        waiting.drain(..planned).for_each(|command| command.answer(Ok(version)));
        planned = 0;
    }
    let version = if records.is_empty() {
        journal.image().version()
    } else {
        match journal.commit(records, delta).await? {
            Decided::Committed(image) => image.version(),
            Decided::Foreign => return Ok(()),
        }
    };
    waiting.drain(..planned).for_each(|command| command.answer(Ok(version)));
    Ok(())
}

/// Replays a command's records and checks what they lead to.
fn apply(delta: &mut Delta, records: &[Record]) -> Result<(), String> {
    for record in records {
        delta.apply(record).map_err(|error| error.to_string())?;
    }
    delta.check().map_err(|violation| violation.to_string())
}

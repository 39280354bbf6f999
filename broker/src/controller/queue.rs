//! What waits for the controller: commands of any kind, each with whoever waits for its answer.

use super::error::SubmitError;
use super::outcome::Settled;
use super::plan::{Command, Rules};
use crate::metadata::{Image, Record};
use tokio::sync::oneshot;

/// A command in the queue, whatever its kind.
pub(super) trait Waiting: Send {
    /// Whether nobody waits for the answer any more. What was not decided by then need not be.
    fn is_abandoned(&self) -> bool;
    /// Plans the command, again if it was planned before; keeps the answer.
    fn plan(&mut self, image: &Image, rules: &Rules) -> Vec<Record>;
    /// Sends the answer of the last plan, which holds as of the image with this version; or what went wrong.
    fn answer(self: Box<Self>, outcome: Result<u64, SubmitError>);
}

/// One command and where its answer goes.
pub(super) struct Queued<C: Command> {
    pub(super) command: C,
    pub(super) planned: Option<C::Answer>,
    pub(super) reply: oneshot::Sender<Result<Settled<C::Answer>, SubmitError>>,
}

impl<C: Command> Waiting for Queued<C> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn plan(&mut self, image: &Image, rules: &Rules) -> Vec<Record> {
        let plan = self.command.plan(image, rules);
        self.planned = Some(plan.answer);
        plan.records
    }

    fn answer(self: Box<Self>, outcome: Result<u64, SubmitError>) {
        let answer = match (outcome, self.planned) {
            (Ok(version), Some(answer)) => Ok(Settled { answer, version }),
            (Ok(_), None) => Err(SubmitError::Defect),
            (Err(error), _) => Err(error),
        };
        // Whoever waited may have gone.
        let _ = self.reply.send(answer);
    }
}

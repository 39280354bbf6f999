//! What submitters are told when all went well, and what becomes of the controller when it did not.

use crate::config::BrokerId;

/// The answer of a command that took effect, or needed none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled<A> {
    /// The command's own answer.
    pub answer: A,
    /// The version of the image that has its effect; it is published already.
    pub version: u64,
}

/// Whether this broker is the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControllerState {
    /// It is.
    Active,
    /// Another broker, or another start of this one, was elected.
    Deposed {
        /// Who is the controller now.
        by: BrokerId,
    },
    /// The metadata log cannot be gone on with; a person must look, and the process should end.
    Failed {
        /// What is wrong.
        reason: String,
    },
}

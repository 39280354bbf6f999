//! One call of the machine: what it goes by and what comes of it.

use crate::coordinators::group::config::GroupConfig;
use crate::coordinators::group::records::LogRecord;
use crate::coordinators::group::request::{Answer, JoinAnswer, Now, Reply, Token};
use crate::coordinators::group::topics::TopicsImage;
use kafka_protocol::error::ResponseError;

/// What a call came to. The records are to be appended in order, and an answer may go once all records up to and
/// including those of its own call are committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// What to append.
    pub records: Vec<LogRecord>,
    /// What to answer.
    pub replies: Vec<Reply>,
}

/// One call's surroundings.
pub(super) struct Step<'a> {
    pub(super) config: &'a GroupConfig,
    pub(super) now: Now,
    /// How much more memory the groups may take.
    pub(super) room: usize,
    pub(super) topics: &'a dyn TopicsImage,
    pub(super) out: &'a mut Output,
}

impl Step<'_> {
    pub(super) fn reply(&mut self, token: Token, answer: Answer) {
        self.out.replies.push(Reply { token, answer });
    }

    /// Answers a join with `error`; `member` is the id that goes with it.
    pub(super) fn refuse_join(&mut self, token: Token, member: &str, error: ResponseError) {
        self.reply(token, Answer::Join(JoinAnswer { result: Err(error), member: member.to_owned() }));
    }
}

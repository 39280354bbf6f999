//! The trace of a run: every choice of the schedule and every call through `env`, folded into one number.
//!
//! Two runs of one seed must end with the same number; where they do not, something in the code under test depends on
//! what the seed does not decide (a clock, a thread, the order of a hash map). The text of the newest events is kept
//! as well, to be printed with a failure.

use super::chance::mix;
use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::time::Duration;

/// What a run did, in one number and a few lines.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    events: u64,
    lines: VecDeque<String>,
    /// How many of the newest lines are kept.
    keep: usize,
    /// Whether every line goes to standard error as well.
    print: bool,
}

impl Trace {
    pub(super) fn new(seed: u64, keep: usize, print: bool) -> Trace {
        Trace { hash: mix(seed), events: 0, lines: VecDeque::new(), keep, print }
    }

    /// The number that stands for everything so far.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Whether somebody wants the text.
    pub(super) fn has_text(&self) -> bool {
        self.keep > 0 || self.print
    }

    /// An event that is a bare number, such as the task that was chosen.
    pub(super) fn number(&mut self, number: u64) {
        self.events += 1;
        self.hash = mix(self.hash ^ number).rotate_left(23);
    }

    /// An event with a text.
    pub(super) fn event(&mut self, now: Duration, who: &str, what: fmt::Arguments<'_>) {
        self.events += 1;
        let mut folding = Folding { hash: self.hash, word: 0, filled: 0 };
        // A writer that cannot fail.
        let _ = write!(folding, "{who} {what}");
        self.hash = mix(folding.hash ^ folding.word ^ now.as_nanos() as u64).rotate_left(23);
        if self.has_text() {
            self.line(now, who, what);
        }
    }

    /// A line that is kept but not folded.
    pub(super) fn line(&mut self, now: Duration, who: &str, what: fmt::Arguments<'_>) {
        let line = format!("{:>14.6} {who}: {what}", now.as_secs_f64());
        if self.print {
            eprintln!("{line}");
        }
        if self.keep > 0 {
            if self.lines.len() == self.keep {
                self.lines.pop_front();
            }
            self.lines.push_back(line);
        }
    }

    /// The newest lines, oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

/// Folds what is written to it, eight bytes at a time.
struct Folding {
    hash: u64,
    word: u64,
    filled: u32,
}

impl Write for Folding {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.word = (self.word << 8) | u64::from(byte);
            self.filled += 1;
            if self.filled == 8 {
                self.hash = mix(self.hash ^ self.word).rotate_left(23);
                (self.word, self.filled) = (0, 0);
            }
        }
        Ok(())
    }
}

/// A number for some bytes, for traces and histories; not for anything that an adversary could choose.
pub(super) fn fingerprint(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

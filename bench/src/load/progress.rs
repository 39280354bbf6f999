//! The progress line, on standard error and only where somebody watches: a terminal.

use super::meter::Interval;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

/// The line.
pub(super) struct Progress {
    shown: bool,
    name: String,
}

impl Progress {
    /// Shown if it is `wanted` and standard error is a terminal.
    pub(super) fn new(wanted: bool, name: &str) -> Self {
        Self { shown: wanted && std::io::stderr().is_terminal(), name: name.to_owned() }
    }

    /// What the last second brought; `at` and `of` in seconds.
    pub(super) fn line<'a>(&self, at: f64, of: f64, roles: impl Iterator<Item = (&'a str, &'a Interval)>) {
        if self.shown {
            // The rest of a longer line is wiped out. A terminal that is gone is no reason to end.
            let _ = write!(std::io::stderr(), "\r{}\x1b[K", text(&self.name, at, of, roles));
        }
    }

    /// Makes room for what comes.
    pub(super) fn end(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn text<'a>(name: &str, at: f64, of: f64, roles: impl Iterator<Item = (&'a str, &'a Interval)>) -> String {
    let mut line = if at <= 0.0 { format!("{name}: warming up") } else { format!("{name}: {at:.0} of {of:.0} s") };
    for (role, interval) in roles.filter(|(_, interval)| interval.records > 0) {
        let _ = write!(line, " | {role} {}/s, {:.1} MB/s", interval.records, interval.bytes as f64 / 1e6);
        if !interval.latency.is_empty() {
            let _ = write!(line, ", p99 {:.2} ms", interval.latency.value_at_quantile(0.99) as f64 / 1e6);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::meter::Meter;
    use crate::load::schedule::Schedule;

    #[test]
    fn the_line_says_what_the_last_second_brought() {
        let meter = Meter::new(&Schedule::one(0, 0..10_000_000_000));
        meter.lock().take(3_000_000, &[1_000_000; 500], 1_000);
        let (sent, nothing) = (meter.sample(), meter.sample());
        let line = text("e2e", 3.2, 10.0, [("sent", &sent), ("tail", &nothing)].into_iter());
        assert!(line.starts_with("e2e: 3 of 10 s | sent 500/s, 0.5 MB/s, p99 2.0"), "{line}");
        assert_eq!(text("e2e", 0.0, 10.0, std::iter::empty()), "e2e: warming up");
    }
}

//! What a process on this machine spends, from `/proc`: CPU time and memory.

use std::io::{Error, Result};

/// A [`Usage`] is read at both ends of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time, in seconds; the kernel counts hundredths.
    pub(crate) cpu: f64,
    /// Resident memory, in bytes.
    pub(crate) resident: u64,
    /// What of it belongs to no file: what the process allocated itself, without the mapped segments.
    pub(crate) anonymous: u64,
    /// The highest value of `resident` so far.
    pub(crate) peak: u64,
}

impl Usage {
    /// The usage of process `pid` so far.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        parse(&stat, &status).ok_or_else(|| Error::other(format!("/proc/{pid} reads otherwise than expected")))
    }
}

fn parse(stat: &str, status: &str) -> Option<Usage> {
    // The name is in parentheses and may hold anything; utime and stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Some(Usage {
        cpu: ticks as f64 / per_second,
        resident: kib("VmRSS:")? << 10,
        anonymous: kib("RssAnon:")? << 10,
        peak: kib("VmHWM:")? << 10,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_usage_can_be_read() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.peak >= usage.resident && usage.resident > usage.anonymous && usage.anonymous > 0);
        assert!(parse("1 (a) b) S 1 2 3", "").is_none());
    }
}

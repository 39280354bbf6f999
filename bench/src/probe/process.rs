//! A process watched from beside, through `/proc`: a [`Sampler`] looks several times a second while the load runs.
//!
//! CPU time comes in hundredths of a second (user and system, threads that have ended included). The network's figures
//! are those of the interfaces that the process sees: the kernel keeps none by process.

use crate::results::{Process, Sample};
use std::io::{Error, Result};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two samples.
const INTERVAL: Duration = Duration::from_millis(250);
/// The most samples that are kept; of a longer run every second one, and so on.
const MOST: usize = 4_096;

/// What a process has spent of everything since it started, and what memory it has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// CPU-seconds.
    pub cpu_seconds: f64,
    /// Anonymous resident memory in bytes.
    pub anonymous: u64,
    /// Resident memory of files in bytes.
    pub file: u64,
    /// The highest resident memory so far in bytes.
    pub peak: u64,
    /// Threads.
    pub threads: u64,
    /// Bytes from and to disks, if this process may read them.
    pub disk: Option<(u64, u64)>,
    /// Bytes in and out of the interfaces.
    pub net: (u64, u64),
}

impl Reading {
    /// Process `pid` now.
    ///
    /// # Errors
    /// If it has ended, or `/proc` reads otherwise than expected.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let (stat, status) = (read("stat")?, read("status")?);
        let found = Self::parse(&stat, &status, &read("io").unwrap_or_default(), &read("net/dev").unwrap_or_default());
        found.ok_or_else(|| Error::other(format!("/proc/{pid} reads otherwise than expected")))
    }

    fn parse(stat: &str, status: &str, io: &str, net: &str) -> Option<Self> {
        // The name is in parentheses and may hold anything; utime and stime are fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let value = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            anonymous: value(status, "RssAnon:")? << 10,
            file: value(status, "RssFile:")? << 10,
            peak: value(status, "VmHWM:")? << 10,
            threads: value(status, "Threads:")?,
            disk: value(io, "read_bytes:").zip(value(io, "write_bytes:")),
            net: interfaces(net),
        })
    }

    /// As a sample at `at` seconds, counted from `first` on.
    fn since(&self, first: &Self, at: f64) -> Sample {
        Sample {
            at,
            cpu_seconds: self.cpu_seconds - first.cpu_seconds,
            anonymous: self.anonymous,
            file: self.file,
            threads: self.threads,
            disk_read: self.disk.zip(first.disk).map(|(now, then)| now.0.saturating_sub(then.0)),
            disk_written: self.disk.zip(first.disk).map(|(now, then)| now.1.saturating_sub(then.1)),
            net_received: self.net.0.saturating_sub(first.net.0),
            net_sent: self.net.1.saturating_sub(first.net.1),
        }
    }
}

/// Bytes in and out of all interfaces together.
fn interfaces(net: &str) -> (u64, u64) {
    let counts = net.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_once(':')?.1.split_ascii_whitespace().collect();
        Some((fields.first()?.parse::<u64>().ok()?, fields.get(8)?.parse::<u64>().ok()?))
    });
    counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// Watches a process from its start to [`Sampler::end`], on a thread of its own.
#[derive(Debug)]
pub struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<Result<Process>>,
}

impl Sampler {
    /// Watches process `pid` from now on.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn start(pid: u32) -> Result<Self> {
        let started = Instant::now();
        let first = Reading::of(pid)?;
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || watch(pid, started, first, &stopped));
        Ok(Self { stop, thread })
    }

    /// What it spent since.
    ///
    /// # Errors
    /// If the process has ended meanwhile.
    pub fn end(self) -> Result<Process> {
        drop(self.stop);
        self.thread.join().map_err(|_| Error::other("the sampler died"))?
    }
}

fn watch(pid: u32, started: Instant, first: Reading, stopped: &Receiver<()>) -> Result<Process> {
    let mut samples = vec![first.since(&first, 0.0)];
    let mut interval = INTERVAL;
    loop {
        let is_over = !matches!(stopped.recv_timeout(interval), Err(RecvTimeoutError::Timeout));
        let reading = Reading::of(pid)?;
        let sample = reading.since(&first, started.elapsed().as_secs_f64());
        samples.push(sample);
        if is_over {
            let (cpu_seconds, seconds) = (sample.cpu_seconds, sample.at);
            return Ok(Process { cpu_seconds, seconds, peak_resident: reading.peak, samples });
        }
        if samples.len() >= MOST {
            let mut at = 0;
            samples.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            interval *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_working() {
        let sampler = Sampler::start(std::process::id()).unwrap();
        let until = Instant::now() + Duration::from_millis(700);
        let mut kept = Vec::new();
        while Instant::now() < until {
            kept.push(vec![1_u8; 1 << 14]);
        }
        let process = sampler.end().unwrap();
        drop(kept);
        assert!(process.cpu_seconds > 0.05 && process.seconds >= 0.7, "{process:?}");
        let last = process.samples.last().unwrap();
        assert!(process.samples.len() >= 3 && last.anonymous > 0 && last.threads > 0, "{last:?}");
        assert!((last.cpu_seconds - process.cpu_seconds).abs() < 1e-9);
        assert_eq!(process.samples[0].at, 0.0);
        assert!(process.cores().iter().all(|(at, cores)| *at > 0.0 && *cores >= 0.0));
    }

    #[test]
    fn what_has_ended_is_an_error() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(Sampler::start(pid).is_err());
        assert!(Reading::parse("1 (a) b) S 1 2 3", "", "", "").is_none());
    }

    #[test]
    fn interfaces_are_added_up() {
        let net = "Inter-|   Receive\n face |bytes\n  lo: 100 1 0 0 0 0 0 0 200 1\neth0:10 1 0 0 0 0 0 0 20 1\n";
        assert_eq!(interfaces(net), (110, 220));
    }
}

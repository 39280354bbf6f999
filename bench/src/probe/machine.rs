//! The machine that the load runs on, from `/proc`.

use crate::results::Machine;
use std::sync::OnceLock;
use std::time::Duration;

/// How long one looks at what others do.
const LOOK: Duration = Duration::from_millis(200);

/// Which part of the processors others keep busy, looked at the first time that this is asked: before any load of ours.
pub fn busy_before() -> f64 {
    static BUSY: OnceLock<f64> = OnceLock::new();
    *BUSY.get_or_init(|| {
        let times = || std::fs::read_to_string("/proc/stat").ok().and_then(|stat| busy_and_all(&stat));
        let before = times();
        std::thread::sleep(LOOK);
        match (before, times()) {
            (Some(before), Some(after)) if after.1 > before.1 => {
                (after.0 - before.0) as f64 / (after.1 - before.1) as f64
            }
            _ => 0.0,
        }
    })
}

/// Ticks that all processors together were busy, and all of their ticks.
fn busy_and_all(stat: &str) -> Option<(u64, u64)> {
    let ticks: Vec<u64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map_while(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest times are in user and nice already.
    let all: u64 = ticks.get(..8)?.iter().sum();
    Some((all - ticks.get(3)? - ticks.get(4)?, all))
}

/// This machine as it is now. What the kernel does not tell stays empty.
pub fn this() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (kind, release) = (read("/proc/sys/kernel/ostype"), read("/proc/sys/kernel/osrelease"));
    let (memory, cpus) = (read("/proc/meminfo"), read("/proc/cpuinfo"));
    Machine {
        kernel: format!("{} {}", kind.trim(), release.trim()).trim().to_owned(),
        cpu: after(&cpus, "model name").unwrap_or_default().to_owned(),
        cpus: std::thread::available_parallelism().map_or(0, |count| count.get() as u64),
        memory_bytes: kib(&memory, "MemTotal"),
        available_bytes: kib(&memory, "MemAvailable"),
        busy: busy_before(),
        sync: None,
    }
}

/// Bytes of memory that nothing is in.
pub fn free_memory() -> u64 {
    kib(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemFree")
}

/// What stands behind `name:` in its line.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::trim))
}

/// The KiB behind `name:`, in bytes.
fn kib(text: &str, name: &str) -> u64 {
    let value = after(text, name).and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
    value.unwrap_or_default() << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let machine = this();
        assert!(machine.kernel.starts_with("Linux ") && machine.cpus > 0, "{machine:?}");
        assert!(machine.memory_bytes > machine.available_bytes && machine.available_bytes > 0, "{machine:?}");
        assert!((0.0..=1.0).contains(&machine.busy) && machine.busy == busy_before(), "{machine:?}");
        assert_eq!(busy_and_all("cpu  10 20 30 400 50 6 7 8 9 9\n"), Some((81, 531)));
        assert_eq!(after("a : 1\nab: 2", "a"), Some("1"));
        assert_eq!(kib("MemTotal:   24 kB\n", "MemTotal"), 24 << 10);
    }
}

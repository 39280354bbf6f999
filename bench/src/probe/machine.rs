//! The machine that the load runs on, from `/proc`.

use crate::results::Machine;

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
        load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
        sync: None,
    }
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
        assert_eq!(after("a : 1\nab: 2", "a"), Some("1"));
        assert_eq!(kib("MemTotal:   24 kB\n", "MemTotal"), 24 << 10);
    }
}

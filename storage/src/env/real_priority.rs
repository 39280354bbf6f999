//! Threads that step back: what reads history must not take the processor from what serves the present.
//!
//! Two things keep the two apart, and neither needs a privilege. A lower priority lets a thread of the present that
//! wakes run first. But the scheduler lets a running thread finish its slice, which is longer than a produce request
//! takes; so history gives up the core after every small step, and keeps to half of the machine's cores: a thread of the
//! present that wakes finds a core without it. Within its half history may have everything that nobody else wants.
//!
//! Which half? A disk's interrupts bind the kernel's work behind them (completions, flushes) to the cores that they
//! arrive at, and that work has no way to another core, while an acknowledgement waits for it. So history takes the half
//! where fewer of them arrive; where a disk has a queue for each core there is no difference.

use rustix::process::nice;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// By how much the priority is lower, as `nice` counts it.
const STEP: i32 = 10;

/// Makes the calling thread, and what it starts, step back. Where the system does not let it, history runs like the
/// rest.
pub(super) fn step_back() {
    if let Err(error) = nice(STEP) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
    let limited = sched_getaffinity(None).and_then(|allowed| sched_setaffinity(None, &half(&allowed, &interrupts())));
    if let Err(error) = limited {
        tracing::debug!(%error, "a thread keeps to every core");
    }
}

/// Lets threads of the present go first, if any waits for the core.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub(super) fn step_aside() {
    std::thread::yield_now();
}

/// How many threads have work to do for history: as many as the cores that it keeps to.
pub(super) fn history_threads() -> usize {
    sched_getaffinity(None).map_or(1, |allowed| half(&allowed, &interrupts()).count() as usize).max(1)
}

/// The kernel's account of interrupts; empty where there is none to be read.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
fn interrupts() -> String {
    std::fs::read_to_string("/proc/interrupts").unwrap_or_default()
}

/// The half of the cores in `allowed` where fewer of the disks' interrupts arrive, the last one if neither; all of them
/// if there is one.
fn half(allowed: &CpuSet, interrupts: &str) -> CpuSet {
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let (first, last) = cores.split_at(cores.len() / 2);
    let arrive = |cores: &[usize]| disk_interrupts(interrupts, cores);
    let mut half = CpuSet::new();
    let is_first = !first.is_empty() && arrive(first) < arrive(last);
    (if is_first { first } else { last }).iter().for_each(|core| half.set(*core));
    half
}

/// Interrupts of disks that arrived at `cores`: of virtio's and NVMe's request queues, and of what is called after its
/// driver.
fn disk_interrupts(table: &str, cores: &[usize]) -> u64 {
    let mut lines = table.lines();
    let columns: Vec<usize> = lines
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(|name| name.strip_prefix("CPU").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX))
        .collect();
    let is_disk = |name: &str| {
        let virtio = name.starts_with("virtio") && name.contains("-req");
        virtio || (name.starts_with("nvme") && name.contains('q')) || ["ahci", "blkif", "sd"].contains(&name)
    };
    let disks = lines.filter(|line| line.split_ascii_whitespace().next_back().is_some_and(is_disk));
    disks
        .flat_map(|line| columns.iter().zip(line.split_ascii_whitespace().skip(1)))
        .filter(|(core, _)| cores.contains(core))
        .filter_map(|(_, count)| count.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(cores: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        cores.iter().for_each(|core| set.set(*core));
        set
    }

    #[test]
    fn history_has_half_of_the_allowed_cores_and_never_none() {
        assert_eq!(half(&set(&[3]), ""), set(&[3]));
        assert_eq!(half(&set(&[0, 1]), ""), set(&[1]));
        assert_eq!(half(&set(&[1, 4, 5, 9, 11]), ""), set(&[5, 9, 11]));
    }

    #[test]
    fn history_stays_away_from_the_disks_interrupts() {
        let table = |disk: &str, counts: &str| {
            format!(
                "           CPU0       CPU1       CPU2       CPU3\n  \
                   9:   9000000          0          0          0  IO-APIC   9-fasteoi   acpi\n \
                  36: {counts}  PCI-MSIX-0000:00:02.0   1-edge      {disk}\n \
                 LOC:    774610     774609     774607     774600   Local timer interrupts\n"
            )
        };
        let all = set(&[0, 1, 2, 3]);
        let counted = |disk, counts| half(&all, &table(disk, counts));
        assert_eq!(counted("virtio1-req.0", "0 7 1832269 3"), set(&[0, 1]));
        assert_eq!(counted("virtio1-req.0", "0 1832269 0 3"), set(&[2, 3]));
        assert_eq!(counted("nvme0q3", "1 1 2 2"), set(&[0, 1]));
        assert_eq!(counted("virtio3-rx", "0 0 5 5"), set(&[2, 3]), "not a disk");
        assert_eq!(counted("virtio1-config", "0 0 5 5"), set(&[2, 3]), "not its requests");
        assert_eq!(half(&set(&[2]), &table("virtio1-req.0", "0 0 5 5")), set(&[2]), "there is no other");
        assert_eq!(half(&set(&[0, 2]), &table("virtio1-req.0", "0 0 5 5")), set(&[0]));
        assert_eq!(half(&all, "CPU0 CPUx\n virtio1-req\n 3: x virtio1-req.0\n"), set(&[2, 3]));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the thread is what is tested")]
    fn a_thread_that_steps_back_takes_no_other_with_it() {
        let before = (nice(0).unwrap(), sched_getaffinity(None).unwrap());
        let behind = std::thread::spawn(|| {
            step_back();
            (nice(0).unwrap(), sched_getaffinity(None).unwrap())
        });
        let behind = behind.join().unwrap();
        assert_eq!((behind.0, behind.1), ((before.0 + STEP).min(19), half(&before.1, &interrupts())));
        assert_eq!((nice(0).unwrap(), sched_getaffinity(None).unwrap()), before);
    }
}

//! Threads that step back: what reads history must not take the processor from what serves the present.
//!
//! Two things keep the two apart, and neither needs a privilege. A lower priority lets a thread of the present that
//! wakes run first. But the scheduler lets a running thread finish its slice, which is longer than a produce request
//! takes; so it gives up the core after every small step, and keeps to half of the machine's cores, and a thread of the present that wakes finds a core
//! without it. Within its half history may have everything that nobody else wants.

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
    let limited = sched_getaffinity(None).and_then(|allowed| sched_setaffinity(None, &upper_half(&allowed)));
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
    sched_getaffinity(None).map_or(1, |allowed| upper_half(&allowed).count() as usize).max(1)
}

/// The last half of the cores in `allowed`; all of them if there is one.
fn upper_half(allowed: &CpuSet) -> CpuSet {
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let mut half = CpuSet::new();
    cores.iter().skip(cores.len() / 2).for_each(|core| half.set(*core));
    half
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
        assert_eq!(upper_half(&set(&[3])), set(&[3]));
        assert_eq!(upper_half(&set(&[0, 1])), set(&[1]));
        assert_eq!(upper_half(&set(&[1, 4, 5, 9, 11])), set(&[5, 9, 11]));
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
        assert_eq!((behind.0, behind.1), ((before.0 + STEP).min(19), upper_half(&before.1)));
        assert_eq!((nice(0).unwrap(), sched_getaffinity(None).unwrap()), before);
    }
}

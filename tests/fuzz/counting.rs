//! An allocator that counts what its thread asks for and holds: for the fuzzers and their replay, so that a decoder which
//! believes a length is noticed, and for the tests and benchmarks that say what work allocates.
//!
//! Include it by `#[path]` and make [`Counting`] the global allocator. The `unsafe` here forwards to the system's.
#![allow(unsafe_code, reason = "an allocator cannot be had otherwise")]
#![allow(dead_code, reason = "who includes it need not use all of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counted.
pub(crate) struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Constant cells without a destructor: they can be had as long as the thread runs.
fn grow(bytes: isize) {
    LIVE.set(LIVE.get() + bytes);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

fn count(bytes: isize) {
    grow(bytes);
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are plain thread-local numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        grow(-(layout.size() as isize));
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What some work asked the allocator for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// How many bytes more than before were held at the worst moment.
    pub(crate) peak: usize,
    /// How often room was asked for, larger room for what there was included.
    pub(crate) allocations: usize,
}

/// What `work` asks for on this thread.
pub(crate) fn measure<T>(work: impl FnOnce() -> T) -> (T, Measured) {
    let (live, allocations) = (LIVE.get(), ALLOCATIONS.get());
    PEAK.set(live);
    let result = work();
    let peak = usize::try_from(PEAK.get() - live).unwrap_or(0);
    (result, Measured { peak, allocations: ALLOCATIONS.get() - allocations })
}

/// How many bytes more than before this thread held at the worst moment of `work`.
pub(crate) fn peak_of(work: impl FnOnce()) -> usize {
    measure(work).1.peak
}

/// How often this thread has asked for room.
pub(crate) fn allocations() -> usize {
    ALLOCATIONS.get()
}

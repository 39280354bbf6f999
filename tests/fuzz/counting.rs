//! An allocator that counts what its thread holds and how often it asks, so that a decoder which believes a length is
//! noticed, and an encoder that copies.
//!
//! Of the fuzzers, of the tests that replay what they found, and of the tests of what decoding allocates: each of these
//! programs has it as a module of its own. The `unsafe` here forwards to the system's allocator.
#![allow(unsafe_code, reason = "an allocator cannot be had otherwise")]
#![allow(dead_code, reason = "not each of the programs asks for everything")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counted.
pub(crate) struct Counting;

/// What some work took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// How much more was live at the worst moment than before, in bytes.
    pub(crate) peak: usize,
    /// How often it asked for memory.
    pub(crate) allocations: usize,
}

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn grow(bytes: isize) {
    LIVE.set(LIVE.get() + bytes);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are plain thread-local numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size() as isize);
        count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size() as isize);
        count();
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        grow(-(layout.size() as isize));
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What `work` took of this thread's memory.
pub(crate) fn measure<T>(work: impl FnOnce() -> T) -> (T, Measured) {
    let (live, allocations) = (LIVE.get(), ALLOCATIONS.get());
    PEAK.set(live);
    let done = work();
    let peak = usize::try_from(PEAK.get() - live).unwrap_or(0);
    (done, Measured { peak, allocations: ALLOCATIONS.get() - allocations })
}

/// How many bytes more than before this thread held at the worst moment of `work`.
pub(crate) fn peak_of(work: impl FnOnce()) -> usize {
    measure(work).1.peak
}

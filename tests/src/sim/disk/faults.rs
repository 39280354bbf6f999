//! What goes wrong on a disk, by odds and by plan.

use crate::sim::chance::{Chance, Rng};
use std::io;
use std::path::Path;

/// A kind of call, as odds and plans name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskCall {
    /// Opening a file that is there.
    Open,
    /// Creating a file or a directory.
    Create,
    /// Listing a directory, or asking for its room.
    List,
    /// Renaming; the path is the new name.
    Rename,
    /// Removing a file or a tree.
    Remove,
    /// Locking.
    Lock,
    /// Syncing a directory.
    SyncDir,
    /// `read_exact_at`, `make_resident`.
    Read,
    /// `write_all_at`.
    Write,
    /// `allocate`, `set_len`.
    Resize,
    /// `sync_data`.
    Sync,
    /// `start_writeback`, `drop_cache`, `map`, `len`: they do not fail by odds.
    Other,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
    /// The power fails before the call has done anything. (By plan only.)
    PowerCut,
}

impl DiskFault {
    pub(super) fn error(self) -> io::Error {
        match self {
            DiskFault::Io => io::Error::from_raw_os_error(5),
            DiskFault::Full => io::ErrorKind::StorageFull.into(),
            DiskFault::PowerCut => super::crashed(),
        }
    }
}

/// The odds of faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// A read is an EIO.
    pub read: Chance,
    /// A write writes a part of its bytes, and is an EIO.
    pub write: Chance,
    /// A write or an allocation is an ENOSPC.
    pub full: Chance,
    /// A sync of a file fails, and its dirty pages are dropped.
    pub sync: Chance,
    /// A call on names fails.
    pub names: Chance,
}

impl DiskFaults {
    /// A disk that does what it is asked.
    pub const fn none() -> DiskFaults {
        let never = Chance::NEVER;
        DiskFaults { read: never, write: never, full: never, sync: never, names: never }
    }
}

/// One fault that waits for its call.
#[derive(Clone, Debug)]
pub struct DiskPlan {
    /// Which kind of call.
    pub call: DiskCall,
    /// A part of the path.
    pub path: String,
    /// How many such calls succeed before.
    pub after: u32,
    /// How it fails then.
    pub fault: DiskFault,
}

/// Odds and plans of one disk.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) odds: DiskFaults,
    pub(super) plans: Vec<DiskPlan>,
}

impl Faults {
    /// The fault of a call, if it has one.
    pub(super) fn draw(&mut self, call: DiskCall, path: &Path, rng: &mut Rng) -> Option<DiskFault> {
        let text = path.to_string_lossy();
        let mut planned = None;
        self.plans.retain_mut(|plan| {
            if plan.call != call || !text.contains(&plan.path) || planned.is_some() {
                return true;
            }
            if plan.after > 0 {
                plan.after -= 1;
                return true;
            }
            planned = Some(plan.fault);
            false
        });
        if planned.is_some() {
            return planned;
        }
        let (io, full) = match call {
            DiskCall::Read => (self.odds.read, Chance::NEVER),
            DiskCall::Write => (self.odds.write, self.odds.full),
            DiskCall::Resize => (Chance::NEVER, self.odds.full),
            DiskCall::Sync => (self.odds.sync, Chance::NEVER),
            DiskCall::Other => return None,
            _ => (self.odds.names, Chance::NEVER),
        };
        if rng.happens(io) {
            Some(DiskFault::Io)
        } else if rng.happens(full) {
            Some(DiskFault::Full)
        } else {
            None
        }
    }
}

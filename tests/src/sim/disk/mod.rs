//! The simulated disk: one per node, which keeps what was synced and may forget everything else.
//!
//! A disk outlives the processes that use it. A kill leaves the live image as it is, a power cut leaves the durable
//! image mixed at random with what was not synced. Faults come from odds ([`DiskFaults`]) or from plans
//! ([`DiskPlan`], the n-th call of a kind on a path). What was sliced from a mapping counts as published: a process
//! that overwrites or cuts it, or that slices past the end of the file (which would be a SIGBUS), fails the run.

mod content;
mod file;
mod tree;

pub use faults::{DiskCall, DiskFault, DiskFaults, DiskPlan};

use super::chance::Rng;
use super::executor::Core;
use super::process::{Crash, Exit, Gate, Incarnation, Owner};
use content::PAGE;
use esker_storage::env::{DirEntry, Disk, File, Lock, Open, Space};
use faults::Faults;
use file::SimFile;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tree::{Entry, Tree};

mod faults;

struct Hardware {
    tree: Tree,
    faults: Faults,
    /// Locked files and their holders.
    locks: BTreeMap<PathBuf, Owner>,
    /// Bytes.
    total: u64,
    rng: Rng,
}

/// A node's disk. Cheap to clone; every clone is the same disk.
#[derive(Clone)]
pub struct SimDisk {
    hardware: Arc<Mutex<Hardware>>,
    core: Arc<Core>,
    owner: Owner,
}

/// The error of every call of a process that is gone.
pub(super) fn crashed() -> io::Error {
    io::Error::other("the simulated process is gone")
}

impl SimDisk {
    pub(super) fn new(core: Arc<Core>, total: u64) -> SimDisk {
        let rng = core.draw(Rng::fork);
        let hardware = Hardware { tree: Tree::new(), faults: Faults::default(), locks: BTreeMap::new(), total, rng };
        SimDisk { hardware: Arc::new(Mutex::new(hardware)), core, owner: None }
    }

    /// The same disk as `incarnation` sees it.
    pub(super) fn seen_by(&self, incarnation: &Arc<Incarnation>) -> SimDisk {
        SimDisk {
            hardware: Arc::clone(&self.hardware),
            core: Arc::clone(&self.core),
            owner: Some(Arc::clone(incarnation)),
        }
    }

    /// The process is gone: its locks are released, its mappings with it.
    pub(super) fn process_ended(&self) {
        let mut hardware = self.hardware.lock();
        hardware.locks.clear();
        for (_, inode) in hardware.tree.files() {
            inode.state.lock().published.clear();
        }
    }

    /// The power is gone: what was not synced is lost or torn.
    pub(super) fn cut_power(&self) {
        let mut guard = self.hardware.lock();
        let hardware = &mut *guard;
        hardware.tree.cut_power(&mut hardware.rng);
        hardware.locks.clear();
    }

    /// The odds of faults from now on.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.hardware.lock().faults.odds = faults;
    }

    /// Adds a fault that waits for its call.
    pub fn plan(&self, plan: DiskPlan) {
        self.hardware.lock().faults.plans.push(plan);
    }

    /// Forgets every fault that still waits.
    pub fn clear_plans(&self) {
        self.hardware.lock().faults.plans.clear();
    }

    /// Plans that have not happened yet.
    pub fn planned(&self) -> usize {
        self.hardware.lock().faults.plans.len()
    }

    /// The disk's size in bytes.
    pub fn set_total(&self, total: u64) {
        self.hardware.lock().total = total;
    }

    /// Bytes that files take up.
    pub fn used(&self) -> u64 {
        self.hardware.lock().tree.used.load(Ordering::Relaxed)
    }

    /// The disk's size in bytes, as it is now.
    pub fn total(&self) -> u64 {
        self.hardware.lock().total
    }

    /// Every file, its path and its length.
    pub fn files(&self) -> Vec<(String, u64)> {
        let files = self.hardware.lock().tree.files();
        files.into_iter().map(|(path, inode)| (path, inode.state.lock().content.live.len)).collect()
    }

    /// Rot: flips one bit of a file, in the page cache and on the device; whether there is such a byte.
    pub fn flip_bit(&self, path: &Path, position: u64, bit: u32) -> bool {
        let inode = self.hardware.lock().tree.file(path);
        inode.is_ok_and(|inode| {
            let mut state = inode.state.lock();
            // Rot does not ask what was published.
            state.content.flip_bit(position, bit)
        })
    }

    /// A bad sector: reading any byte of `range` is an EIO from now on.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn break_sectors(&self, path: &Path, range: std::ops::Range<u64>) -> io::Result<()> {
        self.hardware.lock().tree.file(path)?.state.lock().bad.push(range);
        Ok(())
    }

    /// Makes all of a file readable again, as a controller or a cable does that failed for a while.
    ///
    /// # Errors
    /// There is no such file.
    pub fn mend_sectors(&self, path: &Path) -> io::Result<()> {
        self.hardware.lock().tree.file(path)?.state.lock().bad.clear();
        Ok(())
    }

    /// Makes the disk empty, as a new one is.
    pub fn wipe(&self) {
        let mut hardware = self.hardware.lock();
        hardware.tree = Tree::new();
        hardware.locks.clear();
    }

    /// Traces a call, and lets the process crash in it or the call fail; whether the effect takes place, and then
    /// how the call ends.
    fn begin(&self, call: DiskCall, path: &Path) -> io::Result<Begun> {
        let gate = self.core.enter(&self.owner, format_args!("{call:?} {}", path.display()));
        if gate == Gate::Dead {
            return Err(crashed());
        }
        if gate == Gate::Pass && self.owner.is_some() {
            let mut guard = self.hardware.lock();
            let hardware = &mut *guard;
            if let Some(fault) = hardware.faults.draw(call, path, &mut hardware.rng) {
                drop(guard);
                self.core.trace(&self.owner, format_args!("  fails: {fault:?}"));
                if let (DiskFault::PowerCut, Some(incarnation)) = (fault, &self.owner) {
                    self.core.end(incarnation, Exit::Crashed(Crash::PowerCut));
                    return Err(crashed());
                }
                return Ok(Begun { gate, fault: Some(fault) });
            }
        }
        Ok(Begun { gate, fault: None })
    }

    /// A call that changes names: happens as a whole or not at all.
    fn change<T>(
        &self,
        call: DiskCall,
        path: &Path,
        effect: impl FnOnce(&mut Hardware) -> io::Result<T>,
    ) -> io::Result<T> {
        let begun = self.begin(call, path)?;
        if let Some(fault) = begun.fault {
            return Err(fault.error());
        }
        if !begun.gate.takes_effect() {
            return Err(crashed());
        }
        let result = effect(&mut self.hardware.lock());
        match begun.gate {
            Gate::Pass => result,
            _ => Err(crashed()),
        }
    }

    fn file(&self, path: &Path, inode: Arc<tree::Inode>, writable: bool) -> Arc<dyn File> {
        Arc::new(SimFile { disk: self.clone(), path: path.to_owned(), inode, writable })
    }

    /// Charges a file that grew or shrank; an error if the disk is full.
    fn charge(&self, inode: &tree::Inode, state: &mut tree::FileState, len: u64) -> io::Result<()> {
        let wanted = len.div_ceil(PAGE) * PAGE;
        let used = inode.used.load(Ordering::Relaxed);
        let after = used - state.charged + wanted;
        if wanted > state.charged && after > self.hardware.lock().total {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inode.used.store(after, Ordering::Relaxed);
        state.charged = wanted;
        Ok(())
    }
}

/// A call that has begun: what the gate and the faults make of it.
struct Begun {
    gate: Gate,
    fault: Option<DiskFault>,
}

impl Disk for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change(DiskCall::Create, path, |hardware| hardware.tree.create_dir_all(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.change(DiskCall::List, path, |hardware| {
            let entries = hardware.tree.list(path)?;
            Ok(entries
                .into_iter()
                .map(|(name, entry)| match entry {
                    Entry::File(inode) => DirEntry { name, is_dir: false, len: inode.state.lock().content.live.len },
                    Entry::Dir(_) => DirEntry { name, is_dir: true, len: PAGE },
                })
                .collect())
        })
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let call = if matches!(how, Open::Create | Open::Replace) { DiskCall::Create } else { DiskCall::Open };
        let inode = self.change(call, path, |hardware| match how {
            Open::Read | Open::Write => hardware.tree.file(path),
            Open::Create => hardware.tree.create_file(path),
            Open::Replace => match hardware.tree.lookup(path)? {
                Some(Entry::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
                Some(Entry::File(inode)) => Ok(inode),
                None => hardware.tree.create_file(path),
            },
        })?;
        if how == Open::Replace {
            let mut state = inode.state.lock();
            if state.published.last_key_value().is_some() {
                self.core.violated(format!("{} was mapped and sliced, and is now replaced", path.display()));
            }
            self.charge(&inode, &mut state, 0)?;
            state.content.resize(0);
        }
        Ok(self.file(path, inode, how != Open::Read))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(DiskCall::Rename, to, |hardware| hardware.tree.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(DiskCall::Remove, path, |hardware| hardware.tree.remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let begun = self.begin(DiskCall::Remove, path)?;
        if let Some(fault) = begun.fault {
            return Err(fault.error());
        }
        // A crash leaves any part of the tree behind.
        let mut limit = match begun.gate {
            Gate::Pass => usize::MAX,
            Gate::Dead => 0,
            Gate::Crash { done } => (done / 100) as usize,
        };
        let result = self.hardware.lock().tree.remove_dir_all(path, &mut limit);
        match begun.gate {
            Gate::Pass => result.map(|_| ()),
            _ => Err(crashed()),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(DiskCall::SyncDir, path, |hardware| hardware.tree.sync_dir(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let owner = self.owner.clone();
        self.change(DiskCall::Lock, path, |hardware| {
            if hardware.tree.lookup(path)?.is_none() {
                hardware.tree.create_file(path)?;
            }
            if hardware.locks.contains_key(path) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            hardware.locks.insert(path.to_owned(), owner);
            Ok(())
        })?;
        Ok(Box::new(SimLock { disk: self.clone(), path: path.to_owned() }))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.change(DiskCall::List, path, |hardware| {
            let used = hardware.tree.used.load(Ordering::Relaxed);
            Ok(Space { total: hardware.total, available: hardware.total.saturating_sub(used) })
        })
    }
}

/// Holds a lock until it is dropped or its process is gone.
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        // When the process is gone its locks have been released already, and may be its successor's.
        if self.disk.owner.as_ref().is_none_or(|incarnation| incarnation.is_alive()) {
            self.disk.hardware.lock().locks.remove(&self.path);
        }
    }
}

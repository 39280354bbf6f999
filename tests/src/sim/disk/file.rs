//! An open file of the simulated disk, and its mappings.

use super::content::PAGE;
use super::faults::DiskCall;
use super::tree::{FileState, Inode};
use super::{Begun, SimDisk, crashed};
use crate::sim::chance::Chance;
use crate::sim::process::Gate;
use bytes::Bytes;
use esker_storage::env::{File, Mapping};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// Dirty bytes of a file beyond which the kernel starts writing back by itself.
const DIRTY: u64 = 1 << 20;

pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) path: PathBuf,
    pub(super) inode: Arc<Inode>,
    pub(super) writable: bool,
}

/// How many bytes of a write, or how much of anything, takes place.
fn share(begun: &Begun, whole: u64, disk: &SimDisk) -> u64 {
    match (begun.gate, begun.fault) {
        (Gate::Pass, None) => whole,
        (Gate::Pass, Some(_)) => disk.hardware.lock().rng.below(whole + 1),
        (Gate::Dead, _) => 0,
        (Gate::Crash { done }, _) => whole * done / 1000,
    }
}

/// How the call ends after its effect.
fn answer(begun: &Begun) -> io::Result<()> {
    match (begun.gate, begun.fault) {
        (Gate::Pass, None) => Ok(()),
        (Gate::Pass, Some(fault)) => Err(fault.error()),
        _ => Err(crashed()),
    }
}

impl SimFile {
    fn writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::Error::from_raw_os_error(9)) }
    }

    /// What was published must not be different afterwards.
    fn check_published(&self, state: &FileState, position: u64, bytes: &[u8]) {
        let end = position + bytes.len() as u64;
        for (&start, &stop) in state.published.range(..end).filter(|&(_, &stop)| stop > position) {
            let (from, to) = (start.max(position), stop.min(end));
            let mut old = vec![0; (to - from) as usize];
            state.content.live.read(from, &mut old);
            if old != bytes[(from - position) as usize..(to - position) as usize] {
                self.disk.core.violated(format!(
                    "{}: bytes {from}..{to} were published and are now overwritten",
                    self.path.display()
                ));
            }
        }
    }

    fn resize(&self, state: &mut FileState, len: u64) -> io::Result<()> {
        if let Some((_, &end)) = state.published.last_key_value()
            && end > len
        {
            self.disk.core.violated(format!("{}: cut to {len}, but published up to {end}", self.path.display()));
        }
        self.disk.charge(&self.inode, state, len)?;
        state.content.resize(len);
        Ok(())
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        match self.disk.begin(DiskCall::Other, &self.path)?.gate {
            Gate::Pass => Ok(self.inode.state.lock().content.live.len),
            _ => Err(crashed()),
        }
    }

    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let begun = self.disk.begin(DiskCall::Read, &self.path)?;
        answer(&begun)?;
        let state = self.inode.state.lock();
        let end = position + buffer.len() as u64;
        if end > state.content.live.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if state.bad.iter().any(|bad| bad.start < end && position < bad.end) {
            return Err(io::Error::from_raw_os_error(5));
        }
        state.content.live.read(position, buffer);
        Ok(())
    }

    fn write_all_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.writable()?;
        let begun = self.disk.begin(DiskCall::Write, &self.path)?;
        let bytes: Vec<u8> = buffers.iter().fold(Vec::new(), |mut all, buffer| {
            all.extend_from_slice(buffer);
            all
        });
        let written = share(&begun, bytes.len() as u64, &self.disk) as usize;
        let bytes = &bytes[..written];
        self.disk.core.trace(&self.disk.owner, format_args!("  {written} B at {position}"));
        let mut state = self.inode.state.lock();
        self.check_published(&state, position, bytes);
        let len = state.content.live.len.max(position + written as u64);
        self.disk.charge(&self.inode, &mut state, len)?;
        state.content.write(position, bytes);
        if state.content.dirty_bytes() > DIRTY || self.disk.hardware.lock().rng.happens(Chance::percent(2)) {
            let mut hardware = self.disk.hardware.lock();
            state.content.write_back_some(0..u64::MAX - PAGE, Chance::percent(50), &mut hardware.rng);
        }
        answer(&begun)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        let begun = self.disk.begin(DiskCall::Resize, &self.path)?;
        if begun.fault.is_none() && begun.gate.takes_effect() {
            let mut state = self.inode.state.lock();
            if len > state.content.live.len {
                self.resize(&mut state, len)?;
            }
        }
        answer(&begun)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        let begun = self.disk.begin(DiskCall::Resize, &self.path)?;
        if begun.fault.is_none() && begun.gate.takes_effect() {
            self.resize(&mut self.inode.state.lock(), len)?;
        }
        answer(&begun)
    }

    fn sync_data(&self) -> io::Result<()> {
        let begun = self.disk.begin(DiskCall::Sync, &self.path)?;
        let mut state = self.inode.state.lock();
        match (begun.gate, begun.fault) {
            (Gate::Pass, None) => state.content.sync(),
            (Gate::Pass, Some(_)) => state.content.fail_sync(&mut self.disk.hardware.lock().rng),
            (Gate::Dead, _) => {}
            (Gate::Crash { done: 1000 }, _) => state.content.sync(),
            (Gate::Crash { done }, _) => {
                let odds = Chance::per_million(done as u32 * 1000);
                state.content.write_back_some(0..u64::MAX - PAGE, odds, &mut self.disk.hardware.lock().rng);
            }
        }
        answer(&begun)
    }

    fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        let begun = self.disk.begin(DiskCall::Other, &self.path)?;
        answer(&begun)?;
        let mut hardware = self.disk.hardware.lock();
        self.inode.state.lock().content.write_back_some(range, Chance::percent(50), &mut hardware.rng);
        Ok(())
    }

    fn drop_cache(&self, range: Range<u64>) -> io::Result<()> {
        let begun = self.disk.begin(DiskCall::Other, &self.path)?;
        answer(&begun)?;
        self.inode.state.lock().content.evict(range);
        Ok(())
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>> {
        let begun = self.disk.begin(DiskCall::Other, &self.path)?;
        answer(&begun)?;
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let file = SimFile {
            disk: self.disk.clone(),
            path: self.path.clone(),
            inode: Arc::clone(&self.inode),
            writable: false,
        };
        Ok(Arc::new(SimMapping { file, len }))
    }
}

/// A mapping: slices are copies, and what they were copied from is watched.
struct SimMapping {
    file: SimFile,
    len: u64,
}

/// Adds a range to disjoint ranges.
fn publish(ranges: &mut std::collections::BTreeMap<u64, u64>, range: Range<u64>) {
    let (mut start, mut end) = (range.start, range.end);
    while let Some((&at, &stop)) = ranges.range(..=end).next_back()
        && stop >= start
    {
        ranges.remove(&at);
        (start, end) = (start.min(at), end.max(stop));
    }
    ranges.insert(start, end);
}

impl Mapping for SimMapping {
    fn slice(self: Arc<Self>, range: Range<u64>) -> Bytes {
        if range.start >= range.end || range.end > self.len {
            return Bytes::new();
        }
        let disk = &self.file.disk;
        let mut state = self.file.inode.state.lock();
        let mut bytes = vec![0; (range.end - range.start) as usize];
        state.content.live.read(range.start, &mut bytes);
        let lives = disk.owner.as_ref().is_none_or(|incarnation| incarnation.is_alive());
        if lives {
            if range.end > state.content.live.len {
                let len = state.content.live.len;
                let path = self.file.path.display();
                disk.core.violated(format!("{path}: slice of {range:?} past the end at {len}: SIGBUS"));
            }
            publish(&mut state.published, range);
        }
        Bytes::from(bytes)
    }

    fn is_resident(&self, _range: Range<u64>) -> bool {
        // What is resident is the kernel's affair: both answers must do.
        !self.file.disk.hardware.lock().rng.happens(Chance::percent(10))
    }

    fn make_resident(&self, range: Range<u64>) -> io::Result<()> {
        let begun = self.file.disk.begin(DiskCall::Read, &self.file.path)?;
        answer(&begun)?;
        let state = self.file.inode.state.lock();
        if state.bad.iter().any(|bad| bad.start < range.end && range.start < bad.end) {
            return Err(io::Error::from_raw_os_error(14));
        }
        Ok(())
    }
}

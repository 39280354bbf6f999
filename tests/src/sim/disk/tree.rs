//! Names: directories with a live and a durable image, and the changes that lie between them.
//!
//! Creating, renaming and removing change the live tree at once, and the durable one when a directory is synced. A power
//! cut keeps some of the changes that were not synced: the oldest of them (as a journal in order does), or any of
//! them (which is all that POSIX promises).

use super::content::{Content, PAGE};
use crate::sim::chance::{Chance, Rng};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file, whatever its names: it lives as long as a name or an open handle does.
pub(super) struct Inode {
    pub(super) id: u64,
    pub(super) state: Mutex<FileState>,
    pub(super) used: Arc<AtomicU64>,
}

/// What is known of a file.
#[derive(Default)]
pub(super) struct FileState {
    pub(super) content: Content,
    /// Ranges that were sliced from a mapping, disjoint and ascending: start -> end. They must not change.
    pub(super) published: BTreeMap<u64, u64>,
    /// Ranges that cannot be read.
    pub(super) bad: Vec<Range<u64>>,
    /// Bytes that it takes up, as counted in the disk's total.
    pub(super) charged: u64,
}

impl Inode {
    /// Its last name is gone: its room is free, though a power cut may yet bring it back.
    fn release(&self) {
        self.used.fetch_sub(std::mem::take(&mut self.state.lock().charged), Ordering::Relaxed);
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.release();
    }
}

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Entry {
    File(Arc<Inode>),
    /// The directory of this number.
    Dir(u64),
}

impl Entry {
    fn is_same(&self, other: &Entry) -> bool {
        match (self, other) {
            (Entry::File(a), Entry::File(b)) => a.id == b.id,
            (Entry::Dir(a), Entry::Dir(b)) => a == b,
            _ => false,
        }
    }
}

type Names = BTreeMap<String, Entry>;

#[derive(Clone, Default)]
struct Directory {
    live: Names,
    durable: Names,
}

/// A change of names that is not durable yet.
#[derive(Clone)]
enum Change {
    Add { dir: u64, name: String, entry: Entry },
    Remove { dir: u64, name: String },
    Rename { from: u64, old: String, to: u64, new: String, entry: Entry },
}

impl Change {
    fn touches(&self, which: u64) -> bool {
        match self {
            Change::Add { dir, .. } | Change::Remove { dir, .. } => *dir == which,
            Change::Rename { from, to, .. } => *from == which || *to == which,
        }
    }
}

/// A tree of names.
pub(super) struct Tree {
    dirs: BTreeMap<u64, Directory>,
    changes: Vec<Change>,
    next: u64,
    pub(super) used: Arc<AtomicU64>,
}

const ROOT: u64 = 0;

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} not found", path.display()))
}

/// The names of a path; `.` and the root are nothing, `..` is refused.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?),
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}

impl Tree {
    pub(super) fn new() -> Tree {
        let dirs = BTreeMap::from([(ROOT, Directory::default())]);
        Tree { dirs, changes: Vec::new(), next: 1, used: Arc::default() }
    }

    fn live(&self, dir: u64) -> io::Result<&Names> {
        self.dirs.get(&dir).map(|dir| &dir.live).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn live_mut(&mut self, dir: u64) -> io::Result<&mut Names> {
        self.dirs.get_mut(&dir).map(|dir| &mut dir.live).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The number of a directory.
    pub(super) fn dir(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for name in names(path)? {
            match self.live(at)?.get(name) {
                Some(Entry::Dir(dir)) => at = *dir,
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(not_found(path)),
            }
        }
        Ok(at)
    }

    /// The directory that holds the last name of a path, and that name.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(u64, &'a str)> {
        let mut all = names(path)?;
        let name = all.pop().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.dir(path.parent().unwrap_or(Path::new("")))?, name))
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<(String, Entry)>> {
        let dir = self.dir(path)?;
        Ok(self.live(dir)?.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect())
    }

    pub(super) fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        let (dir, name) = self.parent(path)?;
        Ok(self.live(dir)?.get(name).cloned())
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<Arc<Inode>> {
        match self.lookup(path)? {
            Some(Entry::File(inode)) => Ok(inode),
            Some(Entry::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(not_found(path)),
        }
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for name in names(path)? {
            at = match self.live(at)?.get(name) {
                Some(Entry::Dir(dir)) => *dir,
                Some(Entry::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
                None => {
                    let new = self.next;
                    self.next += 1;
                    self.dirs.insert(new, Directory::default());
                    self.add(at, name, Entry::Dir(new))?;
                    new
                }
            };
        }
        Ok(())
    }

    fn add(&mut self, dir: u64, name: &str, entry: Entry) -> io::Result<()> {
        self.live_mut(dir)?.insert(name.to_owned(), entry.clone());
        self.changes.push(Change::Add { dir, name: name.to_owned(), entry });
        Ok(())
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<Arc<Inode>> {
        let (dir, name) = self.parent(path)?;
        if self.live(dir)?.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", path.display())));
        }
        let inode = Arc::new(Inode { id: self.next, state: Mutex::default(), used: Arc::clone(&self.used) });
        self.next += 1;
        self.add(dir, name, Entry::File(Arc::clone(&inode)))?;
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, old) = self.parent(from)?;
        let (to_dir, new) = self.parent(to)?;
        let entry = self.live(from_dir)?.get(old).cloned().ok_or_else(|| not_found(from))?;
        match self.live(to_dir)?.get(new) {
            Some(Entry::Dir(dir)) if matches!(entry, Entry::File(_)) || !self.live(*dir)?.is_empty() => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            Some(Entry::File(_)) if matches!(entry, Entry::Dir(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            Some(target) if target.is_same(&entry) => return Ok(()),
            _ => {}
        }
        self.live_mut(from_dir)?.remove(old);
        if let Some(Entry::File(replaced)) = self.live_mut(to_dir)?.insert(new.to_owned(), entry.clone()) {
            replaced.release();
        }
        let (old, new) = (old.to_owned(), new.to_owned());
        self.changes.push(Change::Rename { from: from_dir, old, to: to_dir, new, entry });
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        match self.live(dir)?.get(name) {
            Some(Entry::File(_)) => self.unlink(dir, name),
            Some(Entry::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(not_found(path)),
        }
    }

    fn unlink(&mut self, dir: u64, name: &str) -> io::Result<()> {
        if let Some(Entry::File(inode)) = self.live_mut(dir)?.remove(name) {
            inode.release();
        }
        self.changes.push(Change::Remove { dir, name: name.to_owned() });
        Ok(())
    }

    /// Removes at most `limit` names, the deepest first; whether all are gone.
    pub(super) fn remove_dir_all(&mut self, path: &Path, limit: &mut usize) -> io::Result<bool> {
        for (name, entry) in self.list(path)? {
            let below = path.join(&name);
            if matches!(entry, Entry::Dir(_)) {
                if !self.remove_dir_all(&below, limit)? {
                    return Ok(false);
                }
            } else {
                if *limit == 0 {
                    return Ok(false);
                }
                *limit -= 1;
                self.remove_file(&below)?;
            }
        }
        if *limit == 0 {
            return Ok(false);
        }
        *limit -= 1;
        let (dir, name) = self.parent(path)?;
        self.unlink(dir, name)?;
        Ok(true)
    }

    /// Makes the names of a directory durable.
    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.dir(path)?;
        let (now, later) =
            std::mem::take(&mut self.changes).into_iter().partition::<Vec<_>, _>(|change| change.touches(dir));
        self.changes = later;
        for change in now {
            self.make_durable(&change);
        }
        Ok(())
    }

    fn make_durable(&mut self, change: &Change) {
        match change {
            Change::Add { dir, name, entry } => {
                if let Some(dir) = self.dirs.get_mut(dir) {
                    dir.durable.insert(name.clone(), entry.clone());
                }
            }
            Change::Remove { dir, name } => {
                if let Some(dir) = self.dirs.get_mut(dir) {
                    dir.durable.remove(name);
                }
            }
            Change::Rename { from, old, to, new, entry } => {
                if let Some(from) = self.dirs.get_mut(from)
                    && from.durable.get(old).is_some_and(|there| there.is_same(entry))
                {
                    from.durable.remove(old);
                }
                if let Some(to) = self.dirs.get_mut(to) {
                    to.durable.insert(new.clone(), entry.clone());
                }
            }
        }
    }

    /// What a power cut leaves of the names, and of the files that still have one.
    pub(super) fn cut_power(&mut self, rng: &mut Rng) {
        let changes = std::mem::take(&mut self.changes);
        if rng.happens(Chance::percent(50)) {
            let kept = rng.index(changes.len() + 1);
            for change in changes.iter().take(kept) {
                self.make_durable(change);
            }
        } else {
            let odds = Chance::percent(rng.within(0..101) as u32);
            for change in &changes {
                if rng.happens(odds) {
                    self.make_durable(change);
                }
            }
        }
        let mut reached = BTreeMap::new();
        self.restore(ROOT, &mut reached, rng);
        self.dirs = reached;
    }

    fn restore(&mut self, dir: u64, reached: &mut BTreeMap<u64, Directory>, rng: &mut Rng) {
        // Renamed twice with only the newer change kept, something may have two names; for a directory the first wins.
        let Some(mut directory) = self.dirs.remove(&dir) else { return };
        directory.durable.retain(|_, entry| match entry {
            Entry::File(inode) => {
                let mut state = inode.state.lock();
                state.content.cut_power(rng);
                state.published.clear();
                let len = state.content.live.len.div_ceil(PAGE) * PAGE;
                let charged = std::mem::replace(&mut state.charged, len);
                self.used.fetch_add(len, Ordering::Relaxed);
                self.used.fetch_sub(charged, Ordering::Relaxed);
                true
            }
            Entry::Dir(dir) => self.dirs.contains_key(dir),
        });
        directory.live = directory.durable.clone();
        let below: Vec<u64> = directory
            .durable
            .values()
            .filter_map(|entry| match entry {
                Entry::Dir(dir) => Some(*dir),
                Entry::File(_) => None,
            })
            .collect();
        reached.insert(dir, directory);
        for dir in below {
            self.restore(dir, reached, rng);
        }
    }

    /// Every file that has a name, with its path.
    pub(super) fn files(&self) -> Vec<(String, Arc<Inode>)> {
        let mut found = Vec::new();
        self.walk(ROOT, "", &mut found);
        found
    }

    fn walk(&self, dir: u64, path: &str, found: &mut Vec<(String, Arc<Inode>)>) {
        let Some(directory) = self.dirs.get(&dir) else { return };
        for (name, entry) in &directory.live {
            let below = format!("{path}/{name}");
            match entry {
                Entry::File(inode) => found.push((below, Arc::clone(inode))),
                Entry::Dir(dir) => self.walk(*dir, &below, found),
            }
        }
    }
}

//! A real file system with little room, for tests of what happens when it is full.
//!
//! Of three ways the first is taken that works where the test runs:
//!
//! 1. A tmpfs of the wanted size, mounted in a user and mount namespace (`unshare -rm`) that a process without any other
//!    purpose keeps alive. It is reached from outside through `/proc/PID/root`.
//! 2. The same in a mount namespace alone, as root by `sudo -n`: where user namespaces are forbidden, as on some CI machines.
//! 3. `/dev/shm`, where that is small, as it is in containers (64 MiB unless somebody said otherwise): what is too much
//!    room is taken by a file.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// More than this is not filled with a file.
const SMALL_ENOUGH: u64 = 512 * MIB;

/// The file system, while it is there.
#[derive(Debug)]
pub struct SmallDisk {
    /// Holds the mount point, or lies in `/dev/shm`; it also has the link by which the file system is reached.
    folder: TempDir,
    path: PathBuf,
    mount: Option<Child>,
}

impl SmallDisk {
    /// With room for `bytes`.
    ///
    /// # Panics
    /// If there is no way to have one here.
    pub fn new(bytes: u64) -> SmallDisk {
        let folder = tempfile::Builder::new().prefix("esker-small-").tempdir().expect("a temporary folder");
        for how in [&["unshare", "-rm"][..], &["sudo", "-n", "unshare", "-m"]] {
            if let Some((mount, path)) = mounted(how, folder.path(), bytes) {
                return SmallDisk { folder, path, mount: Some(mount) };
            }
        }
        let folder = tempfile::Builder::new().prefix("esker-small-").tempdir_in("/dev/shm").expect("/dev/shm");
        let disk = SmallDisk { path: folder.path().to_owned(), folder, mount: None };
        let available = disk.available();
        assert!(
            available <= SMALL_ENOUGH,
            "no small file system can be had: neither user namespaces, nor sudo, nor a small /dev/shm"
        );
        assert!(available >= bytes, "{available} bytes in /dev/shm are too few");
        disk.take("room", available - bytes);
        disk
    }

    /// A folder on it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that there is room for.
    ///
    /// # Panics
    /// If it cannot be told.
    pub fn available(&self) -> u64 {
        // Not `df`, which looks for the mount in its own namespace.
        let output = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(&self.path).output().expect("stat");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers: Vec<u64> = text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
        match numbers[..] {
            [blocks, size] => blocks * size,
            _ => panic!("stat said {text}"),
        }
    }

    /// Has somebody else take so much of the room, or all that there is.
    ///
    /// # Panics
    /// If there is less, unless all was asked for.
    pub fn take(&self, name: &str, bytes: u64) {
        let mut file = File::create(self.ballast(name)).expect("a file for ballast");
        let piece = vec![0x55; MIB as usize];
        let mut left = bytes;
        while left > 0 {
            let len = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match file.write(&piece[..len]) {
                Ok(written) => left -= written as u64,
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull && bytes == u64::MAX => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Gives back what was taken under that name.
    ///
    /// # Panics
    /// If nothing was.
    pub fn give_back(&self, name: &str) {
        fs::remove_file(self.ballast(name)).expect("ballast");
    }

    fn ballast(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.ballast"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Some(mut mount) = self.mount.take() {
            // It reads until its input ends; with it goes the namespace, and with that the mount.
            drop(mount.stdin.take());
            let _ = mount.wait();
        }
        let _ = &self.folder;
    }
}

/// Mounts a tmpfs below `folder` in a namespace of its own; the process that keeps it, and the way to it.
fn mounted(how: &[&str], folder: &Path, bytes: u64) -> Option<(Child, PathBuf)> {
    const SCRIPT: &str = "mount -t tmpfs -o size=$0,mode=0777 esker \"$1\" && echo $$ && exec cat > /dev/null";
    let (point, link) = (folder.join("mount"), folder.join("disk"));
    fs::create_dir_all(&point).expect("a mount point");
    let (program, arguments) = how.split_first()?;
    let mut child = Command::new(program)
        .args(arguments)
        .args(["sh", "-c", SCRIPT, &bytes.to_string()])
        .arg(&point)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut said = String::new();
    let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut said));
    // By a link: the way through /proc has parents that cannot be synced.
    let target = PathBuf::from(format!("/proc/{}/root", said.trim())).join(point.strip_prefix("/").unwrap_or(&point));
    let _ = fs::remove_file(&link);
    let works = read.is_some_and(|read| read.is_ok_and(|len| len > 0))
        && std::os::unix::fs::symlink(target, &link).is_ok()
        && File::create(link.join("probe")).and_then(|_| fs::remove_file(link.join("probe"))).is_ok();
    if works {
        return Some((child, link));
    }
    drop(child.stdin.take());
    let _ = child.wait();
    None
}

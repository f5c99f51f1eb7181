//! One cgroup: its members, its end.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, kill_process};

use super::procfs::Stat;

/// How often a cgroup that is being emptied is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A cgroup of the cgroup2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Its path below the mount, e.g. `/galileo/202611250242-1f3a/web-0`.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What `bpf_get_current_cgroup_id` says of its tasks: the inode number of the folder.
    pub id: u64,
}

impl Cgroup {
    pub(crate) fn at(name: String, folder: PathBuf) -> io::Result<Self> {
        let id = fs::metadata(&folder)?.ino();
        Ok(Self { name, folder, id })
    }

    /// The ids of this cgroup and of those that the application made below it.
    #[must_use]
    pub fn ids(&self) -> Vec<u64> {
        let mut ids = vec![self.id];
        let mut open = vec![self.folder.clone()];
        while let Some(folder) = open.pop() {
            for child in children(&folder) {
                ids.extend(fs::metadata(&child).map(|metadata| metadata.ino()));
                open.push(child);
            }
        }
        ids
    }
}

/// The child cgroups; none if the cgroup is gone.
pub(crate) fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The processes in a cgroup and below it; none if it is gone. Zombies are not listed by the kernel.
pub(crate) fn members(folder: &Path) -> Vec<Pid> {
    let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<Pid> = listed
        .lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?))
        .collect();
    for child in children(folder) {
        found.extend(members(&child));
    }
    found
}

/// Moves a whole process.
pub(crate) fn join(folder: &Path, pid: u32) -> io::Result<()> {
    fs::write(folder.join("cgroup.procs"), pid.to_string())
}

/// Sends a signal to each process. One that has ended meanwhile is no error.
pub(crate) fn signal(pids: &[Pid], signal: Signal) {
    for pid in pids {
        // The process may have ended since it was listed, which is what is wanted.
        let _ = kill_process(*pid, signal);
    }
}

/// Whether a process that is listed is not on its way out: of one with several threads it is listed until the last of them is gone.
fn lives(pid: Pid) -> bool {
    Stat::of(pid.as_raw_nonzero().get().unsigned_abs()).is_some_and(|stat| !stat.exiting)
}

/// Kills what is in a cgroup and below it until it is empty, and says which processes that were. The caller itself is
/// spared.
pub(crate) fn kill(folder: &Path, patience: Duration) -> io::Result<HashSet<Pid>> {
    let present = members(folder);
    let mut killed: HashSet<Pid> = present.iter().copied().filter(|pid| lives(*pid)).collect();
    // `cgroup.kill` (since 5.14, cgroup2 only) reaches processes that fork faster than they are listed, but spares
    // nobody. Where there is none, the list does.
    if !present.is_empty() && !present.contains(&getpid()) {
        let _ = fs::write(folder.join("cgroup.kill"), "1");
    }
    killed.remove(&getpid());
    killed.extend(kill_listed(|| members(folder), patience)?);
    Ok(killed)
}

/// Kills what is listed until nothing is, and says which processes that were. The caller itself is spared.
pub(crate) fn kill_listed(
    list: impl Fn() -> Vec<Pid>,
    patience: Duration,
) -> io::Result<HashSet<Pid>> {
    let deadline = Instant::now() + patience;
    let mut killed = HashSet::new();
    loop {
        let mut living = list();
        living.retain(|pid| *pid != getpid());
        if living.is_empty() {
            return Ok(killed);
        }
        if Instant::now() >= deadline {
            let pids: Vec<String> = living
                .iter()
                .map(|pid| pid.as_raw_nonzero().to_string())
                .collect();
            return Err(io::Error::other(format!(
                "processes {} do not die",
                pids.join(", ")
            )));
        }
        killed.extend(living.iter().copied().filter(|pid| lives(*pid)));
        signal(&living, Signal::KILL);
        thread::sleep(LOOK_AGAIN);
    }
}

/// Removes an empty cgroup and those below it. One that is gone is no error.
pub(crate) fn remove(folder: &Path, patience: Duration) -> io::Result<()> {
    for child in children(folder) {
        remove(&child, patience)?;
    }
    let deadline = Instant::now() + patience;
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Just after its last process ended a cgroup can be busy for a moment.
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
            {
                thread::sleep(LOOK_AGAIN);
            }
            done => return done,
        }
    }
}

/// Makes a cgroup and moves this process into it.
pub(crate) fn create_and_join(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)?;
    join(folder, std::process::id())
}

/// Removes a cgroup that may be in use by others, if it is not.
pub(crate) fn remove_if_unused(folder: &Path) {
    let deadline = Instant::now() + Duration::from_millis(200);
    while fs::remove_dir(folder).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
        && children(folder).is_empty()
        && Instant::now() < deadline
    {
        thread::sleep(LOOK_AGAIN);
    }
}

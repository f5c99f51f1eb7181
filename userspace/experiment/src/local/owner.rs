//! The owner file of a run: tells what a dead run left from what belongs to a living one.
//!
//! It lies in the run's folder, says who owns the run, and is locked (`flock`) as long as that process lives. The
//! run's cgroup names it in an extended attribute, so that it is found whichever data folder the run used.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, getxattr, setxattr};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::procfs::Stat;
use super::{cgroup, tree};

/// Its name in the folder of the run.
pub(crate) const FILE: &str = "owner.json";
const ATTRIBUTE: &str = "user.galileo.owner";

/// The locked owner file of a run of this process.
#[derive(Debug)]
pub(crate) struct Owner {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// What an owner file says.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    pid: u32,
    /// In clock ticks since boot: tells the process from a later one with its number.
    start_time_ticks: u64,
    run_id: String,
}

impl Owner {
    /// Makes and locks the owner file of a run.
    pub(crate) fn take(run_folder: &Path, run_id: &str) -> Result<Self> {
        fs::create_dir_all(run_folder).map_err(|source| Error::at("create", run_folder, source))?;
        let path = run_folder.join(FILE);
        let failed = |source| Error::at("write", &path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // What it says is only for the message.
                let _ = file.read_to_string(&mut owner);
                return Err(Error::Running {
                    run_id: run_id.to_owned(),
                    owner: owner.trim().to_owned(),
                });
            }
            // A file system without locks: process and start time have to do.
            Err(TryLockError::Error(_)) => {}
        }
        let pid = std::process::id();
        let start_time_ticks = Stat::of(pid).map_or(0, |stat| stat.starttime);
        let content = serde_json::to_string(&Content {
            pid,
            start_time_ticks,
            run_id: run_id.to_owned(),
        })
        .map_err(|error| failed(error.into()))?;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{content}"))
            .map_err(failed)?;
        let path = path.canonicalize().unwrap_or(path);
        Ok(Self { path, _lock: file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file findable from the run's cgroup. Kernels before 5.7 refuse; then the state folder must be known.
    pub(crate) fn name_in(&self, run_cgroup: &Path) {
        // See above: `life` has two more ways to find out.
        let _ = setxattr(
            run_cgroup,
            ATTRIBUTE,
            self.path.as_os_str().as_encoded_bytes(),
            XattrFlags::empty(),
        );
    }

    /// Ends the ownership in an orderly way.
    pub(crate) fn release(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// What is known of a run's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Life {
    Living,
    /// Dead; its owner file, if there is one.
    Dead(Option<PathBuf>),
}

/// Finds out whether the owner of a run lives: by the owner file that its cgroup names, else by that in its folder,
/// else by whether a process is in its `self`.
pub(crate) fn life(run_cgroup: Option<&Path>, run_folder: &Path) -> Life {
    let named = run_cgroup.and_then(owner_named_in);
    let path = named
        .filter(|path| path.is_file())
        .unwrap_or_else(|| run_folder.join(FILE));
    match lives(&path) {
        Some(true) => Life::Living,
        Some(false) => Life::Dead(Some(path)),
        None if run_cgroup
            .is_some_and(|run| !cgroup::members(&run.join(tree::SELF)).is_empty()) =>
        {
            Life::Living
        }
        None => Life::Dead(None),
    }
}

fn owner_named_in(run_cgroup: &Path) -> Option<PathBuf> {
    let mut value = [0_u8; 4096];
    let length = getxattr(run_cgroup, ATTRIBUTE, &mut value).ok()?;
    let bytes = value.get(..length)?;
    let path = PathBuf::from(std::str::from_utf8(bytes).ok()?);
    // Whoever a cgroup is delegated to can write this, and the file will be removed: it must look like ours.
    let ours = path.file_name()? == FILE && path.parent()?.file_name() == run_cgroup.file_name();
    ours.then_some(path)
}

/// None if there is no such file.
fn lives(path: &Path) -> Option<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // Somebody else's: what may not be looked at is not taken for dead.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Some(true),
        Err(_) => return None,
    };
    match file.try_lock_shared() {
        Ok(()) => Some(false),
        Err(TryLockError::WouldBlock) => Some(true),
        Err(TryLockError::Error(_)) => {
            let mut text = String::new();
            file.read_to_string(&mut text).ok()?;
            let content: Content = serde_json::from_str(&text).ok()?;
            Some(
                Stat::of(content.pid)
                    .is_some_and(|stat| stat.starttime == content.start_time_ticks),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_is_owned_once_and_dead_when_its_lock_is_gone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = folder.path().join("r1");
        assert_eq!(life(None, &run), Life::Dead(None));

        let owner = Owner::take(&run, "r1").expect("it is free");
        assert_eq!(life(None, &run), Life::Living);
        let refused = Owner::take(&run, "r1").expect_err("it is owned");
        assert!(
            refused
                .to_string()
                .contains(&format!("\"pid\":{}", std::process::id())),
            "{refused}"
        );

        let path = owner.path().to_owned();
        drop(owner);
        assert_eq!(life(None, &run), Life::Dead(Some(path)));

        Owner::take(&run, "r1")
            .expect("it is free again")
            .release()
            .expect("the file is there");
        assert_eq!(life(None, &run), Life::Dead(None));
    }
}

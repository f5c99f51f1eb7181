//! Cgroups for programs to run in, as pods do.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Where the cgroup2 hierarchy is mounted.
pub(crate) fn mount_point() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let place = fields.next()?;
            (fields.next()? == "cgroup2").then(|| PathBuf::from(place))
        })
        .next()
        .context("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
}

/// Removes cgroups, with what runs in them, of runs that were killed: their names are `prefix`, the id of the process that made
/// them, and more.
pub(crate) fn remove_remains(mount: &Path, prefix: &str) {
    for entry in fs::read_dir(mount).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id = name
            .to_str()
            .and_then(|name| name.strip_prefix(prefix)?.split('-').next());
        if id.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            remove(&entry.path());
        }
    }
}

/// A cgroup; its processes end and it goes when this is dropped, or when this process ends without that.
pub(crate) struct Group {
    folder: PathBuf,
    /// The kernel's id of it.
    pub id: u64,
    guard: Child,
}

impl Group {
    /// Makes one below the cgroup2 mount.
    pub(crate) fn new(mount: &Path, name: &str) -> Result<Self> {
        let folder = mount.join(name);
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Not before: what is there already is somebody else's.
        let guard = guard(&folder)
            .inspect_err(|_| remove(&folder))
            .context("cannot start what removes a cgroup in the end")?;
        let id = fs::metadata(&folder)
            .context("cannot look at the cgroup that was just made")?
            .ino();
        Ok(Self { folder, id, guard })
    }

    /// Makes a command of which program and arguments are to follow one that runs in it. A shell joins and becomes the program, so
    /// that all that the program does is done there.
    pub(crate) fn enter<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .args(["sh", "-c", r#"echo $$ >"$0/cgroup.procs" && exec "$@""#])
            .arg(&self.folder)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.folder);
        drop(self.guard.stdin.take());
        // There is nothing left for it to do, so it ends.
        let _ = self.guard.wait();
    }
}

/// Removes a cgroup and what runs in it when this process is gone: it has the other end of the pipe that the guard reads, so that
/// a signal that allows for nothing else (Ctrl-C, SIGKILL) tells it too. A group of its own, as Ctrl-C is for all of one.
fn guard(folder: &Path) -> io::Result<Child> {
    const SCRIPT: &str = r#"
        read -r _
        tries=0
        while [ -d "$0" ] && [ $tries -lt 100 ]; do
            for pid in $(cat "$0/cgroup.procs"); do kill -9 "$pid"; done
            rmdir "$0" || sleep 0.05
            tries=$((tries + 1))
        done
    "#;
    Command::new("sh")
        .args(["-c", SCRIPT])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// Removes a cgroup and what runs in it.
fn remove(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        end_all(folder);
        match fs::remove_dir(folder) {
            Ok(()) => return,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(_) => thread::sleep(LOOK),
        }
    }
    eprintln!("cannot remove {}", folder.display());
}

/// Kills what is in a cgroup.
fn end_all(folder: &Path) {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let pids: Vec<_> = text.split_whitespace().collect();
    if !pids.is_empty() {
        // They may have ended meanwhile; the next look tells.
        let _ = Command::new("kill")
            .arg("-9")
            .args(&pids)
            .stderr(Stdio::null())
            .status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guard_removes_the_folder_when_the_pipe_closes() {
        let folder = std::env::temp_dir().join(format!("xtask-guard-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let mut guard = guard(&folder).unwrap();
        thread::sleep(LOOK);
        assert!(folder.exists());
        drop(guard.stdin.take());
        assert!(guard.wait().is_ok());
        assert!(!folder.exists());
    }
}

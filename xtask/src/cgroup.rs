//! Cgroups for programs to run in, as pods do.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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
            drop(Group::of(entry.path()));
        }
    }
}

/// A cgroup; its processes end and it goes when this is dropped.
pub(crate) struct Group {
    folder: PathBuf,
    /// The kernel's id of it.
    pub id: u64,
}

impl Group {
    /// Makes one below the cgroup2 mount.
    pub(crate) fn new(mount: &Path, name: &str) -> Result<Self> {
        let folder = mount.join(name);
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut group = Self::of(folder);
        group.id = fs::metadata(&group.folder)
            .context("cannot look at the cgroup that was just made")?
            .ino();
        Ok(group)
    }

    /// One that is there already and is to go.
    pub(crate) fn of(folder: PathBuf) -> Self {
        Self { folder, id: 0 }
    }

    /// Makes a command of which program and arguments are to follow one that runs in it. A shell joins and becomes the program, so
    /// that all that the program does is done there.
    pub(crate) fn enter<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .args(["sh", "-c", r#"echo $$ >"$0/cgroup.procs" && exec "$@""#])
            .arg(&self.folder)
    }

    /// Kills what is in it. True if nothing was.
    fn end_all(&self) -> bool {
        let text = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        let pids: Vec<_> = text.split_whitespace().collect();
        if !pids.is_empty() {
            // They may have ended meanwhile; the next look tells.
            let _ = Command::new("kill")
                .arg("-9")
                .args(&pids)
                .stderr(Stdio::null())
                .status();
        }
        pids.is_empty()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            self.end_all();
            match fs::remove_dir(&self.folder) {
                Ok(()) => return,
                Err(error) if error.kind() == ErrorKind::NotFound => return,
                Err(_) => thread::sleep(LOOK),
            }
        }
        eprintln!("cannot remove {}", self.folder.display());
    }
}

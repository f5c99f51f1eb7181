//! Where servers and clients run: a network namespace of the corpus' own, in which all ports are free and TCP fast open
//! is on, and a cgroup for each program.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cgroup::{self, Group};
use crate::namespace::Namespace;

/// Names of cgroups and folders begin with that; the id of the process that made them follows.
const PREFIX: &str = "galileo-corpus-";

/// What the corpus' namespace is set to. Bits of `tcp_fastopen` (ip-sysctl.rst of the kernel): 1 client, 2 server, 4 data
/// without a cookie sent, 0x200 and taken, 0x400 on all listeners.
pub(super) const FAST_OPEN: &str = "echo 0x607 >/proc/sys/net/ipv4/tcp_fastopen";

/// A cgroup for a program of this name.
pub(super) fn group(mount: &Path, name: &str) -> Result<Group> {
    Group::new(mount, &format!("{PREFIX}{}-{name}", std::process::id()))
}

/// A command that runs in a cgroup and in the namespace.
pub(super) fn command(group: &Group, namespace: &Namespace, program: &Path) -> Command {
    let [enter, option] = namespace.entry();
    let mut command = Command::new(enter);
    group.enter(command.arg(option)).arg(program);
    command
}

/// Removes the cgroups, with what runs in them, and the folders of earlier runs that were killed.
pub(super) fn remove_remains(mount: &Path) {
    let is_dead = |name: &str| {
        let id = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        id.is_some_and(|id| !Path::new("/proc").join(id).exists())
    };
    let names = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_str().is_some_and(is_dead))
            .map(|entry| entry.path())
            .collect()
    };
    cgroup::remove_remains(mount, PREFIX);
    for folder in names(&std::env::temp_dir()) {
        drop(Folder(folder));
    }
}

/// Ends and removes what this process leaves if it is interrupted or killed: a shell in a session of its own, which the
/// signals of a terminal do not reach, waits until this process is gone. Whoever ends properly has nothing left to remove.
pub(super) struct Sweeper(Child);

impl Sweeper {
    /// Arguments: where cgroup2 is mounted, the begin of all names, the folder for temporary files.
    const SCRIPT: &str = r#"
        trap "" HUP INT TERM
        cat
        for group in "$0/$1"-*; do
            tries=0
            while [ -d "$group" ] && [ "$tries" -lt 500 ]; do
                kill -9 $(cat "$group/cgroup.procs")
                rmdir "$group" && break
                tries=$((tries + 1))
                sleep 0.01
            done
        done
        rm -rf "$2/$1"
    "#;

    /// Starts it for what this process will make.
    pub(super) fn start(mount: &Path) -> Result<Self> {
        let child = Command::new("setsid")
            .args(["sh", "-c", Self::SCRIPT])
            .arg(mount)
            .arg(format!("{PREFIX}{}", std::process::id()))
            .arg(std::env::temp_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ok(Self(child.context("cannot start `setsid` of util-linux")?))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // Waiting closes its input, which is what it waits for. What it could not do, the next run does.
        let _ = self.0.wait();
    }
}

/// A child that is killed and waited for when this is dropped.
pub(super) struct Process(pub Child);

impl Process {
    /// An error if it has ended; `log` is where it says why.
    pub(super) fn must_run(&mut self, log: &Path) -> Result<()> {
        if let Some(status) = self.0.try_wait()? {
            let text = fs::read_to_string(log).unwrap_or_default();
            bail!("it ended with {status}: {}", text.trim());
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder for temporary files that others may read, as servers run as other users.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes one.
    pub(super) fn new() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let folder = Self(path);
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755))?;
        Ok(folder)
    }

    /// A new folder in it.
    pub(super) fn below(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Ports that nobody listens on; in the namespace they are free anyway, outside nobody is to be mistaken for us.
pub(super) fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<_> = (0..count)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()
        .context("cannot find free ports")?;
    let ports = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()));
    ports.collect()
}

/// A file for what a program says.
pub(super) fn log_file(path: &Path) -> Result<Stdio> {
    let file = File::options().create(true).append(true).open(path);
    Ok(file
        .with_context(|| format!("cannot write {}", path.display()))?
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_leaves_is_removed_when_it_goes() {
        let mount = tempfile::tempdir().unwrap();
        let own = mount
            .path()
            .join(format!("{PREFIX}{}-server", std::process::id()));
        let other = mount.path().join(format!("{PREFIX}x-server"));
        fs::create_dir(&own).unwrap();
        fs::create_dir(&other).unwrap();

        drop(Sweeper::start(mount.path()).unwrap());

        assert!(!own.exists());
        assert!(other.exists());
    }
}

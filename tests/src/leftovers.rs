//! What tests leave that were killed: cgroups and network namespaces. Their names tell the process that made them, so the
//! next test program removes those whose process is gone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
};

use galileo_probes::mounts::Hierarchies;

/// What all such names begin with. A number in the name is the id of the process that made it; it comes first.
pub const PREFIX: &str = "galileo-test-";

/// Removes what dead tests left, once in a process.
pub fn sweep() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        let hierarchies = Hierarchies::read().unwrap_or_default();
        for point in hierarchies.points() {
            for folder in left_in(point) {
                remove(&folder);
            }
        }
        for namespace in left_in(Path::new("/run/netns")) {
            if let Some(name) = namespace.file_name() {
                // Another test program may be faster.
                let _ = Command::new("ip")
                    .args(["netns", "delete"])
                    .arg(name)
                    .output();
            }
        }
    });
}

/// What lies in a folder that a process made which is gone.
fn left_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let owner = name.to_str().and_then(owner);
            owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
        })
        .map(|entry| entry.path())
        .collect()
}

/// The process that made what has this name; none if it is no test's.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?
        .split('-')
        .find_map(|part| part.parse().ok())
}

/// Ends what runs in a cgroup and those below it, and removes them. What goes by itself meanwhile is as good.
fn remove(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    crate::wait::try_until(|| {
        end_all(folder);
        let removed = fs::remove_dir(folder);
        (removed.is_ok() || !folder.exists()).then_some(())
    });
}

/// Kills all processes of a cgroup. `cgroup.kill` (5.14) is not there on version 1.
fn end_all(folder: &Path) {
    if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for process in processes.lines().filter_map(|line| line.parse().ok()) {
        if let Some(process) = rustix::process::Pid::from_raw(process) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_who_made_it() {
        assert_eq!(owner("galileo-test-17-0-client"), Some(17));
        assert_eq!(owner("galileo-test-parent-4711"), Some(4711));
        assert_eq!(owner("galileo-test-client"), None);
        assert_eq!(owner("system-17"), None);
    }

    #[test]
    fn only_what_dead_processes_made_is_left() {
        let folder = tempfile::tempdir().unwrap();
        // Beyond the largest number a process can have.
        let dead = "galileo-test-parent-4200000000";
        for name in [dead, &format!("{PREFIX}{}-0-own", std::process::id())] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(left_in(folder.path()), [folder.path().join(dead)]);
    }
}

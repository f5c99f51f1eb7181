//! The cgroups of one run: where they are, how they come to be, how they end.
//!
//! ```text
//! <base>/galileo/<run>/self            Galileo itself, for the time of the run
//!                     /guard           what removes all this if Galileo is killed
//!                     /<service>-<n>   one replica each
//! <v1 mount>/galileo/<run>/<service>-<n>   its twin where a limit's controller sits in a hierarchy of version 1
//! ```

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use galileo_probes::mounts::{Hierarchies, MOUNTS, Mount, points_of, unified_path};
use rustix::process::Pid;

use super::cgroup::{self, Cgroup};
use super::error::{Error, Result};

/// The cgroup that Galileo itself is in during a run.
pub(crate) const SELF: &str = "self";
/// The cgroup of the guard.
pub(crate) const GUARD: &str = "guard";
/// The folder that holds the cgroups of all runs.
pub(crate) const ALL_RUNS: &str = "galileo";

/// The hierarchies that this process can see.
pub(super) fn hierarchies() -> Result<Hierarchies> {
    Hierarchies::read().map_err(|source| Error::at("read", Path::new(MOUNTS), source))
}

/// Where the replicas of a run are kept apart.
pub(crate) enum Standing {
    /// In cgroups.
    Cgroups(Tree),
    /// Not in cgroups, for the reason given.
    Processes(String),
}

/// The cgroups of one run.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub mount: Mount,
    pub v1: BTreeMap<String, Mount>,
    /// The cgroup below which `galileo/<run>` is made.
    pub base: PathBuf,
    /// Where Galileo was before, and returns to.
    pub home: PathBuf,
    run_id: String,
}

impl Tree {
    /// Makes the cgroups of a run and moves this process into `self`: below `parent` if one is given (as a path below
    /// the cgroup2 mount), else below the mount, else below the own cgroup, if it is delegated to this user.
    pub(crate) fn open(parent: Option<&Path>, run_id: &str) -> Result<Standing> {
        let hierarchies = hierarchies()?;
        let Some(mount) = hierarchies.unified.clone() else {
            let why =
                "no cgroup2 hierarchy is mounted (mount -t cgroup2 none /sys/fs/cgroup/unified)"
                    .to_owned();
            return match parent {
                Some(parent) => Err(Error::Parent {
                    parent: parent.display().to_string(),
                    why,
                }),
                None => Ok(Standing::Processes(why)),
            };
        };
        let own = own_folder(&mount);
        let home = own.clone().unwrap_or_else(|| mount.point.clone());
        let tree = |base: PathBuf| Self {
            mount: mount.clone(),
            v1: hierarchies.v1.clone(),
            base,
            home: home.clone(),
            run_id: run_id.to_owned(),
        };
        if let Some(parent) = parent {
            let tree = tree(mount.point.join(parent.strip_prefix("/").unwrap_or(parent)));
            return match tree.enter() {
                Ok(()) => Ok(Standing::Cgroups(tree)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    Err(Error::Remains { folder: tree.run() })
                }
                Err(error) => Err(Error::Parent {
                    parent: parent.display().to_string(),
                    why: error.to_string(),
                }),
            };
        }
        let mut refusals = Vec::new();
        for base in [Some(mount.point.clone()), own].into_iter().flatten() {
            let tree = tree(base);
            match tree.enter() {
                Ok(()) => return Ok(Standing::Cgroups(tree)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(Error::Remains { folder: tree.run() });
                }
                Err(error) => refusals.push(format!("{}: {error}", tree.base.display())),
            }
        }
        refusals.dedup();
        Ok(Standing::Processes(format!(
            "no cgroup can be made here ({})",
            refusals.join("; ")
        )))
    }

    /// The tree of a run that another process has made.
    pub(crate) fn adopt(base: PathBuf, home: PathBuf, run_id: &str) -> Result<Self> {
        let hierarchies = hierarchies()?;
        let mount = hierarchies.unified.ok_or_else(|| Error::Parent {
            parent: base.display().to_string(),
            why: "no cgroup2 hierarchy is mounted".to_owned(),
        })?;
        Ok(Self {
            mount,
            v1: hierarchies.v1,
            base,
            home,
            run_id: run_id.to_owned(),
        })
    }

    fn enter(&self) -> io::Result<()> {
        if !self.base.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "there is no such cgroup",
            ));
        }
        create_below(&self.base.join(ALL_RUNS), &self.run())?;
        let entered = fs::create_dir(self.folder(SELF))
            .and_then(|()| cgroup::join(&self.folder(SELF), std::process::id()));
        if entered.is_err() {
            // The refusal is what the caller must know; a cgroup that stays is found by `clean`.
            let _ = cgroup::remove(&self.run(), Duration::ZERO);
            cgroup::remove_if_unused(&self.base.join(ALL_RUNS));
        }
        entered
    }

    /// The cgroup of the run.
    pub(crate) fn run(&self) -> PathBuf {
        self.base.join(ALL_RUNS).join(&self.run_id)
    }

    /// The folder of one cgroup of the run.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.run().join(name)
    }

    /// One cgroup of the run.
    pub(crate) fn cgroup(&self, name: &str) -> Result<Cgroup> {
        let folder = self.folder(name);
        Cgroup::at(self.mount.name(&folder), folder.clone())
            .map_err(|source| Error::at("look at", &folder, source))
    }

    /// Makes the cgroup of a replica.
    pub(crate) fn create(&self, name: &str) -> Result<Cgroup> {
        let folder = self.folder(name);
        fs::create_dir(&folder)
            .map_err(|source| Error::at("create the cgroup", &folder, source))?;
        self.cgroup(name)
    }

    /// Makes the twin of a replica's cgroup in a hierarchy of version 1.
    pub(crate) fn create_twin(&self, mount: &Mount, name: &str) -> io::Result<PathBuf> {
        let run = self.twin_of_run(&mount.point);
        let twin = run.join(name);
        if !twin.is_dir() {
            fs::create_dir_all(run.parent().unwrap_or(&run))?;
            create_below(&run, &twin)?;
        }
        Ok(twin)
    }

    fn twin_of_run(&self, point: &Path) -> PathBuf {
        point.join(ALL_RUNS).join(&self.run_id)
    }

    /// The run's folders in the hierarchies of version 1, as far as there are any.
    fn twins(&self) -> Vec<PathBuf> {
        points_of(&self.v1)
            .into_iter()
            .map(|point| self.twin_of_run(point))
            .filter(|twin| twin.is_dir())
            .collect()
    }

    /// Lets the replicas' cgroups have a controller of cgroup2.
    pub(crate) fn enable(&self, controller: &str) -> std::result::Result<(), String> {
        for folder in [self.base.clone(), self.base.join(ALL_RUNS), self.run()] {
            fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")).map_err(|error| {
                if error.kind() == io::ErrorKind::ResourceBusy {
                    format!(
                        "{} has processes of its own besides galileo, and cgroup2 has limits only below a cgroup \
                         without; start galileo in a cgroup of its own (systemd-run --scope -p Delegate=yes galileo …)",
                        folder.display()
                    )
                } else {
                    format!("the {controller} controller cannot be switched on in {}: {error}", folder.display())
                }
            })?;
        }
        Ok(())
    }

    /// Kills and removes one replica's cgroup with its twins.
    pub(crate) fn remove_replica(&self, name: &str, patience: Duration) -> io::Result<()> {
        let folder = self.folder(name);
        cgroup::kill(&folder, patience)?;
        for twin in self.twins() {
            cgroup::remove(&twin.join(name), patience)?;
        }
        cgroup::remove(&folder, patience)
    }

    /// Kills and removes all that is left of the run. A caller that is in the cgroup `own` of the run returns home
    /// first. Says which processes were killed, and what did not work.
    pub(crate) fn dissolve(
        &self,
        own: Option<&str>,
        patience: Duration,
    ) -> (HashSet<Pid>, Vec<String>) {
        let (killed, mut problems) = self.vacate(own, None, patience);
        if let Err(error) = cgroup::remove(&self.run(), patience) {
            problems.push(format!("cannot remove {}: {error}", self.run().display()));
        }
        remove_all_runs(&self.run());
        (killed, problems)
    }

    /// As [`Tree::dissolve`], but the run's own cgroup stays, and the part `kept` of it.
    pub(crate) fn vacate(
        &self,
        own: Option<&str>,
        kept: Option<&str>,
        patience: Duration,
    ) -> (HashSet<Pid>, Vec<String>) {
        let mut problems = Vec::new();
        let own = own.map(|own| self.folder(own));
        let kept = kept.map(|kept| self.folder(kept));
        let mut parts = cgroup::children(&self.run());
        parts.retain(|folder| ![&own, &kept].contains(&&Some(folder.clone())));
        let mut killed = end_each(&parts, patience, &mut problems);
        let twins = self.twins();
        killed.extend(end_each(&twins, patience, &mut problems));
        twins.iter().for_each(|twin| remove_all_runs(twin));
        let mut note = |doing: &str, folder: &Path, error: &io::Error| {
            problems.push(format!("cannot {doing} {}: {error}", folder.display()));
        };
        if let Some(own) = own {
            if own_folder(&self.mount).is_some_and(|present| present.starts_with(&own)) {
                self.disable();
                // Home may have been the cgroup of another run that has ended meanwhile.
                let home = if self.home.is_dir() {
                    &self.home
                } else {
                    &self.base
                };
                if let Err(error) = cgroup::join(home, std::process::id()) {
                    note("return to", home, &error);
                }
            }
            if let Err(error) = cgroup::remove(&own, patience) {
                note("remove", &own, &error);
            }
        }
        (killed, problems)
    }

    /// A delegated cgroup takes its process back only without controllers below it. Such a base had none before, for
    /// it had processes; the root of a hierarchy may have both, and others may rely on what is on there.
    fn disable(&self) {
        if self.base != self.home || !self.base.join("cgroup.type").exists() {
            return;
        }
        for folder in [self.run(), self.base.join(ALL_RUNS), self.base.clone()] {
            let control = folder.join("cgroup.subtree_control");
            for controller in fs::read_to_string(&control)
                .unwrap_or_default()
                .split_ascii_whitespace()
            {
                // If another run still needs it, it stays; returning home then fails and is reported.
                let _ = fs::write(&control, format!("-{controller}"));
            }
        }
    }
}

/// Removes the cgroup that all runs are below, if this one was the last.
fn remove_all_runs(run: &Path) {
    if let Some(all_runs) = run.parent() {
        cgroup::remove_if_unused(all_runs);
    }
}

/// Kills what is in the folders and removes them; says which processes that were.
fn end_each(folders: &[PathBuf], patience: Duration, problems: &mut Vec<String>) -> HashSet<Pid> {
    let mut all = HashSet::new();
    for folder in folders {
        let ended = cgroup::kill(folder, patience).map(|killed| all.extend(killed));
        if let Err(error) = ended.and_then(|()| cgroup::remove(folder, patience)) {
            problems.push(format!("cannot remove {}: {error}", folder.display()));
        }
    }
    all
}

/// The own cgroup's folder, if it can be seen.
pub(crate) fn own_folder(mount: &Mount) -> Option<PathBuf> {
    folder_of(mount, "self")
}

/// The folder of a process' cgroup, if it can be seen.
pub(crate) fn folder_of(mount: &Mount, pid: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    mount
        .folder(unified_path(&text)?)
        .filter(|folder| folder.is_dir())
}

/// Makes `parent` if it is missing, and `child` in it. Another run that ends may take `parent` away in between.
fn create_below(parent: &Path, child: &Path) -> io::Result<()> {
    for _ in 0..100 {
        match fs::create_dir(parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        match fs::create_dir(child) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "its parent vanishes again and again",
    ))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::thread;

    use super::*;

    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    /// A base to use a controller of cgroup2 in. Controllers are alike in how they are switched on; this is one that
    /// nobody misses.
    struct Base {
        folder: PathBuf,
        root_control: PathBuf,
        _turn: MutexGuard<'static, ()>,
    }

    const CONTROLLER: &str = "hugetlb";

    impl Base {
        fn new(name: &str) -> Option<Self> {
            let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            let point = hierarchies()
                .ok()
                .and_then(|all| all.unified)
                .map(|unified| unified.point)
                .unwrap_or_default();
            let words = |file| fs::read_to_string(point.join(file)).unwrap_or_default();
            let available = words("cgroup.controllers");
            let used = words("cgroup.subtree_control");
            let has = |text: &str| text.split_ascii_whitespace().any(|word| word == CONTROLLER);
            if !rustix::process::geteuid().is_root() || !has(&available) || has(&used) {
                galileo_skips::skip(
                    "it takes root, and a cgroup2 hierarchy with an unused hugetlb controller",
                );
                return None;
            }
            let root_control = point.join("cgroup.subtree_control");
            fs::write(&root_control, format!("+{CONTROLLER}")).expect("root may");
            let folder = point.join(format!("galileo-test-{name}-{}", std::process::id()));
            fs::create_dir(&folder).expect("root may");
            Some(Self {
                folder,
                root_control,
                _turn: turn,
            })
        }

        fn tree(&self) -> Tree {
            let tree = Tree::adopt(self.folder.clone(), self.folder.clone(), "r")
                .expect("there is a cgroup2 mount");
            create_below(&tree.base.join(ALL_RUNS), &tree.run()).expect("root may");
            tree
        }
    }

    impl Drop for Base {
        fn drop(&mut self) {
            let removed = cgroup::remove(&self.folder, Duration::from_secs(5));
            let switched_off = fs::write(&self.root_control, format!("-{CONTROLLER}"));
            if !thread::panicking() {
                removed.expect("nothing is left in it");
                switched_off.expect("nobody uses it");
            }
        }
    }

    #[test]
    fn controllers_reach_the_replicas_and_are_taken_back_for_the_way_home() {
        let Some(base) = Base::new("enable") else {
            return;
        };
        let tree = base.tree();
        let replica = tree.create("web-0").expect("root may");

        tree.enable(CONTROLLER).expect("the base has no processes");
        let seen =
            fs::read_to_string(replica.folder.join("cgroup.controllers")).expect("it is there");
        assert!(
            seen.split_ascii_whitespace().any(|word| word == CONTROLLER),
            "{seen}"
        );

        tree.disable();
        let left =
            fs::read_to_string(tree.base.join("cgroup.subtree_control")).expect("it is there");
        assert_eq!(left.trim(), "");
        let (killed, problems) = tree.dissolve(None, Duration::from_secs(5));
        assert_eq!((killed.len(), problems), (0, Vec::new()));
    }

    #[test]
    fn base_with_other_processes_is_named_as_the_reason_for_no_limits() {
        let Some(base) = Base::new("busy") else {
            return;
        };
        let tree = base.tree();
        let mut other = Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("sleep is everywhere");
        cgroup::join(&tree.base, other.id()).expect("root may");

        let refused = tree.enable(CONTROLLER).expect_err("cgroup2 forbids it");
        assert!(
            refused.contains("has processes of its own besides galileo"),
            "{refused}"
        );

        other.kill().expect("it lives");
        other.wait().expect("it ended");
        let (_, problems) = tree.dissolve(None, Duration::from_secs(5));
        assert_eq!(problems, Vec::<String>::new());
    }
}

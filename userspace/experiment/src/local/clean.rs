//! What dead runs left: finding it, removing it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use galileo_probes::mounts::Mount;
use rustix::process::{Pid, Signal, getpid};

use super::error::{Error, Result};
use super::owner::{Life, life};
use super::tree::{ALL_RUNS, Tree, folder_of, hierarchies, own_folder};
use super::{cgroup, procfs};

/// The environment variable that names a replica to itself, as `<run>/<replica>`.
pub(crate) const MARK: &str = "GALILEO_REPLICA";
/// How long one cgroup may take to be emptied.
const PATIENCE: Duration = Duration::from_secs(10);

/// What [`clean`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleanReport {
    /// Dead runs that had left something, and what became of it.
    pub removed: Vec<Removed>,
    /// Runs that are in progress and were left alone.
    pub living: Vec<String>,
}

/// What was left of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// The run.
    pub run_id: String,
    /// Processes of it that were still alive.
    pub processes: usize,
    /// What could not be removed, in sentences.
    pub problems: Vec<String>,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "run {}: removed its cgroups, killed {} processes",
            self.run_id, self.processes
        )?;
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "; {problem}"))
    }
}

/// Removes processes and cgroups of runs whose Galileo is dead, and their owner files. Output files stay.
///
/// `state_dir` and `cgroup_parent` are those of [`super::Options`].
///
/// # Errors
/// If `/proc/self/mountinfo` cannot be read. What could not be removed is in the report.
pub fn clean(state_dir: &Path, cgroup_parent: Option<&Path>) -> Result<CleanReport> {
    let mut report = CleanReport::default();
    for (base, run_id) in candidates(state_dir, cgroup_parent)? {
        let tree = match &base {
            Some(base) => Some(Tree::adopt(base.clone(), base.clone(), &run_id)?),
            None => None,
        };
        let run_cgroup = tree.as_ref().map(Tree::run);
        match life(run_cgroup.as_deref(), &state_dir.join(&run_id)) {
            Life::Living => report.living.push(run_id),
            Life::Dead(owner) => report.removed.push(match tree {
                Some(tree) => end_of_run(&tree, None, &run_id, owner.as_deref()),
                None => Removed {
                    processes: kill_marked(&run_id).len(),
                    problems: remove_owner(owner.as_deref()),
                    run_id,
                },
            }),
        }
    }
    report.living.dedup();
    Ok(report)
}

/// Removes all of a run that is over. The caller may be in its cgroup `own`.
pub(crate) fn end_of_run(
    tree: &Tree,
    own: Option<&str>,
    run_id: &str,
    owner: Option<&Path>,
) -> Removed {
    let (mut killed, mut problems) = tree.dissolve(own, PATIENCE);
    // A process on its way out is no longer in its cgroup, but may still be seen here.
    killed.extend(kill_marked(run_id));
    problems.extend(remove_owner(owner));
    Removed {
        run_id: run_id.to_owned(),
        processes: killed.len(),
        problems,
    }
}

fn remove_owner(owner: Option<&Path>) -> Vec<String> {
    let refused = owner.and_then(|owner| match fs::remove_file(owner) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Some(format!("cannot remove {}: {error}", owner.display()))
        }
        _ => None,
    });
    refused.into_iter().collect()
}

/// Kills processes that were started as a part of the run and are in no cgroup of it: those of a run without cgroups
/// whose supervisor was killed, too.
fn kill_marked(run_id: &str) -> Vec<Pid> {
    let mark = format!("{MARK}={run_id}/");
    let marked: Vec<Pid> = procfs::with_environment(|entry| entry.starts_with(mark.as_bytes()))
        .into_iter()
        .filter(|pid| *pid != getpid())
        .collect();
    cgroup::signal(&marked, Signal::KILL);
    marked
}

/// All runs that have left something: the cgroup that their cgroups are below, if they have any, and their name.
fn candidates(
    state_dir: &Path,
    parent: Option<&Path>,
) -> Result<BTreeSet<(Option<PathBuf>, String)>> {
    let hierarchies = hierarchies()?;
    let mut found = BTreeSet::new();
    if let Some(mount) = &hierarchies.unified {
        let bases = match parent {
            Some(parent) => vec![mount.point.join(parent.strip_prefix("/").unwrap_or(parent))],
            None => [Some(mount.point.clone()), own_folder(mount)]
                .into_iter()
                .flatten()
                .collect(),
        };
        for base in bases {
            for run in cgroup::children(&base.join(ALL_RUNS)) {
                found.extend(name_of(&run).map(|run_id| (Some(base.clone()), run_id)));
            }
        }
        for twin in hierarchies
            .v1_points()
            .iter()
            .flat_map(|point| cgroup::children(&point.join(ALL_RUNS)))
        {
            let base = base_of(&twin, mount).unwrap_or_else(|| mount.point.clone());
            found.extend(name_of(&twin).map(|run_id| (Some(base), run_id)));
        }
    }
    match fs::read_dir(state_dir) {
        Ok(entries) => {
            let owned = entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|run| run.join(super::owner::FILE).is_file());
            for run_id in owned.filter_map(|run| name_of(&run)) {
                if !found.iter().any(|(_, known)| *known == run_id) {
                    found.insert((None, run_id));
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::at("read", state_dir, source)),
    }
    Ok(found)
}

/// The base of the run that a folder in a hierarchy of version 1 is a twin of, by where its processes are in cgroup2.
fn base_of(twin: &Path, mount: &Mount) -> Option<PathBuf> {
    let run = Path::new(ALL_RUNS).join(twin.file_name()?);
    cgroup::members(twin).iter().find_map(|pid| {
        let folder = folder_of(mount, &pid.as_raw_nonzero().to_string())?;
        let run = folder
            .ancestors()
            .find(|ancestor| ancestor.ends_with(&run))?;
        Some(run.parent()?.parent()?.to_owned())
    })
}

fn name_of(folder: &Path) -> Option<String> {
    Some(folder.file_name()?.to_str()?.to_owned())
}

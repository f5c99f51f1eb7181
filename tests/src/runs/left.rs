//! What no run may leave behind.

use std::{fs, path::PathBuf};

use galileo_probes::mounts::Hierarchies;

use crate::wait::until;

/// Waits until no process and no cgroup of a run is left.
///
/// # Panics
///
/// If some stay.
pub fn nothing_stays(run: &str) {
    until(&format!("nothing is left of run {run}"), || {
        (processes(run).is_empty() && cgroups(run).is_empty()).then_some(())
    });
}

/// Nothing is left of a run, not a moment later but now.
///
/// # Panics
///
/// If something is.
pub fn nothing(run: &str) {
    assert_eq!(cgroups(run), Vec::<PathBuf>::new());
    assert_eq!(processes(run), Vec::<u32>::new());
}

/// The cgroups of a run, in all hierarchies.
#[must_use]
pub fn cgroups(run: &str) -> Vec<PathBuf> {
    let hierarchies = Hierarchies::read().unwrap_or_default();
    let points = hierarchies.points().into_iter();
    points
        .map(|point| point.join("galileo").join(run))
        .filter(|folder| folder.exists())
        .collect()
}

/// The processes of a run's replicas, which know it by their environment. One that has ended and was not waited for has
/// none.
#[must_use]
pub fn processes(run: &str) -> Vec<u32> {
    let mark = format!("GALILEO_REPLICA={run}/");
    let marked = |id: &u32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable.starts_with(mark.as_bytes()))
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(marked)
        .collect()
}

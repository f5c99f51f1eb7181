//! Which runs of a folder of runs live and which were killed: a look that changes nothing.

use std::fs;
use std::io;
use std::path::Path;

use super::error::{Error, Result};
use super::owner::{self, Life};

/// Runs that have an owner, by whether it lives, each list in order of ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// Runs that were killed and not cleaned up after.
    pub dead: Vec<String>,
    /// Runs in progress.
    pub living: Vec<String>,
}

/// Looks at the owners of all runs that have a folder in `state_dir`, which need not exist.
///
/// [`super::clean`] finds more: it looks at cgroups, too.
///
/// # Errors
/// If `state_dir` is there and cannot be read.
pub fn remains(state_dir: &Path) -> Result<Remains> {
    let mut found = Remains::default();
    let entries = match fs::read_dir(state_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(|source| Error::at("read", state_dir, source))?,
    };
    for entry in entries.flatten() {
        let run = entry.path();
        let Ok(id) = entry.file_name().into_string() else {
            continue;
        };
        if run.join(owner::FILE).is_file() {
            match owner::life(None, &run) {
                Life::Living => found.living.push(id),
                Life::Dead(_) => found.dead.push(id),
            }
        }
    }
    found.dead.sort_unstable();
    found.living.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::local::owner::Owner;

    #[test]
    fn a_run_lives_as_long_as_its_owner_holds_the_lock() {
        let runs = tempfile::tempdir().expect("a temporary folder");
        for id in ["killed", "over"] {
            fs::create_dir(runs.path().join(id)).expect("it is new");
        }
        File::create(runs.path().join("killed").join(owner::FILE)).expect("it is new");
        let owned = Owner::take(&runs.path().join("living"), "living").expect("it is free");

        let found = remains(runs.path()).expect("it can be read");

        assert_eq!(found.dead, ["killed"]);
        assert_eq!(found.living, ["living"]);
        drop(owned);
        let found = remains(runs.path()).expect("it can be read");
        assert_eq!(found.dead, ["killed", "living"]);
        assert_eq!(
            remains(&runs.path().join("none")).expect("none is fine"),
            Remains::default()
        );
    }
}

//! Which runs of a folder of runs are in progress, and which were killed: a look that changes nothing.
//!
//! A run holds a lock on `owner.json` in its folder as long as it lives, and removes the file at its end.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use anyhow::Context;

const OWNER: &str = "owner.json";

/// Runs by whether somebody looks after them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Runs in progress.
    pub living: Vec<String>,
    /// Runs that were killed and not cleaned up after.
    pub dead: Vec<String>,
}

/// Looks at all runs that have a folder in `runs`.
pub fn of(runs: &Path) -> anyhow::Result<Remains> {
    let mut found = Remains::default();
    let entries = match fs::read_dir(runs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries.with_context(|| format!("cannot read {}", runs.display()))?,
    };
    for entry in entries.flatten() {
        let (Ok(file), Ok(id)) = (
            File::open(entry.path().join(OWNER)),
            entry.file_name().into_string(),
        ) else {
            continue;
        };
        match file.try_lock_shared() {
            Ok(()) => found.dead.push(id),
            // Where there are no locks nothing is known; what is not known to be dead is left alone.
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => found.living.push(id),
        }
    }
    found.living.sort_unstable();
    found.dead.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_lives_as_long_as_its_owner_holds_the_lock() {
        let runs = tempfile::tempdir().expect("a temporary folder");
        for id in ["a", "b", "over"] {
            fs::create_dir(runs.path().join(id)).expect("it is new");
        }
        File::create(runs.path().join("a").join(OWNER)).expect("it is new");
        let owned = File::create(runs.path().join("b").join(OWNER)).expect("it is new");
        owned.lock().expect("nobody else has it");

        let found = of(runs.path()).expect("it can be read");

        assert_eq!(found.dead, ["a"]);
        assert_eq!(found.living, ["b"]);
        assert_eq!(
            of(&runs.path().join("none")).expect("none is fine"),
            Remains::default()
        );
    }
}

//! A folder with a database, and the program that uses it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Excuse, Said, Started, Stored, program};

/// A folder that goes away when this is dropped.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// A new one, empty.
    ///
    /// # Panics
    ///
    /// If there cannot be one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file in it with this text.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("the folder can be written to");
        path
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path("galileo.db")
    }

    /// The program with these arguments, in this folder and with its database.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(program::galileo(), arguments)
    }

    /// Another program in the place of `galileo`.
    #[must_use]
    pub fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .arg("--db")
            .arg(self.database())
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env_remove("GALILEO_DB")
            .env_remove("GALILEO_LOG")
            .env_remove("XDG_DATA_HOME");
        command
    }

    /// Runs the program to its end.
    #[must_use]
    pub fn galileo(&self, arguments: &[&str]) -> Said {
        self.start(arguments).end()
    }

    /// Starts the program.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Started {
        Started::new(self.command(arguments))
    }

    /// Starts an experiment whose results are to be JSON.
    #[must_use]
    pub fn start_experiment(&self, experiment: &str) -> Started {
        self.file("experiment.yaml", experiment);
        self.start(&["run", "experiment.yaml", "--output", "json"])
    }

    /// Runs an experiment to its end; its results may be of any kind.
    #[must_use]
    pub fn experiment(&self, experiment: &str) -> Said {
        self.start_experiment(experiment).end()
    }

    /// Runs an experiment to its end and gives its results; again if [it is not the program's fault](Excuse) that it is not valid.
    ///
    /// # Panics
    ///
    /// If it does not succeed.
    #[must_use]
    pub fn results(&self, experiment: &str) -> Value {
        results_of(|| self.experiment(experiment))
    }

    /// The same of a command that is recorded.
    ///
    /// # Panics
    ///
    /// If it does not succeed.
    #[must_use]
    pub fn recorded(&self, arguments: &[&str]) -> Value {
        let arguments = [&["record", "--output", "json"], arguments].concat();
        results_of(|| self.galileo(&arguments))
    }

    /// The ids of all runs that have a folder, the oldest first.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        let mut folders: Vec<_> = fs::read_dir(self.path("runs"))
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        folders.sort_by_key(|folder| folder.metadata().and_then(|it| it.modified()).ok());
        folders
            .iter()
            .map(|folder| folder.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// The id of the only run.
    ///
    /// # Panics
    ///
    /// If there is none, or another one.
    #[must_use]
    pub fn id(&self) -> String {
        let ids = self.ids();
        assert_eq!(ids.len(), 1, "one run: {ids:?}");
        ids.into_iter().next().expect("there is one")
    }

    /// What is stored of a run.
    ///
    /// # Panics
    ///
    /// If the database cannot be read.
    #[must_use]
    pub fn stored(&self, id: &str) -> Stored {
        Stored::of(&self.database(), id)
    }
}

/// The last attempt counts as it is if it only was late; any other excuse must not be had each time.
fn results_of(run: impl Fn() -> Said) -> Value {
    const ATTEMPTS: usize = 3;
    for attempt in 1.. {
        let said = run();
        if said.code == Some(3) {
            let json = said.json();
            let excuse = Excuse::of(&json);
            if attempt < ATTEMPTS && excuse.is_some() {
                eprintln!("attempt {attempt}: {}", json["invalid_reasons"]);
                continue;
            }
            if excuse == Some(Excuse::Late) {
                return json;
            }
        }
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        return said.json();
    }
    unreachable!("the last attempt returns or panics")
}

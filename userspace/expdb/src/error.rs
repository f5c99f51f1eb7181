//! What can go wrong, by what the caller can do about it.

use std::io;
use std::path::PathBuf;

use sqlx::migrate::MigrateError;

/// A `Result` of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Primary result codes of SQLite (<https://www.sqlite.org/rescode.html>); the extended ones have them in their low byte.
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const READONLY: i32 = 8;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const NOTADB: i32 = 26;
}

/// Why the database did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no default place for the database: the caller has to name one.
    #[error(
        "no place for the experiment database: neither XDG_DATA_HOME nor HOME is an absolute path; set one or name a file"
    )]
    NoDataFolder,
    /// The path names a folder: another one has to be given.
    #[error("{} is a directory, not a database; name a file in it", .0.display())]
    IsDirectory(PathBuf),
    /// The file is something else: another one has to be given.
    #[error("{} is not a database; name another file, or move this one away", .0.display())]
    NotADatabase(PathBuf),
    /// The file belongs to another program: another one has to be given.
    #[error("{} is a database of another program and is left as it is; name another file", .0.display())]
    Foreign(PathBuf),
    /// The file was written by a later version: the program has to be updated.
    #[error("{} was written by a newer version of galileo (its schema is {found}, this program knows up to {known}); update galileo or name another file", .path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// The schema is not the one that its number promises: the file was made by a version that was never released.
    #[error("{} has a schema {version} unlike the one of this program (made by a development version?); name another file", .path.display())]
    UnknownSchema {
        /// The database.
        path: PathBuf,
        /// The number of the migration that differs.
        version: i64,
    },
    /// The file or its folder may not be read or written: permissions have to change, or the path.
    #[error("{} cannot be opened for reading and writing: {why}; mend its permissions or name another file", .path.display())]
    NoAccess {
        /// The database, or the folder that should hold it.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// No space is left: some has to be made.
    #[error("no space left for the experiment database {}; make room (`galileo clean`) and try again", .0.display())]
    Full(PathBuf),
    /// Another program held the database for too long: try again.
    #[error("the experiment database {} is in use by another program; try again when that has ended", .0.display())]
    Busy(PathBuf),
    /// The file is damaged: what is readable may be saved with `sqlite3 FILE .recover`.
    #[error("the experiment database {} is damaged ({why}); `sqlite3 FILE .recover` may save what it holds", .path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        why: String,
    },
    /// A row holds what this program did not write.
    #[error("the experiment database holds {value:?} in {table}.{column}, which is no value of it")]
    Content {
        /// Table of the row.
        table: &'static str,
        /// Column of the value.
        column: &'static str,
        /// The value.
        value: String,
    },
    /// The database holds no experiments yet.
    #[error("there are no experiments yet; `galileo run FILE` makes one")]
    Empty,
    /// No experiment has this id or begins like this.
    #[error("there is no experiment {0:?}; `galileo list` shows those that exist")]
    NotFound(String),
    /// Several experiments begin like this.
    #[error("{given:?} may be any of {}; give more of the id", .candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        given: String,
        /// The ids that begin with it, newest first; at most [`Error::CANDIDATES`], then an ellipsis.
        candidates: Vec<String>,
    },
    /// An experiment with this id exists: take another id.
    #[error("there is already an experiment {0:?}")]
    AlreadyExists(String),
    /// A file that an export would make exists: name another folder or let it be overwritten.
    #[error("{} exists; name another folder or let it be overwritten", .0.display())]
    FileExists(PathBuf),
    /// A file of an export could not be written.
    #[error("{} could not be written: {source}", .path.display())]
    Export {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Metadata is not of the shape that was asked for, or cannot be JSON.
    #[error("metadata of experiment {id}: {source}")]
    Metadata {
        /// The experiment.
        id: String,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// The recorder's task ended before its time, which is an error of this program.
    #[error("the recorder ended before its time: {0}")]
    Recorder(String),
    /// Anything else that SQLite or its driver reports.
    #[error("experiment database {}: {source}", .path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// The driver's error.
        source: sqlx::Error,
    },
}

impl Error {
    /// How many ids [`Error::Ambiguous`] lists.
    pub const CANDIDATES: usize = 8;

    /// Sorts an error of the driver.
    pub(crate) fn of(path: &std::path::Path, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        let message = || match &source {
            sqlx::Error::Database(error) => error.message().to_owned(),
            other => other.to_string(),
        };
        match primary_code(&source) {
            Some(code::BUSY) => Self::Busy(path),
            Some(code::FULL) => Self::Full(path),
            Some(code::NOTADB) => Self::NotADatabase(path),
            Some(code::READONLY | code::CANTOPEN) => Self::NoAccess {
                path,
                why: message(),
            },
            Some(code::CORRUPT) => Self::Damaged {
                path,
                why: message(),
            },
            _ => Self::Sqlite { path, source },
        }
    }
}

/// SQLite's primary result code, if the error comes from SQLite.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let database = match error {
        sqlx::Error::Database(database) => database,
        sqlx::Error::Migrate(migrate) => match &**migrate {
            MigrateError::Execute(inner) | MigrateError::ExecuteMigration(inner, _) => {
                return primary_code(inner);
            }
            _ => return None,
        },
        _ => return None,
    };
    database.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}

/// Whether the same may succeed a little later, because another connection holds the lock.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(code::BUSY)
}

/// Whether a row was refused because of a key that exists or does not.
pub(crate) fn is_constraint(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(code::CONSTRAINT)
}

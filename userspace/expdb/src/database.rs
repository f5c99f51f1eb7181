//! Opening, closing and the size of the file.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqliteTransaction, query, query_scalar};

use crate::error::{Error, Result};
use crate::schema;

/// How long a connection waits for another one's transaction to end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How large the write-ahead log stays on disk once its content has gone into the file.
const LOG_LIMIT_BYTES: u32 = 16 << 20;
/// Connections for all that is asked and changed; each recorder has one of its own.
const CONNECTIONS: u32 = 4;

/// An experiment database: an SQLite file.
///
/// Clones are cheap and share their connections. Any number of processes may have the same file open; one of them writes
/// at a time, and readers neither wait for it nor hold it up (write-ahead log). A write transaction takes the lock at
/// its beginning (`BEGIN IMMEDIATE`): one that reads first and writes later would fail at once, in spite of the busy
/// timeout, if another had written in between.
///
/// A process that is killed loses what was not yet committed and nothing else. After a power failure the last
/// transactions may be missing, but the file is whole (`synchronous = NORMAL`).
#[derive(Debug, Clone)]
pub struct Database {
    path: PathBuf,
    pub(crate) options: SqliteConnectOptions,
    pub(crate) pool: SqlitePool,
}

impl Database {
    /// Opens the database at `path`; makes the file, its schema and (only for this user to enter) the folders above if
    /// they do not exist.
    ///
    /// # Errors
    /// [`Error::IsDirectory`], [`Error::NotADatabase`], [`Error::Foreign`], [`Error::NewerSchema`],
    /// [`Error::UnknownSchema`]: the path is that of something else, which is left as it is. [`Error::NoAccess`],
    /// [`Error::Full`], [`Error::Damaged`]: the file is ours and cannot be used.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        prepare_path(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .synchronous(SqliteSynchronous::Normal)
            .pragma("journal_size_limit", LOG_LIMIT_BYTES.to_string())
            .row_buffer_size(1_000)
            .disable_statement_logging();
        set_up(path, &options).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_lazy_with(options.clone());
        Ok(Self {
            path: path.to_owned(),
            options,
            pool,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that the database takes on disk, its write-ahead log included.
    ///
    /// # Errors
    /// [`Error::NoAccess`] if the file cannot be looked at.
    pub fn size_bytes(&self) -> Result<u64> {
        let file = fs::metadata(&self.path).map_err(|error| no_access(&self.path, &error))?;
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        // Once the last connection is closed there is none.
        let log = fs::metadata(log).map_or(0, |log| log.len());
        Ok(file.len() + log)
    }

    /// Closes all connections, when what they do has been done. The last one to close a database puts its write-ahead
    /// log into the file.
    pub async fn close(self) {
        self.pool.close().await;
    }

    /// A connection of one's own, not one of the pool.
    pub(crate) async fn connect(&self) -> sqlx::Result<SqliteConnection> {
        self.options.connect().await
    }

    /// A transaction that may write whatever others do meanwhile.
    pub(crate) async fn write(&self) -> Result<SqliteTransaction<'static>> {
        self.pool
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(|error| self.error(error))
    }

    pub(crate) fn error(&self, source: sqlx::Error) -> Error {
        Error::of(&self.path, source)
    }
}

/// Finds out by the system's own errors what SQLite would only call "unable to open database file".
///
/// The file is not opened for that: when any descriptor of it is closed, this process loses all its locks on it, those of
/// SQLite's open connections too (<https://www.sqlite.org/howtocorrupt.html>, 2.2).
fn prepare_path(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::IsDirectory(path.to_owned()));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| no_access(folder, &error))?;
    // The write-ahead log is made beside the file and goes when the last connection is closed.
    for (path, access) in [
        (folder, Access::WRITE_OK | Access::EXEC_OK),
        (path, Access::READ_OK | Access::WRITE_OK),
    ] {
        match accessat(CWD, path, access, AtFlags::EACCESS) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(no_access(path, &error.into())),
        }
    }
    Ok(())
}

fn no_access(path: &Path, error: &io::Error) -> Error {
    Error::NoAccess {
        path: path.to_owned(),
        why: error.to_string(),
    }
}

/// Makes the file ours, again and again while another program that does the same is in the way: the change to
/// write-ahead logging needs the file for itself, and SQLite does not wait for that by its busy timeout.
async fn set_up(path: &Path, options: &SqliteConnectOptions) -> Result<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match try_set_up(path, options).await {
            Err(Error::Busy(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            result => return result,
        }
    }
}

async fn try_set_up(path: &Path, options: &SqliteConnectOptions) -> Result<()> {
    let sqlite = |source| Error::of(path, source);
    let options = options.clone().create_if_missing(true);
    let mut connection = options.connect().await.map_err(sqlite)?;
    if !schema::is_ours_or_empty(&mut connection)
        .await
        .map_err(sqlite)?
    {
        return Err(Error::Foreign(path.to_owned()));
    }
    let mode: String = query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut connection)
        .await
        .map_err(sqlite)?;
    if mode != "wal" {
        // Both are kept in the file. The first has to be set before anything is in it, and is not among the settings of
        // every connection because it takes the write lock.
        for sql in [
            "PRAGMA auto_vacuum = INCREMENTAL",
            "PRAGMA journal_mode = WAL",
        ] {
            query(sql).execute(&mut connection).await.map_err(sqlite)?;
        }
    }
    schema::migrate(&mut connection, path, schema::migrations()).await?;
    connection.close().await.map_err(sqlite)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSERT: &str = "INSERT INTO experiments (EXP_ID, NAME, CREATOR, CREATED, STATUS, CREATED_NS, CLOCK_OFFSET_NS)
         VALUES (?, '', '', 0, 'QUEUED', 0, 0)";
    const COUNT: &str = "SELECT count(*) FROM experiments";

    /// CASES D-40: a transaction that reads first, another that writes meanwhile, then the first writes.
    #[tokio::test]
    async fn a_write_transaction_may_read_first_whatever_others_write_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("galileo.db"))
            .await
            .unwrap();
        let other = Database::open(database.path()).await.unwrap();

        let mut a = database.write().await.unwrap();
        let before: i64 = query_scalar(COUNT).fetch_one(&mut *a).await.unwrap();
        let b = tokio::spawn(async move { query(INSERT).bind("b").execute(&other.pool).await });
        query(INSERT).bind("a").execute(&mut *a).await.unwrap();
        a.commit().await.unwrap();
        b.await.unwrap().unwrap();

        assert_eq!(before, 0);
        let ids: Vec<String> = query_scalar("SELECT EXP_ID FROM experiments ORDER BY EXP_ID")
            .fetch_all(&database.pool)
            .await
            .unwrap();
        assert_eq!(ids, ["a", "b"]);
    }

    #[tokio::test]
    async fn a_lock_that_lasts_longer_than_the_timeout_is_busy() {
        let folder = tempfile::tempdir().unwrap();
        let mut database = Database::open(folder.path().join("galileo.db"))
            .await
            .unwrap();
        let other = database.clone();
        database.options = database.options.busy_timeout(Duration::from_millis(1));
        database.pool = SqlitePoolOptions::new().connect_lazy_with(database.options.clone());

        let _held = other.write().await.unwrap();
        let error = database.write().await.unwrap_err();

        assert!(
            matches!(&error, Error::Busy(path) if path == database.path()),
            "{error}"
        );
        assert!(
            error.to_string().contains("in use by another program"),
            "{error}"
        );
    }
}

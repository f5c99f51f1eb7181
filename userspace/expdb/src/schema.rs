//! The schema and how a file comes to have it.

use std::path::Path;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Connection, SqlSafeStr, SqliteConnection};

use crate::error::{Error, Result};

/// "GALI" in the file's header, set by the first migration.
const APPLICATION_ID: i64 = 0x4741_4c49;

/// All migrations in order. A released one is never changed: files remember the checksums of those that made them.
pub(crate) fn migrations() -> Vec<Migration> {
    [
        (
            1,
            "experiments",
            include_str!("../migrations/0001_experiments.sql"),
        ),
        (
            2,
            "exchange parts",
            include_str!("../migrations/0002_exchange_parts.sql"),
        ),
    ]
    .into_iter()
    .map(|(version, name, sql)| {
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    })
    .collect()
}

/// Whether the file is ours, or has nothing in it yet. Only reads, so that a file of another program stays as it is; and
/// at one moment, for another program of ours may be making the tables just now.
pub(crate) async fn is_ours_or_empty(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    let mut moment = connection.begin().await?;
    let application: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *moment)
        .await?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *moment)
        .await?;
    moment.rollback().await?;
    Ok(application == APPLICATION_ID || (application == 0 && tables == 0))
}

/// Brings the file to the newest schema of `migrations`, in one transaction: it has all of it or is as it was.
///
/// The driver's own lock is none for SQLite, and two programs that open a new file at once would both create its
/// tables; therefore the write lock is taken before looking. A file that has the schema already is only read.
pub(crate) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    migrations: Vec<Migration>,
) -> Result<()> {
    let sqlite = |source| Error::of(path, source);
    let migrator = Migrator::with_migrations(migrations);
    if is_current(connection, &migrator).await.map_err(sqlite)? {
        return Ok(());
    }
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(sqlite)?;
    migrator
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(|error| match error {
            MigrateError::VersionMissing(found) => {
                let known = migrator
                    .iter()
                    .map(|migration| migration.version)
                    .max()
                    .unwrap_or(0);
                Error::NewerSchema {
                    path: path.to_owned(),
                    found,
                    known,
                }
            }
            MigrateError::VersionMismatch(version) => Error::UnknownSchema {
                path: path.to_owned(),
                version,
            },
            other => Error::of(path, sqlx::Error::Migrate(Box::new(other))),
        })?;
    transaction.commit().await.map_err(sqlite)
}

async fn is_current(connection: &mut SqliteConnection, migrator: &Migrator) -> sqlx::Result<bool> {
    let table = &*migrator.table_name;
    let exists: Option<i64> = sqlx::query_scalar("SELECT 1 FROM sqlite_schema WHERE name = ?")
        .bind(table)
        .fetch_optional(&mut *connection)
        .await?;
    if exists.is_none() {
        return Ok(false);
    }
    let applied = connection
        .list_applied_migrations(table)
        .await
        .map_err(|error| sqlx::Error::Migrate(Box::new(error)))?;
    let known = migrator
        .iter()
        .map(|migration| (migration.version, &migration.checksum));
    Ok(known.eq(applied
        .iter()
        .map(|migration| (migration.version, &migration.checksum))))
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions, query, query_scalar};

    use super::*;

    async fn connect(path: &Path) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .connect()
            .await
            .unwrap()
    }

    /// All that exist and one that may come some day.
    fn with_next() -> Vec<Migration> {
        let mut all = migrations();
        let version = all.len() as i64 + 1;
        let sql =
            "ALTER TABLE experiments ADD COLUMN NOTE TEXT NOT NULL DEFAULT 'none'".into_sql_str();
        all.push(Migration::new(
            version,
            "notes".into(),
            MigrationType::Simple,
            sql,
            false,
        ));
        all
    }

    const INSERT: &str = "INSERT INTO experiments (EXP_ID, NAME, CREATOR, CREATED, STATUS, CREATED_NS, CLOCK_OFFSET_NS)
         VALUES ('run', '', '', 0, 'FINISHED', 0, 0)";

    #[tokio::test]
    async fn a_file_of_an_older_program_is_brought_up_to_date_with_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("galileo.db");
        let mut connection = connect(&path).await;
        migrate(&mut connection, &path, migrations()).await.unwrap();
        query(INSERT).execute(&mut connection).await.unwrap();

        migrate(&mut connection, &path, with_next()).await.unwrap();
        migrate(&mut connection, &path, with_next()).await.unwrap();

        let note: String = query_scalar("SELECT NOTE FROM experiments")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(note, "none");
        let older = migrate(&mut connection, &path, migrations())
            .await
            .unwrap_err();
        let known = migrations().len() as i64;
        assert!(
            matches!(&older, Error::NewerSchema { found, known: k, .. } if (*found, *k) == (known + 1, known)),
            "{older}"
        );
    }

    #[tokio::test]
    async fn an_exchange_recorded_before_its_parts_were_told_apart_has_them_as_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("galileo.db");
        let mut connection = connect(&path).await;
        let first = migrations().into_iter().take(1).collect();
        migrate(&mut connection, &path, first).await.unwrap();
        query(INSERT).execute(&mut connection).await.unwrap();
        query(
            "INSERT INTO exchanges VALUES ('run', 'server', NULL, NULL, 'c', 'measured', 'GET', '/', 200, '::1', 1,
             '::1', 2, 10, 20, 30, 100, 200, NULL, NULL)",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();

        let database = crate::Database::open(&path).await.unwrap();

        let exchange = &database.exchanges("run").await.unwrap()[0];
        assert_eq!((exchange.start_ns, exchange.request_end_ns), (10, None));
        assert_eq!(
            (exchange.request_bytes, exchange.response_bytes),
            (100, 200)
        );
        assert_eq!(
            (
                exchange.request_body_bytes(),
                exchange.response_body_bytes()
            ),
            (None, None)
        );
    }

    #[tokio::test]
    async fn a_migration_that_fails_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("galileo.db");
        let mut connection = connect(&path).await;
        let mut broken = migrations();
        let sql = "CREATE TABLE half (A); SELECT 1 FROM nowhere".into_sql_str();
        broken.push(Migration::new(
            99,
            "broken".into(),
            MigrationType::Simple,
            sql,
            false,
        ));

        let error = migrate(&mut connection, &path, broken).await.unwrap_err();

        assert!(error.to_string().contains("nowhere"), "{error}");
        let tables: i64 = query_scalar("SELECT count(*) FROM sqlite_schema")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(tables, 0);
        assert!(is_ours_or_empty(&mut connection).await.unwrap());
        migrate(&mut connection, &path, migrations()).await.unwrap();
    }
}

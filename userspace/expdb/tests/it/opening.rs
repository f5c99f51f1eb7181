//! Opening files that exist or do not, are ours or are not.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use galileo_expdb::{Database, Error};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use crate::fixture::{
    assert_sound, create, database, database_with_run, other_program, record_traces,
};

#[tokio::test]
async fn a_new_database_is_made_with_the_folders_above_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/galileo/galileo.db");

    let database = Database::open(&path).await.unwrap();

    assert_eq!(database.list().await.unwrap(), []);
    assert_eq!(
        fs::metadata(path.parent().unwrap())
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
    let mut connection = other_program(&database).await;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn a_database_that_exists_is_opened_with_all_it_holds() {
    let (_folder, first) = database_with_run().await;
    record_traces(&first, "run", 0..10).await;
    let path = first.path().to_owned();
    first.close().await;
    assert!(
        !path.with_extension("db-wal").exists(),
        "all is in the one file"
    );

    let second = Database::open(&path).await.unwrap();

    assert_eq!(second.counts("run").await.unwrap().traces, 10);
    assert_sound(&second).await;
}

#[tokio::test]
async fn an_empty_file_becomes_a_database() {
    let file = tempfile::NamedTempFile::new().unwrap();

    let database = Database::open(file.path()).await.unwrap();

    create(&database, "run", 0).await;
    assert_eq!(database.resolve("last").await.unwrap(), "run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_make_the_same_database_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let path = folder.path().join(format!("{round}.db"));
        let opening: Vec<_> = (0..8)
            .map(|_| tokio::spawn(Database::open(path.clone())))
            .collect();
        for (number, opened) in opening.into_iter().enumerate() {
            let database = opened.await.unwrap().unwrap();
            create(&database, &format!("run-{number}"), 0).await;
        }
        let database = Database::open(&path).await.unwrap();
        assert_eq!(database.list().await.unwrap().len(), 8);
    }
}

#[tokio::test]
async fn a_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();

    let error = Database::open(folder.path()).await.unwrap_err();

    assert!(
        matches!(&error, Error::IsDirectory(path) if path == folder.path()),
        "{error}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "not a database\n".repeat(1_000);
    fs::write(&path, &text).unwrap();

    let error = Database::open(&path).await.unwrap_err();

    assert!(
        matches!(&error, Error::NotADatabase(at) if *at == path),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing beside it"
    );
}

/// Such as that of the original galileo-db, whose tables have our names.
#[tokio::test]
async fn a_database_of_another_program_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let mut other = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE experiments (EXP_ID TEXT PRIMARY KEY, NAME TEXT)")
        .execute(&mut other)
        .await
        .unwrap();
    other.close().await.unwrap();
    let before = fs::read(&path).unwrap();

    let error = Database::open(&path).await.unwrap_err();

    assert!(
        matches!(&error, Error::Foreign(at) if *at == path),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing beside it"
    );
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused_with_both_versions() {
    let (_folder, database) = database_with_run().await;
    let path = database.path().to_owned();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99, 'from the future', TRUE, x'00', 0)",
    )
    .execute(&mut other_program(&database).await)
    .await
    .unwrap();
    database.close().await;

    let error = Database::open(&path).await.unwrap_err();

    assert!(
        matches!(
            &error,
            Error::NewerSchema {
                found: 99,
                known: 2,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("update galileo"), "{error}");
}

#[tokio::test]
async fn a_database_of_an_unreleased_schema_is_refused() {
    let (_folder, database) = database_with_run().await;
    let path = database.path().to_owned();
    sqlx::query("UPDATE _sqlx_migrations SET checksum = x'00'")
        .execute(&mut other_program(&database).await)
        .await
        .unwrap();
    database.close().await;

    let error = Database::open(&path).await.unwrap_err();

    assert!(
        matches!(&error, Error::UnknownSchema { version: 1, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_damaged_database_is_called_damaged() {
    let (_folder, database) = database_with_run().await;
    record_traces(&database, "run", 0..1_000).await;
    let path = database.path().to_owned();
    database.close().await;
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096..].fill(0x5a);
    fs::write(&path, bytes).unwrap();

    let error = match Database::open(&path).await {
        Ok(database) => database.traces("run").await.unwrap_err(),
        Err(error) => error,
    };

    assert!(
        matches!(&error, Error::Damaged { path: at, .. } if *at == path),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_that_vanished_is_not_made_again_empty() {
    let (_folder, database) = database().await;
    let path = database.path().to_owned();
    fs::remove_file(&path).unwrap();

    // The database has had no connection yet that would keep the file.
    let error = database.list().await.unwrap_err();

    assert!(matches!(&error, Error::NoAccess { .. }), "{error}");
    assert!(!path.exists());
}

const FOLDER: &str = "GALILEO_EXPDB_TEST_NO_ACCESS";

/// The part that must not be root, whom no permission stops: run by the test below.
#[tokio::test]
async fn child_that_may_not_open_what_it_is_given() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    assert_no_access(Path::new(&folder)).await;
}

async fn assert_no_access(folder: &Path) {
    for name in ["closed.db", "readable.db", "new.db", "new folder/new.db"] {
        let path = folder.join(name);
        let error = Database::open(&path).await.unwrap_err();
        assert!(matches!(&error, Error::NoAccess { .. }), "{name}: {error}");
        assert!(error.to_string().contains("permissions"), "{name}: {error}");
    }
}

#[tokio::test]
async fn without_permission_the_error_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    for (name, mode) in [("closed.db", 0o000), ("readable.db", 0o444)] {
        Database::open(inner.join(name))
            .await
            .unwrap()
            .close()
            .await;
        fs::set_permissions(inner.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for path in [folder.path(), &inner] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    }

    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        // A copy, because the folder of the program may be closed to others.
        let program = folder.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let status = Command::new(program)
            .args([
                "--exact",
                "opening::child_that_may_not_open_what_it_is_given",
                "--nocapture",
            ])
            .env(FOLDER, &inner)
            .current_dir("/")
            .uid(65_534)
            .gid(65_534)
            .status()
            .unwrap();
        assert!(status.success());
    } else {
        assert_no_access(&inner).await;
    }

    for path in [folder.path(), &inner] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

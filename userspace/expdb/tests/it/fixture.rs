//! Databases in folders of their own, and records to put into them.

use std::time::Duration;

use galileo_expdb::{Database, New, Record};
use galileo_wire::{Exchange, Hop, Outcome, Phase, Role, Sample, Trace, WallClock};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

/// 2023-11-14 22:13:20 UTC minus a million nanoseconds or so of boot time: any fixed clock will do.
pub const CLOCK: WallClock = WallClock {
    offset_ns: 1_700_000_000_000_000_000,
};

/// An empty database; its folder goes with the guard.
pub async fn database() -> (TempDir, Database) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().join("galileo.db"))
        .await
        .unwrap();
    (folder, database)
}

/// A database with one experiment, `run`.
pub async fn database_with_run() -> (TempDir, Database) {
    let (folder, database) = database().await;
    create(&database, "run", 0).await;
    (folder, database)
}

pub async fn create(database: &Database, id: &str, created_ns: u64) {
    let (name, creator) = (format!("name of {id}"), "tester".to_owned());
    let new = New {
        id: id.to_owned(),
        name,
        creator,
        created_ns,
        clock: CLOCK,
    };
    database.create_experiment(&new).await.unwrap();
}

/// A connection that is none of the database's own, as that of another program.
pub async fn other_program(database: &Database) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(database.path())
        .busy_timeout(Duration::from_secs(5));
    options.connect().await.unwrap()
}

pub fn trace(number: u64) -> Trace {
    Trace {
        request_id: format!("0123456789:{number}"),
        client: "0:web:3".to_owned(),
        service: "web".to_owned(),
        workload: 0,
        phase: Phase::Measured,
        created_ns: 1_000 * number,
        sent_ns: Some(1_000 * number + 10),
        first_byte_ns: Some(1_000 * number + 500),
        done_ns: Some(1_000 * number + 600),
        outcome: Outcome::Completed,
        status: Some(200),
        server: Some("127.0.0.1:40001".to_owned()),
        response_bytes: 612,
    }
}

pub fn hop(number: u64) -> Hop {
    Hop {
        request_id: Some(format!("0123456789:{number}")),
        service: "web".to_owned(),
        replica: Some("127.0.0.1:40001".to_owned()),
        attempt: 1,
        start_ns: 1_000 * number + 20,
        connect_ns: Some(1_000 * number + 30),
        first_byte_ns: Some(1_000 * number + 400),
        end_ns: 1_000 * number + 500,
        status: 200,
        cause: None,
    }
}

/// An exchange of a request of ours.
pub fn exchange(number: u64) -> Exchange {
    Exchange {
        role: Role::Server,
        service: Some("web".to_owned()),
        replica: Some("web-0".to_owned()),
        cgroup: "galileo/run/web-0".to_owned(),
        phase: Phase::Measured,
        method: "GET".to_owned(),
        path: "/".to_owned(),
        status: 200,
        local_addr: "127.0.0.1".parse().unwrap(),
        local_port: 40_001,
        remote_addr: "::1".parse().unwrap(),
        remote_port: 50_001,
        start_ns: 1_000 * number + 40,
        request_end_ns: Some(1_000 * number + 60),
        first_byte_ns: 1_000 * number + 300,
        end_ns: 1_000 * number + 350,
        request_bytes: 120,
        request_head_bytes: Some(100),
        response_bytes: 780,
        response_head_bytes: Some(168),
        request_id: Some(format!("0123456789:{number}")),
        flags: Vec::new(),
    }
}

/// An exchange of somebody else's request.
pub fn foreign_exchange(number: u64) -> Exchange {
    Exchange {
        request_id: None,
        ..exchange(number)
    }
}

pub fn sample(number: u64) -> Sample {
    Sample {
        at_ns: number,
        metric: "cpu_seconds".to_owned(),
        subsystem: "web-0".to_owned(),
        node: "a".to_owned(),
        value: 0.25,
    }
}

/// Records the traces with these numbers in experiment `id` and ends the recorder.
pub async fn record_traces(database: &Database, id: &str, numbers: std::ops::Range<u64>) {
    let given = numbers.end - numbers.start;
    let recorder = database
        .recorder(id, CLOCK, Default::default())
        .await
        .unwrap();
    for number in numbers {
        assert!(recorder.sender().record(Record::Trace(trace(number))));
    }
    let written = recorder.finish().await;
    assert_eq!(
        (written.traces, written.dropped()),
        (given, 0),
        "{:?}",
        written.error
    );
}

/// Looks again and again until the condition holds.
pub async fn eventually<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            match condition().await {
                Some(value) => return value,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .expect("the condition holds within a minute")
}

/// The integrity of the file as SQLite itself judges it.
pub async fn assert_sound(database: &Database) {
    let mut connection = other_program(database).await;
    let verdict: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(verdict, "ok");
    let orphans = sqlx::query("PRAGMA foreign_key_check")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(orphans.len(), 0);
}

//! Several connections at one time: the traps of SQLite's locks (CASES D-40).

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use galileo_expdb::{Counts, Limits, Record};
use sqlx::Connection;

use crate::fixture::{
    CLOCK, create, database, database_with_run, other_program, record_traces, trace,
};

const INSERT: &str =
    "INSERT INTO events (EXP_ID, TIMESTAMP, NAME, AT_NS) VALUES ('run', 0, 'other', 0)";

/// SQLite does not call the busy handler when a transaction that has read wants to write and another has written since.
#[tokio::test]
async fn the_recorder_writes_while_another_reads_and_the_trap_is_that_of_the_other() {
    let (_folder, database) = database_with_run().await;
    let mut a = other_program(&database).await;

    sqlx::query("BEGIN").execute(&mut a).await.unwrap();
    let before: i64 = sqlx::query_scalar("SELECT count(*) FROM traces")
        .fetch_one(&mut a)
        .await
        .unwrap();
    record_traces(&database, "run", 0..1).await;
    let asked = Instant::now();
    let refused = sqlx::query(INSERT).execute(&mut a).await.unwrap_err();

    assert_eq!(before, 0);
    let code = refused
        .as_database_error()
        .unwrap()
        .code()
        .unwrap()
        .into_owned();
    assert_eq!(code, "517", "SQLITE_BUSY_SNAPSHOT: {refused}");
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "the busy timeout of 5 s does not help"
    );

    sqlx::query("ROLLBACK").execute(&mut a).await.unwrap();
    let mut again = a.begin_with("BEGIN IMMEDIATE").await.unwrap();
    sqlx::query(INSERT).execute(&mut *again).await.unwrap();
    again.commit().await.unwrap();
    let counts = database.counts("run").await.unwrap();
    assert_eq!(
        counts,
        Counts {
            traces: 1,
            events: 1,
            ..Counts::default()
        },
        "both rows are stored"
    );
}

#[tokio::test]
async fn the_recorder_waits_for_a_writer_and_both_rows_are_stored() {
    let (_folder, database) = database_with_run().await;
    let recorder = database
        .recorder("run", CLOCK, Limits::default())
        .await
        .unwrap();
    let mut b = other_program(&database).await;
    let mut writing = b.begin_with("BEGIN IMMEDIATE").await.unwrap();
    sqlx::query(INSERT).execute(&mut *writing).await.unwrap();

    recorder.sender().record(Record::Trace(trace(1)));
    let finish = tokio::spawn(recorder.finish());
    // Gives the recorder the time to ask for the lock; whether it has asked yet makes no difference to what is stored.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(
        database.counts("run").await.unwrap().traces,
        0,
        "one writer at a time"
    );
    writing.commit().await.unwrap();
    let written = finish.await.unwrap();

    assert!(written.error.is_none(), "{:?}", written.error);
    assert_eq!((written.traces, written.dropped()), (1, 0));
    let counts = database.counts("run").await.unwrap();
    assert_eq!(
        counts,
        Counts {
            traces: 1,
            events: 1,
            ..Counts::default()
        }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_reads_one_moment_while_the_recorder_writes() {
    let (_folder, database) = database_with_run().await;
    record_traces(&database, "run", 0..5_000).await;

    let mut report = std::pin::pin!(database.stream_traces("run"));
    let first = report.try_next().await.unwrap().unwrap();
    record_traces(&database, "run", 5_000..15_000).await;
    let rest: Vec<_> = report.try_collect().await.unwrap();

    assert_eq!(first, trace(0));
    assert_eq!(
        rest.len(),
        4_999,
        "what was written after the report began to read is not in it"
    );
    assert_eq!(database.counts("run").await.unwrap().traces, 15_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_recorders_of_two_experiments_do_not_mix() {
    let (_folder, database) = database().await;
    create(&database, "one", 1).await;
    create(&database, "two", 2).await;

    tokio::join!(
        record_traces(&database, "one", 0..5_000),
        record_traces(&database, "two", 50_000..55_000)
    );

    let traces = database.traces("one").await.unwrap();
    assert!(traces.iter().cloned().eq((0..5_000).map(trace)));
    let traces = database.traces("two").await.unwrap();
    assert!(traces.iter().cloned().eq((50_000..55_000).map(trace)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_experiment_is_deleted_while_another_is_recorded() {
    let (_folder, database) = database_with_run().await;
    create(&database, "old", 1).await;
    record_traces(&database, "old", 0..5_000).await;

    let (deleted, ()) = tokio::join!(
        database.delete("old"),
        record_traces(&database, "run", 0..5_000)
    );

    deleted.unwrap();
    assert_eq!(database.counts("old").await.unwrap(), Counts::default());
    assert_eq!(database.counts("run").await.unwrap().traces, 5_000);
}

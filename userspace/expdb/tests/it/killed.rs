//! A process that records is killed.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use galileo_expdb::{Database, Limits, Record, Status};

use crate::fixture::{CLOCK, assert_sound, create, database, eventually, record_traces, trace};

const DATABASE: &str = "GALILEO_EXPDB_TEST_KILLED";

/// The process that will be killed: this test's program again, told by the environment to be it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_records_until_it_is_killed() {
    let Some(path) = std::env::var_os(DATABASE) else {
        return;
    };
    // It does not outlive its parent, whatever becomes of that.
    std::thread::spawn(|| {
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let database = Database::open(path).await.unwrap();
    create(&database, "killed", 0).await;
    database.set_running("killed", 0).await.unwrap();
    let recorder = database
        .recorder(
            "killed",
            CLOCK,
            Limits {
                queue: 5_000,
                ..Limits::default()
            },
        )
        .await
        .unwrap();
    let sender = recorder.sender();
    for number in 0.. {
        while !sender.record(Record::Trace(trace(number))) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn what_was_committed_before_a_kill_is_there_and_the_database_goes_on() {
    let (_folder, database) = database().await;
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child_that_records_until_it_is_killed"])
        .env(DATABASE, database.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();

    let child = Killed(child);
    let committed = eventually(async || {
        let traces = database.counts("killed").await.unwrap().traces;
        (traces > 10_000).then_some(traces)
    })
    .await;
    drop(child);
    let path = database.path().to_owned();
    database.close().await;
    let database = Database::open(path).await.unwrap();

    assert_sound(&database).await;
    let traces = database.traces("killed").await.unwrap();
    assert!(
        traces.len() as u64 >= committed,
        "{} {committed}",
        traces.len()
    );
    let whole = traces.len() as u64;
    assert!(
        traces.into_iter().eq((0..whole).map(trace)),
        "all from the first on, none of them in part"
    );
    assert_eq!(
        database.experiment("killed").await.unwrap().status,
        Status::Running
    );
    database
        .mark_interrupted(&["killed".to_owned()])
        .await
        .unwrap();
    assert_eq!(
        database.experiment("killed").await.unwrap().status,
        Status::Aborted
    );
    create(&database, "next", 1).await;
    record_traces(&database, "next", 0..10).await;
}

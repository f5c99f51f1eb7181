//! Making, finding, ending and deleting experiments.

use std::collections::BTreeMap;

use galileo_expdb::{Counts, Database, Error, Event, Limits, New, Record, Status, new_id};
use serde::{Deserialize, Serialize};

use crate::fixture::{
    CLOCK, assert_sound, create, database, database_with_run, exchange, hop, other_program,
    record_traces, sample, trace,
};

#[tokio::test]
async fn an_experiment_goes_from_queued_over_running_to_finished() {
    let (_folder, database) = database().await;
    create(&database, "run", 1_000_000_000).await;
    let queued = database.experiment("run").await.unwrap();

    database.set_running("run", 2_500_000_000).await.unwrap();
    let running = database.experiment("run").await.unwrap();
    database
        .finish("run", Status::Finished, 4_000_000_000)
        .await
        .unwrap();
    let finished = database.experiment("run").await.unwrap();

    assert_eq!(
        (queued.status, queued.started_ns, queued.ended_ns),
        (Status::Queued, None, None)
    );
    assert_eq!(
        (queued.name.as_str(), queued.creator.as_str(), queued.clock),
        ("name of run", "tester", CLOCK)
    );
    assert_eq!(
        (running.status, running.started_ns, running.ended_ns),
        (Status::Running, Some(2_500_000_000), None)
    );
    assert_eq!(
        (finished.status, finished.ended_ns),
        (Status::Finished, Some(4_000_000_000))
    );
    let row: (f64, f64, f64, String) =
        sqlx::query_as("SELECT CREATED, START, \"END\", STATUS FROM experiments")
            .fetch_one(&mut other_program(&database).await)
            .await
            .unwrap();
    assert_eq!(
        row,
        (
            1_700_000_001.0,
            1_700_000_002.5,
            1_700_000_004.0,
            "FINISHED".to_owned()
        ),
        "unix seconds"
    );
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let (_folder, database) = database().await;

    let errors = [
        database.set_running("none", 0).await.unwrap_err(),
        database
            .finish("none", Status::Failed, 0)
            .await
            .unwrap_err(),
        database.experiment("none").await.unwrap_err(),
        database.delete("none").await.unwrap_err(),
        database.put_metadata("none", &1).await.unwrap_err(),
        database
            .put_node_info(
                "none",
                "a",
                &BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            )
            .await
            .unwrap_err(),
        database
            .recorder("none", CLOCK, Limits::default())
            .await
            .map(drop)
            .unwrap_err(),
    ];

    for error in errors {
        assert!(
            matches!(&error, Error::NotFound(id) if id == "none"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_id_is_given_once() {
    let (_folder, database) = database_with_run().await;
    let new = New {
        id: "run".to_owned(),
        name: String::new(),
        creator: String::new(),
        created_ns: 0,
        clock: CLOCK,
    };

    let error = database.create_experiment(&new).await.unwrap_err();

    assert!(
        matches!(&error, Error::AlreadyExists(id) if id == "run"),
        "{error}"
    );
    assert_eq!(
        database.experiment("run").await.unwrap().name,
        "name of run"
    );
}

#[test]
fn a_new_id_is_a_minute_and_four_digits() {
    let id = new_id();

    let (minute, random) = id.split_once('-').unwrap();
    assert_eq!((minute.len(), random.len()), (12, 4), "{id}");
    assert!(
        minute.starts_with("20") && minute.bytes().all(|byte| byte.is_ascii_digit()),
        "{id}"
    );
    assert!(
        random
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
        "{id}"
    );
}

async fn with_ids(ids: &[&str]) -> (tempfile::TempDir, Database) {
    let (folder, database) = database().await;
    for (age, id) in ids.iter().enumerate() {
        create(&database, id, age as u64 * 1_000_000_000).await;
    }
    (folder, database)
}

#[tokio::test]
async fn an_experiment_is_found_by_last_by_id_and_by_the_beginning_of_its_id() {
    let (_folder, database) = with_ids(&[
        "202611250101-aaaa",
        "202611250101-aaaab",
        "202611260101-bbbb",
    ])
    .await;

    assert_eq!(database.resolve("last").await.unwrap(), "202611260101-bbbb");
    assert_eq!(
        database.resolve("20261126").await.unwrap(),
        "202611260101-bbbb"
    );
    assert_eq!(
        database.resolve("202611250101-aaaa").await.unwrap(),
        "202611250101-aaaa",
        "an id wins over a longer one"
    );
    let listed: Vec<_> = database
        .list()
        .await
        .unwrap()
        .into_iter()
        .map(|experiment| experiment.id)
        .collect();
    assert_eq!(
        listed,
        [
            "202611260101-bbbb",
            "202611250101-aaaab",
            "202611250101-aaaa"
        ],
        "the newest first"
    );
}

#[tokio::test]
async fn an_id_that_means_none_or_several_is_an_error_that_says_so() {
    let (_folder, empty) = database().await;
    assert!(matches!(
        empty.resolve("last").await.unwrap_err(),
        Error::Empty
    ));

    let (_folder, database) = with_ids(&["x1", "x2", "y_"]).await;
    let ambiguous = database.resolve("x").await.unwrap_err();
    assert!(
        matches!(&ambiguous, Error::Ambiguous { candidates, .. } if candidates == &["x2", "x1"]),
        "{ambiguous}"
    );
    assert!(ambiguous.to_string().contains("x2, x1"), "{ambiguous}");
    for none in ["z", "", "%", "y%", "_"] {
        let error = database.resolve(none).await.unwrap_err();
        assert!(
            matches!(&error, Error::NotFound(given) if given == none),
            "{none:?}: {error}"
        );
    }
}

#[tokio::test]
async fn many_candidates_are_cut_short() {
    let ids: Vec<String> = (0..20).map(|number| format!("run-{number:02}")).collect();
    let (_folder, database) = with_ids(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;

    let Error::Ambiguous { candidates, .. } = database.resolve("run").await.unwrap_err() else {
        panic!("not ambiguous")
    };

    assert_eq!(candidates.len(), Error::CANDIDATES + 1);
    assert_eq!(
        (candidates[0].as_str(), candidates[8].as_str()),
        ("run-19", "…")
    );
}

#[tokio::test]
async fn experiments_of_a_dead_process_become_aborted_and_ended_ones_stay() {
    let (_folder, database) = with_ids(&["queued", "running", "finished", "other"]).await;
    database.set_running("running", 1).await.unwrap();
    database
        .finish("finished", Status::Finished, 2)
        .await
        .unwrap();
    database.set_running("other", 1).await.unwrap();

    let ids = ["queued", "running", "finished", "unknown"].map(str::to_owned);
    let marked = database.mark_interrupted(&ids).await.unwrap();

    assert_eq!(marked, 2);
    let mut statuses = Vec::new();
    for id in ["queued", "running", "finished", "other"] {
        statuses.push(database.experiment(id).await.unwrap().status);
    }
    assert_eq!(
        statuses,
        [
            Status::Aborted,
            Status::Aborted,
            Status::Finished,
            Status::Running
        ]
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Document {
    capture: BTreeMap<String, f64>,
}

#[tokio::test]
async fn metadata_is_read_back_the_same_and_replaced_as_a_whole() {
    let (_folder, database) = database_with_run().await;
    // 0.1 + 0.2 and the largest below 1: figures that a parser that is fast but not exact gets wrong.
    let capture = BTreeMap::from([
        ("a".to_owned(), 0.1 + 0.2),
        ("b".to_owned(), 1.0 - f64::EPSILON / 2.0),
    ]);
    let document = Document { capture };

    assert_eq!(
        database.get_metadata::<Document>("run").await.unwrap(),
        None
    );
    database
        .put_metadata("run", &serde_json::json!({"first": 1}))
        .await
        .unwrap();
    let error = database.get_metadata::<Document>("run").await.unwrap_err();
    database.put_metadata("run", &document).await.unwrap();

    assert!(
        matches!(&error, Error::Metadata { id, .. } if id == "run"),
        "{error}"
    );
    assert_eq!(
        database.get_metadata::<Document>("run").await.unwrap(),
        Some(document)
    );
}

#[tokio::test]
async fn facts_about_nodes_are_kept_by_node_and_key() {
    let (_folder, database) = database_with_run().await;
    let facts = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>()
    };

    database
        .put_node_info("run", "a", &facts(&[("arch", "amd64"), ("cpus", "1")]))
        .await
        .unwrap();
    database
        .put_node_info("run", "a", &facts(&[("cpus", "2")]))
        .await
        .unwrap();
    database
        .put_node_info("run", "b", &facts(&[("arch", "arm64")]))
        .await
        .unwrap();

    let nodes = database.node_info("run").await.unwrap();
    assert_eq!(nodes["a"], facts(&[("arch", "amd64"), ("cpus", "2")]));
    assert_eq!(nodes["b"], facts(&[("arch", "arm64")]));
}

/// An experiment with something in every table.
async fn fill(database: &Database, id: &str) {
    create(database, id, 0).await;
    database.put_metadata(id, &1).await.unwrap();
    database
        .put_node_info(id, "a", &BTreeMap::from([("k".to_owned(), "v".to_owned())]))
        .await
        .unwrap();
    let recorder = database
        .recorder(id, CLOCK, Limits::default())
        .await
        .unwrap();
    let sender = recorder.sender();
    sender.record(Record::Trace(trace(1)));
    sender.record(Record::Hop(hop(1)));
    sender.record(Record::Exchange(exchange(1)));
    sender.record(Record::Sample(sample(1)));
    sender.record(Record::Event(Event {
        at_ns: 1,
        name: "begin".to_owned(),
        value: None,
    }));
    assert_eq!(recorder.finish().await.dropped(), 0);
}

#[tokio::test]
async fn deleting_an_experiment_leaves_nothing_of_it_and_all_of_the_others() {
    let (_folder, database) = database().await;
    fill(&database, "gone").await;
    fill(&database, "kept").await;

    database.delete("gone").await.unwrap();

    let mut connection = other_program(&database).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY name",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(
        tables,
        [
            "events",
            "exchanges",
            "experiments",
            "hops",
            "metadata",
            "nodeinfo",
            "telemetry",
            "traces"
        ]
    );
    for table in tables {
        let sql = sqlx::AssertSqlSafe(format!("SELECT EXP_ID FROM {table}"));
        let ids: Vec<String> = sqlx::query_scalar(sql)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        assert_eq!(ids, ["kept"], "{table}");
    }
    let one_each = Counts {
        traces: 1,
        hops: 1,
        exchanges: 1,
        samples: 1,
        events: 1,
    };
    assert_eq!(database.counts("kept").await.unwrap(), one_each);
    assert_sound(&database).await;
}

#[tokio::test]
async fn the_space_of_a_deleted_experiment_goes_back_to_the_file_system() {
    let (_folder, database) = database_with_run().await;
    let empty = database.size_bytes().unwrap();
    record_traces(&database, "run", 0..5_000).await;
    let full = database.size_bytes().unwrap();

    database.delete("run").await.unwrap();

    let after = database.size_bytes().unwrap();
    assert!(full > empty + 500_000, "{empty} {full}");
    assert!(after <= empty, "{empty} {full} {after}");
}

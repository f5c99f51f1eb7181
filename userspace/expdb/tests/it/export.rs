//! Files for other programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use galileo_expdb::{Database, Error, Format, Limits, Record};
use galileo_wire::{Exchange, FailureKind, Outcome, Trace};
use serde_json::{Value, json};

use crate::fixture::{CLOCK, create, database_with_run, exchange, hop, record_traces, trace};

/// Fields as issue and documentation list them.
const EXCHANGE_FIELDS: [&str; 24] = [
    "role",
    "service",
    "replica",
    "cgroup",
    "phase",
    "method",
    "path",
    "status",
    "local_addr",
    "local_port",
    "remote_addr",
    "remote_port",
    "start_ns",
    "request_end_ns",
    "first_byte_ns",
    "end_ns",
    "request_bytes",
    "request_head_bytes",
    "request_body_bytes",
    "response_bytes",
    "response_head_bytes",
    "response_body_bytes",
    "request_id",
    "flags",
];

/// What came from outside and is hard on a format: separators, quotes, line ends, formulas, markup.
const HOSTILE: &str = "=HYPERLINK(\"x\"),\r\n;</script>'|\u{0}é";

async fn record(database: &Database, records: impl IntoIterator<Item = Record>) {
    let recorder = database
        .recorder("run", CLOCK, Limits::default())
        .await
        .unwrap();
    for record in records {
        assert!(recorder.sender().record(record));
    }
    assert_eq!(recorder.finish().await.dropped(), 0);
}

fn odd_exchange() -> Exchange {
    Exchange {
        service: None,
        path: HOSTILE.to_owned(),
        request_end_ns: None,
        response_head_bytes: None,
        request_id: None,
        flags: vec!["upgraded".to_owned(), "head_cut".to_owned()],
        ..exchange(2)
    }
}

fn ndjson(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn csv(path: &Path) -> (Vec<String>, Vec<csv::StringRecord>) {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    (header, reader.records().map(Result::unwrap).collect())
}

#[tokio::test]
async fn ndjson_has_every_field_of_every_record() {
    let (folder, database) = database_with_run().await;
    let failed = Trace {
        outcome: Outcome::Failed(FailureKind::Reset),
        status: None,
        server: None,
        ..trace(2)
    };
    let records = [
        Record::Trace(trace(1)),
        Record::Trace(failed),
        Record::Hop(hop(1)),
        Record::Exchange(exchange(1)),
        Record::Exchange(odd_exchange()),
    ];
    record(&database, records).await;

    let to = folder.path().join("out/run");
    let exported = database
        .export("run", Format::Ndjson, &to, false)
        .await
        .unwrap();

    let files: Vec<_> = exported
        .files
        .iter()
        .map(|file| (file.path.clone(), file.rows))
        .collect();
    let expected = [
        ("traces.ndjson", 2),
        ("hops.ndjson", 1),
        ("exchanges.ndjson", 2),
    ];
    assert_eq!(files, expected.map(|(name, rows)| (to.join(name), rows)));
    let traces = ndjson(&to.join("traces.ndjson"));
    assert_eq!(
        traces[0],
        json!({
            "request_id": "0123456789:1", "client": "0:web:3", "service": "web", "workload": 0, "phase": "measured",
            "created_ns": 1_000, "sent_ns": 1_010, "first_byte_ns": 1_500, "done_ns": 1_600, "outcome": "completed",
            "failure": null, "status": 200, "server": "127.0.0.1:40001", "response_bytes": 612,
        })
    );
    assert_eq!(
        (&traces[1]["outcome"], &traces[1]["failure"]),
        (&json!("failed"), &json!("reset"))
    );
    assert_eq!(
        serde_json::from_value::<galileo_wire::Hop>(ndjson(&to.join("hops.ndjson"))[0].clone())
            .unwrap(),
        hop(1)
    );
    let exchanges = ndjson(&to.join("exchanges.ndjson"));
    let read: Vec<Exchange> = exchanges
        .iter()
        .map(|line| serde_json::from_value(line.clone()).unwrap())
        .collect();
    assert_eq!(read, [exchange(1), odd_exchange()]);
    let line = fs::read_to_string(to.join("exchanges.ndjson")).unwrap();
    let mut at = 0;
    for field in EXCHANGE_FIELDS {
        at += line[at..]
            .find(&format!("\"{field}\":"))
            .unwrap_or_else(|| panic!("{field} in its place"));
    }
    assert_eq!(
        exchanges[0].as_object().unwrap().len(),
        EXCHANGE_FIELDS.len()
    );
    let bodies = exchanges
        .iter()
        .map(|line| (&line["request_body_bytes"], &line["response_body_bytes"]))
        .collect::<Vec<_>>();
    assert_eq!(
        bodies,
        [(&json!(20), &json!(612)), (&Value::Null, &Value::Null)]
    );
}

#[tokio::test]
async fn csv_has_the_same_fields_and_gives_back_what_came_from_outside() {
    let (folder, database) = database_with_run().await;
    let records = [
        Record::Trace(trace(1)),
        Record::Hop(hop(1)),
        Record::Exchange(exchange(1)),
        Record::Exchange(odd_exchange()),
    ];
    record(&database, records).await;

    database
        .export("run", Format::Csv, folder.path(), false)
        .await
        .unwrap();

    let (header, rows) = csv(&folder.path().join("exchanges.csv"));
    assert_eq!(header, EXCHANGE_FIELDS);
    let field = |row: usize, name: &str| {
        rows[row][header.iter().position(|field| field == name).unwrap()].to_owned()
    };
    assert_eq!(
        (field(0, "local_addr"), field(0, "remote_addr")),
        ("127.0.0.1".to_owned(), "::1".to_owned())
    );
    assert_eq!(
        (field(0, "flags"), field(1, "flags")),
        (String::new(), "upgraded|head_cut".to_owned())
    );
    assert_eq!(
        (field(1, "path"), field(1, "service")),
        (HOSTILE.to_owned(), String::new()),
        "as recorded"
    );
    assert_eq!(
        (field(0, "start_ns"), field(0, "role")),
        ("1040".to_owned(), "server".to_owned())
    );
    for name in ["traces", "hops"] {
        let (header, rows) = csv(&folder.path().join(name).with_extension("csv"));
        database
            .export("run", Format::Ndjson, folder.path(), true)
            .await
            .unwrap();
        let object = ndjson(&folder.path().join(name).with_extension("ndjson"))[0].clone();
        let object = object.as_object().unwrap();
        assert_eq!((rows.len(), header.len()), (1, object.len()));
        for (field, cell) in header.iter().zip(&rows[0]) {
            let value = match &object[field.as_str()] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(cell, value, "{name}.{field}");
        }
    }
}

#[tokio::test]
async fn an_experiment_without_records_gives_files_without_rows() {
    let (folder, database) = database_with_run().await;

    database
        .export("run", Format::Csv, folder.path(), false)
        .await
        .unwrap();
    database
        .export("run", Format::Ndjson, folder.path(), false)
        .await
        .unwrap();

    let (header, rows) = csv(&folder.path().join("exchanges.csv"));
    assert_eq!(
        (header, rows.len()),
        (EXCHANGE_FIELDS.map(str::to_owned).to_vec(), 0)
    );
    assert_eq!(
        fs::read(folder.path().join("exchanges.ndjson")).unwrap(),
        b""
    );
}

#[tokio::test]
async fn only_the_experiment_asked_for_is_exported() {
    let (folder, database) = database_with_run().await;
    create(&database, "other", 1).await;
    record_traces(&database, "run", 0..10).await;
    record_traces(&database, "other", 10..30).await;

    let exported = database
        .export("other", Format::Ndjson, folder.path(), false)
        .await
        .unwrap();
    let missing = database
        .export("none", Format::Csv, folder.path(), false)
        .await
        .unwrap_err();

    assert_eq!(exported.files[0].rows, 20);
    assert_eq!(
        ndjson(&exported.files[0].path)[0]["request_id"],
        json!("0123456789:10")
    );
    assert!(
        matches!(&missing, Error::NotFound(id) if id == "none"),
        "{missing}"
    );
}

#[tokio::test]
async fn files_that_exist_are_kept_unless_they_may_be_replaced() {
    let (folder, database) = database_with_run().await;
    let to = folder.path().join("out");
    fs::create_dir(&to).unwrap();
    let mine = to.join("hops.csv");
    fs::write(&mine, "mine").unwrap();

    let error = database
        .export("run", Format::Csv, &to, false)
        .await
        .unwrap_err();
    let names = fs::read_dir(&to).unwrap().count();
    let content = fs::read_to_string(&mine).unwrap();
    database
        .export("run", Format::Csv, &to, true)
        .await
        .unwrap();

    assert!(
        matches!(&error, Error::FileExists(path) if *path == mine),
        "{error}"
    );
    assert_eq!(
        (names, content.as_str()),
        (1, "mine"),
        "nothing was written"
    );
    assert_ne!(fs::read_to_string(&mine).unwrap(), "mine");
    let mut names: Vec<_> = fs::read_dir(&to)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["exchanges.csv", "hops.csv", "traces.csv"],
        "and nothing temporary is left"
    );
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
    let (folder, database) = database_with_run().await;
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();

    let error = database
        .export("run", Format::Csv, &file.join("out"), false)
        .await
        .unwrap_err();

    assert!(
        matches!(&error, Error::Export { path, .. } if *path == file.join("out")),
        "{error}"
    );
}

#[tokio::test]
async fn exported_files_have_the_permissions_of_ordinary_ones() {
    let (folder, database) = database_with_run().await;
    let ordinary = folder.path().join("ordinary");
    fs::write(&ordinary, "").unwrap();

    let exported = database
        .export("run", Format::Csv, folder.path(), false)
        .await
        .unwrap();

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&exported.files[0].path), mode(&ordinary));
}

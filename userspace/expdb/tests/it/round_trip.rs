//! What is recorded is read back the same.

use galileo_expdb::{Database, Event, Limits, Record};
use galileo_wire::{Exchange, FailureKind, Hop, Outcome, Phase, Role, Sample, Trace};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::runtime::Runtime;

use crate::fixture::{CLOCK, create, database, database_with_run, exchange, other_program, trace};

fn phases() -> impl Strategy<Value = Phase> {
    select(vec![
        Phase::Setup,
        Phase::Warmup,
        Phase::Measured,
        Phase::Drain,
    ])
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    use FailureKind::{Closed, Connect, Http4xx, Http5xx, Protocol, Reset, Timeout};
    let failed = [Connect, Timeout, Reset, Closed, Protocol, Http4xx, Http5xx].map(Outcome::Failed);
    select(
        [
            &[Outcome::Completed, Outcome::Unfinished, Outcome::Dropped],
            &failed[..],
        ]
        .concat(),
    )
}

prop_compose! {
    fn traces()(
        (request_id, client, service, workload) in any::<(String, String, String, u32)>(),
        phase in phases(),
        (created_ns, sent_ns, first_byte_ns, done_ns) in any::<(u64, Option<u64>, Option<u64>, Option<u64>)>(),
        outcome in outcomes(),
        (status, server, response_bytes) in any::<(Option<u16>, Option<String>, u64)>(),
    ) -> Trace {
        Trace {
            request_id, client, service, workload, phase, created_ns, sent_ns, first_byte_ns, done_ns, outcome, status,
            server, response_bytes,
        }
    }
}

prop_compose! {
    fn hops()(
        (request_id, service, replica, attempt) in any::<(Option<String>, String, Option<String>, u32)>(),
        (start_ns, connect_ns, first_byte_ns, end_ns) in any::<(u64, Option<u64>, Option<u64>, u64)>(),
        (status, cause) in any::<(u16, Option<String>)>(),
    ) -> Hop {
        Hop { request_id, service, replica, attempt, start_ns, connect_ns, first_byte_ns, end_ns, status, cause }
    }
}

prop_compose! {
    fn exchanges()(
        role in select(vec![Role::Server, Role::Client]),
        phase in phases(),
        (service, replica, cgroup, method, path) in any::<(Option<String>, Option<String>, String, String, String)>(),
        status in any::<u16>(),
        (local_addr, local_port, remote_addr, remote_port) in any::<(std::net::IpAddr, u16, std::net::IpAddr, u16)>(),
        (start_ns, request_end_ns, first_byte_ns, end_ns) in any::<(u64, Option<u64>, u64, u64)>(),
        (request_bytes, request_head_bytes) in any::<(u64, Option<u64>)>(),
        (response_bytes, response_head_bytes) in any::<(u64, Option<u64>)>(),
        request_id in option::of(any::<String>()),
        flags in vec(any::<String>(), 0..3),
    ) -> Exchange {
        Exchange {
            role, service, replica, cgroup, phase, method, path, status, local_addr, local_port, remote_addr, remote_port,
            start_ns, request_end_ns, first_byte_ns, end_ns, request_bytes, request_head_bytes, response_bytes,
            response_head_bytes, request_id, flags,
        }
    }
}

prop_compose! {
    fn samples()(
        (at_ns, metric, subsystem, node) in any::<(u64, String, String, String)>(),
        value in proptest::num::f64::ANY,
    ) -> Sample {
        Sample { at_ns, metric, subsystem, node, value }
    }
}

prop_compose! {
    fn events()((at_ns, name, value) in any::<(u64, String, Option<String>)>()) -> Event {
        Event { at_ns, name, value }
    }
}

fn records() -> impl Strategy<Value = Record> {
    prop_oneof![
        traces().prop_map(Record::Trace),
        hops().prop_map(Record::Hop),
        exchanges().prop_map(Record::Exchange),
        samples().prop_map(Record::Sample),
        events().prop_map(Record::Event),
    ]
}

async fn read(database: &Database, id: &str) -> Vec<Record> {
    let traces = database
        .traces(id)
        .await
        .unwrap()
        .into_iter()
        .map(Record::Trace);
    let hops = database
        .hops(id)
        .await
        .unwrap()
        .into_iter()
        .map(Record::Hop);
    let exchanges = database
        .exchanges(id)
        .await
        .unwrap()
        .into_iter()
        .map(Record::Exchange);
    let samples = database
        .samples(id)
        .await
        .unwrap()
        .into_iter()
        .map(Record::Sample);
    let events = database
        .events(id)
        .await
        .unwrap()
        .into_iter()
        .map(Record::Event);
    traces
        .chain(hops)
        .chain(exchanges)
        .chain(samples)
        .chain(events)
        .collect()
}

fn same(a: &Record, b: &Record) -> bool {
    match (a, b) {
        (Record::Sample(a), Record::Sample(b)) if a.value.is_nan() => {
            b.value.is_nan()
                && Sample {
                    value: 0.0,
                    ..a.clone()
                } == Sample {
                    value: 0.0,
                    ..b.clone()
                }
        }
        _ => a == b,
    }
}

#[test]
fn any_record_is_read_back_the_same_in_the_order_it_was_given() {
    let runtime = Runtime::new().unwrap();
    let (_folder, database) = runtime.block_on(database());
    let case = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(48));
    runner
        .run(&vec(records(), 0..200), |records| {
            case.set(case.get() + 1);
            let id = format!("case-{}", case.get());
            let read = runtime.block_on(async {
                create(&database, &id, 0).await;
                let recorder = database
                    .recorder(&id, CLOCK, Limits::default())
                    .await
                    .unwrap();
                for record in &records {
                    assert!(recorder.sender().record(record.clone()));
                }
                let written = recorder.finish().await;
                assert_eq!(written.dropped(), 0, "{:?}", written.error);
                read(&database, &id).await
            });
            let mut expected = records;
            expected.sort_by_key(Record::kind);
            prop_assert_eq!(read.len(), expected.len());
            for (read, expected) in read.iter().zip(&expected) {
                prop_assert!(same(read, expected), "{:?}\n{:?}", read, expected);
            }
            Ok(())
        })
        .unwrap();
}

/// `(CREATED, SENT, DONE, STATUS, HTTP_STATUS, OUTCOME, FAILURE)`.
type OriginalTrace = (
    f64,
    f64,
    Option<f64>,
    i64,
    Option<i64>,
    String,
    Option<String>,
);

#[tokio::test]
async fn readers_of_the_original_database_find_unix_seconds_and_minus_one_for_what_failed() {
    let (_folder, database) = database_with_run().await;
    let at = trace(1_000_000);
    let answered = Trace {
        outcome: Outcome::Failed(FailureKind::Http5xx),
        status: Some(503),
        ..at.clone()
    };
    let cut_off = Trace {
        outcome: Outcome::Failed(FailureKind::Timeout),
        ..at.clone()
    };
    let never_sent = Trace {
        outcome: Outcome::Dropped,
        status: None,
        sent_ns: None,
        first_byte_ns: None,
        done_ns: None,
        ..at.clone()
    };
    let recorder = database
        .recorder("run", CLOCK, Limits::default())
        .await
        .unwrap();
    for trace in [at, answered, cut_off, never_sent] {
        recorder.sender().record(Record::Trace(trace));
    }
    recorder.finish().await;

    let rows: Vec<OriginalTrace> =
        sqlx::query_as("SELECT CREATED, SENT, DONE, STATUS, HTTP_STATUS, OUTCOME, FAILURE FROM traces ORDER BY rowid")
            .fetch_all(&mut other_program(&database).await)
            .await
            .unwrap();

    // The trace was due after one second of boot time, sent 10 ns and done 600 ns later.
    let seconds = |ns: u64| (CLOCK.offset_ns + 1_000_000_000 + ns) as f64 / 1e9;
    let (created, sent, done) = (1_700_000_001.0, seconds(10), Some(seconds(600)));
    let words =
        |outcome: &str, failure: Option<&str>| (outcome.to_owned(), failure.map(str::to_owned));
    let row = |sent, done, status, http, (outcome, failure)| {
        (created, sent, done, status, http, outcome, failure)
    };
    assert_eq!(
        rows,
        [
            row(sent, done, 200, Some(200), words("completed", None)),
            row(
                sent,
                done,
                503,
                Some(503),
                words("failed", Some("http_5xx"))
            ),
            row(sent, done, -1, Some(200), words("failed", Some("timeout"))),
            row(-1.0, None, -1, None, words("dropped", None)),
        ]
    );
}

#[tokio::test]
async fn a_row_that_was_not_written_by_us_is_named_in_the_error() {
    let (_folder, database) = database_with_run().await;
    let recorder = database
        .recorder("run", CLOCK, Limits::default())
        .await
        .unwrap();
    recorder.sender().record(Record::Exchange(exchange(1)));
    recorder.finish().await;
    sqlx::query("UPDATE exchanges SET LOCAL_ADDR = 'nowhere'")
        .execute(&mut other_program(&database).await)
        .await
        .unwrap();

    let error = database.exchanges("run").await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "the experiment database holds \"nowhere\" in exchanges.LOCAL_ADDR, which is no value of it"
    );
}

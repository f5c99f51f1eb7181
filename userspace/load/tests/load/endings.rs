//! However a run ends, its figures add up and nothing disappears.

use std::{sync::Arc, time::Duration};

use galileo_load::{Extent, Progress, Stage, Workload, start};
use galileo_wire::{FailureKind, Outcome, Phase, clock::boot_ns};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    MS, assert_consistent, constant, ms, run,
    server::{Reply, Server},
};

/// D-37 at a tenth of its times: 50/s for 0.4 s against a server that accepts and never answers.
#[tokio::test]
async fn requests_without_an_answer_are_unfinished_and_have_an_age() {
    let server = Server::start(|_| Reply::never());
    let workload = Workload {
        drain: Duration::from_millis(200),
        ..constant(server.target(), "50/s", ms(400))
    };

    let (report, traces) = run(workload).await;

    let ledger = &report.measured;
    assert_eq!(
        (
            ledger.intended,
            ledger.sent,
            ledger.completed,
            ledger.unfinished
        ),
        (20, 20, 0, 20)
    );
    for (trace, k) in traces.iter().zip(0u64..) {
        assert_eq!(trace.outcome, Outcome::Unfinished);
        // Until the end of the phase at 400 ms, then 200 ms of waiting.
        assert!(trace.done_ns.unwrap() - trace.created_ns >= (600 - 20 * k) * MS);
        assert!(trace.sent_ns.is_some());
    }
    assert!(report.ended_ns >= report.measured_end_ns + 200 * MS);
}

#[tokio::test]
async fn a_time_out_shorter_than_the_waiting_makes_them_failures() {
    let server = Server::start(|_| Reply::never());
    let workload = Workload {
        timeout: Duration::from_millis(100),
        ..constant(server.target(), "50/s", ms(200))
    };

    let (report, _) = run(workload).await;

    assert_eq!(
        report.measured.failed_by_kind,
        [(FailureKind::Timeout, 10)].into()
    );
    assert!(
        report.ended_ns < report.measured_end_ns + 5_000 * MS,
        "an empty air is not waited in"
    );
}

#[tokio::test]
async fn the_warm_up_has_a_ledger_of_its_own_and_shares_connections_and_counters() {
    let server = Server::start(|_| Reply::ok());
    let workload = Workload {
        warmup: Duration::from_millis(400),
        ..constant(server.target(), "50/s", ms(600))
    };

    let (report, traces) = run(workload).await;

    assert_eq!(
        (report.warmup.completed, report.measured.completed),
        (20, 30)
    );
    assert_eq!(
        traces
            .iter()
            .filter(|trace| trace.phase == Phase::Warmup)
            .count(),
        20
    );
    for (trace, n) in traces.iter().zip(1..) {
        assert!(trace.request_id.ends_with(&format!(":{n}")));
        assert_eq!(
            trace.phase == Phase::Warmup,
            trace.created_ns < report.measured_start_ns
        );
    }
    assert_eq!(report.connections, server.accepted());
    assert!(report.connections < 50, "connections are kept");
}

#[tokio::test]
async fn a_run_of_so_many_requests_lasts_until_the_next_would_be_due() {
    let server = Server::start(|_| Reply::ok());

    let (report, _) = run(constant(server.target(), "50/s", Extent::Requests(10))).await;

    assert_eq!(report.measured.completed, 10);
    assert_eq!(report.measured_end_ns - report.measured_start_ns, 200 * MS);
}

#[tokio::test]
async fn a_cancelled_run_counts_what_was_due_until_then() {
    let server = Server::start(|_| Reply::ok());
    let (traces, mut records) = mpsc::channel(10_000);
    let (progress, cancel) = (Arc::new(Progress::default()), CancellationToken::new());
    let workload = constant(server.target(), "100/s", ms(60_000));
    let running = start(
        workload,
        boot_ns() + 20 * MS,
        traces,
        Arc::clone(&progress),
        &cancel,
    )
    .unwrap();

    let mut all = Vec::new();
    while all.len() < 10 {
        all.push(records.recv().await.unwrap());
    }
    cancel.cancel();
    let report = running.join().await.unwrap();
    while let Some(trace) = records.recv().await {
        all.push(trace);
    }

    assert!(report.cancelled);
    assert_consistent(&report, &all, &progress);
    let ledger = &report.measured;
    assert!((10..6_000).contains(&ledger.intended));
    // Requests are due at 0, 10, 20 ms, …: as many as the phase, cut short, has begun tens of milliseconds.
    let length_ns = report.measured_end_ns - report.measured_start_ns;
    assert_eq!(
        ledger.intended,
        length_ns.div_ceil(10 * MS),
        "in {length_ns} ns"
    );
    assert!(report.ended_ns - report.measured_end_ns < 3_000 * MS);
}

#[tokio::test]
async fn a_run_cancelled_in_its_warm_up_has_an_empty_measured_phase() {
    let server = Server::start(|_| Reply::never());
    let (traces, mut records) = mpsc::channel(10_000);
    let (progress, cancel) = (Arc::new(Progress::default()), CancellationToken::new());
    let workload = Workload {
        warmup: Duration::from_secs(60),
        ..constant(server.target(), "100/s", Extent::Requests(1_000))
    };
    let running = start(
        workload,
        boot_ns() + 20 * MS,
        traces,
        Arc::clone(&progress),
        &cancel,
    )
    .unwrap();

    while progress.in_flight() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(progress.stage(), Stage::Warmup);
    cancel.cancel();
    let report = running.join().await.unwrap();

    assert!(report.cancelled);
    assert_eq!(
        (report.measured.intended, report.measured_start_ns),
        (0, report.measured_end_ns)
    );
    assert!(report.warmup.unfinished >= 3);
    assert_eq!(report.warmup.unfinished, report.warmup.intended);
    assert_eq!(records.recv().await.unwrap().outcome, Outcome::Unfinished);
}

#[tokio::test]
async fn a_full_channel_costs_records_and_never_requests() {
    let server = Server::start(|_| Reply::ok());
    let (traces, _records) = mpsc::channel(3);
    let workload = constant(server.target(), "200/s", Extent::Requests(40));

    let running = start(
        workload,
        boot_ns() + 20 * MS,
        traces,
        Arc::new(Progress::default()),
        &CancellationToken::new(),
    )
    .unwrap();
    let report = running.join().await.unwrap();

    assert_eq!(
        (report.measured.completed, report.measured.traces_lost),
        (40, 37)
    );
}

#[tokio::test]
async fn a_dropped_run_stops() {
    let server = Server::start(|_| Reply::ok());
    let (traces, mut records) = mpsc::channel(10_000);
    let workload = constant(server.target(), "100/s", ms(3_600_000));
    let cancel = CancellationToken::new();

    let running = start(
        workload,
        boot_ns(),
        traces,
        Arc::new(Progress::default()),
        &cancel,
    )
    .unwrap();
    records.recv().await.unwrap();
    drop(running);

    // The channel closes when the engine has ended.
    while records.recv().await.is_some() {}
    assert!(!cancel.is_cancelled(), "the caller's token is the caller's");
}

#[tokio::test]
async fn a_workload_that_cannot_be_sent_is_refused_before_anything_starts() {
    let server = Server::start(|_| Reply::ok());
    let (traces, _records) = mpsc::channel(1);
    let workload = Workload {
        clients: 0,
        ..constant(server.target(), "1/s", Extent::Requests(1))
    };

    let refused = start(
        workload,
        boot_ns(),
        traces,
        Arc::new(Progress::default()),
        &CancellationToken::new(),
    );

    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("it has 0 clients")
    );
    assert_eq!(server.accepted(), 0);
}

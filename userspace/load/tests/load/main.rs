//! Whole runs against real servers on the loopback interface.

mod connections;
mod endings;
mod open_loop;
mod server;

use std::{sync::Arc, time::Duration};

use galileo_load::{Arrival, Extent, Ledger, Progress, Report, Target, Workload, start};
use galileo_wire::{Outcome, Phase, Trace, clock::boot_ns};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const MS: u64 = 1_000_000;

/// A workload with one client, evenly spaced.
fn constant(target: Target, rate: &str, extent: Extent) -> Workload {
    let arrival = Arrival::Constant(rate.parse().unwrap());
    Workload {
        run_nonce: 42,
        ..Workload::new("web", target, arrival, extent)
    }
}

fn ms(milliseconds: u64) -> Extent {
    Extent::Duration(Duration::from_millis(milliseconds))
}

/// Runs a workload that begins in 20 ms, which is ample for a thread to start.
async fn run(workload: Workload) -> (Report, Vec<Trace>) {
    run_from(workload, boot_ns() + 20 * MS).await
}

/// Runs a workload to its end. Traces are in the order in which requests were due.
async fn run_from(workload: Workload, begin_ns: u64) -> (Report, Vec<Trace>) {
    let (traces, mut records) = mpsc::channel(65_536);
    let progress = Arc::new(Progress::default());
    let running = start(
        workload,
        begin_ns,
        traces,
        Arc::clone(&progress),
        &CancellationToken::new(),
    )
    .unwrap();
    let report = running.join().await.unwrap();
    let mut all = Vec::new();
    while let Some(trace) = records.recv().await {
        all.push(trace);
    }
    all.sort_by_key(|trace| trace.created_ns);
    assert_consistent(&report, &all, &progress);
    (report, all)
}

/// What holds of every run.
fn assert_consistent(report: &Report, traces: &[Trace], progress: &Progress) {
    for (ledger, phase) in [
        (&report.warmup, Phase::Warmup),
        (&report.measured, Phase::Measured),
    ] {
        assert_eq!(ledger.intended, ledger.sent + ledger.dropped, "{ledger:?}");
        assert_eq!(
            ledger.sent,
            ledger.completed + ledger.failed() + ledger.unfinished,
            "{ledger:?}"
        );
        assert_eq!(ledger.response.count(), ledger.completed);
        assert_eq!(ledger.service.count(), ledger.completed);
        assert!(ledger.late <= ledger.sent);
        let of = |outcome: fn(&Outcome) -> bool| {
            traces
                .iter()
                .filter(|trace| trace.phase == phase && outcome(&trace.outcome))
                .count() as u64
        };
        assert_eq!(of(|_| true) + ledger.traces_lost, ledger.intended);
        assert_eq!(
            of(|outcome| *outcome == Outcome::Completed),
            ledger.completed
        );
        assert_eq!(of(|outcome| *outcome == Outcome::Dropped), ledger.dropped);
        assert_eq!(
            of(|outcome| *outcome == Outcome::Unfinished),
            ledger.unfinished
        );
    }
    let both = |figure: fn(&Ledger) -> u64| figure(&report.warmup) + figure(&report.measured);
    assert_eq!(progress.stage(), galileo_load::Stage::Ended);
    assert_eq!(progress.intended(), both(|ledger| ledger.intended));
    assert_eq!(progress.sent(), both(|ledger| ledger.sent));
    assert_eq!(progress.late(), both(|ledger| ledger.late));
    assert_eq!(progress.dropped(), both(|ledger| ledger.dropped));
    assert_eq!(progress.completed(), both(|ledger| ledger.completed));
    assert_eq!(progress.failed(), both(Ledger::failed));
    assert_eq!(progress.in_flight(), 0);
}

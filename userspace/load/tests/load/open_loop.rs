//! The schedule is kept whatever the server does.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::AtomicU64, atomic::Ordering::SeqCst},
    time::Duration,
};

use galileo_load::{Arrival, Extent, Workload};
use galileo_wire::{Outcome, Phase, clock::boot_ns};

use crate::{
    MS, constant, ms, run, run_from,
    server::{Reply, Server, stall_until},
};

/// D-33 at a tenth of its times: 100/s for 1 s, nothing is answered from 0.5 s to 0.7 s. Twenty requests wait 200, 190, …
/// 10 ms; a closed loop would show a p95 of a millisecond.
#[tokio::test]
async fn a_stall_of_the_server_is_seen_by_every_request_that_was_due_in_it() {
    let begin_ns = boot_ns() + 50 * MS;
    let (from_ns, to_ns) = (begin_ns + 500 * MS, begin_ns + 700 * MS);
    let server = Server::start(move |_| {
        if (from_ns..to_ns).contains(&boot_ns()) {
            stall_until(to_ns);
        }
        Reply::ok()
    });

    let (report, traces) = run_from(constant(server.target(), "100/s", ms(1_000)), begin_ns).await;

    assert_eq!(
        (report.measured.intended, report.measured.completed),
        (100, 100)
    );
    let mut waits: Vec<_> = traces
        .iter()
        .map(|trace| trace.done_ns.unwrap() - trace.created_ns)
        .collect();
    waits.sort_unstable();
    for (percent, waited_ms) in [(90, 100), (95, 150), (99, 190), (100, 200)] {
        let found = report
            .measured
            .response
            .quantile_ns(percent as f64 / 100.0)
            .unwrap();
        assert!(found >= waited_ms * MS, "p{percent} is {found} ns");
        let exact = waits[percent - 1];
        assert!(
            found.abs_diff(exact) <= exact / 1_000,
            "p{percent} is {found} ns, not {exact}"
        );
    }
    let median = report.measured.response.quantile_ns(0.5).unwrap();
    assert!(
        median < 100 * MS,
        "those before and after the stall did not wait for it"
    );
    for trace in traces
        .iter()
        .filter(|trace| (from_ns..to_ns).contains(&trace.created_ns))
    {
        assert!(trace.done_ns.unwrap() >= to_ns, "{trace:?}");
    }
}

/// D-34 through the engine.
#[tokio::test]
async fn each_request_is_sent_once_with_its_intended_time_and_an_id_of_its_own() {
    let server = Server::start(|_| Reply::ok());
    let begin_ns = boot_ns() + 20 * MS;
    let workload = Workload {
        clients: 7,
        index: 2,
        ..constant(server.target(), "100/s", ms(1_000))
    };

    let (report, traces) = run_from(workload, begin_ns).await;

    assert_eq!(report.measured.intended, 100);
    assert_eq!(
        (report.measured_start_ns, report.measured_end_ns),
        (begin_ns, begin_ns + 1_000 * MS)
    );
    for (trace, k) in traces.iter().zip(0u64..) {
        assert_eq!(trace.created_ns, begin_ns + k * 10 * MS);
        assert_eq!(trace.client, format!("2:web:{}", k % 7));
        assert!(
            trace.request_id.ends_with(&format!(":{}", k / 7 + 1)),
            "{}",
            trace.request_id
        );
        let times = [
            Some(trace.created_ns),
            trace.sent_ns,
            trace.first_byte_ns,
            trace.done_ns,
        ]
        .map(|time| time.expect("it was answered"));
        assert!(times.is_sorted(), "{trace:?}");
    }
    let ids = |ids: &mut dyn Iterator<Item = String>| ids.collect::<BTreeSet<_>>();
    let sent = ids(&mut traces.iter().map(|trace| trace.request_id.clone()));
    let asked = server.asked();
    let received = ids(&mut asked
        .iter()
        .map(|asked| header(&asked.head, "x-galileo-request-id").to_owned()));
    assert_eq!((sent.len(), asked.len()), (100, 100));
    assert_eq!(sent, received);
}

#[tokio::test]
async fn a_seed_gives_the_same_requests_with_and_without_a_warm_up() {
    let server = Server::start(|_| Reply::ok());
    let measured = async |warmup, seed| {
        let arrival = Arrival::Poisson("200/s".parse().unwrap());
        let workload = Workload {
            clients: 4,
            warmup,
            seed,
            arrival,
            ..constant(server.target(), "1/s", ms(250))
        };
        let (report, traces) = run(workload).await;
        traces
            .into_iter()
            .filter(|trace| trace.phase == Phase::Measured)
            .map(|trace| (trace.created_ns - report.measured_start_ns, trace.client))
            .collect::<Vec<_>>()
    };

    let once = measured(Duration::ZERO, 5).await;
    assert!(!once.is_empty());
    assert_eq!(measured(Duration::from_millis(150), 5).await, once);
    assert_ne!(measured(Duration::ZERO, 6).await, once);
}

#[tokio::test]
async fn one_client_has_many_requests_in_flight_if_answers_are_slow() {
    let (now, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let server = {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        Server::start(move |_| {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            stall_until(boot_ns() + 200 * MS);
            now.fetch_sub(1, SeqCst);
            Reply::ok()
        })
    };

    let (report, _) = run(constant(server.target(), "50/s", ms(400))).await;

    assert_eq!(report.measured.completed, 20);
    // 50/s × 0.2 s = 10 at a time, by Little's law.
    assert!((5..=20).contains(&most.load(SeqCst)), "{most:?}");
}

#[tokio::test]
async fn what_is_due_beyond_the_limit_in_flight_is_dropped_and_told() {
    let server = Server::start(|_| Reply::never());
    let workload = Workload {
        in_flight: 5,
        drain: Duration::from_millis(50),
        ..constant(server.target(), "50/s", ms(400))
    };

    let (report, traces) = run(workload).await;

    let ledger = &report.measured;
    assert_eq!(
        (
            ledger.intended,
            ledger.sent,
            ledger.dropped,
            ledger.unfinished
        ),
        (20, 5, 15, 5)
    );
    assert!(
        ledger.invalid_reason().unwrap().contains("15 dropped"),
        "{:?}",
        ledger.invalid_reason()
    );
    assert_eq!(server.accepted_once(5), 5);
    let dropped: Vec<_> = traces
        .iter()
        .filter(|trace| trace.outcome == Outcome::Dropped)
        .collect();
    assert!(
        dropped
            .iter()
            .all(|trace| (trace.sent_ns, trace.done_ns) == (None, None))
    );
    assert_eq!(dropped.len(), 15);
}

#[tokio::test]
async fn a_late_start_shifts_nothing_and_is_counted() {
    let server = Server::start(|_| Reply::ok());
    let begin_ns = boot_ns() - 100 * MS;

    let (report, traces) = run_from(constant(server.target(), "500/s", ms(200)), begin_ns).await;

    let ledger = &report.measured;
    assert_eq!((ledger.intended, ledger.completed), (100, 100));
    assert!(ledger.late >= 49, "{ledger:?}");
    assert!(
        ledger
            .invalid_reason()
            .unwrap()
            .contains("late by more than 1 ms")
    );
    assert_eq!(traces[0].created_ns, begin_ns);
    assert!(
        ledger.response.max_ns().unwrap() >= 99 * MS,
        "the wait before the sending is part of the response time"
    );
}

#[tokio::test]
async fn replicas_are_asked_in_turn_and_each_client_begins_with_another() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let replica = |n: usize| {
        let order = Arc::clone(&order);
        Server::start(move |asked| {
            order
                .lock()
                .unwrap()
                .push((n, header(&asked.head, "x-galileo-request-id").to_owned()));
            Reply::ok()
        })
    };
    let servers = [replica(0), replica(1), replica(2)];
    let targets = servers.iter().map(Server::target).collect();
    let workload = Workload {
        clients: 2,
        targets,
        ..constant(servers[0].target(), "200/s", Extent::Requests(24))
    };

    let (report, traces) = run(workload).await;

    assert_eq!(report.measured.completed, 24);
    let order = order.lock().unwrap();
    for (trace, k) in traces.iter().zip(0usize..) {
        let (client, nth) = (k % 2, k / 2);
        let (replica, _) = order
            .iter()
            .find(|(_, id)| *id == trace.request_id)
            .unwrap();
        assert_eq!(*replica, (client + nth) % 3);
    }
}

/// The value of a header in a request's head.
pub fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("no {name} in {head}"))
}

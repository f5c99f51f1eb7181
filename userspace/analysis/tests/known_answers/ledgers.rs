//! Sums that must hold, and what becomes of a run if one does not.

use std::collections::BTreeMap;

use crate::records::{MILLISECOND, SECOND, capture, exchange, trace};
use galileo_analysis::ledger::{Ledger, Sum};
use galileo_analysis::{RunResult, analyse};
use galileo_wire::capture::{Closed, Closure, Usage, Waits};
use galileo_wire::histogram::Bucket;
use galileo_wire::{Capture, Exchange, Histogram, Trace};

/// A run whose exchanges could be seen.
fn seen() -> Capture {
    let mut capture = capture();
    let web = capture.services.get_mut("web").unwrap();
    web.replicas[0].usage.as_mut().unwrap().exchanges = Some(3);
    capture
}

fn the(result: &RunResult, sum: Sum) -> &Ledger {
    let mut found = result.ledgers.iter().filter(|ledger| ledger.sum == sum);
    let ledger = found.next().unwrap();
    assert_eq!(found.next(), None);
    ledger
}

fn parts(ledger: &Ledger) -> Vec<(&str, f64)> {
    let terms = ledger.parts.iter();
    terms.map(|term| (term.name.as_str(), term.value)).collect()
}

#[test]
fn requests_that_were_not_joined_are_gaps_whatever_their_name() {
    let at = 10 * SECOND;
    let traces: Vec<Trace> = (1..=4).map(|k| trace(k, at, 0, 5 * MILLISECOND)).collect();
    let resumed = Exchange {
        flags: vec![Exchange::RESUMED.into()],
        ..exchange(4, "web-0", at, at)
    };
    let exchanges = [
        exchange(1, "web-0", at, at),
        exchange(2, "web-0", at, at),
        exchange(2, "web-1", at, at),
        resumed,
    ];
    let result = analyse(&seen(), &traces, &[], &exchanges);
    let joined = the(&result, Sum::Matched);
    assert_eq!(
        parts(joined),
        [
            ("joined with one exchange", 1.0),
            ("with none", 1.0),
            ("with several", 1.0),
            ("with one whose answer may be another's", 1.0)
        ]
    );
    assert!(!joined.holds);
    assert!(!result.valid);
}

#[test]
fn one_of_a_hundred_requests_need_not_be_joined() {
    let at = 10 * SECOND;
    let traces: Vec<Trace> = (1..=100).map(|k| trace(k, at, 0, MILLISECOND)).collect();
    let exchanges: Vec<_> = (1..=99).map(|k| exchange(k, "web-0", at, at)).collect();
    let result = analyse(&seen(), &traces, &[], &exchanges);
    let joined = the(&result, Sum::Matched);
    assert!(joined.holds && result.valid);
    assert_eq!(joined.allowed[0].value, 1.0);

    let result = analyse(&seen(), &traces, &[], &exchanges[1..]);
    assert!(!the(&result, Sum::Matched).holds);
    assert_eq!(
        result.invalid_reasons,
        [
            "Only 98 of 100 completed requests were matched with what the kernel saw of them (at least 99 % must be): where time \
             was spent is not known of the others."
        ]
    );
}

#[test]
fn traces_are_not_held_against_exchanges_that_nobody_could_see() {
    let traces = [trace(1, 10 * SECOND, 0, 5 * MILLISECOND)];
    let result = analyse(&capture(), &traces, &[], &[]);
    let sums: Vec<_> = result.ledgers.iter().map(|ledger| ledger.sum).collect();
    assert_eq!(sums, [Sum::Intended, Sum::Sent]);
    assert!(result.valid);
}

#[test]
fn exchanges_that_ended_were_handed_on_or_are_told_as_lost() {
    let mut capture = capture();
    let counted = |attempted, seen, connections| {
        let kinds = [
            ("exchanges_attempted", attempted),
            ("exchanges_seen", seen),
            ("connections_attempted", connections),
            ("connections_seen", connections),
        ];
        BTreeMap::from(kinds.map(|(kind, count): (_, u64)| (kind.to_owned(), count)))
    };
    capture.noticed = counted(10, 8, 0);
    capture.losses.insert("ring_full".into(), 2);
    capture.losses.insert("connection_ring_full".into(), 0);
    let traces = [trace(1, 10 * SECOND, 0, MILLISECOND)];
    let result = analyse(&capture, &traces, &[], &[]);
    assert!(the(&result, Sum::Exchanges).holds);
    assert!(!result.valid, "it is a loss all the same");
    let connections = |ledger: &Ledger| ledger.sum == Sum::Connections;
    assert!(!result.ledgers.iter().any(connections), "nobody reads them");

    capture.noticed = counted(10, 9, 5);
    capture.losses.insert("ring_full".into(), 0);
    let result = analyse(&capture, &traces, &[], &[]);
    assert!(the(&result, Sum::Connections).holds);
    assert_eq!(
        result.invalid_reasons,
        [
            "the run: 10 exchanges ended are not 9 handed on + 0 without room: some were lost and not counted."
        ]
    );
}

#[test]
fn cpu_time_and_waits_are_held_against_a_second_account() {
    let mut capture = capture();
    let web = capture.services.get_mut("web").unwrap();
    let waits = Waits {
        other_cgroups_ns: SECOND,
        own_tasks_ns: SECOND,
        ..Waits::default()
    };
    let waited = Histogram {
        buckets: vec![Bucket {
            low_ns: SECOND,
            high_ns: SECOND,
            count: 2,
        }],
        sum_ns: 2 * SECOND + 10 * MILLISECOND,
    };
    web.replicas[0].usage = Some(Usage {
        cpu_ns: 1_005 * MILLISECOND,
        accounted_cpu_ns: Some(SECOND),
        runq_wait: Some(waited),
        waits: Some(waits),
        ..Usage::default()
    });
    web.replicas[1].usage = Some(Usage {
        cpu_ns: 1_020 * MILLISECOND,
        accounted_cpu_ns: Some(SECOND),
        ..Usage::default()
    });
    let result = analyse(&capture, &[], &[], &[]);
    let ledgers = result.ledgers;
    let of_replicas: Vec<_> = ledgers
        .iter()
        .filter(|ledger| ledger.subject.contains('/'))
        .map(|ledger| {
            (
                ledger.subject.as_str(),
                ledger.whole.name.as_str(),
                ledger.holds,
            )
        })
        .collect();
    assert_eq!(
        of_replicas,
        [
            ("web/web-0", "CPU by the probes", true),
            ("web/web-0", "waited for a CPU", true),
            ("web/web-1", "CPU by the probes", false),
        ]
    );
    assert_eq!(
        result.invalid_reasons.last().unwrap(),
        "web/web-1: 1.020 s CPU by the probes are not 1.000 s by the kernel's accounting: one of the two observers is wrong."
    );
}

#[test]
fn what_the_cpus_ran_and_idled_is_the_time_they_were_watched() {
    const MS: i64 = 1_000_000;
    let closed = |watched_ms, missing_ms, unassigned_ms| Closed {
        watched_ns: watched_ms * MS,
        cgroups_ns: 300 * MS,
        idle_ns: (watched_ms - 300 - missing_ms) * MS,
        unassigned_ns: unassigned_ms * MS,
    };
    let held = |whole, worst| {
        let mut capture = capture();
        capture.closure = Some(Closure {
            whole,
            worst,
            readings: 11,
        });
        let traces = [trace(1, 10 * SECOND, 0, MILLISECOND)];
        let result = analyse(&capture, &traces, &[], &[]);
        let sums = result.ledgers.iter();
        let sums: Vec<_> = sums
            .filter(|ledger| ledger.sum == Sum::Closure)
            .map(|ledger| (ledger.holds, ledger.allowed.len()))
            .collect();
        (sums, result.invalid_reasons)
    };
    let fine = [(true, 0), (true, 0)];
    assert_eq!(held(closed(20_000, 100, 0), closed(2_000, -10, 0)).0, fine);
    // Readings within 100 ms.
    assert_eq!(held(closed(20_000, 0, 0), closed(200, 5, 0)).0, fine);

    // Tasks that became known, and some that are not yet.
    let known = held(closed(20_000, -400, -301), closed(2_000, 300, 290));
    assert_eq!(known.0, [(true, 1), (true, 1)]);
    let (sums, reasons) = held(closed(20_000, 101, 0), closed(2_000, 300, 290));
    assert_eq!(sums, [(false, 0), (true, 1)]);
    assert_eq!(
        reasons,
        [
            "all CPUs: 20.000 s watched are not 0.300 s for cgroups + 19.599 s idle: it is not known what the CPUs did meanwhile."
        ]
    );
    // What is missing beside such tasks is not theirs, and what is told of them and was not missing is counted twice.
    let (sums, _) = held(closed(20_000, 400, -300), closed(2_000, 0, 300));
    assert_eq!(sums, [(false, 1), (false, 0)]);
    let (sums, reasons) = held(closed(20_000, 0, 0), closed(2_000, 301, 290));
    assert_eq!(sums, [(true, 0), (false, 1)]);
    assert!(
        reasons[0].starts_with("all CPUs, worst of 11 readings: 2.000 s"),
        "{reasons:?}"
    );
}

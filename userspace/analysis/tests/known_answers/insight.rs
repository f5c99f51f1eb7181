//! What the report shows beside the results, from records whose answers are known.

use crate::records::{MILLISECOND, SECOND, capture, exchange, hop, trace};
use galileo_analysis::breakdown::Part;
use galileo_analysis::compare::Grouping;
use galileo_analysis::{Insight, analyse, insight};
use galileo_wire::capture::{Interference, Usage};
use galileo_wire::histogram::Bucket;
use galileo_wire::{Capture, Exchange, Histogram, Hop, Outcome, Role, Trace};

fn beside(capture: &Capture, traces: &[Trace], hops: &[Hop], exchanges: &[Exchange]) -> Insight {
    insight(capture, traces, hops, exchanges)
}

/// All requests of a replica took the same time.
fn usage(cpu_ms: u64, exchanges: u64, service_ms: u64) -> Usage {
    let service_ns = service_ms * MILLISECOND;
    Usage {
        cpu_ns: cpu_ms * MILLISECOND,
        accounted_cpu_ns: Some(cpu_ms * MILLISECOND),
        exchanges: Some(exchanges),
        service: Some(Histogram {
            buckets: vec![Bucket {
                low_ns: service_ns,
                high_ns: service_ns,
                count: exchanges,
            }],
            sum_ns: exchanges * service_ns,
        }),
        ..Usage::default()
    }
}

#[test]
fn the_time_of_a_request_is_told_by_its_observers() {
    // Due at 0, sent at 1, at the balancer at 3, at the replica from 4 to 14, answered at 20 (ms).
    let at = |ms: u64| 10 * SECOND + ms * MILLISECOND;
    let traces = [trace(1, at(0), MILLISECOND, 19 * MILLISECOND)];
    // The second attempt succeeded; the balancer had the request since the first.
    let hops = [hop(1, 2, at(4), at(15)), hop(1, 1, at(3), at(4))];
    let beside = beside(
        &capture(),
        &traces,
        &hops,
        &[exchange(1, "web-1", at(4), at(14))],
    );
    let web = &beside.workloads[0];
    let breakdown = web.breakdown.as_ref().unwrap();
    let parts: Vec<_> = breakdown
        .parts
        .iter()
        .map(|part| (part.part, part.ms.mean, part.share))
        .collect();
    assert_eq!(
        parts,
        [
            (Part::Client, 1.0, 0.05),
            (Part::ToBalancer, 2.0, 0.1),
            (Part::Between, 7.0, 0.35),
            (Part::Replica, 10.0, 0.5)
        ]
    );
    assert_eq!(web.by_replica.len(), 1);
    assert_eq!(
        (
            web.by_replica[0].replica.as_str(),
            web.by_replica[0].node.as_str()
        ),
        ("web-1", "b")
    );
}

#[test]
fn a_request_seen_twice_at_replicas_is_not_joined() {
    let at = 10 * SECOND;
    let traces: Vec<Trace> = (1..=3).map(|k| trace(k, at, 0, 5 * MILLISECOND)).collect();
    let client_side = Exchange {
        role: Role::Client,
        ..exchange(1, "web-0", at, at)
    };
    let stranger = Exchange {
        replica: None,
        ..exchange(1, "web-0", at, at)
    };
    let once = exchange(1, "web-0", at, at);
    let twice = [exchange(2, "web-0", at, at), exchange(2, "web-1", at, at)];
    let [second, third] = twice;
    let exchanges = [client_side, stranger, once, second, third];
    assert_eq!(analyse(&capture(), &traces, &[], &exchanges).joined, 1);
}

#[test]
fn an_exchange_whose_answer_may_be_anothers_is_joined_with_no_request() {
    let at = 10 * SECOND;
    let traces: Vec<Trace> = (1..=3).map(|k| trace(k, at, 0, 5 * MILLISECOND)).collect();
    let flagged = |number, flag: &str| Exchange {
        flags: vec![flag.into()],
        ..exchange(number, "web-0", at, at + MILLISECOND)
    };
    let exchanges = [
        flagged(1, Exchange::RESUMED),
        flagged(2, "pipelined"),
        // Its id was seen twice: that is told first.
        flagged(3, Exchange::RESUMED),
        exchange(3, "web-1", at, at),
    ];
    let result = analyse(&capture(), &traces, &[], &exchanges);
    assert_eq!((result.joined, result.uncertain), (1, 1));

    let beside = beside(&capture(), &traces, &[], &exchanges);
    assert_eq!(beside.workloads[0].breakdown.as_ref().unwrap().requests, 1);
}

#[test]
fn an_id_passed_on_to_another_service_joins_with_the_service_asked() {
    let at = 10 * SECOND;
    let traces = [trace(1, at, 0, 5 * MILLISECOND)];
    let asked = exchange(1, "web-0", at, at + 4 * MILLISECOND);
    let behind = Exchange {
        service: Some("api".into()),
        ..exchange(1, "api-0", at + 1, at + 2)
    };
    let exchanges = [behind, asked];
    assert_eq!(analyse(&capture(), &traces, &[], &exchanges).joined, 1);
    let web = beside(&capture(), &traces, &[], &exchanges)
        .workloads
        .remove(0);
    assert_eq!(web.by_replica[0].replica, "web-0");
}

#[test]
fn nodes_are_compared_by_all_their_replicas() {
    let mut capture = capture();
    let web = capture.services.get_mut("web").unwrap();
    web.replicas.push(crate::records::replica("web-2", "b"));
    web.replicas[0].usage = Some(usage(200, 100, 2));
    web.replicas[1].usage = Some(usage(300, 100, 3));
    web.replicas[2].usage = Some(usage(300, 100, 5));
    let comparison = beside(&capture, &[], &[], &[]).comparisons.remove(0);
    assert_eq!(comparison.by, Grouping::Node);
    let [a, b] = comparison.places.as_slice() else {
        panic!("{comparison:?}")
    };
    assert_eq!(
        (
            a.name.as_str(),
            a.cpu_ms_per_request,
            a.service_ms.unwrap().mean
        ),
        ("a", Some(2.0), 2.0)
    );
    assert_eq!(
        (
            b.name.as_str(),
            b.cpu_ms_per_request,
            b.service_ms.unwrap().mean
        ),
        ("b", Some(3.0), 4.0)
    );
    assert_eq!(
        (b.service_ms.unwrap().p50, b.service_ms.unwrap().p99),
        (3.0, 5.0)
    );
    let difference = comparison.difference.unwrap();
    assert_eq!((difference.slower, difference.faster), (1, 0));
    assert_eq!(
        (
            difference.service_ratio,
            difference.p99_ratio,
            difference.cpu_ratio
        ),
        (2.0, 2.5, Some(1.5))
    );
}

#[test]
fn replicas_of_one_node_are_compared_one_by_one() {
    let mut capture = capture();
    let web = capture.services.get_mut("web").unwrap();
    web.replicas[1].node = "a".into();
    let comparison = beside(&capture, &[], &[], &[]).comparisons.remove(0);
    assert_eq!(comparison.by, Grouping::Replica);
    assert_eq!(comparison.places[1].name, "web-1");
    assert_eq!(comparison.difference, None, "nothing was answered");
}

#[test]
fn a_sum_with_an_unseen_part_is_not_given() {
    let mut capture = capture();
    let web = capture.services.get_mut("web").unwrap();
    web.replicas[0].usage = Some(usage(200, 100, 2));
    web.replicas[1].usage = None;
    let web = beside(&capture, &[], &[], &[]).services.remove(0);
    assert_eq!(
        (web.cpu_seconds, web.exchanges, web.cpu_ms_per_request),
        (None, None, None)
    );
    assert_eq!(web.replicas[0].cpus, Some(0.02));
    assert_eq!(web.replicas[1].cpus, None);
}

#[test]
fn the_most_disturbed_replica_comes_first_and_names_who_disturbed_it() {
    let mut capture = capture();
    let web = capture.services.get_mut("web").unwrap();
    web.replicas[0].usage = Some(usage(200, 100, 2));
    let pair = |victim: &str, aggressor: &str, ms: u64| Interference {
        victim: victim.into(),
        aggressor: aggressor.into(),
        wait_ns: ms * MILLISECOND,
        limit_known: Some(true),
    };
    capture.interference = vec![
        pair("system", "web/web-0", 900),
        pair("web/web-0", "system", 100),
        pair("web/web-0", "batch/batch-0", 400),
        pair("web/web-1", "system", 50),
    ];
    let disturbances = beside(&capture, &[], &[], &[]).disturbances;
    let order: Vec<_> = disturbances
        .iter()
        .map(|d| (d.victim.as_str(), d.wait_seconds))
        .collect();
    assert_eq!(
        order,
        [("web/web-0", 0.5), ("web/web-1", 0.05), ("system", 0.9)]
    );
    assert_eq!(
        disturbances[0].aggressors,
        [
            ("batch/batch-0".to_owned(), 0.4),
            ("system".to_owned(), 0.1)
        ]
    );
    assert_eq!(disturbances[0].wait_ms_per_request, Some(5.0));
    let longest_first = analyse(&capture, &[], &[], &[]).interference;
    assert_eq!(longest_first[0].wait_seconds, 0.9);
}

#[test]
fn the_age_of_an_unfinished_request_is_kept() {
    // D-37: its age is a lower bound of its latency.
    let traces = [Trace {
        outcome: Outcome::Unfinished,
        ..trace(1, 10 * SECOND, 0, 4 * SECOND)
    }];
    assert_eq!(
        beside(&capture(), &traces, &[], &[]).workloads[0].oldest_unfinished_ms,
        Some(4_000.0)
    );
}

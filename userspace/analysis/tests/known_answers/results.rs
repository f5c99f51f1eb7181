//! Results of records whose answers are known.

use std::collections::BTreeMap;

use crate::records::{MILLISECOND, SECOND, capture, exchange, trace};
use galileo_analysis::{Quantiles, RunResult, analyse};
use galileo_wire::capture::{
    Accounting, Bounds, Cpu, Interface, Interference, KernelMemory, OwnCost, ProgramCost, Sent,
    System, SystemTask, TakenOff, Tcp, Usage, WaitBounds, Waits,
};
use galileo_wire::histogram::Bucket;
use galileo_wire::{FailureKind, Histogram, Outcome, Phase, Trace};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// D-33: 10 requests a second for 10 s at a server that answers in 1 ms, but nothing from 5.0 s to 7.0 s.
fn stalled_server() -> Vec<Trace> {
    (0..100)
        .map(|k| {
            let created = 10 * SECOND + u64::from(k) * 100 * MILLISECOND;
            let stall = 15 * SECOND..17 * SECOND;
            let service = if stall.contains(&created) {
                stall.end - created
            } else {
                MILLISECOND
            };
            trace(k, created, 0, service)
        })
        .collect()
}

#[test]
fn a_stall_shows_in_the_response_times() {
    let result = analyse(&capture(), &stalled_server(), &[], &[]);
    let web = &result.workloads[0];
    let response = web.response_ms.unwrap();
    assert_eq!(
        (response.p50, response.p90, response.p99, response.max),
        (1.0, 1_000.0, 1_900.0, 2_000.0)
    );
    assert_eq!((web.intended, web.completed), (100, 100));
    assert_eq!(web.achieved_rps, Some(10.0));
    assert!(result.valid, "{:?}", result.invalid_reasons);
}

#[test]
fn response_time_counts_from_the_intended_time_and_service_time_from_the_first_byte() {
    let traces = [trace(1, 10 * SECOND, 300 * MILLISECOND, 2 * MILLISECOND)];
    let web = analyse(&capture(), &traces, &[], &[]).workloads.remove(0);
    assert_eq!(web.response_ms.unwrap().max, 302.0);
    assert_eq!(web.service_ms.unwrap().max, 2.0);
    assert_eq!(web.late, 1);
}

#[test]
fn a_request_is_late_from_one_millisecond_on() {
    let traces = [
        trace(1, SECOND, MILLISECOND, 0),
        trace(2, SECOND, MILLISECOND + 1, 0),
    ];
    assert_eq!(analyse(&capture(), &traces, &[], &[]).workloads[0].late, 1);
}

#[test]
fn requests_without_an_answer_stay_in_the_ledger() {
    // D-37: 20 requests to a server that never answers.
    let traces: Vec<Trace> = (0..20)
        .map(|k| {
            let outcome = if k < 15 {
                Outcome::Failed(FailureKind::Timeout)
            } else {
                Outcome::Unfinished
            };
            Trace {
                outcome,
                status: None,
                ..trace(k, 10 * SECOND, 0, SECOND)
            }
        })
        .collect();
    let web = analyse(&capture(), &traces, &[], &[]).workloads.remove(0);
    assert_eq!(
        (
            web.intended,
            web.sent,
            web.completed,
            web.failed,
            web.unfinished
        ),
        (20, 20, 0, 15, 5)
    );
    assert_eq!(
        web.failed_by_kind,
        BTreeMap::from([("timeout".to_owned(), 15)])
    );
    assert_eq!((web.response_ms, web.service_ms), (None, None));
    assert_eq!(web.achieved_rps, Some(0.0));
}

#[test]
fn only_the_measured_phase_counts() {
    let warm = Trace {
        phase: Phase::Warmup,
        ..trace(1, SECOND, 0, SECOND)
    };
    let traces = [warm, trace(2, 10 * SECOND, 0, MILLISECOND)];
    let exchanges = [
        exchange(1, "web-0", SECOND, SECOND),
        exchange(2, "web-0", 10 * SECOND, 10 * SECOND),
    ];
    let result = analyse(&capture(), &traces, &[], &exchanges);
    assert_eq!(result.workloads[0].intended, 1);
    assert_eq!(result.joined, 1);
}

#[test]
fn more_than_one_percent_late_or_dropped_makes_a_run_invalid() {
    let mut traces: Vec<Trace> = (0..200)
        .map(|k| trace(k, 10 * SECOND, 0, MILLISECOND))
        .collect();
    traces[0] = trace(0, 10 * SECOND, 2 * MILLISECOND, MILLISECOND);
    traces[1].outcome = Outcome::Dropped;
    assert!(
        analyse(&capture(), &traces, &[], &[]).valid,
        "2 of 200 are 1 %, not more"
    );

    traces[2].outcome = Outcome::Dropped;
    let result = analyse(&capture(), &traces, &[], &[]);
    assert!(!result.valid);
    assert_eq!(
        result.invalid_reasons,
        [
            "web: 1 late and 2 dropped of 200 requests (1.5 %, allowed is 1 %): the load was not the one asked for."
        ]
    );
}

#[test]
fn requests_whose_other_side_was_not_seen_are_a_reason_where_it_could_be() {
    let traces = [trace(1, 10 * SECOND, 0, MILLISECOND)];
    let mut capture = capture();
    assert!(
        analyse(&capture, &traces, &[], &[]).valid,
        "no exchange was seen at all"
    );
    let web = capture.services.get_mut("web").unwrap();
    web.replicas[0].usage.as_mut().unwrap().exchanges = Some(1);
    let reasons = analyse(&capture, &traces, &[], &[]).invalid_reasons;
    assert_eq!(reasons.len(), 1);
    assert!(
        reasons[0].starts_with("Only 0 of 1 completed requests were matched"),
        "{reasons:?}"
    );
}

#[test]
fn requests_that_the_load_engine_counted_and_no_trace_tells_of_are_a_reason() {
    let traces = [trace(1, 10 * SECOND, 0, MILLISECOND)];
    let mut capture = capture();
    let all = Sent {
        intended: 1,
        sent: 1,
        completed: 1,
        ..Sent::default()
    };
    capture.workloads[0].sent = Some(all);
    assert!(analyse(&capture, &traces, &[], &[]).valid);
    capture.workloads[0].sent = Some(Sent {
        intended: 3,
        sent: 3,
        completed: 3,
        ..all
    });
    assert_eq!(
        analyse(&capture, &traces, &[], &[]).invalid_reasons,
        [
            "web: the load engine counted 3 requests, 3 of them completed; the traces that were stored are of 1 and 1."
        ]
    );
}

#[test]
fn partial_runs_losses_and_problems_are_reasons() {
    let traces = [trace(1, 10 * SECOND, 0, MILLISECOND)];
    let mut capture = capture();
    capture.partial = true;
    capture.problems = vec!["web-1 ended with status 1.".into()];
    capture.losses.insert("ring_full".into(), 12);
    assert_eq!(
        analyse(&capture, &traces, &[], &[]).invalid_reasons,
        [
            "web-1 ended with status 1.",
            "The run ended before its plan did; the figures cover what was measured until then.",
            "12 lost (ring_full): what was counted there is too low.",
        ]
    );
    capture.phases.clear();
    let result = analyse(&capture, &[], &[], &[]);
    assert!(
        result
            .invalid_reasons
            .contains(&"The measured phase never began.".to_owned())
    );
    assert_eq!(result.workloads[0].achieved_rps, None);
}

#[test]
fn a_workload_that_is_shorter_than_the_run_is_rated_over_its_own_length() {
    let mut capture = capture();
    capture.workloads[0].duration_ns = Some(5 * SECOND);
    let traces: Vec<Trace> = (0..50)
        .map(|k| trace(k, 10 * SECOND, 0, MILLISECOND))
        .collect();
    assert_eq!(
        analyse(&capture, &traces, &[], &[]).workloads[0].achieved_rps,
        Some(10.0)
    );
}

#[test]
fn the_json_has_the_documented_names() {
    let mut capture = capture();
    let bucket = Bucket {
        low_ns: 2 * MILLISECOND,
        high_ns: 2 * MILLISECOND,
        count: 4,
    };
    let two = Histogram {
        buckets: vec![bucket],
        sum_ns: 8 * MILLISECOND,
    };
    let bounds = |low, high| Bounds {
        low_ns: low * MILLISECOND,
        high_ns: high * MILLISECOND,
    };
    capture.services.get_mut("web").unwrap().replicas[0].usage = Some(Usage {
        cpu_ns: SECOND / 2,
        rx_bytes: Some(400),
        tx_bytes: Some(800),
        interfaces: Some(vec![Interface {
            number: Some(1),
            name: Some("lo".into()),
            loopback: true,
            rx_bytes: 400,
            rx_packets: 4,
            tx_bytes: 800,
            tx_packets: 8,
        }]),
        tcp: Some(Tcp {
            opened: 1,
            accepted: 4,
            refused: 2,
            abandoned: 3,
            closed: 4,
            aborted: 1,
            data_segments: 9,
            retransmits: 2,
            timeouts: 1,
            rtt: two.clone(),
            open_rtt: Some(Histogram {
                buckets: vec![bucket],
                sum_ns: 8 * MILLISECOND,
            }),
            ..Tcp::default()
        }),
        exchanges: Some(4),
        service: Some(two.clone()),
        runq_wait: Some(two),
        waits: Some(Waits {
            other_cgroups_ns: 4 * MILLISECOND,
            own_tasks_ns: 2 * MILLISECOND,
            cpu_limit_ns: MILLISECOND,
            unexplained_ns: MILLISECOND,
            bounds: Some(WaitBounds {
                other_cgroups: bounds(0, 5),
                cpu_limit: bounds(1, 6),
            }),
        }),
        ..Usage::default()
    });
    let replicas = &mut capture.services.get_mut("web").unwrap().replicas;
    replicas[0].exchanges_by_flag = Some(BTreeMap::from([("cut_off".to_owned(), 3)]));
    replicas[0].exchanges_by_status = Some(BTreeMap::from([(200, 3), (404, 1)]));
    replicas[1].usage = None;
    capture.interference = vec![Interference {
        victim: "web/web-0".into(),
        aggressor: "system".into(),
        wait_ns: 4 * MILLISECOND,
        limit_known: Some(true),
    }];
    let watched = Cpu {
        watched_ns: Some(10 * SECOND),
        idle_ns: Some(6 * SECOND),
        unassigned_ns: Some(SECOND / 2),
        irq_ns: Some(0),
        softirq_ns: Some(SECOND / 4),
        steal_ns: Some(0),
        cpu: 0,
    };
    let unwatched = Cpu {
        cpu: 1,
        ..Cpu::default()
    };
    capture.cpus = vec![watched, unwatched];
    capture.unseen = vec!["Not seen: TCP (refused).".into()];
    capture.noticed = BTreeMap::from([("not_http".to_owned(), 2)]);
    capture.system = Some(System {
        cpu_ns: 900 * MILLISECOND,
        kernel_threads_ns: 300 * MILLISECOND,
        processes_ns: 500 * MILLISECOND,
        busiest: vec![SystemTask {
            name: "sshd".into(),
            kernel_thread: false,
            cpu_ns: 500 * MILLISECOND,
        }],
    });
    capture.accounting = Some(Accounting {
        interrupts: TakenOff {
            taken_off: Some(false),
            how: "config".into(),
        },
        steal: TakenOff {
            taken_off: None,
            how: "no config".into(),
        },
    });
    capture.own = OwnCost {
        cpu_ns: SECOND / 4,
        probe_runs: Some(1_000),
        probe_ns: Some(MILLISECOND),
        programs: Some(vec![ProgramCost {
            name: "ingress".into(),
            runs: 1_000,
            ns: MILLISECOND,
        }]),
        rss_bytes: Some(9_000_000),
        kernel_memory: Some(KernelMemory {
            bytes: BTreeMap::from([("http".to_owned(), 4_096)]),
            per_socket_bytes: 1_216,
        }),
    };
    let traces = [trace(1, 10 * SECOND, 0, 2 * MILLISECOND)];
    let exchanges = [exchange(1, "web-0", 10 * SECOND, 10 * SECOND + MILLISECOND)];
    let result = analyse(&capture, &traces, &[], &exchanges);

    let two = json!({"mean": 2.0, "p50": 2.0, "p90": 2.0, "p99": 2.0, "p999": 2.0, "max": 2.0});
    let json = serde_json::to_value(&result).unwrap();
    assert_eq!(
        json,
        json!({
            "schema": 1,
            "experiment": {
                "id": "202511250240-1a2b", "name": "by hand", "started": "2025-11-25T02:40:00.000Z",
                "ended": "2025-11-25T02:40:21.000Z", "partial": false, "seed": 7
            },
            "services": {"web": {"replicas": [
                {
                    "name": "web-0", "node": "a", "cpu_seconds": 0.5, "cpu_ms_per_request": 125.0, "rx_bytes": 400,
                    "tx_bytes": 800,
                    "interfaces": [{
                        "interface": 1, "name": "lo", "loopback": true, "rx_bytes": 400, "rx_packets": 4,
                        "tx_bytes": 800, "tx_packets": 8
                    }],
                    "tcp": {
                        "opened": 1, "accepted": 4, "failed": 5,
                        "failed_by_kind": {"refused": 2, "timed_out": 0, "abandoned": 3},
                        "closed": 4, "aborted": 1, "data_segments": 9, "retransmits": 2, "timeouts": 1,
                        "listen_drops": null, "open": 4, "rtt_ms": two
                    },
                    "exchanges": 4, "exchanges_by_status": {"200": 3, "404": 1}, "exchanges_by_flag": {"cut_off": 3}, "service_ms": two, "runq_wait_ms": two,
                    "waits_seconds": {
                        "other_cgroups": 0.004, "own_tasks": 0.002, "cpu_limit": 0.001, "unexplained": 0.001,
                        "bounds": {
                            "other_cgroups": {"low": 0.0, "high": 0.005}, "cpu_limit": {"low": 0.001, "high": 0.006}
                        }
                    }
                },
                {
                    "name": "web-1", "node": "b", "cpu_seconds": null, "cpu_ms_per_request": null, "rx_bytes": null,
                    "tx_bytes": null, "interfaces": null, "tcp": null, "exchanges": null, "exchanges_by_status": null, "exchanges_by_flag": null, "service_ms": null, "runq_wait_ms": null,
                    "waits_seconds": null
                }
            ]}},
            "workloads": [{
                "name": "web", "intended": 1, "sent": 1, "late": 0, "dropped": 0, "completed": 1, "failed": 0,
                "failed_by_kind": {}, "unfinished": 0, "achieved_rps": 0.1, "response_ms": two, "service_ms": two
            }],
            "joined": 1,
            "uncertain": 0,
            "interference": [{"victim": "web/web-0", "aggressor": "system", "wait_seconds": 0.004, "limit_known": true}],
            "cpus": [
                {
                    "cpu": 0, "watched_seconds": 10.0, "idle_seconds": 6.0, "cgroups_seconds": 3.5, "unassigned_seconds": 0.5,
                    "irq_seconds": 0.0, "softirq_seconds": 0.25, "steal_seconds": 0.0
                },
                {
                    "cpu": 1, "watched_seconds": null, "idle_seconds": null, "cgroups_seconds": null,
                    "unassigned_seconds": null, "irq_seconds": null, "softirq_seconds": null, "steal_seconds": null
                }
            ],
            "system": {
                "cpu_seconds": 0.9, "kernel_threads_seconds": 0.3, "processes_seconds": 0.5, "rest_seconds": 0.1,
                "busiest": [{"name": "sshd", "kernel_thread": false, "cpu_seconds": 0.5}]
            },
            "accounting": {
                "interrupts": {"taken_off": false, "how": "config"},
                "steal": {"taken_off": null, "how": "no config"}
            },
            "losses": {"ring_full": 0},
            "noticed": {"not_http": 2},
            "not_stored": 0,
            "ledgers": [
                {
                    "sum": "intended", "subject": "web", "unit": "count", "whole": {"name": "intended", "value": 1.0},
                    "parts": [{"name": "sent", "value": 1.0}, {"name": "dropped", "value": 0.0}], "allowed": [], "holds": true
                },
                {
                    "sum": "sent", "subject": "web", "unit": "count", "whole": {"name": "sent", "value": 1.0},
                    "parts": [
                        {"name": "completed", "value": 1.0}, {"name": "failed", "value": 0.0},
                        {"name": "unfinished", "value": 0.0}
                    ],
                    "allowed": [], "holds": true
                },
                {
                    "sum": "matched", "subject": "all workloads", "unit": "count",
                    "whole": {"name": "completed", "value": 1.0},
                    "parts": [{"name": "joined with one exchange", "value": 1.0}], "allowed": [], "holds": true
                },
                {
                    "sum": "waits", "subject": "web/web-0", "unit": "seconds",
                    "whole": {"name": "waited for a CPU", "value": 0.008}, "parts": [{"name": "by cause", "value": 0.008}],
                    "allowed": [], "holds": true
                }
            ],
            "unseen": ["Not seen: TCP (refused)."],
            "valid": true,
            "invalid_reasons": [],
            "own_cost": {
                "cpu_seconds": 0.25, "probe_runs": 1_000, "probe_seconds": 0.001,
                "programs": [{"name": "ingress", "runs": 1_000, "seconds": 0.001}],
                "rss_bytes": 9_000_000, "kernel_bytes": {"http": 4_096}, "per_socket_bytes": 1_216
            }
        })
    );
    assert_eq!(serde_json::from_value::<RunResult>(json).unwrap(), result);
}

#[test]
fn captures_and_results_of_before_can_still_be_read() {
    /// Leaves out what came later: of the whole, and of each replica.
    fn strip(json: &mut Value) {
        let later = [
            "cpus",
            "closure",
            "asked_interrupts",
            "uncertain",
            "noticed",
        ];
        let of_whole = json.as_object_mut().unwrap();
        of_whole.retain(|name, _| !later.contains(&name.as_str()));
        for service in of_whole["services"].as_object_mut().unwrap().values_mut() {
            for replica in service["replicas"].as_array_mut().unwrap() {
                let of_replica = replica.as_object_mut().unwrap();
                for field in ["exchanges_by_flag", "exchanges_by_status"] {
                    assert!(of_replica.remove(field).is_some());
                }
            }
        }
    }
    fn older<T: Serialize + DeserializeOwned>(newer: &T) -> T {
        let mut json = serde_json::to_value(newer).unwrap();
        strip(&mut json);
        serde_json::from_value(json).unwrap()
    }
    let mut capture = capture();
    capture.cpus = vec![Cpu::default()];
    capture.services.get_mut("web").unwrap().replicas[0].exchanges_by_flag = Some(BTreeMap::new());
    let result = analyse(&older(&capture), &[], &[], &[]);
    assert_eq!(result.cpus, []);
    assert_eq!(result.services["web"].replicas[0].exchanges_by_flag, None);
    assert_eq!(older(&analyse(&capture, &[], &[], &[])), result);
}

#[test]
fn captures_and_results_of_before_bounds_limits_and_networks_were_kept_can_still_be_read() {
    const NEWER: [&str; 6] = [
        "bounds",
        "limit_known",
        "interfaces",
        "tcp",
        "system",
        "accounting",
    ];
    fn strip(json: &mut serde_json::Value) {
        match json {
            serde_json::Value::Object(fields) => {
                fields.retain(|name, _| !NEWER.contains(&name.as_str()));
                fields.values_mut().for_each(strip);
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    fn older<T: Serialize + DeserializeOwned>(newer: &T) -> T {
        let mut json = serde_json::to_value(newer).unwrap();
        strip(&mut json);
        serde_json::from_value(json).unwrap()
    }
    let mut capture = capture();
    capture.services.get_mut("web").unwrap().replicas[0].usage = Some(Usage {
        waits: Some(Waits {
            other_cgroups_ns: SECOND,
            ..Waits::default()
        }),
        ..Usage::default()
    });
    let result = analyse(&older(&capture), &[], &[], &[]);
    assert_eq!(older(&analyse(&capture, &[], &[], &[])), result);
    let replica = &result.services["web"].replicas[0];
    assert_eq!((&replica.interfaces, &replica.tcp), (&None, &None));
    let waits = replica.waits_seconds.unwrap();
    assert_eq!((waits.other_cgroups, waits.bounds), (1.0, None));
    assert_eq!((&result.system, &result.accounting), (&None, &None));
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Completed),
        1 => Just(Outcome::Failed(FailureKind::Reset)),
        1 => Just(Outcome::Failed(FailureKind::Http5xx)),
        1 => Just(Outcome::Unfinished),
        1 => Just(Outcome::Dropped),
    ]
}

fn ordered(quantiles: Option<Quantiles>) -> bool {
    quantiles.is_none_or(|q| [q.p50, q.p90, q.p99, q.p999, q.max].is_sorted() && q.mean <= q.max)
}

proptest! {
    #[test]
    fn sums_hold_whatever_became_of_the_requests(
        fates in prop::collection::vec((outcomes(), 0u64..5_000_000, 0u64..50_000_000, 0u32..3), 0..200),
    ) {
        let traces: Vec<Trace> = (0..)
            .zip(&fates)
            .map(|(k, (outcome, wait, service, _))| Trace { outcome: *outcome, ..trace(k, 10 * SECOND, *wait, *service) })
            .collect();
        // Every request has been seen never, once or twice at a replica.
        let exchanges: Vec<_> = (0..)
            .zip(&fates)
            .flat_map(|(k, (_, _, _, seen))| vec![exchange(k, "web-0", 10 * SECOND, 11 * SECOND); *seen as usize])
            .collect();
        let result = analyse(&capture(), &traces, &[], &exchanges);
        let web = &result.workloads[0];
        prop_assert_eq!(web.intended, fates.len() as u64);
        prop_assert_eq!(web.intended, web.sent + web.dropped);
        prop_assert_eq!(web.sent, web.completed + web.failed + web.unfinished);
        prop_assert_eq!(web.failed, web.failed_by_kind.values().sum::<u64>());
        prop_assert!(web.late <= web.sent);
        prop_assert!(ordered(web.response_ms) && ordered(web.service_ms));
        let once = fates.iter().filter(|(outcome, _, _, seen)| *outcome == Outcome::Completed && *seen == 1).count();
        prop_assert_eq!(result.joined, once as u64);
        prop_assert_eq!(result.valid, (web.late + web.dropped) * 100 <= web.intended && web.intended > 0);
    }
}

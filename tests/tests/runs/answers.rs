//! The figures of a run add up, and agree with what others counted.

use std::collections::BTreeSet;

use galileo_expdb::Status;
use galileo_tests::runs::{Excuse, Place, Stored, left};
use galileo_wire::{Hop, Outcome, Phase};
use serde_json::Value;

use crate::experiments::{assert_accounted, example, id, machine, replaced};

const MILLISECOND: u64 = 1_000_000;
/// The first reading of a window is over by then.
const READ_NS: u64 = 50 * MILLISECOND;

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("not a whole number: {value}"))
}

/// A figure of all workloads.
fn of_all(json: &Value, figure: &str) -> u64 {
    let workloads = json["workloads"].as_array().expect("an array");
    workloads.iter().map(|it| number(&it[figure])).sum()
}

#[test]
fn the_figures_of_the_quickstart_add_up() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let file = example("quickstart.yaml");
    let file = replaced(&file, "duration: 20s", "duration: 4s");
    let file = replaced(&file, "warmup: 3s", "warmup: 1s");

    let json = place.results(&file);

    left::nothing(id(&json));
    let stored = place.stored(id(&json));
    assert_eq!(stored.status, Status::Finished);
    assert!(Excuse::valid_but_late(&json), "{}", json["invalid_reasons"]);
    assert_eq!(json["unseen"], serde_json::json!([]));
    assert_eq!(json["experiment"]["partial"], false);
    assert_eq!(json["experiment"]["seed"], 1);
    nothing_was_lost(&json);
    requests_add_up(&json);
    all_sums_are_held(&json);
    watching_has_a_price(&json);
    cpu_time_is_what_the_kernel_accounted(&json, &stored);
    exchanges_add_up(&json, &stored);
    warmup_and_health_checks_are_stored_and_not_counted(&json, &stored);
    hops_are_the_requests_through_the_balancer(&stored);
    for service in ["web", "api"] {
        let counts = spread(&stored.hops, service);
        assert!(counts[0].abs_diff(counts[1]) <= 1, "{service}: {counts:?}");
    }
    names_are_those_of_the_documentation(&json, &stored);
}

fn nothing_was_lost(json: &Value) {
    let losses = json["losses"].as_object().expect("an object");
    for kind in [
        "ring_full",
        "traces_lost",
        "hops_dropped",
        "unrecorded_traces",
    ] {
        assert!(losses.contains_key(kind), "no {kind} in {losses:?}");
    }
    assert!(losses.values().all(|lost| *lost == 0), "{losses:?}");
    let explained = include_str!("../../../docs/losses.md");
    let noticed = json["noticed"].as_object().expect("an object");
    let counted: u64 = noticed.values().map(number).sum();
    assert!(counted >= 2 * of_all(json, "completed"), "{noticed:?}");
    for kind in losses.keys().chain(noticed.keys()) {
        assert!(explained.contains(&format!("`{kind}`")), "no {kind} there");
    }
    assert_eq!(json["not_stored"], 0);
}

fn requests_add_up(json: &Value) {
    for workload in json["workloads"].as_array().expect("an array") {
        let figure = |name: &str| number(&workload[name]);
        assert!(figure("intended") > 50, "{workload}");
        assert!(figure("late") <= figure("sent"));
        assert_eq!(figure("intended"), figure("sent") + figure("dropped"));
        assert_eq!(
            figure("sent"),
            figure("completed") + figure("failed") + figure("unfinished")
        );
        let kinds = workload["failed_by_kind"].as_object().expect("an object");
        assert_eq!(figure("failed"), kinds.values().map(number).sum::<u64>());
    }
    assert_eq!(number(&json["joined"]), of_all(json, "completed"));
}

fn all_sums_are_held(json: &Value) {
    let ledgers = json["ledgers"].as_array().expect("an array");
    let subjects = |sum: &str| -> Vec<&str> {
        let of_sum = ledgers.iter().filter(|ledger| ledger["sum"] == sum);
        of_sum
            .map(|ledger| ledger["subject"].as_str().expect("a text"))
            .collect()
    };
    let replicas = ["api/api-0", "api/api-1", "web/web-0", "web/web-1"];
    assert_eq!(subjects("intended"), ["web", "api"]);
    assert_eq!(subjects("sent"), ["web", "api"]);
    assert_eq!(subjects("matched"), ["all workloads"]);
    assert_eq!(subjects("cpu"), replicas);
    assert_eq!(subjects("waits"), replicas);
    assert_eq!(subjects("exchanges"), ["the run"]);
    let closures = subjects("closure");
    assert_eq!(closures[0], "all CPUs");
    // Four seconds, one a second, and the edges.
    let worst = ["3", "4", "5", "6"].map(|n| format!("all CPUs, worst of {n} readings"));
    assert!(worst.iter().any(|it| it == closures[1]), "{closures:?}");
    assert!(ledgers.iter().all(|ledger| ledger["holds"] == true));
}

fn watching_has_a_price(json: &Value) {
    let own = &json["own_cost"];
    let programs = own["programs"].as_array().expect("an array");
    let runs = |name: &str| {
        let program = programs.iter().find(|program| program["name"] == name);
        program.map_or(0, |program| number(&program["runs"]))
    };
    // Each request goes to the balancer and on to a replica, and so does its answer.
    assert!(runs("ingress") >= 4 * of_all(json, "completed"), "{own}");
    let all: u64 = programs
        .iter()
        .map(|program| number(&program["runs"]))
        .sum();
    assert_eq!(number(&own["probe_runs"]), all);
    assert!(
        (5_000_000..500_000_000).contains(&number(&own["rss_bytes"])),
        "{own}"
    );
    for feature in ["cpu", "http", "network", "tcp", "shared"] {
        assert!(number(&own["kernel_bytes"][feature]) > 10_000, "{own}");
    }
    assert!(number(&own["per_socket_bytes"]) > 500, "{own}");
}

/// The same window, two observers: the probes and cpu.stat.
fn cpu_time_is_what_the_kernel_accounted(json: &Value, stored: &Stored) {
    for (name, service) in &stored.capture().services {
        for (index, replica) in service.replicas.iter().enumerate() {
            let usage = replica.usage.as_ref().expect("it was seen");
            let accounted = usage.accounted_cpu_ns.expect("cpu.stat is there");
            assert_accounted(&replica.name, usage, (accounted / 100).max(5 * MILLISECOND));
            let shown = &json["services"][name]["replicas"][index];
            assert_eq!(shown["name"], *replica.name);
            let seconds = shown["cpu_seconds"].as_f64().expect("a number");
            assert!((seconds * 1e9 - usage.cpu_ns as f64).abs() < 1.0);
            // Each request burns 2 or 5 ms of it. Others are under way at an end of the window, or wait for those before them there.
            let work = if name == "web" { 2 } else { 5 } * MILLISECOND;
            let window = stored.measured();
            let within = stored.served(&replica.name).filter(|it| {
                it.start_ns >= window.start_ns + READ_NS && it.end_ns <= window.end_ns
            });
            let requests = within.count() as u64;
            assert!(requests > 10, "{requests} requests");
            assert!(
                usage.cpu_ns + 10 * MILLISECOND >= requests * work,
                "{}: {} ns for {requests} requests",
                replica.name,
                usage.cpu_ns
            );
        }
    }
}

fn exchanges_add_up(json: &Value, stored: &Stored) {
    let mut due = 0;
    for service in ["web", "api"] {
        for replica in json["services"][service]["replicas"]
            .as_array()
            .expect("an array")
        {
            let name = replica["name"].as_str().expect("a text");
            let measured = stored.served(name).filter(|it| it.phase == Phase::Measured);
            assert_eq!(
                number(&replica["exchanges"]),
                measured.count() as u64,
                "{name}"
            );
            due += stored.answered_as_due(name);
        }
    }
    assert_eq!(due as u64, of_all(json, "completed"));
}

fn warmup_and_health_checks_are_stored_and_not_counted(json: &Value, stored: &Stored) {
    for replica in ["web-0", "web-1", "api-0", "api-1"] {
        let health = |phase| {
            stored
                .served(replica)
                .filter(|it| it.phase == phase && it.path == "/health")
                .count()
        };
        assert!(health(Phase::Setup) >= 1, "no health check of {replica}");
        assert_eq!(health(Phase::Measured), 0);
        let warm = stored
            .served(replica)
            .filter(|it| it.phase == Phase::Warmup);
        assert!(warm.count() > 5, "no warm-up of {replica}");
    }
    let of_phase = |phase| stored.traces.iter().filter(move |it| it.phase == phase);
    assert!(of_phase(Phase::Warmup).count() > 20);
    assert_eq!(
        of_phase(Phase::Measured).count() as u64,
        of_all(json, "intended")
    );
    let completed = of_phase(Phase::Measured).filter(|it| it.outcome == Outcome::Completed);
    assert_eq!(completed.count() as u64, of_all(json, "completed"));
}

fn hops_are_the_requests_through_the_balancer(stored: &Stored) {
    let asked: BTreeSet<&str> = stored
        .traces
        .iter()
        .filter(|trace| trace.sent_ns.is_some())
        .map(|trace| trace.request_id.as_str())
        .collect();
    let passed: BTreeSet<&str> = stored
        .hops
        .iter()
        .filter_map(|hop| hop.request_id.as_deref())
        .collect();
    assert_eq!(passed.len(), stored.hops.len(), "each has an id of its own");
    assert_eq!(passed, asked);
}

/// How many requests of a service each replica was given.
fn spread(hops: &[Hop], service: &str) -> Vec<u64> {
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    for hop in hops.iter().filter(|hop| hop.service == service) {
        let replica = hop.replica.as_deref().expect("there was one to give it to");
        *counts.entry(replica).or_default() += 1;
    }
    assert_eq!(counts.len(), 2, "{counts:?}");
    counts.into_values().collect()
}

fn names_are_those_of_the_documentation(json: &Value, stored: &Stored) {
    let replicas = ["web/web-0", "web/web-1", "api/api-0", "api/api-1"];
    for pair in json["interference"].as_array().expect("an array") {
        for name in [&pair["victim"], &pair["aggressor"]] {
            let name = name.as_str().expect("a text");
            let known = replicas.contains(&name) || name == "galileo" || name == "system";
            assert!(known || name.starts_with('/'), "{name}");
            assert!(!name.starts_with("/galileo/"), "{name} is of the run");
        }
    }
    for exchange in &stored.exchanges {
        assert!(exchange.cgroup.starts_with('/'), "{}", exchange.cgroup);
    }
}

#[test]
fn requests_are_spread_by_the_weights() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let port = galileo_tests::free_port();
    let server = crate::experiments::server();
    let file = format!(
        "services:
  web: {{command: ['{server}', --work, 0ms], port: {port}, replicas: 2, weights: [3, 1], health: /health}}
workloads:
  - {{service: web, clients: 3, arrival: {{constant: 50/s}}, requests: 80}}
"
    );

    let json = place.results(&file);

    assert_eq!(json["workloads"][0]["completed"], 80);
    let stored = place.stored(id(&json));
    // Twenty whole cycles of four.
    assert_eq!(spread_by_port(&stored), [60, 20]);
}

/// How many requests each replica was given, by its address in the hops.
fn spread_by_port(stored: &Stored) -> Vec<u64> {
    let web = &stored.capture().services["web"];
    web.replicas
        .iter()
        .map(|replica| {
            let port = replica.port.expect("it has one");
            let given = stored.hops.iter().filter(|hop| {
                hop.replica
                    .as_deref()
                    .is_some_and(|it| it.ends_with(&format!(":{port}")))
            });
            given.count() as u64
        })
        .collect()
}

#[test]
fn the_figures_of_a_service_that_is_too_slow_add_up_too() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let port = galileo_tests::free_port();
    let server = crate::experiments::server();
    // 100 requests a second, each with 40 ms of work: three of four cannot be answered. Two workloads share the server.
    let file = format!(
        "services: {{web: {{command: ['{server}', --work, 40ms], port: {port}, health: /health}}}}
workloads:
  - {{service: web, clients: 4, arrival: {{poisson: 60/s}}, duration: 2s, in_flight: 8}}
  - {{service: web, through: direct, arrival: {{constant: 40/s}}, duration: 2s, timeout: 300ms}}
"
    );

    let said = place.experiment(&file);

    assert_eq!(said.code, Some(3), "{}{}", said.out, said.err);
    let json = said.json();
    assert_eq!(json["valid"], false);
    assert_eq!(json["experiment"]["partial"], false);
    requests_add_up(&json);
    let [many, hasty] = [0, 1].map(|index: usize| &json["workloads"][index]);
    assert_eq!(
        (&many["name"], &hasty["name"]),
        (&"web#1".into(), &"web#2".into())
    );
    assert!(number(&many["dropped"]) > 20, "{many}");
    assert!(number(&hasty["failed_by_kind"]["timeout"]) > 20, "{hasty}");
    let reasons = json["invalid_reasons"].to_string();
    assert!(
        reasons.contains("web#1: ") && reasons.contains("dropped"),
        "{reasons}"
    );
    left::nothing(id(&json));
}

//! Who disturbs whom, and what a limit does.

use galileo_tests::{free_port, runs::Place};
use serde_json::Value;

use crate::experiments::{example, machine, replaced};

fn shortened(name: &str, port: u16) -> String {
    let file = example(name);
    let file = replaced(&file, "port: 8080", &format!("port: {port}"));
    let file = replaced(&file, "duration: 15s", "duration: 3s");
    replaced(&file, "warmup: 2s", "warmup: 500ms")
}

fn waited(json: &Value, service: &str, cause: &str) -> f64 {
    let waits = &json["services"][service]["replicas"][0]["waits_seconds"];
    waits[cause].as_f64().expect("a number")
}

fn cpu(json: &Value, service: &str) -> f64 {
    let seconds = &json["services"][service]["replicas"][0]["cpu_seconds"];
    seconds.as_f64().expect("a number")
}

#[test]
fn a_noisy_neighbour_is_named_by_its_victim() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let port = free_port();

    let alone = place.results(&shortened("noisy-neighbour-alone.yaml", port));
    let beside = place.experiment(&shortened("noisy-neighbour.yaml", port));

    assert!(matches!(beside.code, Some(0 | 3)), "{}", beside.err);
    let beside = beside.json();
    let pairs = beside["interference"].as_array().expect("an array");
    let aggressors: Vec<_> = pairs
        .iter()
        .filter(|pair| pair["victim"] == "web/web-0")
        .collect();
    assert_eq!(aggressors[0]["aggressor"], "batch/batch-0", "{pairs:?}");
    let waits = waited(&beside, "web", "other_cgroups");
    let by_batch = aggressors[0]["wait_seconds"].as_f64().expect("a number");
    // Whatever else runs on this machine disturbs both runs.
    assert!(by_batch > 0.4 * waits, "{by_batch} s of {waits} s");
    let before = waited(&alone, "web", "other_cgroups");
    assert!(before < 0.6 * waits, "{before} s alone, {waits} s beside");
    // The other way round: what web runs, batch waits.
    let suffered = pairs
        .iter()
        .find(|pair| pair["victim"] == "batch/batch-0" && pair["aggressor"] == "web/web-0");
    let suffered = suffered.expect("batch waits for web")["wait_seconds"].as_f64();
    let web = cpu(&beside, "web");
    let suffered = suffered.expect("a number");
    assert!(
        (suffered - web).abs() < 0.15 * web,
        "{suffered} s of {web} s"
    );
    // Nobody is blamed for what nobody else caused.
    assert_eq!(waited(&beside, "web", "cpu_limit"), 0.0);
}

#[test]
fn a_cpu_limit_is_kept_and_no_neighbour_is_blamed_for_it() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let file = "services: {spin: {command: [sh, -c, 'while :; do :; done'], limits: {cpu: 0.2}}}
workloads: []
duration: 3s
";

    let json = place.results(file);

    let used = cpu(&json, "spin") / 3.0;
    assert!((used - 0.2).abs() < 0.03, "{used} cores");
    let limit = waited(&json, "spin", "cpu_limit");
    let others = waited(&json, "spin", "other_cgroups");
    assert!(limit > 1.5, "{limit} s");
    assert!(others < limit / 10.0, "{others} s, limit {limit} s");
    let stored = place.stored(&place.id());
    let replica = &stored.capture().services["spin"].replicas[0];
    assert_eq!(replica.cpu_limit, Some(0.2));
}

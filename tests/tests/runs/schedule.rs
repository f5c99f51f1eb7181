//! What is sent, and when, is what the experiment says.

use galileo_tests::{
    free_port,
    runs::{Place, Stored},
};
use galileo_wire::Phase;
use serde_json::Value;

use crate::experiments::{Plain, id, machine};

const SECOND: u64 = 1_000_000_000;

/// So many requests were due in the measured phase. One may come to the replica behind the edge of its phase: where measuring ends
/// when the last one is due, that one mostly does.
fn exchanges_are_of_their_phase(json: &Value, stored: &Stored, due: usize) {
    assert_eq!(stored.answered_as_due("web-0"), due);
    let measured = stored
        .served("web-0")
        .filter(|it| it.phase == Phase::Measured);
    let exchanges = &json["services"]["web"]["replicas"][0]["exchanges"];
    assert_eq!(*exchanges, measured.count());
}

#[test]
fn a_seed_gives_the_same_schedule_again() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let plain = Plain {
        rate: "120/s",
        extent: "duration: 1s, clients: 3, seed: 7",
        ..Plain::new(free_port())
    };
    let file = plain.text().replace("constant", "poisson");

    let runs = [&file, &file, &file.replace("seed: 7", "seed: 8")].map(|file| {
        let json = place.results(file);
        place.stored(id(&json))
    });

    let [first, second, other] = runs.each_ref().map(Stored::due);
    assert!(first.len() > 80, "{}", first.len());
    assert_eq!(first, second);
    assert_ne!(first, other);
}

#[test]
fn a_constant_rate_is_exact_and_its_interval_half_open() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let plain = Plain {
        rate: "30/s",
        extent: "duration: 3s",
        warmup: "500ms",
        ..Plain::new(free_port())
    };

    let json = place.results(&plain.text());

    assert_eq!(json["workloads"][0]["intended"], 90);
    assert_eq!(json["workloads"][0]["completed"], 90);
    let stored = place.stored(id(&json));
    let due = stored.due();
    for (index, (_, at_ns)) in due.iter().enumerate() {
        let expected = index as u64 * SECOND / 30;
        assert!(at_ns.abs_diff(expected) <= 1, "{index}: {at_ns}");
    }
    let warm = stored.traces.iter().filter(|it| it.phase == Phase::Warmup);
    assert_eq!(warm.count(), 15);
    let window = stored.measured();
    assert_eq!(window.end_ns - window.start_ns, 3 * SECOND);
}

#[test]
fn a_number_of_requests_is_met_exactly() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let plain = Plain {
        rate: "100/s",
        extent: "requests: 137, clients: 4",
        warmup: "200ms",
        ..Plain::new(free_port())
    };

    let json = place.results(&plain.text());

    assert_eq!(json["workloads"][0]["intended"], 137);
    assert_eq!(json["workloads"][0]["completed"], 137);
    assert_eq!(json["joined"], 137);
    exchanges_are_of_their_phase(&json, &place.stored(id(&json)), 137);
}

#[test]
fn two_runs_at_once_see_only_their_own() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let ports = [free_port(), free_port()];
    let [one, two] = ports.map(|port| {
        let plain = Plain {
            rate: "40/s",
            extent: "duration: 2s",
            warmup: "500ms",
            ..Plain::new(port)
        };
        let file = format!("{port}.yaml");
        place.file(&file, &plain.text());
        // Into one database.
        place.start(&["run", &file, "--output", "json"])
    });
    let said = [one.end(), two.end()];

    for (said, port) in said.iter().zip(ports) {
        // Two load engines on one machine may be late for one another; all else must hold.
        assert!(matches!(said.code, Some(0 | 3)), "{}{}", said.out, said.err);
        let json = said.json();
        assert_eq!(json["experiment"]["partial"], false);
        assert_eq!(json["workloads"][0]["completed"], 80);
        assert_eq!(json["joined"], 80);
        assert_eq!(json["services"].as_object().expect("an object").len(), 1);
        let stored = place.stored(id(&json));
        let own = format!("/galileo/{}/", id(&json));
        let served: Vec<_> = stored.served("web-0").collect();
        // 80, the warm-up's 20, and at least one health check.
        assert!(served.len() > 100, "{}", served.len());
        for exchange in served {
            assert_eq!(exchange.local_port, port);
            assert!(exchange.cgroup.starts_with(&own), "{}", exchange.cgroup);
        }
        exchanges_are_of_their_phase(&json, &stored, 80);
        galileo_tests::runs::left::nothing(id(&json));
    }
    assert_eq!(place.ids().len(), 2);
}

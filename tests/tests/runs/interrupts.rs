//! What interrupts, softirqs and a hypervisor take of each CPU, from the probes to the report.

use std::fs;

use galileo_tests::{
    flood,
    runs::{Place, left},
};
use serde_json::{Value, json};

use crate::experiments::machine;

const DURATION: f64 = 2.0;
/// More than any kernel's housekeeping takes in that time.
const MUCH: f64 = 0.05;

/// A flood on a node; on CPU 1 a spinner, if any.
fn flooded(flood: &[&str], node: &str, spinner: &str, telemetry: &str) -> String {
    // JSON is YAML.
    let flood = json!(flood);
    format!(
        "nodes: {{a: {{cpus: [0]}}, b: {{cpus: [1]}}}}
services:
  flood: {{command: {flood}, node: {node}}}
  {spinner}
workloads: []
duration: {DURATION}s
{telemetry}
"
    )
}

const SPINNER: &str = "spin: {command: [sh, -c, 'while :; do :; done'], node: b}";
const ASKED: &str = "telemetry: {interrupts: true}";

/// What came of a run. Whatever else the machine does may make it invalid by a loss that is nobody's, and changes nothing here.
fn results(place: &Place, file: &str) -> Value {
    let said = place.experiment(file);
    assert!(matches!(said.code, Some(0 | 3)), "{}{}", said.out, said.err);
    said.json()
}

fn seconds(figure: &Value) -> f64 {
    figure
        .as_f64()
        .unwrap_or_else(|| panic!("not a number: {figure}"))
}

fn cpus(json: &Value) -> &[Value] {
    let cpus = json["cpus"].as_array().expect("an array");
    assert!(cpus.len() >= 2, "{cpus:?}");
    for (number, cpu) in cpus.iter().enumerate() {
        assert_eq!(cpu["cpu"], number, "{cpu}");
    }
    cpus
}

/// The terminal's summary and the page of the only run.
fn shown(place: &Place) -> [String; 2] {
    let page = place.path("runs").join(place.id()).join("report.html");
    [
        place.galileo(&["show"]).fine(),
        fs::read_to_string(page).expect("there is a report"),
    ]
}

#[test]
fn a_flood_shows_on_the_cpu_whose_softirqs_receive_it() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();

    let json = results(&place, &flooded(&flood::on_one_cpu(), "b", "", ASKED));

    for cpu in cpus(&json) {
        let figure = |name: &str| seconds(&cpu[name]);
        let watched = figure("watched_seconds");
        // The readings lie some milliseconds beside the window's ends.
        assert!((watched - DURATION).abs() < 0.2, "{cpu}");
        let parts = ["idle_seconds", "cgroups_seconds", "unassigned_seconds"];
        let sum: f64 = parts.into_iter().map(figure).sum();
        assert!((sum - watched).abs() < 1e-6, "{cpu}");
        let taken = figure("irq_seconds") + figure("softirq_seconds");
        assert!(taken <= watched, "{cpu}");
        let ticks = figure("steal_seconds") * 100.0;
        assert!((ticks - ticks.round()).abs() < 1e-6, "{cpu}");
    }
    let softirqs = [0, 1].map(|cpu: usize| seconds(&cpus(&json)[cpu]["softirq_seconds"]));
    assert!(
        softirqs[1] > MUCH && softirqs[1] > 2.0 * softirqs[0],
        "{softirqs:?}"
    );
    left::nothing(&place.id());
    for text in shown(&place) {
        assert!(!text.contains("not measured"), "{text}");
        assert!(text.contains("Interrupts, softirqs and steal count"));
    }
    let stored = place.stored(&place.id());
    let kept = stored.capture().cpus[1].softirq_ns.expect("it is kept");
    assert!((kept as f64 / 1e9 - softirqs[1]).abs() < 1e-6);
}

#[test]
fn who_floods_another_cpu_is_not_whom_its_tasks_wait_for() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();

    let json = results(
        &place,
        &flooded(&flood::from_cpu_0_to_cpu_1(), "a", SPINNER, ASKED),
    );

    let softirqs = seconds(&cpus(&json)[1]["softirq_seconds"]);
    assert!(softirqs > MUCH, "{softirqs} s");
    let waits = json["interference"].as_array().expect("an array").iter();
    let blamed: f64 = waits
        .filter(|pair| pair["victim"] == "spin/spin-0" && pair["aggressor"] == "flood/flood-0")
        .map(|pair| seconds(&pair["wait_seconds"]))
        .sum();
    // A new process may run anywhere until it is put on its CPU.
    assert!(blamed < 0.02, "{blamed} s");
    left::nothing(&place.id());
}

#[test]
fn what_was_not_asked_for_is_not_measured_rather_than_nothing() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();

    let json = results(&place, &flooded(&flood::on_one_cpu(), "b", "", ""));

    for cpu in cpus(&json) {
        for figure in ["irq_seconds", "softirq_seconds"] {
            assert_eq!(cpu[figure], Value::Null, "{cpu}");
        }
        for figure in ["idle_seconds", "cgroups_seconds", "steal_seconds"] {
            assert!(cpu[figure].is_number(), "{cpu}");
        }
    }
    for text in shown(&place) {
        assert!(text.contains("Interrupts and softirqs were not measured"));
        // Two cells of each CPU, and the sentence.
        let told = text.matches("not measured").count();
        assert_eq!(told, 2 * cpus(&json).len() + 1, "{text}");
    }
    for cpu in &place.stored(&place.id()).capture().cpus {
        assert_eq!((cpu.irq_ns, cpu.softirq_ns), (None, None));
    }
}

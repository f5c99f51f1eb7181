//! What interrupts, softirqs and a hypervisor take of each CPU, from the probes to the report.

use std::{collections::BTreeSet, fs};

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
    let ascending = cpus.is_sorted_by_key(|cpu| cpu["cpu"].as_u64());
    assert!(ascending && cpus.len() >= 2, "{cpus:?}");
    cpus
}

/// One of the nodes' CPUs.
fn cpu(json: &Value, number: u32) -> &Value {
    let mut cpus = cpus(json).iter();
    cpus.find(|cpu| cpu["cpu"] == number).expect("it is online")
}

fn page(place: &Place) -> String {
    let page = place.path("runs").join(place.id()).join("report.html");
    fs::read_to_string(page).expect("there is a report")
}

/// The terminal's summary of the last run, without its line breaks.
fn summary(place: &Place) -> String {
    let text = place.galileo(&["show"]).fine();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The summary and the page of the only run.
fn shown(place: &Place) -> [String; 2] {
    [summary(place), page(place)]
}

#[test]
fn a_flood_shows_on_the_cpu_whose_softirqs_receive_it() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();

    let json = results(&place, &flooded(&flood::on_one_cpu(), "b", "", ASKED));

    let stored = place.stored(&place.id());
    let capture = stored.capture();
    let whole_run = (capture.ended_ns - capture.started_ns) as f64 / 1e9;
    for cpu in cpus(&json) {
        let figure = |name: &str| seconds(&cpu[name]);
        let watched = figure("watched_seconds");
        // Either reading may come late; the first by a quarter of the window would be a fault.
        assert!(
            (0.75 * DURATION..whole_run).contains(&watched),
            "{whole_run} s: {cpu}"
        );
        let taken = figure("irq_seconds") + figure("softirq_seconds");
        assert!(taken <= watched, "{cpu}");
        // Where /proc/stat never told any, there is none to look at.
        let ticks = cpu["steal_seconds"].as_f64().unwrap_or_default() * 100.0;
        assert!((ticks - ticks.round()).abs() < 1e-6, "{cpu}");
    }
    let flood = seconds(&json["services"]["flood"]["replicas"][0]["cpu_seconds"]);
    let of_cgroups = seconds(&cpu(&json, 1)["cgroups_seconds"]);
    assert!(
        MUCH < flood && flood < of_cgroups + MUCH / 2.0,
        "{flood} s of {of_cgroups} s"
    );
    let softirqs = [0, 1].map(|number| seconds(&cpu(&json, number)["softirq_seconds"]));
    assert!(
        softirqs[1] > MUCH && softirqs[1] > 2.0 * softirqs[0],
        "{softirqs:?}"
    );
    left::nothing(&place.id());
    for text in shown(&place) {
        assert!(!text.contains("Interrupts and softirqs were"), "{text}");
        assert!(text.contains("Interrupts, softirqs and steal count"));
    }
    assert!(capture.asked_interrupts);
    let mut kept = capture.cpus.iter();
    let kept = kept.find(|cpu| cpu.cpu == 1).expect("it is online");
    let kept = kept.softirq_ns.expect("it is kept");
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

    let softirqs = seconds(&cpu(&json, 1)["softirq_seconds"]);
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
        for figure in ["idle_seconds", "cgroups_seconds"] {
            assert!(cpu[figure].is_number(), "{cpu}");
        }
    }
    // It is told of all or, where /proc/stat never told any, of none.
    let told = cpus(&json)
        .iter()
        .map(|cpu| cpu["steal_seconds"].is_number());
    assert_eq!(told.collect::<BTreeSet<_>>().len(), 1);
    for text in shown(&place) {
        assert!(text.contains("Interrupts and softirqs were not measured: "));
        assert!(text.contains("in the experiment file asks for them"));
    }
    let nulls = cpus(&json)
        .iter()
        .filter_map(Value::as_object)
        .flat_map(|cpu| cpu.values())
        .filter(|figure| figure.is_null());
    let cells = page(&place).matches(">not measured<").count();
    assert_eq!(cells, nulls.count());
    let stored = place.stored(&place.id());
    assert!(!stored.capture().asked_interrupts);
    for cpu in &stored.capture().cpus {
        assert_eq!((cpu.irq_ns, cpu.softirq_ns), (None, None));
    }
}

#[test]
fn a_recorded_command_needs_no_file_to_ask_for_them() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let record = ["record", "--output", "json", "--quiet"];

    let asked = place
        .galileo(&[&record[..], &["--interrupts", "--", "sleep", "0.3"]].concat())
        .json();
    assert!(
        cpus(&asked)
            .iter()
            .all(|cpu| cpu["softirq_seconds"].is_number())
    );

    let not_asked = place
        .galileo(&[&record[..], &["--", "sleep", "0.3"]].concat())
        .json();
    assert!(
        cpus(&not_asked)
            .iter()
            .all(|cpu| cpu["softirq_seconds"].is_null())
    );
    let text = summary(&place);
    assert!(
        text.contains("'galileo record --interrupts' asks for them"),
        "{text}"
    );
}

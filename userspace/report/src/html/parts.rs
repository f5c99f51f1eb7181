//! Parts of the page that are no charts.

use std::collections::{BTreeMap, BTreeSet};

use galileo_analysis::RunResult;
use galileo_wire::Capture;
use maud::{Markup, html};

use crate::numbers::{bytes, count, figure};
use crate::tables::Table;

/// So many rows and columns of the interference matrix are shown by name.
const MATRIX: usize = 8;

/// A table; nothing if it has no rows.
pub(super) fn table(table: &Table) -> Markup {
    html! {
        @if !table.rows.is_empty() {
            div.scroll tabindex="0" {
                table {
                    caption { span { (table.caption) } }
                    thead {
                        tr { @for column in &table.columns { th.figure[column.figure] scope="col" { (column.head) } } }
                    }
                    tbody {
                        @for row in &table.rows {
                            tr.sub[row.sub] {
                                @for (index, (cell, column)) in row.cells.iter().zip(&table.columns).enumerate() {
                                    @if index == 0 { th scope="row" { (cell) } }
                                    @else { td.figure[column.figure] { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Who waited for whom, as a table whose cells are the darker the longer the wait.
pub(super) fn matrix(result: &RunResult) -> Markup {
    let pairs = || {
        result
            .interference
            .iter()
            .filter(|pair| pair.wait_seconds > 0.0)
    };
    let victims = longest(pairs().map(|pair| (pair.victim.as_str(), pair.wait_seconds)));
    let aggressors = longest(pairs().map(|pair| (pair.aggressor.as_str(), pair.wait_seconds)));
    let mut waits: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for pair in pairs() {
        *waits.entry((&pair.victim, &pair.aggressor)).or_default() += pair.wait_seconds;
    }
    let (rows, columns) = (
        &victims[..victims.len().min(MATRIX)],
        &aggressors[..aggressors.len().min(MATRIX)],
    );
    let unknown: BTreeSet<&str> = pairs()
        .filter(|pair| pair.limit_known == Some(false))
        .map(|pair| pair.victim.as_str())
        .collect();
    let most = waits.values().copied().fold(0.0, f64::max);
    let left_out = (victims.len() - rows.len()) + (aggressors.len() - columns.len());
    html! {
        @if !rows.is_empty() {
            div.scroll tabindex="0" {
                table.matrix {
                    caption {
                        span {
                            "Interference: seconds that the row waited for a CPU while the column held it"
                            @if left_out > 0 { "; the " (left_out) " with the shortest waits are left out" }
                        }
                    }
                    thead {
                        tr {
                            th scope="col" { "waited ↓ for →" }
                            @for column in columns { th.figure scope="col" { (column) } }
                        }
                    }
                    tbody {
                        @for row in rows {
                            tr {
                                th scope="row" { (row) @if unknown.contains(row) { " (limit not known)" } }
                                @for column in columns {
                                    @match waits.get(&(*row, *column)) {
                                        Some(wait) => td.figure style={ "--heat:" (format!("{:.3}", wait / most)) } { (figure(*wait)) },
                                        None => td.figure.none { "·" },
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Names by the sum of their waits, longest first.
fn longest<'a>(waits: impl Iterator<Item = (&'a str, f64)>) -> Vec<&'a str> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, seconds) in waits {
        *sums.entry(name).or_default() += seconds;
    }
    let mut names: Vec<(&str, f64)> = sums.into_iter().collect();
    names.sort_by(|a, b| b.1.total_cmp(&a.1));
    names.into_iter().map(|(name, _)| name).collect()
}

/// What it takes to do the run again.
pub(super) fn repeat(result: &RunResult, capture: &Capture) -> Markup {
    let machine = &capture.machine;
    let facts = [
        ("Machine", machine.hostname.clone()),
        ("Processor", processor(capture)),
        (
            "Memory",
            if machine.memory_bytes > 0 {
                bytes(machine.memory_bytes)
            } else {
                String::new()
            },
        ),
        (
            "Kernel",
            format!("{} {}", machine.kernel, machine.arch)
                .trim()
                .to_owned(),
        ),
        ("Galileo", machine.galileo.clone()),
        ("Seed", result.experiment.seed.to_string()),
        ("Started", result.experiment.started.clone()),
        ("Ended", result.experiment.ended.clone()),
        ("Phases", phases(capture)),
        ("Nodes", nodes(capture)),
    ];
    html! {
        section id="repeat" {
            h2 { "How can it be repeated?" }
            pre.command { code { (capture.command) } }
            dl {
                @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                    div { dt { (name) } dd { (value) } }
                }
            }
            @if !capture.workloads.is_empty() { (workloads(capture)) }
            @if !capture.file.is_empty() {
                h3 { "The experiment file" }
                pre.file { code { (capture.file) } }
            }
        }
    }
}

fn workloads(capture: &Capture) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                caption { span { "The load as it was planned" } }
                thead {
                    tr {
                        th scope="col" { "workload" } th scope="col" { "service" } th scope="col" { "through" }
                        th.figure scope="col" { "clients" } th scope="col" { "arrivals" }
                        th scope="col" { "for" } th.figure scope="col" { "seed" }
                    }
                }
                tbody {
                    @for workload in &capture.workloads {
                        tr {
                            th scope="row" { (workload.name) } td { (workload.service) } td { (workload.through) }
                            td.figure { (workload.clients) } td { (workload.arrival) }
                            td {
                                @match (workload.duration_ns, workload.requests) {
                                    (Some(ns), _) => { (figure(ns as f64 / 1e9)) " s" }
                                    (None, Some(requests)) => { (count(requests)) " requests" }
                                    (None, None) => "–",
                                }
                            }
                            td.figure { (workload.seed) }
                        }
                    }
                }
            }
        }
    }
}

fn processor(capture: &Capture) -> String {
    let machine = &capture.machine;
    let cpus = if machine.cpus == 1 {
        "1 CPU".to_owned()
    } else {
        format!("{} CPUs", machine.cpus)
    };
    if machine.cpu_model.is_empty() {
        cpus
    } else {
        format!("{}, {cpus}", machine.cpu_model)
    }
}

fn phases(capture: &Capture) -> String {
    let phases = capture.phases.iter().map(|window| {
        let seconds = window.end_ns.saturating_sub(window.start_ns) as f64 / 1e9;
        format!("{} {} s", window.phase.as_str(), figure(seconds))
    });
    phases.collect::<Vec<_>>().join(", ")
}

fn nodes(capture: &Capture) -> String {
    let nodes = capture.nodes.iter().map(|(name, cpus)| {
        let cpus: Vec<String> = cpus.iter().map(u32::to_string).collect();
        match cpus.as_slice() {
            [] => name.clone(),
            [cpu] => format!("{name} (CPU {cpu})"),
            cpus => format!("{name} (CPUs {})", cpus.join(", ")),
        }
    });
    nodes.collect::<Vec<_>>().join(", ")
}

/// What the figures mean, and where the data is.
pub(super) fn foot() -> Markup {
    html! {
        footer {
            p {
                "All figures cover the measured phase. Quantiles are nearest-rank: of workloads over every completed request, "
                "of replicas within 6.25 %, half the width of a histogram's bucket (0.52 µs below 1.02 µs); their means are exact. Response time counts from the moment a request was due, "
                "so that a wait for a slow system is part of it. Time in a replica counts from the first byte of a request "
                "at its socket to the last byte of the answer, so that its wait for a CPU is part of it. One CPU in use for one "
                "second is one CPU second; waits of several tasks add up."
            }
            p { "The results stand in this file as JSON, in the element " code { (super::RESULT_ELEMENT) } "." }
        }
    }
}

//! The tables that the terminal and the page have in common: which figures, in which columns, in which words.

mod network;
mod system;

use galileo_analysis::breakdown::{Breakdown, Part};
use galileo_analysis::compare::Grouping;
use galileo_analysis::ledger::{Ledger, Unit};
use galileo_analysis::result::{BoundsSeconds, CpuResult};
use galileo_analysis::{Insight, Quantiles, RunResult};

use crate::numbers::{
    NO_BREAK, bytes, count, figure, measured, optional, optional_bytes, optional_count, percent,
};

pub(crate) use network::{interfaces, network};
pub(crate) use system::system;

/// A table of text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) caption: &'static str,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) head: &'static str,
    /// Set to the right, as figures are.
    pub(crate) figure: bool,
    /// Left out where space is short.
    pub(crate) extra: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
    /// A part of the row above it.
    pub(crate) sub: bool,
}

impl Table {
    fn new(caption: &'static str, columns: &[Column]) -> Self {
        Self {
            caption,
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    fn push(&mut self, cells: Vec<String>) {
        self.rows.push(Row { cells, sub: false });
    }

    /// Adds a row; `sub` if it is a part of the row above it.
    fn push_as(&mut self, sub: bool, cells: Vec<String>) {
        self.rows.push(Row { cells, sub });
    }
}

const fn text(head: &'static str) -> Column {
    Column {
        head,
        figure: false,
        extra: false,
    }
}

const fn number(head: &'static str) -> Column {
    Column {
        head,
        figure: true,
        extra: false,
    }
}

const fn extra(head: &'static str) -> Column {
    Column {
        head,
        figure: true,
        extra: true,
    }
}

/// CPU and network of each replica.
pub(crate) fn usage(result: &RunResult, insight: &Insight) -> Table {
    let mut table = Table::new(
        "What each replica used in the measured phase",
        &[
            text("replica"),
            text("node"),
            number("requests"),
            number("CPU s"),
            number("CPUs"),
            extra("limit"),
            number("CPU ms/req"),
            number("received"),
            number("sent"),
        ],
    );
    for (figures, beside) in result.services.values().zip(&insight.services) {
        for (figures, beside) in figures.replicas.iter().zip(&beside.replicas) {
            table.push(vec![
                figures.name.clone(),
                figures.node.clone(),
                optional_count(figures.exchanges),
                optional(figures.cpu_seconds),
                optional(beside.cpus),
                optional(beside.cpu_limit),
                optional(figures.cpu_ms_per_request),
                optional_bytes(figures.rx_bytes),
                optional_bytes(figures.tx_bytes),
            ]);
        }
    }
    table
}

/// Response and service times of each workload.
pub(crate) fn times(result: &RunResult) -> Table {
    let mut table = Table::new(
        "Times of completed requests in ms, counted from the moment each was due and from the first byte sent",
        &[
            text("workload"),
            text("from"),
            number("req/s"),
            number("mean"),
            number("p50"),
            number("p90"),
            number("p99"),
            number("p99.9"),
            number("max"),
        ],
    );
    for workload in &result.workloads {
        let mut due = vec![
            workload.name.clone(),
            "due".to_owned(),
            optional(workload.achieved_rps),
        ];
        due.extend(quantiles(workload.response_ms));
        table.push(due);
        let mut sent = vec![String::new(), "sent".to_owned(), String::new()];
        sent.extend(quantiles(workload.service_ms));
        table.push_as(true, sent);
    }
    table
}

fn quantiles(quantiles: Option<Quantiles>) -> [String; 6] {
    let at = |figure: fn(Quantiles) -> f64| optional(quantiles.map(figure));
    [
        at(|q| q.mean),
        at(|q| q.p50),
        at(|q| q.p90),
        at(|q| q.p99),
        at(|q| q.p999),
        at(|q| q.max),
    ]
}

/// Where the mean response time went.
pub(crate) fn parts(insight: &Insight) -> Table {
    let mut table = Table::new(
        "Where the mean response time went, in ms",
        &[
            text("workload"),
            text("node"),
            number("requests"),
            number("to be sent"),
            number("to balancer"),
            number("between"),
            number("in replica"),
            number("whole"),
        ],
    );
    let cells = |name: String, node: String, breakdown: &Breakdown| {
        let part = |part: Part| {
            optional(
                breakdown
                    .parts
                    .iter()
                    .find(|time| time.part == part)
                    .map(|time| time.ms.mean),
            )
        };
        let mut cells = vec![name, node, count(breakdown.requests)];
        cells.extend(Part::ALL.map(part));
        cells.push(figure(breakdown.response_ms.mean));
        cells
    };
    for workload in &insight.workloads {
        if let Some(breakdown) = &workload.breakdown {
            table.push(cells(workload.name.clone(), String::new(), breakdown));
            for replica in &workload.by_replica {
                table.push_as(
                    true,
                    cells(
                        replica.replica.clone(),
                        replica.node.clone(),
                        &replica.breakdown,
                    ),
                );
            }
        }
    }
    table
}

/// Each service, place by place.
pub(crate) fn places(insight: &Insight) -> Table {
    let compared = || {
        insight
            .comparisons
            .iter()
            .filter(|comparison| comparison.places.len() > 1)
    };
    let place = match (
        compared().any(|comparison| comparison.by == Grouping::Node),
        compared().any(|comparison| comparison.by == Grouping::Replica),
    ) {
        (true, false) => "node",
        (false, true) => "replica",
        _ => "place",
    };
    let mut table = Table::new(
        "Each service by place: per request the CPU time used and waited for, and the time in the replica, in ms, its quantiles within 6.25 %",
        &[
            text("service"),
            text(place),
            number("requests"),
            number("CPU"),
            number("waited"),
            extra("for others"),
            number("mean"),
            number("p50"),
            extra("p90"),
            number("p99"),
            number("p99.9"),
        ],
    );
    for comparison in compared() {
        let seen = comparison
            .places
            .iter()
            .filter(|place| place.cpu_seconds.is_some() || place.service_ms.is_some());
        for (index, place) in seen.enumerate() {
            let at = |figure: fn(Quantiles) -> f64| optional(place.service_ms.map(figure));
            let cells = vec![
                if index == 0 {
                    comparison.service.clone()
                } else {
                    String::new()
                },
                place.name.clone(),
                optional_count(place.exchanges),
                optional(place.cpu_ms_per_request),
                optional(place.wait_ms_per_request),
                optional(place.disturbed_ms_per_request),
                at(|q| q.mean),
                at(|q| q.p50),
                at(|q| q.p90),
                at(|q| q.p99),
                at(|q| q.p999),
            ];
            table.push_as(index > 0, cells);
        }
    }
    table
}

/// What each replica waited for.
pub(crate) fn waits(result: &RunResult) -> Table {
    let mut table = Table::new(
        "Time each replica waited for a CPU in s, by what it waited for, and its single waits in ms, within 6.25 %",
        &[
            text("replica"),
            text("node"),
            number("others"),
            number("own tasks"),
            number("CPU limit"),
            number("unknown"),
            number("wait p50"),
            number("wait p99"),
            extra("wait max"),
        ],
    );
    let seen = result
        .replicas()
        .filter(|replica| replica.waits_seconds.is_some() || replica.runq_wait_ms.is_some());
    for replica in seen {
        let waits = replica.waits_seconds;
        table.push(vec![
            replica.name.clone(),
            replica.node.clone(),
            optional(waits.map(|waits| waits.other_cgroups)),
            optional(waits.map(|waits| waits.own_tasks)),
            optional(waits.map(|waits| waits.cpu_limit)),
            optional(waits.map(|waits| waits.unexplained)),
            optional(replica.runq_wait_ms.map(|wait| wait.p50)),
            optional(replica.runq_wait_ms.map(|wait| wait.p99)),
            optional(replica.runq_wait_ms.map(|wait| wait.max)),
        ]);
        // A limit's part is known within bounds only, and so is what it leaves to others.
        let bounds = waits.and_then(|waits| waits.bounds);
        if let Some(bounds) = bounds.filter(|bounds| !bounds.are_exact()) {
            let mut push = |name: &str, end: fn(BoundsSeconds) -> f64| {
                let mut cells = vec![String::new(); table.columns.len()];
                name.clone_into(&mut cells[0]);
                cells[2] = figure(end(bounds.other_cgroups));
                cells[4] = figure(end(bounds.cpu_limit));
                table.push_as(true, cells);
            };
            push("at least", |bounds| bounds.low);
            push("at most", |bounds| bounds.high);
        }
    }
    table
}

/// What each CPU did, and what was taken from whatever it did; of more than `most` CPUs those first of which most was taken.
pub(crate) fn cpus(result: &RunResult, most: usize) -> Table {
    // A column that has no figure is no use where space is short: a sentence tells why.
    let number_if = |head, of: fn(&CpuResult) -> Option<f64>| {
        if result.cpus.iter().any(|cpu| of(cpu).is_some()) {
            number(head)
        } else {
            extra(head)
        }
    };
    let ranked = result.cpus.len() > most;
    let mut table = Table::new(
        if ranked {
            "What each CPU did in the measured phase, in s: time watched, idle and the rest for cgroups, and of these what interrupts, softirqs and a hypervisor (steal) took; those CPUs first of which these three took most"
        } else {
            "What each CPU did in the measured phase, in s: time watched, idle and the rest for cgroups, and of these what interrupts, softirqs and a hypervisor (steal) took"
        },
        &[
            text("CPU"),
            number_if("watched", |cpu| cpu.watched_seconds),
            number_if("idle", |cpu| cpu.idle_seconds),
            number_if("cgroups", |cpu| cpu.cgroups_seconds),
            extra("unassigned"),
            number_if("interrupts", |cpu| cpu.irq_seconds),
            number_if("softirqs", |cpu| cpu.softirq_seconds),
            number_if("steal", |cpu| cpu.steal_seconds),
        ],
    );
    let mut cpus: Vec<&CpuResult> = result.cpus.iter().collect();
    if ranked {
        let sum = |figures: &[Option<f64>]| figures.iter().flatten().sum::<f64>();
        let taken =
            |cpu: &CpuResult| sum(&[cpu.irq_seconds, cpu.softirq_seconds, cpu.steal_seconds]);
        let cgroups = |cpu: &CpuResult| sum(&[cpu.cgroups_seconds]);
        cpus.sort_by(|one, other| {
            taken(other)
                .total_cmp(&taken(one))
                .then(cgroups(other).total_cmp(&cgroups(one)))
        });
    }
    for cpu in cpus {
        table.push(vec![
            cpu.cpu.to_string(),
            measured(cpu.watched_seconds),
            measured(cpu.idle_seconds),
            measured(cpu.cgroups_seconds),
            measured(cpu.unassigned_seconds),
            measured(cpu.irq_seconds),
            measured(cpu.softirq_seconds),
            measured(cpu.steal_seconds),
        ]);
    }
    table
}

/// The longest waits by pair.
pub(crate) fn disturbances(insight: &Insight, most: usize) -> Table {
    let mut table = Table::new(
        "Who waited for a CPU while whom it was given to, in s",
        &[
            text("who waited"),
            text("for whom"),
            number("s"),
            number("of all"),
        ],
    );
    for disturbance in insight
        .disturbances
        .iter()
        .filter(|disturbance| disturbance.is_replica)
        .take(most)
    {
        for (index, (aggressor, seconds)) in disturbance.aggressors.iter().take(3).enumerate() {
            let cells = vec![
                if index == 0 {
                    disturbance.victim.clone()
                } else {
                    String::new()
                },
                aggressor.clone(),
                figure(*seconds),
                percent(seconds / disturbance.wait_seconds),
            ];
            table.push_as(index > 0, cells);
        }
    }
    table
}

/// What each eBPF program cost.
pub(crate) fn programs(result: &RunResult) -> Table {
    let mut table = Table::new(
        "What each eBPF program of Galileo cost in the measured phase, with what it calls",
        &[
            text("program"),
            number("runs"),
            number("s"),
            number("ns/run"),
            number("of all"),
        ],
    );
    let own = &result.own_cost;
    let all = own.probe_seconds.unwrap_or(0.0);
    for program in own.programs.iter().flatten() {
        table.push(vec![
            program.name.clone(),
            count(program.runs),
            figure(program.seconds),
            figure(program.seconds * 1e9 / program.runs as f64),
            percent(program.seconds / all),
        ]);
    }
    table
}

/// The kernel's memory by what it is for.
pub(crate) fn kernel_memory(result: &RunResult) -> Table {
    let mut table = Table::new(
        "The kernel's memory of the probes' maps, by what they are for",
        &[text("feature"), number("memory")],
    );
    for (feature, size) in result.own_cost.kernel_bytes.iter().flatten() {
        table.push(vec![feature.clone(), bytes(*size)]);
    }
    table
}

/// A ledger as an equation.
pub(crate) fn equation(ledger: &Ledger) -> String {
    let value = |value: f64| match ledger.unit {
        Unit::Count => count(value as u64),
        Unit::Seconds => format!("{value:.3}{NO_BREAK}s"),
    };
    let parts: Vec<String> = ledger
        .parts
        .iter()
        .map(|part| format!("{} {}", value(part.value), part.name))
        .collect();
    let sign = match (ledger.unit, ledger.holds) {
        (Unit::Count, true) => "=",
        (Unit::Seconds, true) => "≈",
        (_, false) => "≠",
    };
    let allowed: Vec<String> = ledger
        .allowed
        .iter()
        .map(|part| format!("{} {}", value(part.value), part.name))
        .collect();
    let allowed = if allowed.is_empty() {
        String::new()
    } else {
        format!(", give or take {}", allowed.join(" + "))
    };
    format!(
        "{} {} {sign} {}{allowed}",
        value(ledger.whole.value),
        ledger.whole.name,
        parts.join(" + ")
    )
}

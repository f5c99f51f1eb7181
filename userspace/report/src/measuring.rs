//! What is told of the measuring itself, in sentences: what its figures contain, what it cost, and what it lost.

use std::collections::BTreeMap;

use galileo_analysis::result::{CpuResult, TakenOffResult};
use galileo_analysis::{Insight, RunResult};
use galileo_wire::Capture;

use crate::numbers::{bytes, count, with_unit};
use crate::sentences::{list, sentence};

/// How the table of CPUs bears on that of waits, in sentences.
pub(crate) fn taken(result: &RunResult, capture: &Capture) -> String {
    let measured =
        |of: fn(&CpuResult) -> Option<f64>| result.cpus.iter().any(|cpu| of(cpu).is_some());
    if result.cpus.is_empty() {
        return "What interrupts, softirqs and steal took of the CPUs was not measured.".to_owned();
    }
    let mut sentences = Vec::new();
    if measured(|cpu| cpu.softirq_seconds) {
        if capture.machine.arch.starts_with("x86") {
            sentences.push(
                "Interrupts are without the local timer's and those between CPUs.".to_owned(),
            );
        }
    } else {
        let why = why_no_interrupts(capture);
        sentences.push(format!("Interrupts and softirqs were not measured: {why}."));
    }
    sentences.push(
        "Interrupts, softirqs and steal count for whoever had the CPU meanwhile, here and in waits for it, not for who caused \
         them."
            .to_owned(),
    );
    sentences.push(
        if measured(|cpu| cpu.steal_seconds) {
            "Steal is told in ticks of 10\u{a0}ms."
        } else {
            "Steal was not measured: where /proc/stat has told none since boot, a hypervisor may take some and not tell."
        }
        .to_owned(),
    );
    let unassigned: f64 = result
        .cpus
        .iter()
        .filter_map(|cpu| cpu.unassigned_seconds)
        .sum();
    // Less does not show in any figure of the table.
    if unassigned >= 0.000_5 {
        sentences.push(format!(
            "Of the time watched, {} of all CPUs went to tasks whose cgroup is not known: unassigned.",
            with_unit(unassigned, "s")
        ));
    }
    sentences.join(" ")
}

/// What the kernel takes off its account of CPU time, beside which that of the probes is held, in a sentence.
pub(crate) fn accounting(result: &RunResult) -> Option<String> {
    let accounting = result.accounting.as_ref()?;
    let fate = |of: &TakenOffResult| {
        let fate = match of.taken_off {
            Some(true) => "taken off",
            Some(false) => "left in",
            None => "not known to be taken off",
        };
        format!("{fate} ({})", of.how)
    };
    Some(format!(
        "The kernel's account of CPU time: interrupts are {}; steal is {}. The probes leave both in.",
        fate(&accounting.interrupts),
        fate(&accounting.steal)
    ))
}

/// So many are named in a sentence.
const NAMED: usize = 3;
/// Who waited for a smaller part of all waits is not named: short-lived cgroups of others come and go by the dozen.
const LEAST_PART: f64 = 0.01;

/// Who may have been held by a CPU limit that could not be read, in a sentence; none if nobody.
pub(crate) fn limits_not_known(result: &RunResult) -> Option<String> {
    let all: f64 = result
        .interference
        .iter()
        .map(|pair| pair.wait_seconds)
        .sum();
    let mut waits: BTreeMap<&str, f64> = BTreeMap::new();
    let unknown = result
        .interference
        .iter()
        .filter(|pair| pair.limit_known == Some(false));
    for pair in unknown {
        *waits.entry(&pair.victim).or_default() += pair.wait_seconds;
    }
    let mut waits: Vec<(&str, f64)> = waits.into_iter().collect();
    waits.retain(|(_, seconds)| *seconds >= LEAST_PART * all);
    waits.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let victims: Vec<&str> = waits.into_iter().map(|(victim, _)| victim).collect();
    let mut names: Vec<String> = victims
        .iter()
        .take(NAMED)
        .map(|victim| (*victim).to_owned())
        .collect();
    if victims.len() > NAMED {
        names.push(format!("{} more", victims.len() - NAMED));
    }
    (!names.is_empty()).then(|| {
        format!(
            "Limit not known: whether a CPU limit held {} could not be read, so some of what they waited for others may be \
             their limit's.",
            list(&names)
        )
    })
}

fn why_no_interrupts(capture: &Capture) -> &'static str {
    let watched = capture.cpus.iter().any(|cpu| cpu.watched_ns.is_some());
    if capture.asked_interrupts {
        "they were asked for, and why they are not seen is told at the top"
    } else if !watched && !probes_saw(capture) {
        "no probes watched"
    } else if capture.file.is_empty() {
        "'galileo record --interrupts' asks for them"
    } else {
        "'telemetry: {interrupts: true}' in the experiment file asks for them"
    }
}

/// Whether anything of any replica is known that only probes tell.
fn probes_saw(capture: &Capture) -> bool {
    let replicas = capture
        .services
        .values()
        .flat_map(|service| &service.replicas);
    replicas
        .filter_map(|replica| replica.usage.as_ref())
        .any(|usage| usage.waits.is_some() || usage.rx_bytes.is_some() || usage.exchanges.is_some())
}

/// What watching cost, in a sentence.
pub(crate) fn cost(result: &RunResult, insight: &Insight, capture: &Capture) -> String {
    let own = &result.own_cost;
    let services: f64 = insight
        .services
        .iter()
        .filter_map(|service| service.cpu_seconds)
        .sum();
    let mut text = format!(
        "Galileo itself (load, balancer, recording) used {} of CPU",
        with_unit(own.cpu_seconds, "s")
    );
    if let Some(seconds) = insight.measured_seconds {
        text += &format!(", {}", with_unit(own.cpu_seconds / seconds, "CPUs"));
    }
    if services > 0.0 {
        text += &format!(", beside {} of the services", with_unit(services, "s"));
    }
    text += &match (own.probe_runs, own.probe_seconds) {
        (Some(runs), Some(seconds)) if runs > 0 => format!(
            "; its probes ran {} times for {} altogether, {} each",
            count(runs),
            with_unit(seconds, "s"),
            with_unit(seconds * 1e9 / runs as f64, "ns")
        ),
        (Some(_), Some(_)) => "; its probes did not run".to_owned(),
        _ if !probes_saw(capture) => "; no probes watched".to_owned(),
        _ => "; the kernel did not count the runs of its probes (kernel.bpf_stats_enabled is 0)"
            .to_owned(),
    };
    sentence(&text)
}

/// Programs that are told in a sentence; the page has all.
const DEAREST: usize = 3;

/// Which programs took most of the probes' time, in a sentence; none if that is not known.
pub(crate) fn dearest(result: &RunResult) -> Option<String> {
    let programs = result.own_cost.programs.as_ref()?;
    let each: Vec<String> = programs
        .iter()
        .take(DEAREST)
        .map(|program| {
            format!(
                "{} with {} in {} runs",
                program.name,
                with_unit(program.seconds, "s"),
                count(program.runs)
            )
        })
        .collect();
    (!each.is_empty()).then(|| format!("The dearest of them: {}.", list(&each)))
}

/// What memory watching took, in a sentence; none if that is not known.
pub(crate) fn memory(result: &RunResult) -> Option<String> {
    let own = &result.own_cost;
    let process = own
        .rss_bytes
        .map(|rss| format!("{} of Galileo's process", bytes(rss)));
    let kernel = own.kernel_bytes.as_ref().map(|by_feature| {
        let socket = own.per_socket_bytes.map_or_else(String::new, |socket| {
            format!(", and {} for each TCP socket with traffic", bytes(socket))
        });
        format!(
            "{} of the kernel's for the maps of its probes{socket}",
            bytes(by_feature.values().sum())
        )
    });
    let clauses: Vec<String> = process.into_iter().chain(kernel).collect();
    (!clauses.is_empty()).then(|| sentence(&format!("Memory at the end: {}", clauses.join("; "))))
}

/// What is not plain or not certain of the requests that replicas answered, in sentences; none if there is no such.
pub(crate) fn flagged(result: &RunResult) -> Option<String> {
    let replicas = result.replicas();
    let each: Vec<String> = replicas
        .filter_map(|replica| {
            let flags = replica.exchanges_by_flag.as_ref()?;
            let flags: Vec<String> = flags
                .iter()
                .map(|(flag, exchanges)| format!("{} {flag}", count(*exchanges)))
                .collect();
            (!flags.is_empty()).then(|| format!("{} of {}", list(&flags), replica.name))
        })
        .collect();
    let mut sentences = Vec::new();
    if !each.is_empty() {
        sentences.push(format!(
            "Not plain or not certain of what the kernel saw of requests (docs/exchanges.md tells what each means): {}.",
            each.join("; ")
        ));
    }
    // Runs of before tell no flags by replica.
    if result.uncertain > 0 {
        sentences.push(format!(
            "{} completed requests match one that is resumed: its answer may be another one's, so where their time was spent is \
             not known.",
            count(result.uncertain)
        ));
    }
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

/// How switches that the kernel hid bear on the figures, in a sentence; none if there were none.
pub(crate) fn hidden(result: &RunResult) -> Option<String> {
    let noticed = |kind: &str| result.noticed.get(kind).copied().filter(|count| *count > 0);
    let switches = noticed("switch_unseen")?;
    let mut text = format!(
        "Switches that the kernel hid (switch_unseen): {} at least, each time what one task ran counts for another, here and in who \
         held a CPU, and the wait of the other is not counted",
        count(switches)
    );
    if let Some(waits) = noticed("wait_unassigned") {
        text += &format!(
            ". Other waits that are counted nowhere, as it is not known whose they were (wait_unassigned): {}",
            count(waits)
        );
    }
    Some(sentence(&text))
}

/// Kinds that a sum of the run has, so that they need no mention.
const SUMMED: [&str; 4] = [
    "exchanges_attempted",
    "exchanges_seen",
    "connections_attempted",
    "connections_seen",
];

/// What was counted besides and is no loss, in a sentence; none if there was nothing.
pub(crate) fn noticed(result: &RunResult) -> Option<String> {
    let noticed: Vec<String> = result
        .noticed
        .iter()
        .filter(|(kind, count)| **count > 0 && !SUMMED.contains(&kind.as_str()))
        .map(|(kind, noticed)| format!("{} {kind}", count(*noticed)))
        .collect();
    (!noticed.is_empty()).then(|| {
        format!(
            "Noticed besides, and no loss: {} (docs/losses.md tells what each means).",
            list(&noticed)
        )
    })
}

/// What was lost, in a sentence.
pub(crate) fn losses(result: &RunResult) -> String {
    let lost: Vec<String> = result
        .losses
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(kind, lost)| format!("{} ({kind})", count(*lost)))
        .collect();
    let mut text = if !lost.is_empty() {
        format!("Lost: {}.", list(&lost))
    } else if result.losses.is_empty() {
        "No losses were counted.".to_owned()
    } else {
        format!(
            "Nothing was lost ({} kinds of loss are counted).",
            result.losses.len()
        )
    };
    if result.not_stored > 0 {
        text += &format!(
            " {} exchanges are in the counts but not stored one by one, by the run's limit.",
            count(result.not_stored)
        );
    }
    text
}

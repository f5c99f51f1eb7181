//! Sums that must hold, checked: what went in is what came out.

use galileo_wire::Capture;
use galileo_wire::capture::Usage;

use crate::join::Joined;
use crate::result::RunResult;
use crate::seconds;
use crate::services::waited_ns;

/// One sum: the first term equals the sum of the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    /// What it is about: a workload, a replica, or `all workloads`.
    pub subject: String,
    /// What its terms count.
    pub unit: Unit,
    /// The whole.
    pub whole: Term,
    /// What adds up to it.
    pub parts: Vec<Term>,
    /// Whether it does: exactly for counts; within 1 % or 5 ms for times, which two observers took.
    pub holds: bool,
}

/// What a ledger's terms count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Seconds.
    Seconds,
}

/// A named figure of a ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// What it is.
    pub name: String,
    /// How much.
    pub value: f64,
}

/// All ledgers of a run.
#[must_use]
pub fn ledgers(capture: &Capture, result: &RunResult, joined: &Joined<'_>) -> Vec<Ledger> {
    let mut ledgers = Vec::new();
    for workload in &result.workloads {
        ledgers.push(counts(
            &workload.name,
            ("intended", workload.intended),
            &[("sent", workload.sent), ("dropped", workload.dropped)],
        ));
        ledgers.push(counts(
            &workload.name,
            ("sent", workload.sent),
            &[
                ("completed", workload.completed),
                ("failed", workload.failed),
                ("unfinished", workload.unfinished),
            ],
        ));
    }
    // Where no exchange could be seen there is nothing to hold the traces against, and the report says so elsewhere.
    let seen = result.joined > 0 || usages(capture).any(|(_, usage)| usage.exchanges.is_some());
    if !result.workloads.is_empty() && seen {
        let completed = result
            .workloads
            .iter()
            .map(|workload| workload.completed)
            .sum();
        let mut parts = vec![("joined with one exchange", result.joined)];
        // These two are gaps: naming them must not close the ledger.
        let gaps = [
            ("with none", joined.unmatched.len() as u64),
            ("with several", joined.ambiguous.len() as u64),
        ];
        parts.extend(gaps.into_iter().filter(|(_, count)| *count > 0));
        let mut ledger = counts("all workloads", ("completed", completed), &parts);
        ledger.holds = completed == result.joined;
        ledgers.push(ledger);
    }
    for (replica, usage) in usages(capture) {
        if let Some(accounted) = usage.accounted_cpu_ns {
            ledgers.push(times(
                &replica,
                ("CPU by the probes", usage.cpu_ns),
                ("by the kernel's accounting", accounted),
                steal_slack_ns(usage),
            ));
        }
        if let (Some(waited), Some(histogram)) = (waited_ns(usage), &usage.runq_wait) {
            ledgers.push(times(
                &replica,
                ("waited for a CPU", histogram.sum_ns),
                ("by cause", waited),
                0,
            ));
        }
    }
    ledgers
}

fn usages(capture: &Capture) -> impl Iterator<Item = (String, &Usage)> {
    capture.services.iter().flat_map(|(service, deployed)| {
        deployed.replicas.iter().filter_map(move |replica| {
            replica
                .usage
                .as_ref()
                .map(|usage| (format!("{service}/{}", replica.name), usage))
        })
    })
}

fn counts(subject: &str, whole: (&str, u64), parts: &[(&str, u64)]) -> Ledger {
    let term = |(name, count): (&str, u64)| Term {
        name: name.to_owned(),
        value: count as f64,
    };
    Ledger {
        subject: subject.to_owned(),
        unit: Unit::Count,
        whole: term(whole),
        parts: parts.iter().copied().map(term).collect(),
        holds: whole.1 == parts.iter().map(|(_, count)| count).sum::<u64>(),
    }
}

/// By how much the probes' CPU time may exceed the kernel's because a hypervisor took the CPU away: what is known of that,
/// and the step in which it is known.
fn steal_slack_ns(usage: &Usage) -> u64 {
    const STEP_NS: u64 = 10_000_000;
    match usage.stolen_ns {
        Some(stolen) if stolen > 0 => stolen + STEP_NS,
        _ => 0,
    }
}

fn times(subject: &str, whole: (&str, u64), part: (&str, u64), slack_ns: u64) -> Ledger {
    let term = |(name, ns): (&str, u64)| Term {
        name: name.to_owned(),
        value: seconds(ns),
    };
    let apart = whole.1.abs_diff(part.1);
    Ledger {
        subject: subject.to_owned(),
        unit: Unit::Seconds,
        whole: term(whole),
        parts: vec![term(part)],
        holds: apart <= slack_ns + (whole.1.max(part.1) / 100).max(5_000_000),
    }
}

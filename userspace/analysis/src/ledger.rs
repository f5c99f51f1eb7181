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
    /// What it took, beyond 1 % or 5 ms, for two observers of a time to agree, or would not have sufficed: by how much they may be
    /// apart although neither is wrong, at most, by cause.
    pub allowed: Vec<Term>,
    /// Whether it does: exactly for counts; for times, which two observers took, within 1 % or 5 ms and what is allowed.
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
        // These are gaps: naming them must not close the ledger.
        let gaps = [
            ("with none", joined.unmatched.len() as u64),
            ("with several", joined.ambiguous.len() as u64),
            ("with one whose answer may be another's", joined.uncertain()),
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
                &allowed(usage, accounted),
            ));
        }
        if let (Some(waited), Some(histogram)) = (waited_ns(usage), &usage.runq_wait) {
            ledgers.push(times(
                &replica,
                ("waited for a CPU", histogram.sum_ns),
                ("by cause", waited),
                &[],
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
        allowed: Vec::new(),
        holds: whole.1 == parts.iter().map(|(_, count)| count).sum::<u64>(),
    }
}

/// By how much the probes' CPU time may be apart from the kernel's, in the direction in which it is.
fn allowed(usage: &Usage, accounted_ns: u64) -> Vec<(&'static str, u64)> {
    const READINGS: &str = "between their readings";
    const PREEMPTIONS: &str = "from wake-ups to the switches they asked for";
    const STEAL: &str = "of steal";
    let more = usage.cpu_ns > accounted_ns;
    match &usage.apart {
        Some(apart) if more => vec![
            (READINGS, apart.end_ns),
            (PREEMPTIONS, apart.preempted_ns),
            (STEAL, apart.steal_ns),
            ("of interrupts", apart.interrupts_ns),
        ],
        Some(apart) => vec![
            (READINGS, apart.begin_ns),
            (PREEMPTIONS, apart.preempting_ns),
        ],
        // A capture of before this was known: steal is told in steps of 10 ms.
        None => match usage.stolen_ns {
            Some(stolen) if more && stolen > 0 => vec![(STEAL, stolen + 10_000_000)],
            _ => Vec::new(),
        },
    }
}

fn times(subject: &str, whole: (&str, u64), part: (&str, u64), allowed: &[(&str, u64)]) -> Ledger {
    let term = |(name, ns): (&str, u64)| Term {
        name: name.to_owned(),
        value: seconds(ns),
    };
    let beyond_ns = whole
        .1
        .abs_diff(part.1)
        .saturating_sub((whole.1.max(part.1) / 100).max(5_000_000));
    Ledger {
        subject: subject.to_owned(),
        unit: Unit::Seconds,
        whole: term(whole),
        parts: vec![term(part)],
        allowed: allowed
            .iter()
            .copied()
            .filter(|(_, ns)| beyond_ns > 0 && *ns > 0)
            .map(term)
            .collect(),
        holds: beyond_ns <= allowed.iter().map(|(_, ns)| ns).sum(),
    }
}

#[cfg(test)]
mod tests {
    use galileo_wire::capture::Apart;

    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    /// Two observers of about a second, of which 10 ms are 1 %.
    fn ledger(cpu_ms: u64, apart: Option<Apart>, stolen_ms: u64) -> Ledger {
        let usage = Usage {
            cpu_ns: cpu_ms * MILLISECOND,
            apart,
            stolen_ns: Some(stolen_ms * MILLISECOND),
            ..Usage::default()
        };
        let accounted = 1_000 * MILLISECOND;
        times(
            "web/web-0",
            ("CPU by the probes", usage.cpu_ns),
            ("by the kernel's accounting", accounted),
            &allowed(&usage, accounted),
        )
    }

    fn names(ledger: &Ledger) -> Vec<&str> {
        ledger.allowed.iter().map(|term| &*term.name).collect()
    }

    #[test]
    fn what_the_account_may_lack_is_allowed_in_that_direction_only_and_told() {
        let apart = Apart {
            begin_ns: 4 * MILLISECOND,
            end_ns: 2 * MILLISECOND,
            preempting_ns: 3 * MILLISECOND,
            preempted_ns: MILLISECOND,
            steal_ns: 20 * MILLISECOND,
            interrupts_ns: 0,
        };
        let more = ledger(1_033, Some(apart), 0);
        assert!(more.holds);
        assert_eq!(
            names(&more),
            [
                "between their readings",
                "from wake-ups to the switches they asked for",
                "of steal"
            ]
        );
        assert!(!ledger(1_034, Some(apart), 0).holds);
        // Neither steal nor what ran at the end makes the account say more.
        let less = ledger(983, Some(apart), 0);
        assert!(less.holds);
        assert_eq!(
            names(&less),
            [
                "between their readings",
                "from wake-ups to the switches they asked for"
            ]
        );
        assert!(!ledger(982, Some(apart), 0).holds);
    }

    #[test]
    fn nothing_is_told_where_nothing_was_needed() {
        let apart = Apart {
            steal_ns: 20 * MILLISECOND,
            ..Apart::default()
        };
        let agreed = ledger(1_009, Some(apart), 10);
        assert!(agreed.holds && agreed.allowed.is_empty());
    }

    #[test]
    fn captures_of_before_know_of_steal_alone() {
        assert!(ledger(1_028, None, 10).holds);
        assert!(!ledger(1_028, None, 0).holds);
    }
}

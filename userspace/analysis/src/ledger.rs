//! Sums that must hold, checked: what went in is what came out.

mod apart;

use galileo_wire::Capture;
use galileo_wire::capture::{Closed, Usage};
use serde::{Deserialize, Serialize};

use crate::join::Joined;
use crate::result::WorkloadResult;
use crate::seconds;
use crate::services::waited_ns;

/// One sum: the first term equals the sum of the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Which sum it is.
    pub sum: Sum,
    /// What it is about: a workload, a replica, `all workloads`, `all CPUs`, or `the run`.
    pub subject: String,
    /// What its terms count.
    pub unit: Unit,
    /// The whole.
    pub whole: Term,
    /// What adds up to it.
    pub parts: Vec<Term>,
    /// What it took, beyond 1 % or 5 ms, for two observers of a time to agree, or would not have sufficed: by how much they may be
    /// apart although neither is wrong, at most, by cause. Of requests: how many need not have been matched, if some were not.
    pub allowed: Vec<Term>,
    /// Whether it does: exactly for counts, but for what is allowed; for times, which two observers took, within 1 % (those of all
    /// CPUs within 0.5 %) or 5 ms and what is allowed.
    pub holds: bool,
}

/// The sums that are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sum {
    /// Requests of a workload that were due: sent and dropped.
    Intended,
    /// Requests of a workload that were sent: completed, failed and unfinished.
    Sent,
    /// Completed requests: matched with what the kernel saw of them.
    Matched,
    /// CPU time of a replica by the probes and by the kernel's own account.
    Cpu,
    /// Waits of a replica: their causes.
    Waits,
    /// Exchanges that ended: those whose record was handed to the ring, and those that found it full.
    Exchanges,
    /// The same of TCP connections.
    Connections,
    /// Time that the CPUs were watched: what ran for cgroups, and idle.
    Closure,
}

/// What a ledger's terms count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Things.
    Count,
    /// Seconds.
    Seconds,
}

/// A named figure of a ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// What it is.
    pub name: String,
    /// How much.
    pub value: f64,
}

impl Ledger {
    /// Why a run whose sum does not hold is not to be trusted, in a sentence; none if it holds.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        if self.holds {
            return None;
        }
        let value = |term: &Term| match self.unit {
            Unit::Count => format!("{}", term.value),
            Unit::Seconds => format!("{:.3} s", term.value),
        };
        let named = |term: &Term| format!("{} {}", value(term), term.name);
        let sum = |terms: &[Term]| terms.iter().map(named).collect::<Vec<_>>().join(" + ");
        if self.sum == Sum::Matched {
            let (whole, joined) = (
                value(&self.whole),
                self.parts.first().map_or_else(String::new, value),
            );
            return Some(format!(
                "Only {joined} of {whole} completed requests were matched with what the kernel saw of them (at least 99 % \
                 must be): where time was spent is not known of the others."
            ));
        }
        let meaning = match self.sum {
            Sum::Intended | Sum::Sent | Sum::Matched => {
                "requests are missing, or were counted twice"
            }
            Sum::Cpu => "one of the two observers is wrong",
            Sum::Waits => "what was waited for is not known of all",
            Sum::Exchanges | Sum::Connections => "some were lost and not counted",
            Sum::Closure => "it is not known what the CPUs did meanwhile",
        };
        let allowed = if self.allowed.is_empty() {
            String::new()
        } else {
            format!(", give or take {}", sum(&self.allowed))
        };
        Some(format!(
            "{}: {} are not {}{allowed}: {meaning}.",
            self.subject,
            named(&self.whole),
            sum(&self.parts)
        ))
    }
}

/// All ledgers of a run.
#[must_use]
pub fn ledgers(
    capture: &Capture,
    workloads: &[WorkloadResult],
    joined: &Joined<'_>,
) -> Vec<Ledger> {
    let mut ledgers = Vec::new();
    for workload in workloads {
        ledgers.push(counts(
            Sum::Intended,
            &workload.name,
            ("intended", workload.intended),
            &[("sent", workload.sent), ("dropped", workload.dropped)],
        ));
        ledgers.push(counts(
            Sum::Sent,
            &workload.name,
            ("sent", workload.sent),
            &[
                ("completed", workload.completed),
                ("failed", workload.failed),
                ("unfinished", workload.unfinished),
            ],
        ));
    }
    ledgers.extend(matched(capture, workloads, joined));
    for (replica, usage) in usages(capture) {
        if let Some(accounted) = usage.accounted_cpu_ns {
            ledgers.push(times(
                Sum::Cpu,
                &replica,
                ("CPU by the probes", usage.cpu_ns),
                ("by the kernel's accounting", accounted),
                &apart::allowed(usage, accounted),
            ));
        }
        if let (Some(waited), Some(histogram)) = (waited_ns(usage), &usage.runq_wait) {
            ledgers.push(times(
                Sum::Waits,
                &replica,
                ("waited for a CPU", histogram.sum_ns),
                ("by cause", waited),
                &[],
            ));
        }
    }
    if let Some(closure) = &capture.closure {
        ledgers.push(closed("all CPUs".to_owned(), &closure.whole));
        let subject = format!("all CPUs, worst of {} readings", closure.readings);
        ledgers.push(closed(subject, &closure.worst));
    }
    ledgers.extend(handed_on(
        capture,
        Sum::Exchanges,
        ("exchanges ended", "exchanges_attempted"),
        ("handed on", "exchanges_seen"),
        ("without room", "ring_full"),
    ));
    ledgers.extend(handed_on(
        capture,
        Sum::Connections,
        ("connections ended", "connections_attempted"),
        ("handed on", "connections_seen"),
        ("without room", "connection_ring_full"),
    ));
    ledgers
}

/// Where the kernel's side of exchanges was seen, it must be that of the requests. A few may lack it: the balancer may have tried one
/// twice.
fn matched(capture: &Capture, workloads: &[WorkloadResult], joined: &Joined<'_>) -> Option<Ledger> {
    let seen = usages(capture).any(|(_, usage)| usage.exchanges.is_some());
    if workloads.is_empty() || !seen {
        return None;
    }
    let completed: u64 = workloads.iter().map(|workload| workload.completed).sum();
    let mut parts = vec![("joined with one exchange", joined.joined())];
    // These are gaps: naming them must not close the ledger.
    let gaps = [
        ("with none", joined.unmatched.len() as u64),
        ("with several", joined.ambiguous.len() as u64),
        ("with one whose answer may be another's", joined.uncertain()),
    ];
    parts.extend(gaps.into_iter().filter(|(_, count)| *count > 0));
    let mut ledger = counts(
        Sum::Matched,
        "all workloads",
        ("completed", completed),
        &parts,
    );
    if joined.joined() < completed {
        ledger.holds = joined.joined() * 100 >= completed * 99;
        ledger.allowed = vec![count("that need not be (1 %)", completed / 100)];
    }
    Some(ledger)
}

/// What the probes tried to hand on: what was handed on and what found no room; none if that was not counted or there was nothing.
fn handed_on(
    capture: &Capture,
    sum: Sum,
    (whole, attempted): (&str, &str),
    (part, seen): (&str, &str),
    (rest, full): (&str, &str),
) -> Option<Ledger> {
    let attempted = *capture.noticed.get(attempted)?;
    let seen = *capture.noticed.get(seen)?;
    let lost = *capture.losses.get(full)?;
    (attempted + seen > 0).then(|| {
        let parts = [(part, seen), (rest, lost)];
        let mut ledger = counts(sum, "the run", (whole, attempted), &parts);
        // Of traffic that never pauses each CPU may be amid one when the counters are read.
        let amid = attempted.abs_diff(seen + lost);
        if !ledger.holds && amid <= u64::from(capture.machine.cpus) {
            ledger.holds = true;
            ledger.allowed = vec![count("under way when they were read", amid)];
        }
        ledger
    })
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

/// Whether the CPUs' time closes, but for that of tasks whose cgroup is not known yet, or has become known: a task that sleeps since
/// before the probes came is known when it leaves a CPU for the first time, with all it ran until then.
fn closed(subject: String, closed: &Closed) -> Ledger {
    let term = |name: &str, ns: i64| Term {
        name: name.to_owned(),
        value: ns as f64 / 1e9,
    };
    let is_plain = closed.missing_ns().abs() <= closed.allowed_ns();
    Ledger {
        sum: Sum::Closure,
        subject,
        unit: Unit::Seconds,
        whole: term("watched", closed.watched_ns),
        parts: vec![
            term("for cgroups", closed.cgroups_ns),
            term("idle", closed.idle_ns),
        ],
        allowed: if is_plain || closed.unassigned_ns == 0 {
            Vec::new()
        } else {
            let unassigned_ns = closed.unassigned_ns.abs();
            vec![term(
                "of tasks whose cgroup was not known yet",
                unassigned_ns,
            )]
        },
        holds: closed.lost_ns().abs() <= closed.allowed_ns(),
    }
}

fn count(name: &str, count: u64) -> Term {
    Term {
        name: name.to_owned(),
        value: count as f64,
    }
}

fn counts(sum: Sum, subject: &str, whole: (&str, u64), parts: &[(&str, u64)]) -> Ledger {
    let term = |(name, number)| count(name, number);
    Ledger {
        sum,
        subject: subject.to_owned(),
        unit: Unit::Count,
        whole: term(whole),
        parts: parts.iter().copied().map(term).collect(),
        allowed: Vec::new(),
        holds: whole.1 == parts.iter().map(|(_, count)| count).sum::<u64>(),
    }
}

fn times(
    sum: Sum,
    subject: &str,
    whole: (&str, u64),
    part: (&str, u64),
    allowed: &[(&str, u64)],
) -> Ledger {
    let term = |(name, ns): (&str, u64)| Term {
        name: name.to_owned(),
        value: seconds(ns),
    };
    let beyond_ns = whole
        .1
        .abs_diff(part.1)
        .saturating_sub((whole.1.max(part.1) / 100).max(5_000_000));
    Ledger {
        sum,
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

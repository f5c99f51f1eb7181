//! Whether everything adds up, and what the programs cost.

use galileo_probes::{Ledger, Snapshot};

use crate::report::Report;

/// `seen`: exchanges that were read.
pub(crate) fn check(used: &Snapshot, seen: u64) {
    let count = |kind| used.ledger.get(&kind).copied().unwrap_or(0);
    let (attempted, handed, full) = (
        count(Ledger::ExchangesAttempted),
        count(Ledger::ExchangesSeen),
        count(Ledger::RingFull),
    );
    Report::check(
        "exchanges attempted are those seen and those for which the ring was full",
        attempted == handed + full && handed == seen,
        &format!("{attempted} attempted, {handed} handed over, {full} ring full, {seen} read"),
    );
    let lost: Vec<_> = used
        .ledger
        .iter()
        .filter(|(kind, count)| kind.is_loss() && **count > 0)
        .map(|(kind, count)| format!("{} {count}", kind.as_str()))
        .collect();
    Report::check("nothing is lost", lost.is_empty(), &lost.join(", "));
    for program in used.programs.iter().filter(|program| program.runs > 0) {
        Report::cost(program);
    }
}

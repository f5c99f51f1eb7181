//! Why a run is not to be trusted.

use galileo_wire::{Capture, Phase, Trace};

use crate::ledger::Ledger;
use crate::result::WorkloadResult;

/// All reasons, in sentences that name the figure; none for a good run.
#[must_use]
pub fn reasons(
    capture: &Capture,
    workloads: &[WorkloadResult],
    traces: &[Trace],
    ledgers: &[Ledger],
) -> Vec<String> {
    let mut reasons = capture.problems.clone();
    let measured = capture.window(Phase::Measured).is_some();
    if !measured {
        reasons.push("The measured phase never began.".to_owned());
    } else if capture.partial {
        reasons.push(
            "The run ended before its plan did; the figures cover what was measured until then."
                .to_owned(),
        );
    }
    for workload in workloads {
        reasons.extend(off_schedule(workload));
        reasons.extend(without_trace(capture, workload));
        if measured && workload.intended == 0 {
            reasons.push(format!(
                "{}: no request was due in the measured phase.",
                workload.name
            ));
        }
    }
    reasons.extend(ledgers.iter().filter_map(Ledger::reason));
    let strangers = traces
        .iter()
        .filter(|trace| trace.workload as usize >= capture.workloads.len())
        .count();
    if strangers > 0 {
        reasons.push(format!(
            "{strangers} traces belong to no workload of this run; they are not counted."
        ));
    }
    reasons.extend(
        capture
            .losses
            .iter()
            .filter(|(_, lost)| **lost > 0)
            .map(|(kind, lost)| loss(kind, *lost)),
    );
    reasons
}

/// What a loss means. What the probes count of no cgroup need not have been this run's.
fn loss(kind: &str, lost: u64) -> String {
    match kind.strip_prefix("unrecorded_") {
        Some(records) => format!(
            "{lost} lost ({kind}): so many {records} could not be stored, and what is made from them one by one is too low."
        ),
        None => format!("{lost} lost ({kind}): what was counted there is too low."),
    }
}

/// The figures are made from traces; the load engine knows how many there should be.
fn without_trace(capture: &Capture, figures: &WorkloadResult) -> Option<String> {
    let planned = capture
        .workloads
        .iter()
        .find(|workload| workload.name == figures.name)?;
    let counted = planned.sent?;
    let (made, known) = (
        [
            figures.intended,
            figures.sent,
            figures.dropped,
            figures.completed,
            figures.failed,
            figures.unfinished,
        ],
        [
            counted.intended,
            counted.sent,
            counted.dropped,
            counted.completed,
            counted.failed,
            counted.unfinished,
        ],
    );
    (made != known).then(|| {
        format!(
            "{}: the load engine counted {} requests, {} of them completed; the traces that were stored are of {} and {}.",
            figures.name, counted.intended, counted.completed, figures.intended, figures.completed,
        )
    })
}

/// Above 1 % late or dropped the load was another than the one asked for.
fn off_schedule(workload: &WorkloadResult) -> Option<String> {
    let off = workload.late + workload.dropped;
    (off * 100 > workload.intended).then(|| {
        format!(
            "{}: {} late and {} dropped of {} requests ({:.1} %, allowed is 1 %): the load was not the one asked for.",
            workload.name,
            workload.late,
            workload.dropped,
            workload.intended,
            100.0 * off as f64 / workload.intended as f64,
        )
    })
}

//! Why a run is not to be trusted.

use galileo_wire::{Capture, Phase, Trace};

use crate::result::WorkloadResult;

/// All reasons, in sentences that name the figure; none for a good run.
#[must_use]
pub fn reasons(capture: &Capture, workloads: &[WorkloadResult], traces: &[Trace]) -> Vec<String> {
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
        if measured && workload.intended == 0 {
            reasons.push(format!(
                "{}: no request was due in the measured phase.",
                workload.name
            ));
        }
    }
    let strangers = traces
        .iter()
        .filter(|trace| trace.workload as usize >= capture.workloads.len())
        .count();
    if strangers > 0 {
        reasons.push(format!(
            "{strangers} traces belong to no workload of this run; they are not counted."
        ));
    }
    for (kind, lost) in capture.losses.iter().filter(|(_, lost)| **lost > 0) {
        reasons.push(format!(
            "{lost} lost ({kind}): what was counted there is too low."
        ));
    }
    reasons
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

//! What became of the requests of each workload.

use galileo_wire::capture::Workload;
use galileo_wire::{Capture, Outcome, Phase, Trace};

use crate::quantiles::Quantiles;
use crate::result::WorkloadResult;
use crate::seconds;

/// A request counts as late if its first byte left more than this after its time.
pub const LATE_NS: u64 = 1_000_000;

/// The figures of every workload, in the file's order.
#[must_use]
pub fn figures(capture: &Capture, traces: &[Trace]) -> Vec<WorkloadResult> {
    let window_ns = capture
        .window(Phase::Measured)
        .map(|window| window.end_ns.saturating_sub(window.start_ns));
    capture
        .workloads
        .iter()
        .enumerate()
        .map(|(index, workload)| {
            // A workload that ends before others has a shorter measured phase of its own.
            let length_ns =
                window_ns.map(|window| window.min(workload.duration_ns.unwrap_or(u64::MAX)));
            tally(workload, length_ns, measured(traces, index))
        })
        .collect()
}

/// The traces of a workload that were intended in the measured phase.
pub(crate) fn measured(traces: &[Trace], workload: usize) -> impl Iterator<Item = &Trace> {
    traces
        .iter()
        .filter(move |trace| trace.phase == Phase::Measured && trace.workload as usize == workload)
}

/// From the intended time to the last byte.
pub(crate) fn response_ns(trace: &Trace) -> Option<u64> {
    trace
        .done_ns
        .map(|done| done.saturating_sub(trace.created_ns))
}

/// From the first byte written to the last byte read.
pub(crate) fn service_ns(trace: &Trace) -> Option<u64> {
    Some(trace.done_ns?.saturating_sub(trace.sent_ns?))
}

fn tally<'a>(
    workload: &Workload,
    length_ns: Option<u64>,
    traces: impl Iterator<Item = &'a Trace>,
) -> WorkloadResult {
    let mut result = WorkloadResult {
        name: workload.name.clone(),
        intended: 0,
        sent: 0,
        late: 0,
        dropped: 0,
        completed: 0,
        failed: 0,
        failed_by_kind: std::collections::BTreeMap::new(),
        unfinished: 0,
        achieved_rps: None,
        response_ms: None,
        service_ms: None,
    };
    let (mut response, mut service) = (Vec::new(), Vec::new());
    for trace in traces {
        result.intended += 1;
        if trace.outcome == Outcome::Dropped {
            result.dropped += 1;
            continue;
        }
        result.sent += 1;
        if trace
            .sent_ns
            .is_some_and(|sent| sent > trace.created_ns.saturating_add(LATE_NS))
        {
            result.late += 1;
        }
        match trace.outcome {
            Outcome::Completed => {
                result.completed += 1;
                response.extend(response_ns(trace));
                service.extend(service_ns(trace));
            }
            Outcome::Failed(kind) => {
                result.failed += 1;
                *result
                    .failed_by_kind
                    .entry(kind.as_str().to_owned())
                    .or_default() += 1;
            }
            Outcome::Unfinished => result.unfinished += 1,
            Outcome::Dropped => {}
        }
    }
    result.achieved_rps = length_ns
        .filter(|length| *length > 0)
        .map(|ns| result.completed as f64 / seconds(ns));
    result.response_ms = Quantiles::of(&mut response);
    result.service_ms = Quantiles::of(&mut service);
    result
}

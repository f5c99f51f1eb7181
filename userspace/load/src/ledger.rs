//! What became of the requests of one phase, in figures that add up.

use std::collections::BTreeMap;

use galileo_wire::{FailureKind, Outcome, Trace};

use crate::latency::Latency;

/// A request sent later than this after its intended time counts as late.
pub const LATE_NS: u64 = 1_000_000;

/// The share of late and dropped requests above which a phase is invalid.
const INVALID_ABOVE: f64 = 0.01;

/// The requests of one phase. These hold once the run has ended:
/// `intended = sent + dropped`, and `sent = completed + failed() + unfinished`.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Requests that were due.
    pub intended: u64,
    /// Requests that were set out to be sent, also those for which no connection could be made.
    pub sent: u64,
    /// The part of `sent` that was sent more than [`LATE_NS`] after its intended time, by the first byte written (if none
    /// ever was, by the time at which the engine turned to it).
    pub late: u64,
    /// Requests never sent because as many as allowed were in flight.
    pub dropped: u64,
    /// Whole answers with a status below 400.
    pub completed: u64,
    /// Failed requests by kind; a kind that did not occur is absent.
    pub failed_by_kind: BTreeMap<FailureKind, u64>,
    /// Requests without an answer when the run ended.
    pub unfinished: u64,
    /// Requests sent a second time because the connection they were sent on had been given up by the server meanwhile.
    pub retried: u64,
    /// Traces that did not fit into the channel given for them. The other figures count these requests too.
    pub traces_lost: u64,
    /// Intended time to last byte of the answer, of completed requests.
    pub response: Latency,
    /// First byte written to last byte of the answer, of completed requests.
    pub service: Latency,
}

impl Ledger {
    /// Failed requests of all kinds.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed_by_kind.values().sum()
    }

    /// Why the phase's figures are not those of the load that was asked for, as a sentence; none if they are.
    #[must_use]
    pub fn invalid_reason(&self) -> Option<String> {
        if self.intended == 0 {
            return Some("No request was due.".to_owned());
        }
        let share = (self.late + self.dropped) as f64 / self.intended as f64;
        (share > INVALID_ABOVE).then(|| {
            format!(
                "{:.1} % of {} requests were not sent on time ({} late by more than 1 ms, {} dropped); up to 1 % is allowed.",
                share * 100.0,
                self.intended,
                self.late,
                self.dropped
            )
        })
    }

    /// Counts a request that has ended; `late` tells whether it was sent late.
    pub(crate) fn settle(&mut self, trace: &Trace, late: bool) {
        self.late += u64::from(late);
        match trace.outcome {
            Outcome::Completed => {
                self.completed += 1;
                if let Some(done_ns) = trace.done_ns {
                    self.response
                        .record(done_ns.saturating_sub(trace.created_ns));
                    self.service
                        .record(done_ns.saturating_sub(trace.sent_ns.unwrap_or(trace.created_ns)));
                }
            }
            Outcome::Failed(kind) => *self.failed_by_kind.entry(kind).or_default() += 1,
            Outcome::Unfinished => self.unfinished += 1,
            Outcome::Dropped => self.dropped += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_in_a_hundred_may_be_late_or_dropped_and_no_more() {
        let mut ledger = Ledger {
            intended: 1_000,
            sent: 995,
            late: 5,
            dropped: 5,
            ..Ledger::default()
        };
        assert_eq!(ledger.invalid_reason(), None);
        ledger.late = 6;
        assert_eq!(
            ledger.invalid_reason().unwrap(),
            "1.1 % of 1000 requests were not sent on time (6 late by more than 1 ms, 5 dropped); up to 1 % is allowed."
        );
    }

    #[test]
    fn a_phase_without_requests_is_invalid() {
        assert_eq!(
            Ledger::default().invalid_reason().unwrap(),
            "No request was due."
        );
    }
}

//! The phases of a run as one stream of requests with boot times.

use galileo_wire::Phase;

use crate::{
    schedule::{Extent, Schedule, nanoseconds},
    workload::Workload,
};

/// A request that is due at a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Intended {
    pub(super) at_ns: u64,
    pub(super) phase: Phase,
    pub(super) client: u32,
    /// Which of this client's requests of the phase it is, from 0.
    pub(super) nth: u64,
}

/// All requests of a run in the order in which they are due.
#[derive(Debug)]
pub(super) struct Plan {
    warmup: Schedule,
    measured: Schedule,
    begin_ns: u64,
    measured_start_ns: u64,
}

impl Plan {
    pub(super) fn new(workload: &Workload, begin_ns: u64) -> Self {
        let schedule = |extent, phase| {
            Schedule::new(
                workload.arrival,
                workload.clients,
                extent,
                workload.seed,
                phase,
            )
        };
        Self {
            warmup: schedule(Extent::Duration(workload.warmup), Phase::Warmup),
            measured: schedule(workload.extent, Phase::Measured),
            begin_ns,
            measured_start_ns: begin_ns.saturating_add(nanoseconds(workload.warmup)),
        }
    }

    /// When the measured phase begins.
    pub(super) fn measured_start_ns(&self) -> u64 {
        self.measured_start_ns
    }

    /// When the measured phase ends; known once the plan's requests are exhausted.
    pub(super) fn measured_end_ns(&self) -> Option<u64> {
        Some(
            self.measured_start_ns
                .saturating_add(self.measured.end_ns()?),
        )
    }
}

impl Iterator for Plan {
    type Item = Intended;

    fn next(&mut self) -> Option<Intended> {
        let (due, phase, start_ns) = match self.warmup.next() {
            Some(due) => (due, Phase::Warmup, self.begin_ns),
            None => (
                self.measured.next()?,
                Phase::Measured,
                self.measured_start_ns,
            ),
        };
        let at_ns = start_ns.saturating_add(due.offset_ns);
        Some(Intended {
            at_ns,
            phase,
            client: due.client,
            nth: due.nth,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Arrival, Target};

    const SECOND_NS: u64 = 1_000_000_000;

    fn workload(warmup: Duration) -> Workload {
        let target = Target::new(([127, 0, 0, 1], 80).into());
        let extent = Extent::Duration(Duration::from_secs(5));
        let arrival = Arrival::Poisson("50/s".parse().unwrap());
        Workload {
            clients: 3,
            warmup,
            ..Workload::new("web", target, arrival, extent)
        }
    }

    #[test]
    fn the_measured_phase_is_the_same_after_any_warm_up() {
        let measured = |warmup| {
            Plan::new(&workload(warmup), SECOND_NS)
                .filter(|due| due.phase == Phase::Measured)
                .map(|due| {
                    (
                        due.at_ns - SECOND_NS - nanoseconds(warmup),
                        due.client,
                        due.nth,
                    )
                })
                .collect::<Vec<_>>()
        };
        let without = measured(Duration::ZERO);
        assert!(!without.is_empty());
        assert_eq!(measured(Duration::from_secs(3)), without);
        assert_eq!(measured(Duration::from_millis(1_234)), without);
    }

    #[test]
    fn requests_are_in_order_and_inside_their_phases() {
        let mut plan = Plan::new(&workload(Duration::from_secs(2)), SECOND_NS);
        let all: Vec<_> = plan.by_ref().collect();
        assert!(all.is_sorted_by_key(|due| due.at_ns));
        assert!(
            all.iter()
                .all(|due| (due.phase == Phase::Warmup) == (due.at_ns < 3 * SECOND_NS))
        );
        assert_eq!(
            (plan.measured_start_ns(), plan.measured_end_ns()),
            (3 * SECOND_NS, Some(8 * SECOND_NS))
        );
    }
}

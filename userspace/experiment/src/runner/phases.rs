//! Which phase of a run a time belongs to.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use galileo_wire::Phase;

/// When the phases of a run begin, as far as that is known: `u64::MAX` where it is not yet.
#[derive(Debug)]
pub(crate) struct Phases {
    pub warmup_ns: AtomicU64,
    pub measured_ns: AtomicU64,
    pub drain_ns: AtomicU64,
}

impl Default for Phases {
    fn default() -> Self {
        let unknown = || AtomicU64::new(u64::MAX);
        Self {
            warmup_ns: unknown(),
            measured_ns: unknown(),
            drain_ns: unknown(),
        }
    }
}

impl Phases {
    /// Tells when warm-up and measured phase begin.
    pub(crate) fn begin(&self, warmup_ns: u64, measured_ns: u64) {
        self.warmup_ns.store(warmup_ns, Relaxed);
        self.measured_ns.store(measured_ns, Relaxed);
    }

    /// The phase of what began at this time.
    pub(super) fn at(&self, ns: u64) -> Phase {
        if ns >= self.drain_ns.load(Relaxed) {
            Phase::Drain
        } else if ns >= self.measured_ns.load(Relaxed) {
            Phase::Measured
        } else if ns >= self.warmup_ns.load(Relaxed) {
            Phase::Warmup
        } else {
            Phase::Setup
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_belongs_to_the_last_phase_that_has_begun() {
        let phases = Phases::default();
        assert_eq!(phases.at(5), Phase::Setup);
        phases.measured_ns.store(20, Relaxed);
        phases.warmup_ns.store(10, Relaxed);
        assert_eq!(
            [9, 10, 19, 20].map(|ns| phases.at(ns)),
            [Phase::Setup, Phase::Warmup, Phase::Warmup, Phase::Measured]
        );
        phases.drain_ns.store(30, Relaxed);
        assert_eq!(phases.at(30), Phase::Drain);
    }
}

//! What a run has done so far, for whoever shows it while it goes on.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its begin lies ahead.
    Waiting,
    /// It warms up.
    Warmup,
    /// It is being measured.
    Measured,
    /// The last request is sent; answers still come in.
    Drain,
    /// It has ended.
    Ended,
}

const STAGES: [Stage; 5] = [
    Stage::Waiting,
    Stage::Warmup,
    Stage::Measured,
    Stage::Drain,
    Stage::Ended,
];

/// Live figures of one workload, warm-up included. One thread writes; any number may read, at any time. Each figure is exact,
/// but two of them may be read from either side of one event.
#[derive(Debug, Default)]
pub struct Progress {
    pub(crate) stage: AtomicU8,
    pub(crate) intended: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) completed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) response_ns: AtomicU64,
}

/// The weight of the newest response time in [`Progress::response_ns`] is 1/16: it follows the last few dozen.
const SMOOTHING: u64 = 16;

impl Progress {
    /// How far the run is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        STAGES[usize::from(self.stage.load(Relaxed)).min(STAGES.len() - 1)]
    }

    /// Requests due so far.
    #[must_use]
    pub fn intended(&self) -> u64 {
        self.intended.load(Relaxed)
    }

    /// Requests set out to be sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Requests sent late, counted when they end.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late.load(Relaxed)
    }

    /// Requests dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Requests completed.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completed.load(Relaxed)
    }

    /// Requests failed, of all kinds.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Requests sent and not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// Recent response time of completed requests: an exponentially weighted mean in nanoseconds; 0 before the first.
    #[must_use]
    pub fn response_ns(&self) -> u64 {
        self.response_ns.load(Relaxed)
    }

    pub(crate) fn enter(&self, stage: Stage) {
        // The discriminant is the position in `STAGES`.
        self.stage.store(stage as u8, Relaxed);
    }

    pub(crate) fn saw_response(&self, response_ns: u64) {
        let mean = match self.response_ns() {
            0 => response_ns,
            mean => mean - mean / SMOOTHING + response_ns / SMOOTHING,
        };
        self.response_ns.store(mean, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_read_as_it_was_entered() {
        let progress = Progress::default();
        assert_eq!(progress.stage(), Stage::Waiting);
        for stage in STAGES {
            progress.enter(stage);
            assert_eq!(progress.stage(), stage);
        }
    }

    #[test]
    fn the_recent_response_time_follows_a_change() {
        let progress = Progress::default();
        progress.saw_response(1_000_000);
        assert_eq!(progress.response_ns(), 1_000_000);
        (0..100).for_each(|_| progress.saw_response(2_000_000));
        assert!(progress.response_ns().abs_diff(2_000_000) < 20_000);
    }
}

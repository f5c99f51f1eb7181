//! Preemptions, as far as waits tell of them.

use galileo_probes::Snapshot;

/// What it takes from a wake-up to the switch that it asks for: the wait of a task that takes the CPU from another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Preemption {
    pub count: u64,
    pub sum_ns: u64,
}

impl Preemption {
    /// What takes longer is a wait for others' turns to end. Under load a preemption takes 8 to 20 µs on the machine that this
    /// was measured on (docs/measurements.md).
    const LONGEST_NS: u64 = 100_000;

    /// Of all cgroups together.
    pub(super) fn of(used: &Snapshot) -> Self {
        let mut all = Self::default();
        for stats in used.cgroups.values() {
            let one = Self::among(stats.wait.buckets());
            all.count += one.count;
            all.sum_ns += one.sum_ns;
        }
        all
    }

    /// Those among waits, given as buckets, that may be preemptions; each as long as its bucket allows.
    pub(super) fn among(waits: impl Iterator<Item = (u64, u64, u64)>) -> Self {
        let mut short = Self::default();
        for (_, high_ns, count) in waits.filter(|(_, high_ns, _)| *high_ns <= Self::LONGEST_NS) {
            short.count += count;
            short.sum_ns += count * high_ns;
        }
        short
    }

    pub(super) fn mean_ns(self) -> u64 {
        self.sum_ns.checked_div(self.count).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_waits_are_preemptions_and_others_are_not() {
        let waits = [(4_000, 5_000, 2), (19_000, 20_000, 1), (99_000, 101_000, 7)];
        let short = Preemption::among(waits.into_iter());
        assert_eq!(
            (short.count, short.sum_ns, short.mean_ns()),
            (3, 30_000, 10_000)
        );
        assert_eq!(Preemption::default().mean_ns(), 0);
    }
}

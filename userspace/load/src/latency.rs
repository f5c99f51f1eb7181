//! A distribution of durations with three significant digits, and exact at its ends.

use galileo_wire::{Histogram, histogram::Bucket};

/// Durations are told apart up to this; longer ones count as this in quantiles (the maximum stays exact).
const HIGHEST_NS: u64 = 3_600_000_000_000;

/// Durations counted in buckets no wider than a thousandth of their value.
#[derive(Debug, Clone)]
pub struct Latency {
    buckets: hdrhistogram::Histogram<u64>,
    sum_ns: u64,
    min_ns: u64,
    max_ns: u64,
}

impl Latency {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        let buckets = hdrhistogram::Histogram::new_with_bounds(1, HIGHEST_NS, 3)
            .expect("1 ns to 1 h with 3 significant digits are bounds that the histogram allows");
        Self {
            buckets,
            sum_ns: 0,
            min_ns: u64::MAX,
            max_ns: 0,
        }
    }

    /// Counts one duration.
    pub fn record(&mut self, duration_ns: u64) {
        self.buckets.saturating_record(duration_ns.min(HIGHEST_NS));
        self.sum_ns = self.sum_ns.saturating_add(duration_ns);
        self.min_ns = self.min_ns.min(duration_ns);
        self.max_ns = self.max_ns.max(duration_ns);
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.len()
    }

    /// The shortest duration, exactly; none if nothing was counted.
    #[must_use]
    pub fn min_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.min_ns)
    }

    /// The longest duration, exactly; none if nothing was counted.
    #[must_use]
    pub fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max_ns)
    }

    /// The mean, exactly; none if nothing was counted.
    #[must_use]
    pub fn mean_ns(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum_ns as f64 / self.count() as f64)
    }

    /// The duration that a fraction (0 to 1) of all do not exceed (nearest rank), up to a thousandth too high, but never
    /// below the shortest nor above the longest one counted; none if nothing was counted.
    #[must_use]
    pub fn quantile_ns(&self, fraction: f64) -> Option<u64> {
        (self.count() > 0).then(|| {
            self.buckets
                .value_at_quantile(fraction)
                .clamp(self.min_ns, self.max_ns)
        })
    }

    /// The form that is stored and reported, with the outermost buckets cut to the shortest and longest duration.
    #[must_use]
    pub fn to_wire(&self) -> Histogram {
        let buckets = self.buckets.iter_recorded().map(|step| {
            let high_ns = step.value_iterated_to();
            // Everything longer is in the bucket of the longest duration told apart.
            let reaches_ns = if high_ns >= HIGHEST_NS {
                self.max_ns
            } else {
                high_ns.min(self.max_ns)
            };
            Bucket {
                low_ns: self.buckets.lowest_equivalent(high_ns).max(self.min_ns),
                high_ns: reaches_ns,
                count: step.count_at_value(),
            }
        });
        Histogram {
            buckets: buckets.collect(),
            sum_ns: self.sum_ns,
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn of(durations: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::new();
        durations
            .into_iter()
            .for_each(|duration| latency.record(duration));
        latency
    }

    /// D-36.
    #[test]
    fn every_quantile_of_one_sample_is_that_sample() {
        let one = of([575 * MS]);
        for fraction in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
            assert_eq!(one.quantile_ns(fraction), Some(575 * MS));
        }
        assert_eq!(
            one.to_wire().buckets,
            [Bucket {
                low_ns: 575 * MS,
                high_ns: 575 * MS,
                count: 1
            }]
        );
    }

    /// D-36.
    #[test]
    fn no_quantile_exceeds_the_maximum() {
        let many = of((1..=39).map(|k| 6_732 * MS * k / 39));
        assert_eq!(many.quantile_ns(1.0), Some(6_732 * MS));
        assert!(many.quantile_ns(0.99) <= many.max_ns());
    }

    #[test]
    fn an_hour_and_more_keeps_its_exact_maximum() {
        let day = 24 * HIGHEST_NS;
        assert_eq!(of([1, day]).max_ns(), Some(day));
        assert_eq!(of([day]).quantile_ns(0.5), Some(day));
    }

    #[test]
    fn nothing_counted_has_no_figures() {
        let nothing = Latency::new();
        assert_eq!(
            (nothing.min_ns(), nothing.quantile_ns(0.5), nothing.max_ns()),
            (None, None, None)
        );
        assert_eq!(nothing.mean_ns(), None);
        assert_eq!(nothing.to_wire(), Histogram::default());
    }

    proptest! {
        #[test]
        fn quantiles_are_nearest_rank_within_a_thousandth(
            mut durations in prop::collection::vec(1..HIGHEST_NS, 1..200), fraction in 0.0..=1.0f64,
        ) {
            let latency = of(durations.iter().copied());
            durations.sort_unstable();
            let rank = ((fraction * durations.len() as f64).ceil() as usize).max(1);
            let (exact, found) = (durations[rank - 1], latency.quantile_ns(fraction).unwrap());
            prop_assert!(found.abs_diff(exact) <= exact / 1_000 + 1, "{found} instead of {exact}");
            prop_assert!(latency.min_ns().unwrap() <= found && found <= latency.max_ns().unwrap());
        }

        #[test]
        fn the_stored_form_keeps_count_sum_and_ends(durations in prop::collection::vec(0..2 * HIGHEST_NS, 1..200)) {
            let latency = of(durations.iter().copied());
            let wire = latency.to_wire();
            prop_assert_eq!(wire.count(), durations.len() as u64);
            prop_assert_eq!(wire.sum_ns, durations.iter().sum::<u64>());
            prop_assert!(wire.buckets[0].low_ns >= latency.min_ns().unwrap());
            prop_assert_eq!(wire.buckets.last().map(|bucket| bucket.high_ns), latency.max_ns());
            prop_assert!(wire.buckets.windows(2).all(|pair| pair[0].high_ns < pair[1].low_ns));
            prop_assert!(wire.buckets.iter().all(|bucket| bucket.low_ns <= bucket.high_ns));
        }
    }
}

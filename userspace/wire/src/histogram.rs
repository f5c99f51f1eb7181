//! A histogram as it travels and is stored: only its buckets that are not empty.

use serde::{Deserialize, Serialize};

/// Counted durations. Buckets carry their own bounds, so that a reader needs to know nothing of who counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Buckets that are not empty, in ascending order.
    pub buckets: Vec<Bucket>,
    /// Sum of all values in nanoseconds.
    pub sum_ns: u64,
}

/// The durations from `low_ns` to `high_ns`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Smallest duration that falls here.
    pub low_ns: u64,
    /// Largest duration that falls here.
    pub high_ns: u64,
    /// How many did.
    pub count: u64,
}

impl Histogram {
    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// Mean in nanoseconds; none if nothing was counted.
    #[must_use]
    pub fn mean_ns(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum_ns as f64 / count as f64)
    }

    /// The smallest value that `fraction` (0 to 1) of all values do not exceed (nearest rank), as the middle of its
    /// bucket; none if nothing was counted.
    #[must_use]
    pub fn quantile_ns(&self, fraction: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((fraction * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        self.buckets.iter().find_map(|bucket| {
            seen += bucket.count;
            (seen >= rank).then(|| bucket.low_ns + (bucket.high_ns - bucket.low_ns) / 2)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_follow_the_nearest_rank() {
        let histogram = Histogram {
            buckets: vec![
                Bucket {
                    low_ns: 10,
                    high_ns: 10,
                    count: 9_900,
                },
                Bucket {
                    low_ns: 1_000,
                    high_ns: 1_000,
                    count: 100,
                },
            ],
            sum_ns: 199_000,
        };
        assert_eq!(histogram.quantile_ns(0.99), Some(10));
        assert_eq!(histogram.quantile_ns(0.995), Some(1_000));
        assert_eq!(histogram.quantile_ns(1.0), Some(1_000));
        assert_eq!(histogram.mean_ns(), Some(19.9));
    }

    #[test]
    fn nothing_counted_has_no_quantile() {
        assert_eq!(Histogram::default().quantile_ns(0.5), None);
        assert_eq!(Histogram::default().mean_ns(), None);
    }
}

//! Nearest-rank quantiles, exact over single values and within half a bucket's width over a histogram.
//!
//! Quantiles of parts are never averaged: values or histograms are pooled first.

use galileo_wire::Histogram;
use galileo_wire::histogram::Bucket;
use serde::{Deserialize, Serialize};

use crate::milliseconds;

/// A distribution of durations in milliseconds, in the figures that results carry.
///
/// `p50 <= p90 <= p99 <= p999 <= max` and `mean <= max` hold always.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Arithmetic mean.
    pub mean: f64,
    /// Half of the values are not above it.
    pub p50: f64,
    /// 90 % of the values are not above it.
    pub p90: f64,
    /// 99 % of the values are not above it.
    pub p99: f64,
    /// 99.9 % of the values are not above it.
    pub p999: f64,
    /// The largest value.
    pub max: f64,
}

impl Quantiles {
    /// Of single durations in nanoseconds, which get sorted; none if there are none.
    #[must_use]
    pub fn of(values_ns: &mut [u64]) -> Option<Self> {
        values_ns.sort_unstable();
        let max = *values_ns.last()?;
        let sum: u128 = values_ns.iter().copied().map(u128::from).sum();
        let at = |ppm| milliseconds(values_ns[rank(ppm, values_ns.len() as u64) as usize - 1]);
        let max = milliseconds(max);
        Some(Self {
            // Both are rounded on their own way to floating point: equal values could end an ulp apart.
            mean: (sum as f64 / values_ns.len() as f64 / 1e6).min(max),
            p50: at(500_000),
            p90: at(900_000),
            p99: at(990_000),
            p999: at(999_000),
            max,
        })
    }

    /// Of a histogram; none if nothing was counted.
    ///
    /// A quantile is the middle of its bucket, so it is wrong by half the width of that at most: 6.25 % of the value in the probes'
    /// histograms, of whose buckets there are eight for each power of two (`galileo_ebpf_core::histogram`). A single value is known
    /// exactly from the sum; the largest is never put below the mean.
    #[must_use]
    pub fn of_histogram(histogram: &Histogram) -> Option<Self> {
        let count = histogram.count();
        let mean = histogram.mean_ns()? / 1e6;
        let filled: Vec<&Bucket> = histogram
            .buckets
            .iter()
            .filter(|bucket| bucket.count > 0)
            .collect();
        let middle =
            |bucket: &Bucket| milliseconds(bucket.low_ns + (bucket.high_ns - bucket.low_ns) / 2);
        if count == 1 {
            return Some(Self {
                mean,
                p50: mean,
                p90: mean,
                p99: mean,
                p999: mean,
                max: mean,
            });
        }
        let at = |ppm| {
            let rank = rank(ppm, count);
            let mut seen = 0;
            filled
                .iter()
                .find(|bucket| {
                    seen += bucket.count;
                    seen >= rank
                })
                .map_or(0.0, |bucket| middle(bucket))
        };
        let max = at(1_000_000).max(mean);
        Some(Self {
            mean,
            p50: at(500_000),
            p90: at(900_000),
            p99: at(990_000),
            p999: at(999_000),
            max,
        })
    }
}

/// The rank (from 1) of the value that `ppm` millionths of `count` values do not exceed. In whole numbers, because
/// `0.07 * 100.0` is above 7.
#[must_use]
pub fn rank(ppm: u32, count: u64) -> u64 {
    let rank = (u128::from(ppm) * u128::from(count)).div_ceil(1_000_000);
    u64::try_from(rank)
        .unwrap_or(u64::MAX)
        .clamp(1, count.max(1))
}

/// All values of several histograms in one: counts of equal buckets add up.
#[must_use]
pub fn pool<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Histogram {
    let mut pooled = Histogram::default();
    for histogram in histograms {
        pooled.sum_ns += histogram.sum_ns;
        pooled.buckets.extend(&histogram.buckets);
    }
    pooled
        .buckets
        .sort_unstable_by_key(|bucket| (bucket.low_ns, bucket.high_ns));
    pooled.buckets.dedup_by(|next, kept| {
        let equal = (next.low_ns, next.high_ns) == (kept.low_ns, kept.high_ns);
        if equal {
            kept.count += next.count;
        }
        equal
    });
    pooled
}

/// A point of a distribution's curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// The share of values below, between 0 and 1 exclusive: `(rank - 0.5) / count`, so that the largest has a place
    /// on an axis that never reaches 100 %.
    pub fraction: f64,
    /// The value.
    pub ms: f64,
}

/// The quantile curve of sorted durations, at most about `points` points, spread evenly over `log(1 - fraction)`, where
/// the tail is.
#[must_use]
pub fn curve(sorted_ns: &[u64], points: usize) -> Vec<CurvePoint> {
    let count = sorted_ns.len();
    let last = count.saturating_sub(1);
    let mut ranks: Vec<usize> = if count <= points {
        (0..count).collect()
    } else {
        let decades = (2.0 * count as f64).log10();
        let steps = points.saturating_sub(1).max(1);
        (0..=steps)
            .map(|step| {
                let beyond = 10f64.powf(-decades * step as f64 / steps as f64);
                (((1.0 - beyond) * count as f64) as usize).min(last)
            })
            .collect()
    };
    ranks.dedup();
    let fraction = |index: usize| (index as f64 + 0.5) / count as f64;
    ranks
        .into_iter()
        .map(|index| CurvePoint {
            fraction: fraction(index),
            ms: milliseconds(sorted_ns[index]),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(value: u64) -> u64 {
        value * 1_000_000
    }

    #[test]
    fn pooled_workers_give_the_quantiles_of_all_their_samples() {
        // D-35: averaging the workers' p99 would give 505 ms.
        let mut samples = vec![ms(10); 9_900];
        samples.extend(vec![ms(1_000); 100]);
        let exact = Quantiles::of(&mut samples).unwrap();
        assert_eq!((exact.p99, exact.p999, exact.max), (10.0, 1_000.0, 1_000.0));
        assert_eq!(samples[rank(995_000, 10_000) as usize - 1], ms(1_000));

        let bucket = |value, count| Bucket {
            low_ns: ms(value),
            high_ns: ms(value),
            count,
        };
        let a = Histogram {
            buckets: vec![bucket(10, 9_900)],
            sum_ns: ms(99_000),
        };
        let b = Histogram {
            buckets: vec![bucket(1_000, 100)],
            sum_ns: ms(100_000),
        };
        assert_eq!(Quantiles::of_histogram(&pool([&b, &a])), Some(exact));
    }

    #[test]
    fn equal_buckets_of_pooled_histograms_become_one() {
        let histogram = Histogram {
            buckets: vec![Bucket {
                low_ns: 8,
                high_ns: 15,
                count: 3,
            }],
            sum_ns: 30,
        };
        let pooled = pool([&histogram, &histogram]);
        assert_eq!(
            pooled,
            Histogram {
                buckets: vec![Bucket {
                    low_ns: 8,
                    high_ns: 15,
                    count: 6
                }],
                sum_ns: 60
            }
        );
    }

    #[test]
    fn one_sample_is_every_quantile() {
        // D-36: 575 ms in a bucket that reaches to 1,023 ms.
        let only = 575.0;
        let all = Quantiles {
            mean: only,
            p50: only,
            p90: only,
            p99: only,
            p999: only,
            max: only,
        };
        assert_eq!(Quantiles::of(&mut [ms(575)]), Some(all));
        let bucket = Bucket {
            low_ns: ms(512),
            high_ns: ms(1_023),
            count: 1,
        };
        assert_eq!(
            Quantiles::of_histogram(&Histogram {
                buckets: vec![bucket],
                sum_ns: ms(575)
            }),
            Some(all)
        );
    }

    #[test]
    fn nothing_counted_has_no_quantiles() {
        assert_eq!(Quantiles::of(&mut []), None);
        assert_eq!(Quantiles::of_histogram(&Histogram::default()), None);
        assert_eq!(curve(&[], 100), vec![]);
    }

    #[test]
    fn ranks_are_exact_where_floating_point_is_not() {
        assert_eq!(rank(70_000, 100), 7);
        assert_eq!(rank(999_000, 1_000), 999);
        assert_eq!(rank(1, 3), 1);
        assert_eq!(rank(1_000_000, 3), 3);
    }

    fn assert_ordered(q: Quantiles) {
        let ordered = [q.p50, q.p90, q.p99, q.p999, q.max];
        assert!(ordered.is_sorted(), "{q:?}");
        assert!(q.mean <= q.max, "{q:?}");
    }

    proptest! {
        #[test]
        fn quantiles_of_values_are_ordered_and_occur(mut values in prop::collection::vec(0u64..10_000_000_000, 1..400)) {
            let quantiles = Quantiles::of(&mut values).unwrap();
            assert_ordered(quantiles);
            prop_assert!(values.iter().any(|value| milliseconds(*value) == quantiles.p99));
            prop_assert_eq!(quantiles.max, milliseconds(*values.iter().max().unwrap()));
        }

        #[test]
        fn quantiles_of_histograms_are_ordered(counts in prop::collection::vec((0u64..1_000, 0.0f64..1.0), 1..40)) {
            let mut histogram = Histogram::default();
            for (index, (count, within)) in counts.into_iter().enumerate() {
                let (low_ns, high_ns) = (1u64 << index, (2u64 << index) - 1);
                histogram.buckets.push(Bucket { low_ns, high_ns, count });
                histogram.sum_ns += count * (low_ns + ((high_ns - low_ns) as f64 * within) as u64);
            }
            if let Some(quantiles) = Quantiles::of_histogram(&histogram) {
                assert_ordered(quantiles);
            }
        }

        #[test]
        fn quantiles_of_the_probes_histograms_are_within_a_sixteenth(mut values in prop::collection::vec(1_024u64..30_000_000_000, 1..200)) {
            let mut buckets = std::collections::BTreeMap::new();
            for value in &values {
                let width = 1 << (value.ilog2() - 3);
                let low_ns = value / width * width;
                buckets
                    .entry(low_ns)
                    .or_insert(Bucket { low_ns, high_ns: low_ns + width - 1, count: 0 })
                    .count += 1;
            }
            let histogram = Histogram {
                buckets: buckets.into_values().collect(),
                sum_ns: values.iter().sum(),
            };
            let guessed = Quantiles::of_histogram(&histogram).unwrap();
            let exact = Quantiles::of(&mut values).unwrap();
            let figures: [fn(Quantiles) -> f64; 5] = [|q| q.p50, |q| q.p90, |q| q.p99, |q| q.p999, |q| q.max];
            for of in figures {
                prop_assert!((of(guessed) - of(exact)).abs() <= 0.0625 * of(exact), "{guessed:?} {exact:?}");
            }
            prop_assert!((guessed.mean - exact.mean).abs() <= 1e-9 * exact.mean);
        }

        #[test]
        fn a_curve_rises_and_ends_at_the_largest(mut values in prop::collection::vec(0u64..1_000_000_000, 1..2_000)) {
            values.sort_unstable();
            let curve = curve(&values, 100);
            prop_assert!(curve.len() <= 101);
            prop_assert!(curve.is_sorted_by(|a, b| a.fraction < b.fraction && a.ms <= b.ms));
            prop_assert_eq!(curve.last().unwrap().ms, milliseconds(*values.last().unwrap()));
            prop_assert!(curve.iter().all(|point| point.fraction > 0.0 && point.fraction < 1.0));
        }
    }
}

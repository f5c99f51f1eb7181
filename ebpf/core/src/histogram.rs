//! The bucket of a duration, and the durations of a bucket.
//!
//! Buckets are log-linear: each power of two from 1.02 µs to 34 s is divided into eight of equal width. So whoever takes a
//! bucket's middle for a value in it is wrong by at most half a width: 6.25 % of the value, and by at most 0.52 µs below
//! 1.02 µs, which share the first bucket. A quantile read from the counts is wrong by no more than that. From 34 s on
//! only the least is known. The sum of all durations is kept beside the counts and is exact.

use galileo_ebpf_abi::{BUCKET_FIRST_EXPONENT, BUCKET_LAST_EXPONENT, BUCKET_SUB_BITS, BUCKETS};

/// Index of the bucket that counts durations of `ns` nanoseconds.
#[inline(always)]
#[must_use]
pub const fn bucket(ns: u64) -> usize {
    if ns < 1 << BUCKET_FIRST_EXPONENT {
        return 0;
    }
    if ns >> (BUCKET_LAST_EXPONENT + 1) != 0 {
        return BUCKETS - 1;
    }
    // The logarithm by halves: eBPF counts no leading zeros, and the compiler's replacement is a chain of fifty instructions.
    // Here each step is a jump that the processor foresees, as waits are mostly of a few lengths.
    let mut digits = ns >> (BUCKET_FIRST_EXPONENT - BUCKET_SUB_BITS);
    let mut above = 0;
    let mut step = 16;
    while step != 0 {
        if digits >> (step + BUCKET_SUB_BITS) != 0 {
            digits >>= step;
            above += step;
        }
        step /= 2;
    }
    1 + ((above as usize) << BUCKET_SUB_BITS) + digits as usize - (1 << BUCKET_SUB_BITS)
}

/// Smallest and largest duration in nanoseconds that a bucket counts. The last bucket has no largest: twice its
/// smallest stands for it.
#[must_use]
pub const fn bounds(bucket: usize) -> (u64, u64) {
    if bucket == 0 {
        return (0, (1 << BUCKET_FIRST_EXPONENT) - 1);
    }
    if bucket >= BUCKETS - 1 {
        let low = 1 << (BUCKET_LAST_EXPONENT + 1);
        return (low, 2 * low);
    }
    let exponent = BUCKET_FIRST_EXPONENT + ((bucket - 1) >> BUCKET_SUB_BITS) as u32;
    let sub = ((bucket - 1) & ((1 << BUCKET_SUB_BITS) - 1)) as u64;
    let width = 1 << (exponent - BUCKET_SUB_BITS);
    let low = (1 << exponent) + sub * width;
    (low, low + width - 1)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn buckets_follow_one_another_without_gap() {
        for index in 0..BUCKETS - 1 {
            let (low, high) = bounds(index);
            assert_eq!(bucket(low), index);
            assert_eq!(bucket(high), index);
            assert_eq!(bounds(index + 1).0, high + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    fn middle(index: usize) -> u64 {
        let (low, high) = bounds(index);
        low + (high - low) / 2
    }

    #[test]
    fn the_middle_of_a_bucket_is_within_a_sixteenth_of_all_its_values() {
        for index in 1..BUCKETS - 1 {
            let (low, high) = bounds(index);
            // The error of a value is greatest at the ends, and relative to the lower one.
            for value in [low, high] {
                assert!(middle(index).abs_diff(value) * 16 <= value, "{value} ns");
            }
        }
        assert!(middle(0) <= 512 && bounds(0).1 - middle(0) <= 512);
    }

    #[test]
    fn quantiles_of_any_durations_are_within_a_sixteenth() {
        // Durations over the whole range, by xorshift64 (Marsaglia 2003), whose exponents are spread evenly.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut values: Vec<u64> = (0..10_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (1 << BUCKET_FIRST_EXPONENT) + ((state >> 29) >> (state & 24))
            })
            .collect();
        values.sort_unstable();
        let mut counts = [0_usize; BUCKETS];
        for value in &values {
            counts[bucket(*value)] += 1;
        }
        for percent in [0, 1, 10, 50, 90, 99] {
            let rank = values.len() * percent / 100;
            let mut before = 0;
            let index = counts.iter().position(|count| {
                before += count;
                before > rank
            });
            let told = middle(index.unwrap());
            assert!(
                told.abs_diff(values[rank]) * 16 <= values[rank],
                "{percent} %"
            );
        }
    }
}

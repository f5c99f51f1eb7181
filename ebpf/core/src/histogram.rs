//! The bucket of a duration, and the durations of a bucket.

use galileo_ebpf_abi::{BUCKET_FIRST_EXPONENT, BUCKET_LAST_EXPONENT, BUCKET_SUB_BITS, BUCKETS};

/// Index of the bucket that counts durations of `ns` nanoseconds.
#[inline(always)]
#[must_use]
pub const fn bucket(ns: u64) -> usize {
    if ns < 1 << BUCKET_FIRST_EXPONENT {
        return 0;
    }
    let exponent = ns.ilog2();
    if exponent > BUCKET_LAST_EXPONENT {
        return BUCKETS - 1;
    }
    let sub = (ns >> (exponent - BUCKET_SUB_BITS)) as usize & ((1 << BUCKET_SUB_BITS) - 1);
    1 + (((exponent - BUCKET_FIRST_EXPONENT) as usize) << BUCKET_SUB_BITS) + sub
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

    #[test]
    fn the_middle_of_a_bucket_is_near_all_its_values() {
        for index in 1..BUCKETS - 1 {
            let (low, high) = bounds(index);
            let middle = low + (high - low) / 2;
            assert!((high - middle) as f64 / low as f64 <= 0.0625);
        }
    }
}

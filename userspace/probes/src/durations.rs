//! Histograms of durations.

use std::ops::Range;

use galileo_ebpf_abi::BUCKETS;
use galileo_ebpf_core::histogram;

use crate::plain;

/// A histogram of durations: counts by bucket and their sum.
#[derive(Debug, Default)]
pub struct Durations {
    /// None if all are 0.
    counts: Option<Box<[u64; BUCKETS]>>,
    /// Where they are not 0; it may be longer. Most histograms use a small part, and the rest need not be looked at.
    used: Range<usize>,
    /// Sum of all durations in nanoseconds.
    pub sum_ns: u64,
}

impl PartialEq for Durations {
    fn eq(&self, other: &Self) -> bool {
        self.counts == other.counts && self.sum_ns == other.sum_ns
    }
}

impl Eq for Durations {}

impl Clone for Durations {
    fn clone(&self) -> Self {
        Self {
            counts: self.counts.clone(),
            used: self.used.clone(),
            sum_ns: self.sum_ns,
        }
    }

    /// Keeps the memory that is there.
    fn clone_from(&mut self, source: &Self) {
        match (&mut self.counts, &source.counts) {
            (Some(counts), Some(from)) => {
                counts[self.used.clone()].fill(0);
                counts[source.used.clone()].copy_from_slice(&from[source.used.clone()]);
            }
            (counts, from) => counts.clone_from(from),
        }
        self.used = source.used.clone();
        self.sum_ns = source.sum_ns;
    }
}

/// Words of counters, two in each.
pub(crate) const WORDS: usize = BUCKETS / 2;
const _: () = assert!(BUCKETS.is_multiple_of(2));
/// Words that are looked at together: as many as a cache line has.
const LINE: usize = 8;

impl Durations {
    pub(crate) fn new(counts: &[u64; BUCKETS], sum_ns: u64) -> Self {
        Self {
            counts: counts
                .iter()
                .any(|count| *count != 0)
                .then(|| Box::new(*counts)),
            used: 0..BUCKETS,
            sum_ns,
        }
    }

    /// Goes on to what 32-bit counters tell that wrap: they began at 0 with this, and moved by less than 2^32 since the last
    /// time.
    pub(crate) fn advance(&mut self, counters: &[u32; BUCKETS], sum_ns: u64) {
        self.advance_by_words(sum_ns, |word| {
            plain::word([counters[2 * word], counters[2 * word + 1]])
        });
    }

    /// The same, if `word` tells of each pair of counters what it is in memory. A word is asked for more than once.
    pub(crate) fn advance_by_words(&mut self, sum_ns: u64, word: impl Fn(usize) -> u64) {
        self.sum_ns = sum_ns;
        for begin in (0..WORDS).step_by(LINE) {
            let words = begin..WORDS.min(begin + LINE);
            // A counter that wrapped to 0 stands where something was counted.
            if !self.used.contains(&(2 * begin))
                && words.clone().fold(0, |any, at| any | word(at)) == 0
            {
                continue;
            }
            self.use_buckets(2 * words.start..2 * words.end);
            let counts = self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]));
            for at in words {
                let [first, second] = plain::halves(word(at));
                advance(&mut counts[2 * at], first);
                advance(&mut counts[2 * at + 1], second);
            }
        }
    }

    fn use_buckets(&mut self, buckets: Range<usize>) {
        self.used = if self.used.is_empty() {
            buckets
        } else {
            self.used.start.min(buckets.start)..self.used.end.max(buckets.end)
        };
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().flat_map(|counts| counts.iter()).sum()
    }

    /// The buckets that are not empty: smallest and largest duration in nanoseconds, and how many fell between.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.counts
            .iter()
            .flat_map(|counts| counts.iter())
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| {
                let (low, high) = histogram::bounds(index);
                (low, high, *count)
            })
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let sum_ns = self.sum_ns.saturating_sub(before.sum_ns);
        match (&self.counts, &before.counts) {
            (Some(after), Some(before)) => {
                let mut counts = **after;
                for (count, before) in counts.iter_mut().zip(before.iter()) {
                    *count = count.saturating_sub(*before);
                }
                Self::new(&counts, sum_ns)
            }
            (counts, _) => Self {
                counts: counts.clone(),
                used: self.used.clone(),
                sum_ns,
            },
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if let Some(more) = &other.counts {
            let counts = self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]));
            for (count, more) in counts.iter_mut().zip(more.iter()) {
                *count += more;
            }
            self.used = 0..BUCKETS;
        }
        self.sum_ns += other.sum_ns;
    }
}

/// Goes on to what a 32-bit counter tells that wraps.
pub(crate) fn advance(total: &mut u64, counter: u32) {
    *total += u64::from(counter.wrapping_sub(*total as u32));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_32_bits_are_followed_over_their_ends() {
        let mut total = 0;
        for (counter, expected) in [
            (u32::MAX - 1, 0xffff_fffe_u64),
            (3, 0x1_0000_0003),
            (3, 0x1_0000_0003),
            (2, 0x2_0000_0002),
        ] {
            advance(&mut total, counter);
            assert_eq!(total, expected);
        }
    }

    #[test]
    fn durations_of_which_there_are_none_are_alike_however_they_came_about() {
        let mut counters = [0; BUCKETS];
        let mut one = Durations::default();
        one.advance(&counters, 0);
        assert_eq!(one, Durations::default());
        counters[3] = 2;
        one.advance(&counters, 50);
        assert_eq!((one.count(), one.sum_ns), (2, 50));
        assert_eq!(one.since(&one), Durations::default());
        let mut copy = Durations::default();
        for from in [&one, &Durations::default(), &one, &one] {
            copy.clone_from(from);
            assert_eq!(copy, *from);
        }
    }
}

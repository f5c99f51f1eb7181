//! Places of the interference matrix on one CPU.

use galileo_ebpf_abi::{PAIR_SETS, Pair, PairSet};

use super::spread;

/// The set of a CPU's part of `PAIRS` in which a pair has its place.
#[inline(always)]
#[must_use]
pub const fn pair_set_of(key: u64) -> u32 {
    spread(key) as u32 & (PAIR_SETS as u32 - 1)
}

/// Adds to a pair that has its place in this set; false if it has none.
#[inline(always)]
#[must_use]
pub fn add_to_pair(set: &mut PairSet, key: u64, ns: u64) -> bool {
    for pair in &mut set.ways {
        if pair.key == key {
            pair.ns += ns;
            return true;
        }
    }
    false
}

/// Gives a pair that has no place in this set a free one; false if there is none.
#[inline(always)]
#[must_use]
pub fn take_place(set: &mut PairSet, key: u64, ns: u64) -> bool {
    for pair in &mut set.ways {
        if pair.key == 0 {
            *pair = Pair { key, ns };
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_gives_each_pair_one_place_until_it_is_full() {
        let mut set = PairSet {
            ways: [Pair { key: 0, ns: 0 }; 4],
        };
        for key in 1..=4 {
            assert!(!add_to_pair(&mut set, key, 10));
            assert!(take_place(&mut set, key, 10));
        }
        assert!(!take_place(&mut set, 5, 10));
        assert!(add_to_pair(&mut set, 3, 5));
        assert_eq!(set.ways[2], Pair { key: 3, ns: 15 });
    }
}

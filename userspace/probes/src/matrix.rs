//! Who waited while whom a CPU was given to: each CPU's pairs, and those that found no place there.

use std::{collections::BTreeMap, mem::offset_of};

use aya::maps::{HashMap, MapData};
use galileo_ebpf_abi::{CpuState, PAIR_SETS, PairSet, pair_of};

use crate::{Error, error::chain, mapped::Mapped};

/// How often it is tried to read a CPU's pairs while none of them moves to the shared map.
const LOOKS: u32 = 64;

/// The interference matrix.
pub(crate) struct Matrix {
    /// `PAIRS`.
    pub(crate) pairs: Mapped<PairSet>,
    /// `MATRIX`.
    pub(crate) rest: HashMap<MapData, u64, u64>,
}

impl Matrix {
    /// Time by victim's and aggressor's slot.
    ///
    /// The shared map is read, by system calls, only if a pair ever found no place.
    pub(crate) fn read(
        &self,
        states: &Mapped<CpuState>,
    ) -> Result<BTreeMap<(u32, u32), u64>, Error> {
        let evictions = || -> Vec<u64> {
            let offset = offset_of!(CpuState, evictions);
            (0..states.len())
                .map(|cpu| states.word(cpu, offset).unwrap_or(0))
                .collect()
        };
        let mut look = 0;
        loop {
            look += 1;
            let before = evictions();
            let mut sums = BTreeMap::new();
            for cpu in 0..states.len() {
                self.add_cpu(states, cpu, &mut sums);
            }
            if before.iter().any(|count| *count > 0) {
                for entry in &self.rest {
                    let (key, ns) = entry.map_err(|error| Error::Mismatch(chain(&error)))?;
                    *sums.entry(pair_of(key)).or_default() += ns;
                }
            }
            let still = before.iter().all(|count| count.is_multiple_of(2));
            if look >= LOOKS || (still && before == evictions()) {
                return Ok(sums);
            }
        }
    }

    fn add_cpu(&self, states: &Mapped<CpuState>, cpu: usize, sums: &mut BTreeMap<(u32, u32), u64>) {
        for word in 0..PAIR_SETS / 64 {
            let offset = offset_of!(CpuState, pairs_used) + word * 8;
            let mut used = states.word(cpu, offset).unwrap_or(0);
            while used != 0 {
                let set = word * 64 + used.trailing_zeros() as usize;
                used &= used - 1;
                let Some(set) = self.pairs.read(cpu * PAIR_SETS + set) else {
                    continue;
                };
                for pair in set.ways.iter().filter(|pair| pair.key != 0) {
                    *sums.entry(pair_of(pair.key)).or_default() += pair.ns;
                }
            }
        }
    }
}

//! Who waited while whom a CPU was given to: each CPU's pairs, and those that found no place there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap as Totals},
    hash::{BuildHasherDefault, Hasher},
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use aya::maps::{HashMap, MapData, MapError};
use galileo_ebpf_abi::{CpuState, EVICTED, PAIR_SETS, PAIR_WAYS, Pair, PairSet, pair_of};
use galileo_ebpf_core::runqueue::pair_set_of;

use crate::{
    Error,
    error::chain,
    mapped::{Mapped, catch_up},
};

/// How often it is tried to read a CPU's pairs while none of them moves to the shared map.
const LOOKS: u32 = 64;
/// For how many of these it counts to read all of the shared map, which takes up to some 100 ms: where more pairs move meanwhile than a CPU
/// remembers, all of it would be read each time, for seconds.
const ALL: u32 = LOOKS / 2;
/// How often it is tried to read a set while its pairs take one another's places: more often than any kernel switches meanwhile.
const PAIR_LOOKS: u32 = 4_096;

/// Hashes keys, which nobody chooses who could do harm by it, as their sets are found ([`pair_set_of`]).
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = (self.0 ^ key)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(32);
    }
}

/// A [`PairSet`] in its words: key and time of each place.
type Set = [u64; 2 * PAIR_WAYS];

const _: () = assert!(size_of::<PairSet>() == size_of::<Set>());
const _: () = assert!(offset_of!(Pair, key) == 0 && offset_of!(Pair, ns) == 8);

/// Key and time of each place.
fn ways(set: &Set) -> impl Iterator<Item = (u64, u64)> + '_ {
    set.chunks_exact(2).map(|way| (way[0], way[1]))
}

/// The slots of victim and aggressor, and for how long the one waited for the other, in nanoseconds.
pub(crate) type PairSum = ((u32, u32), u64);

/// The interference matrix.
pub(crate) struct Matrix {
    /// `PAIRS`.
    pairs: Mapped<PairSet>,
    /// `MATRIX`.
    rest: HashMap<MapData, u64, u64>,
    /// What was read of the pairs the last time.
    seen: Vec<Set>,
    /// The sums of it by key, and what the shared map adds.
    totals: Totals<u64, u64, BuildHasherDefault<Spread>>,
    /// The numbers of pairs that had given up their places then, by CPU.
    evictions: Vec<u64>,
    now: Vec<u64>,
    evicted: Vec<u64>,
}

impl Matrix {
    pub(crate) fn new(pairs: Mapped<PairSet>, rest: HashMap<MapData, u64, u64>) -> Self {
        Self {
            seen: vec![Set::default(); pairs.len()],
            pairs,
            rest,
            totals: Totals::default(),
            evictions: Vec::new(),
            now: Vec::new(),
            evicted: Vec::new(),
        }
    }

    /// Bytes that are mapped.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.pairs.mapped_bytes()
    }

    /// Reads what has moved. `moved` is told slots of victim and aggressor, and their time.
    ///
    /// The shared map is asked, by a system call each, for the pairs that gave up their places since the last time. All of it
    /// is read only if these are more than a CPU remembers. If pairs move without end, what moved while it was read is missing until the next
    /// reading: the shared map is read before the places.
    pub(crate) fn read(
        &mut self,
        states: &Mapped<CpuState>,
        mut moved: impl FnMut(u32, u32, u64),
    ) -> Result<(), Error> {
        let mut look = 0;
        loop {
            evictions(states, &mut self.now);
            let forgotten = |(now, known): (&u64, &u64)| now / 2 - known / 2 > EVICTED as u64 - 2;
            let anew = self.evictions.len() != self.now.len()
                || self.now.iter().zip(&self.evictions).any(forgotten);
            look += if anew { ALL } else { 1 };
            if anew {
                self.read_anew(states)?;
                for (key, ns) in &self.totals {
                    let (victim, aggressor) = pair_of(*key);
                    moved(victim, aggressor, *ns);
                }
            } else {
                self.read_moved(states, &mut moved)?;
                self.read_evicted(states, &mut moved)?;
            }
            std::mem::swap(&mut self.evictions, &mut self.now);
            evictions(states, &mut self.now);
            let still =
                self.now == self.evictions && self.now.iter().all(|count| count.is_multiple_of(2));
            if look >= LOOKS || still {
                return Ok(());
            }
        }
    }

    /// Adds up anew the pairs that gave up a place since the last time.
    fn read_evicted(
        &mut self,
        states: &Mapped<CpuState>,
        moved: &mut impl FnMut(u32, u32, u64),
    ) -> Result<(), Error> {
        self.evicted.clear();
        for (cpu, (now, known)) in self.now.iter().zip(&self.evictions).enumerate() {
            for number in known / 2..now / 2 {
                let at = number as usize & (EVICTED - 1);
                let offset = offset_of!(CpuState, evicted) + at * 8;
                self.evicted
                    .extend(states.word(cpu, offset).filter(|key| *key != 0));
            }
        }
        self.evicted.sort_unstable();
        self.evicted.dedup();
        for key in &self.evicted {
            let mut total = match self.rest.get(key, 0) {
                Ok(ns) => ns,
                Err(MapError::KeyNotFound) => 0,
                Err(error) => return Err(Error::Mismatch(chain(&error))),
            };
            let set = pair_set_of(*key) as usize;
            for cpu in 0..states.len() {
                total += ways(&self.seen[cpu * PAIR_SETS + set])
                    .filter(|(pair, _)| pair == key)
                    .map(|(_, ns)| ns)
                    .sum::<u64>();
            }
            self.totals.insert(*key, total);
            let (victim, aggressor) = pair_of(*key);
            moved(victim, aggressor, total);
        }
        Ok(())
    }

    /// Reads all pairs and the shared map.
    fn read_anew(&mut self, states: &Mapped<CpuState>) -> Result<(), Error> {
        self.totals.clear();
        self.seen.fill(Set::default());
        if self.now.iter().any(|count| *count > 0) {
            for entry in &self.rest {
                let (key, ns) = entry.map_err(|error| Error::Mismatch(chain(&error)))?;
                *self.totals.entry(key).or_default() += ns;
            }
        }
        self.read_moved(states, &mut |_, _, _| {})
    }

    /// Reads the pairs in their places.
    fn read_moved(
        &mut self,
        states: &Mapped<CpuState>,
        moved: &mut impl FnMut(u32, u32, u64),
    ) -> Result<(), Error> {
        for cpu in 0..states.len() {
            for word in 0..PAIR_SETS / 64 {
                let offset = offset_of!(CpuState, pairs_used) + word * 8;
                let mut used = states.word(cpu, offset).unwrap_or(0);
                while used != 0 {
                    let set = word * 64 + used.trailing_zeros() as usize;
                    used &= used - 1;
                    self.read_set(cpu * PAIR_SETS + set, moved)?;
                }
            }
        }
        Ok(())
    }

    fn read_set(
        &mut self,
        index: usize,
        moved: &mut impl FnMut(u32, u32, u64),
    ) -> Result<(), Error> {
        self.pairs.reach(index)?;
        let Some(pairs) = self.pairs.counters(index, 0) else {
            return Ok(());
        };
        let Some(before) = read_whole(&mut self.seen[index], pairs) else {
            return Ok(());
        };
        let now = self.seen[index];
        for ((key, ns), (before_key, before_ns)) in ways(&now).zip(ways(&before)) {
            if (key, ns) == (before_key, before_ns) || key == 0 {
                continue;
            }
            // A pair may take the place of one of which a cgroup is gone.
            let more = if key == before_key {
                ns.saturating_sub(before_ns)
            } else {
                ns
            };
            let total = self.totals.entry(key).or_default();
            *total += more;
            let (victim, aggressor) = pair_of(key);
            moved(victim, aggressor, *total);
        }
        Ok(())
    }

    /// Forgets the pairs with a slot that is not to be kept. Their places go to the next pairs that need one.
    pub(crate) fn forget(&mut self, is_kept: impl Fn(u32) -> bool) -> Result<(), Error> {
        let is_lost = |key: u64| {
            let (victim, aggressor) = pair_of(key);
            !is_kept(victim) || !is_kept(aggressor)
        };
        self.totals.retain(|key, _| !is_lost(*key));
        if self.evictions.iter().all(|count| *count == 0) {
            return Ok(());
        }
        let lost: Vec<u64> = self
            .rest
            .keys()
            .filter_map(Result::ok)
            .filter(|key| is_lost(*key))
            .collect();
        for key in lost {
            match self.rest.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(Error::Mismatch(chain(&error))),
            }
        }
        Ok(())
    }

    /// How many pairs the shared map has.
    pub(crate) fn shared(&self) -> usize {
        self.rest.keys().count()
    }

    /// The sums in which one of these slots is victim or aggressor.
    pub(crate) fn of_slots(&self, slots: &BTreeSet<u32>) -> impl Iterator<Item = PairSum> {
        let pairs = self.totals.iter().map(|(key, ns)| (pair_of(*key), *ns));
        pairs.filter(|((victim, aggressor), _)| slots.contains(victim) || slots.contains(aggressor))
    }

    /// All sums by slots of victim and aggressor, as they were last read.
    pub(crate) fn totals(&self) -> BTreeMap<(u32, u32), u64> {
        self.totals
            .iter()
            .map(|(key, ns)| (pair_of(*key), *ns))
            .collect()
    }
}

/// As [`catch_up`], of a set, each time with the pair that it is of. One that takes another's place is written with no key in
/// between (`replace` in ebpf/src/cpu/matrix.rs): a time is its pair's if the same key stands there before and after.
fn read_whole(seen: &mut Set, pairs: &[AtomicU64; 2 * PAIR_WAYS]) -> Option<Set> {
    let before = catch_up(seen, pairs)?;
    for _ in 0..PAIR_LOOKS {
        fence(Ordering::Acquire);
        let same =
            |(key, _): (u64, u64), place: &[AtomicU64]| key == place[0].load(Ordering::Relaxed);
        if ways(seen)
            .zip(pairs.chunks_exact(2))
            .all(|(way, place)| same(way, place))
        {
            break;
        }
        fence(Ordering::Acquire);
        catch_up(seen, pairs);
    }
    Some(before)
}

/// The numbers of pairs that gave up their places; what is read between two looks at them belongs together if they are the same and even.
fn evictions(states: &Mapped<CpuState>, into: &mut Vec<u64>) {
    into.clear();
    into.extend((0..states.len()).map(|cpu| {
        let guard = states.guards(cpu, [offset_of!(CpuState, evictions)]);
        guard.map_or(0, |[count]| count)
    }));
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_time_is_never_that_of_the_pair_whose_place_another_takes() {
        const PAIRS: u64 = 3_000_000;
        let place: [AtomicU64; 2 * PAIR_WAYS] = Default::default();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                // As `replace` does, each with a time that tells whose it is.
                for key in 1..=PAIRS {
                    place[0].store(0, Ordering::Release);
                    place[1].store(1_000 * key, Ordering::Release);
                    place[0].store(key, Ordering::Release);
                }
            });
            let mut seen = Set::default();
            while !writer.is_finished() {
                read_whole(&mut seen, &place);
                let [key, ns, ..] = seen;
                assert!(key == 0 || ns == 1_000 * key, "{ns} ns of {key}");
            }
        });
    }
}

//! Who waited while whom a CPU was given to.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{Array, HashMap},
};
use galileo_ebpf_abi::{EVICTED, Ledger, PAIR_SETS, PAIR_WAYS, Pair, PairSet, pair_of};
use galileo_ebpf_core::runqueue;

use super::{CPUS, publish_long};
use crate::{
    ledger::{MMAPABLE, add, count, field},
    slots::is_current,
};

/// Who waited while whom a CPU was given to, by CPU; user space sets the number: possible CPUs × [`PAIR_SETS`].
#[map]
static PAIRS: Array<PairSet> = Array::with_max_entries(256, MMAPABLE);

/// The same of pairs that found no place.
#[map]
static MATRIX: HashMap<u64, u64> = HashMap::with_max_entries(16_384, 0);

#[inline(always)]
pub(super) fn blame(cpu_index: u32, key: u64, ns: u64) {
    let set = runqueue::pair_set_of(key);
    let Some(pairs) = PAIRS.get_ptr_mut(cpu_index * PAIR_SETS as u32 + set) else {
        return;
    };
    // SAFETY: a map value; only this CPU writes it, with interrupts off, and this reference is gone when `place` makes another.
    // User space reads its words whole, through its mapping, and looks at `evictions` before and after.
    if !runqueue::add_to_pair(unsafe { &mut *pairs }, key, ns) {
        place(cpu_index, set, key, ns);
    }
}

/// Gives a pair a place in its set, if need be that of another, which moves to the shared map. Global as [`account`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn place(cpu_index: u32, set: u32, key: u64, ns: u64) -> u32 {
    let (Some(cpu), Some(pairs)) = (
        CPUS.get_ptr_mut(cpu_index),
        PAIRS.get_ptr_mut(cpu_index * PAIR_SETS as u32 + set),
    ) else {
        return 0;
    };
    let (used, evictions, evicted) = (
        field!(cpu.pairs_used),
        field!(cpu.evictions),
        field!(cpu.evicted),
    );
    // SAFETY: as in `blame`.
    let pairs = unsafe { &mut *pairs };
    if runqueue::take_place(pairs, key, ns) {
        // SAFETY: as of `evictions` below.
        let used = unsafe { &mut *used };
        used[(set as usize / 64) & (PAIR_SETS / 64 - 1)] |= 1 << (set & 63);
        return 0;
    }
    // A pair of which one is gone was read before its slot became another's.
    for way in &mut pairs.ways {
        let (victim, aggressor) = pair_of(way.key);
        if !is_current(victim) || !is_current(aggressor) {
            replace(way, key, ns);
            return 0;
        }
    }
    // In turn, so that a pair that is entered often comes back to a place that one of the others leaves.
    // SAFETY: a map value; only this CPU writes it, with interrupts off. Whoever calls this may hold the whole `CpuState`, of
    // which it looks at none of these three fields: they are this function's.
    let evictions = unsafe { &mut *evictions };
    // SAFETY: as above.
    let evicted = unsafe { &mut *evicted };
    let turn = *evictions;
    let way = &mut pairs.ways[(turn / 2) as usize & (PAIR_WAYS - 1)];
    *evictions = turn + 1;
    evicted[(turn / 2) as usize & (EVICTED - 1)] = way.key;
    // Two CPUs may insert the same pair at once: the later one adds.
    if let Some(total) = MATRIX.get_ptr_mut(way.key) {
        add(total, way.ns);
    } else if MATRIX
        .insert(way.key, way.ns, u64::from(BPF_NOEXIST))
        .is_err()
    {
        match MATRIX.get_ptr_mut(way.key) {
            Some(total) => add(total, way.ns),
            None => count(Ledger::MatrixFull),
        }
    }
    replace(way, key, ns);
    *evictions = turn + 2;
    0
}

/// Gives the place of a pair to another one. Whoever reads the time and finds the same key before and after has that of this pair: in
/// between there is none. Where stores keep their order, that is; on arm64 they may not.
#[inline(always)]
fn replace(way: &mut Pair, key: u64, ns: u64) {
    publish_long(&mut way.key, 0);
    publish_long(&mut way.ns, ns);
    publish_long(&mut way.key, key);
}

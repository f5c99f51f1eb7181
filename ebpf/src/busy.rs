//! A word that keeps something to one run of the programs at a time.
//!
//! It counts those who have it or want it. Each adds itself, reads, and has it if it is alone; otherwise it takes itself off
//! again. Additions to one word have one order that all CPUs agree on, so two cannot both find themselves alone, in whatever order
//! they go. This needs no instruction that kernels before 5.12 lack (`BPF_FETCH`), and no helper (`bpf_spin_lock` allows
//! none while it is held, and all that is done here needs some).

use crate::ledger::add_u32;

const MINUS_ONE: u64 = u64::MAX;

/// Takes it; false if somebody else has it. `word` is a field of a map value.
#[inline(always)]
pub fn take(word: *mut u32) -> bool {
    add_u32(word, 1);
    if read(word) == 1 {
        return true;
    }
    give_back(word);
    false
}

/// Gives it back; only to be called by whoever took it.
#[inline(always)]
pub fn give_back(word: *mut u32) {
    add_u32(word, MINUS_ONE);
}

/// How many have it or want it.
#[inline(always)]
pub fn read(word: *mut u32) -> u32 {
    // SAFETY: a map value; read from memory, where others write.
    unsafe { word.read_volatile() }
}

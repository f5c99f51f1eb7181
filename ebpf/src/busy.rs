//! What keeps something to one run of the programs at a time.
//!
//! Two counts: of those who came for it, and of those who had it and are done. Who comes adds itself, reads, and has it if it is the
//! only one that is not done; otherwise it takes itself off again. Additions to one word have one order that all CPUs agree
//! on, so of two the later one sees the earlier, and does not get it before that is done. This needs no instruction that
//! kernels before 5.12 lack (`BPF_FETCH`), and no helper (`bpf_spin_lock` allows none while it is held, and all that is done here
//! needs some).

use galileo_ebpf_core::socket::Busy;

use crate::ledger::add_u32;

const MINUS_ONE: u64 = u64::MAX;

/// Takes it; false if somebody else has it. `busy` is a field of a map value.
#[inline(always)]
pub fn take(busy: *mut Busy) -> bool {
    // SAFETY: a map value; only its address is taken.
    let came = unsafe { &raw mut (*busy).came };
    add_u32(came, 1);
    if present(busy) == 1 {
        return true;
    }
    add_u32(came, MINUS_ONE);
    false
}

/// Gives it back; only to be called by whoever took it, and who alone writes this count therefore: with a plain store, as an atomic
/// addition would wait for all that was written before, the ring's memory above all, some 60 ns.
#[inline(always)]
pub fn give_back(busy: *mut Busy) {
    // SAFETY: a map value. Volatile: what is written before stays before.
    unsafe {
        let done = &raw mut (*busy).done;
        done.write_volatile(done.read_volatile().wrapping_add(1));
    }
}

/// How many have it or want it. Who came is read first: who is done in between had it then.
#[inline(always)]
pub fn present(busy: *const Busy) -> u32 {
    // SAFETY: a map value; read from memory, where others write.
    unsafe {
        let came = (&raw const (*busy).came).read_volatile();
        came.wrapping_sub((&raw const (*busy).done).read_volatile())
    }
}

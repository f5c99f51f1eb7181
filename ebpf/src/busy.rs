//! What keeps something to one run of the programs at a time.
//!
//! Two counts: of those who came for it, and of those who had it and are done. Who comes adds itself, reads, and has it if it is the
//! only one that is not done; otherwise it takes itself off again. Additions to one word have one order that all CPUs agree
//! on, so of two the later one sees the earlier, and does not get it before that is done. This needs no instruction that
//! kernels before 5.12 lack (`BPF_FETCH`), and no helper (`bpf_spin_lock` allows none while it is held, and all that is done here
//! needs some).
//!
//! That two never have it holds on every machine. What the one before wrote is another matter. x86-64 keeps stores in their
//! order, and an addition there waits for all of them, so whoever has it sees all of that. arm64 orders accesses to one word only, and
//! an addition without `BPF_FETCH` has no barrier there (`stadd`): if the one before was on another CPU, whoever has it may for a
//! moment read what was there before that, and a late write of that one may replace its own. So what is kept this way consists of
//! integers, each of which may have any value: a mixture costs an exchange, or the place in a stream, and never reaches beyond
//! the value it lies in. Two runs of one CPU see nothing of this.

use galileo_ebpf_core::socket::Busy;

use crate::ledger::{add_u32, field};

const MINUS_ONE: u64 = u64::MAX;

/// Takes it; false if somebody else has it. `busy` is a field of a map value; the verifier refuses any other pointer.
#[inline(always)]
pub fn take(busy: *mut Busy) -> bool {
    let came = field!(busy.came);
    add_u32(came, 1);
    if present(busy) == 1 {
        return true;
    }
    add_u32(came, MINUS_ONE);
    false
}

/// Gives it back; only to be called by whoever took it, and who alone writes this count therefore: with a plain store, as an atomic
/// addition would wait for all that was written before, the ring's memory above all, some 60 ns. `busy` as of [`take`].
#[inline(always)]
pub fn give_back(busy: *mut Busy) {
    let done = field!(busy.done);
    // SAFETY: an aligned word of a map value, which stays while the program runs. Who calls this has it, so nobody else writes it.
    let before = unsafe { done.read_volatile() };
    // SAFETY: as above; others read it whole. Volatile, so that it stays behind what is written before: that is what the compiler
    // makes of it, not what it promises; for a fence of the compiler alone its backend has no translation.
    unsafe { done.write_volatile(before.wrapping_add(1)) };
}

/// How many have it or want it. Who came is read first: who is done in between had it then. `busy` as of [`take`].
#[inline(always)]
pub fn present(busy: *mut Busy) -> u32 {
    let (came, done) = (field!(busy.came), field!(busy.done));
    // SAFETY: an aligned word of a map value, which stays while the program runs; volatile, as others write it.
    let came = unsafe { came.read_volatile() };
    // SAFETY: as above. If what is read is old, somebody waits for nothing, no more.
    let done = unsafe { done.read_volatile() };
    came.wrapping_sub(done)
}

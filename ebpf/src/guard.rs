//! Who looks at a socket's received bytes: one CPU at a time.
//!
//! A socket sends under its lock, so what it sends comes by in order and by one CPU after the other. What it receives
//! comes by before the lock is taken, on as many CPUs as the peer sends from if the wire is a veth or loopback: by the process
//! that writes on one, by acknowledgements that let more go on another.
//!
//! The guard is a count of those who look or want to. Each adds itself, reads, and is in if it is alone; otherwise it takes
//! itself off again and waits. Additions to one word have one order that all CPUs agree on, so two cannot both find themselves
//! alone. This needs no instruction that kernels before 5.12 lack (`BPF_FETCH`), and no helper (`bpf_spin_lock` allows
//! none while it is held, and all that is done here needs some). Who is in is never interrupted by another packet of this direction, as
//! softirqs are not; so waiting takes as long as a segment takes.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use galileo_ebpf_core::http::Stream;

use crate::ledger::add_u32;

/// How often who waits looks again. Each look asks the clock, some 30 ns: the longest run of the steps takes less than all of
/// them.
const LOOKS: u32 = 1024;
/// How long is waited, in nanoseconds: a virtual CPU may have been taken off while it was in.
const PATIENCE_NS: u64 = 50_000;

/// Goes in. False if that takes too long.
#[inline(always)]
pub fn enter(stream: &mut Stream) -> bool {
    let busy = &raw mut stream.busy;
    alone(busy) || wait(busy)
}

/// Goes out again.
#[inline(always)]
pub fn leave(stream: &mut Stream) {
    add_u32(&raw mut stream.busy, MINUS_ONE);
}

const MINUS_ONE: u64 = u64::MAX;

#[inline(always)]
fn alone(busy: *mut u32) -> bool {
    add_u32(busy, 1);
    // SAFETY: a map value; read from memory, where others write.
    if unsafe { busy.read_volatile() } == 1 {
        return true;
    }
    add_u32(busy, MINUS_ONE);
    false
}

#[inline(always)]
fn wait(busy: *mut u32) -> bool {
    // SAFETY: a helper without arguments.
    let begin = unsafe { bpf_ktime_get_ns() };
    for _ in 0..LOOKS {
        // Reading alone leaves the line to whoever is in.
        // SAFETY: as in `alone`.
        if unsafe { busy.read_volatile() } == 0 && alone(busy) {
            return true;
        }
        // SAFETY: as above.
        if unsafe { bpf_ktime_get_ns() }.wrapping_sub(begin) > PATIENCE_NS {
            break;
        }
    }
    false
}

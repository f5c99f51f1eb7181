//! Who looks at a socket's received bytes: one CPU at a time.
//!
//! A socket sends under its lock, so what it sends comes by in order and by one CPU after the other. What it receives
//! comes by before the lock is taken, on as many CPUs as the peer sends from if the wire is a veth or loopback: by the process
//! that writes on one, by acknowledgements that let more go on another.
//!
//! The guard is two counts: of those who came, and of those who were in and are done. Who comes adds itself, reads, and is in if it
//! is the only one that is not done; otherwise it takes itself off again and waits. Additions to one word have one order that all
//! CPUs agree on, so of two the later one sees the earlier, and lets it be until it is done. This needs no instruction that kernels before 5.12 lack (`BPF_FETCH`), and no helper (`bpf_spin_lock` allows
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
    let stream = core::ptr::from_mut(stream);
    alone(stream) || wait(stream)
}

/// Goes out again. With a plain store, as only who is in writes there: an atomic addition would wait for all that was written
/// before, the ring's memory above all, some 60 ns.
#[inline(always)]
pub fn leave(stream: &mut Stream) {
    let done = &raw mut stream.done;
    // SAFETY: a map value. Volatile: what is written before stays before.
    unsafe { done.write_volatile(done.read_volatile().wrapping_add(1)) };
}

const MINUS_ONE: u64 = u64::MAX;

/// How many are in or want to. Who came is read first: who is done in between was in then.
#[inline(always)]
fn present(stream: *const Stream) -> u32 {
    // SAFETY: a map value; read from memory, where others write.
    unsafe {
        let came = (&raw const (*stream).came).read_volatile();
        came.wrapping_sub((&raw const (*stream).done).read_volatile())
    }
}

#[inline(always)]
fn alone(stream: *mut Stream) -> bool {
    // SAFETY: a map value; only its address is taken.
    let came = unsafe { &raw mut (*stream).came };
    add_u32(came, 1);
    if present(stream) == 1 {
        return true;
    }
    add_u32(came, MINUS_ONE);
    false
}

#[inline(always)]
fn wait(stream: *mut Stream) -> bool {
    // SAFETY: a helper without arguments.
    let begin = unsafe { bpf_ktime_get_ns() };
    for _ in 0..LOOKS {
        // Reading alone leaves the line to whoever is in.
        if present(stream) == 0 && alone(stream) {
            return true;
        }
        // SAFETY: as above.
        if unsafe { bpf_ktime_get_ns() }.wrapping_sub(begin) > PATIENCE_NS {
            break;
        }
    }
    false
}

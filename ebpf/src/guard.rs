//! Who looks at a socket's received bytes: one CPU at a time.
//!
//! A socket sends under its lock, so what it sends comes by in order and by one CPU after the other. What it receives
//! comes by before the lock is taken, on as many CPUs as the peer sends from if the wire is a veth or loopback: by the process
//! that writes on one, by acknowledgements that let more go on another.
//!
//! The guard is a [`busy`] word in the stream, see there for what it orders on arm64; who does not get it waits. Who receives is
//! never interrupted by another packet of this direction, as softirqs are not; so waiting takes as long as a segment takes. Who sends
//! is in only when the socket is met for the first time (`meet` in [`crate::net`]). If a softirq with a segment for the same socket
//! comes in that moment on the same CPU, which takes a connection older than the probes, it waits for nothing: that segment is
//! not looked at, and counted.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use galileo_ebpf_core::{http::Stream, socket::Busy};

use crate::busy;

/// How often who waits looks again, at most: the verifier wants a bound.
const LOOKS: u32 = 64;
/// How often the clock is asked between two looks, some 30 ns each. That passes the time, and leaves the verifier, which walks each
/// look of each place that waits, fewer of them.
const READINGS: u32 = 32;
/// How long is waited, in nanoseconds, which is less than all looks take: a virtual CPU may have been taken off while it was in.
const PATIENCE_NS: u64 = 50_000;

/// Goes in. False if that takes too long.
#[inline(always)]
pub fn enter(stream: &mut Stream) -> bool {
    let word = &raw mut stream.busy;
    busy::take(word) || wait(word)
}

/// Goes out again.
#[inline(always)]
pub fn leave(stream: &mut Stream) {
    busy::give_back(&raw mut stream.busy);
}

#[inline(always)]
fn wait(word: *mut Busy) -> bool {
    // SAFETY: a helper without arguments.
    let begin = unsafe { bpf_ktime_get_ns() };
    for _ in 0..LOOKS {
        let mut now = begin;
        for _ in 0..READINGS {
            // SAFETY: as above.
            now = unsafe { bpf_ktime_get_ns() };
        }
        // Reading alone leaves the line to whoever is in.
        if busy::present(word) == 0 && busy::take(word) {
            return true;
        }
        if now.wrapping_sub(begin) > PATIENCE_NS {
            break;
        }
    }
    false
}

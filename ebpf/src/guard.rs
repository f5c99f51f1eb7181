//! Who looks at a socket's bytes: one CPU at a time at each direction's, and at a reset alone.
//!
//! A socket sends under its lock, so what it sends comes by in order and by one CPU after the other. What it receives
//! comes by before the lock is taken, on as many CPUs as the peer sends from if the wire is a veth or loopback: by the process
//! that writes on one, by acknowledgements that let more go on another. So there is a guard for what is received.
//!
//! A reset ends what is under way in both directions. One that is sent takes the guard as well. For one that is received nobody may look
//! at what is sent, which has no guard, as that would cost each segment an atomic addition: who looks there says so before it reads
//! that a reset has come, with plain stores, and who has the reset says that before it looks whether somebody is there. Either
//! may read what was there before the other's store, which takes a moment to be seen; so who has the reset lets that moment
//! pass first.
//!
//! The guard is a [`busy`] word in the stream, see there for what it orders on arm64; who does not get it waits. Who receives is
//! never interrupted by another packet of this direction, as softirqs are not; so waiting takes as long as a segment takes. Who sends
//! is in only when the socket is met for the first time (`meet` in [`crate::net`]), and with a reset. If a softirq with a segment for the
//! same socket comes in that moment on the same CPU, which takes a connection older than the probes, it waits for nothing: that segment is
//! not looked at, and counted. So is a reset that comes in the moment in which the same CPU looks at what is sent.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use galileo_ebpf_core::{
    connection::{SENT, stream},
    http::Stream,
    socket::Socket,
    words::set,
};

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
    // Reading alone leaves the line to whoever is in.
    busy::take(word) || wait(|| busy::present(word) == 0 && busy::take(word))
}

/// Goes out again.
#[inline(always)]
pub fn leave(stream: &mut Stream) {
    busy::give_back(&raw mut stream.busy);
}

/// Begins to look at what is sent. False if a reset has come: what is sent is over.
#[inline(always)]
pub fn enter_sent(socket: &mut Socket) -> bool {
    say_sent(socket, 1);
    // SAFETY: a field of what is borrowed. Volatile, as the other direction writes it.
    if unsafe { (&raw const socket.reset).read_volatile() } == 0 {
        return true;
    }
    say_sent(socket, 0);
    false
}

/// The end of what [`enter_sent`] began.
#[inline(always)]
pub fn leave_sent(socket: &mut Socket) {
    say_sent(socket, 0);
}

/// The guard of what is sent is nobody's, so its words tell this.
#[inline(always)]
fn say_sent(socket: &mut Socket, present: u32) {
    set(&mut stream(socket, SENT).busy.came, present);
}

/// Has nobody look at what is sent from now on, and waits until nobody does. False if that takes too long: then all is as it was.
#[inline(always)]
pub fn close_sent(socket: &mut Socket) -> bool {
    set(&mut socket.reset, 1);
    let word = &raw const stream(socket, SENT).busy.came;
    // SAFETY: a field of what is borrowed. Volatile, as the other direction writes it.
    let closed = wait(|| unsafe { word.read_volatile() } == 0);
    if !closed {
        set(&mut socket.reset, 0);
    }
    closed
}

/// Lets some time pass and looks whether it is `done`, again and again for as long as there is patience.
#[inline(always)]
fn wait(mut done: impl FnMut() -> bool) -> bool {
    // SAFETY: a helper without arguments.
    let begin = unsafe { bpf_ktime_get_ns() };
    for _ in 0..LOOKS {
        let mut now = begin;
        for _ in 0..READINGS {
            // SAFETY: as above.
            now = unsafe { bpf_ktime_get_ns() };
        }
        if done() {
            return true;
        }
        if now.wrapping_sub(begin) > PATIENCE_NS {
            break;
        }
    }
    false
}

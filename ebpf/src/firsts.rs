//! Data that comes before its connection has a socket: with fast open, or to a listener that defers accepting. Its socket is
//! the listener's, which all share.
//!
//! What is seen of it is kept by its two ends, until the connection goes on with a socket of its own and claims it. Several CPUs may see
//! segments of one connection here, so each looks under the [`guard`] of what is kept. An entry is never removed, only
//! marked as claimed: what is removed serves another connection at once, also if a CPU still looks at it. What is
//! pushed out instead was not looked at for a thousand connections; whoever looks at it in that moment all the same reads or writes
//! another connection's. If it leaves the guard of that, nobody gets in any more: the first data of that one connection is not seen, but
//! counted (`SocketBusy`), until it is pushed out itself.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{Array, LruHashMap},
    programs::SkBuffContext,
};
use galileo_ebpf_abi::{Ledger, role};
use galileo_ebpf_core::{
    connection::{self, Place, RECEIVED},
    socket::{Ends, Segment, Socket},
    words::copy_words,
};

use crate::{
    guard,
    headers::Tcp,
    http::FIRST,
    ledger::{count, count_for, take_back},
    net,
};

/// What is known of these connections.
#[map]
static FIRSTS: LruHashMap<Ends, Socket> = LruHashMap::with_max_entries(1024, 0);

/// A socket of which nothing is known, to copy from; never written to.
#[map]
static BLANK: Array<Socket> = Array::with_max_entries(1, 0);

/// What is known of the connection whose segment lies in the work space.
#[inline(always)]
pub fn of(segment: &Segment) -> Option<&'static mut Socket> {
    kept(segment.ends)
}

#[inline(always)]
fn kept(ends: Ends) -> Option<&'static mut Socket> {
    let first = FIRSTS.get_ptr_mut(ends)?;
    // SAFETY: memory of a preallocated map, which stays while the program runs. Who looks at more than the guard's words takes the
    // guard first. If it was pushed out it may be another connection's meanwhile, and what is read mixed. It consists of integers,
    // each of which may have any value: lengths and places are masked or checked where they are used.
    Some(unsafe { &mut *first })
}

/// Bit of the cookie of what was not claimed yet; cookies of sockets count up from 1 and never come near.
const OPEN: u64 = 1 << 63;

/// A key for what is carried over. It tells where in the stream it begins, too.
#[inline(always)]
fn cookie(ends: &Ends, begin: u32) -> u64 {
    OPEN | u64::from(begin) << 31
        | u64::from(ends.remote_port) << 15
        | u64::from(ends.local_port >> 1)
}

/// Whether a place in the stream lies within what was seen of this connection, or right behind it.
#[inline(always)]
fn reaches(first: &mut Socket, place: u32) -> bool {
    let begin = (first.cookie >> 31) as u32;
    let seen = connection::stream(first, RECEIVED)
        .next_seq
        .wrapping_sub(begin);
    first.cookie != 0 && place.wrapping_sub(begin) <= seen
}

/// Looks at data that comes on a listening socket.
#[inline(always)]
pub fn look(ctx: &SkBuffContext, ends: Ends, tcp: &Tcp, length: u32, slot: u32) {
    if kept(ends).is_none()
        && let Some(blank) = BLANK.get(0)
    {
        // If another CPU was faster, its entry serves.
        let _ = FIRSTS.insert(ends, blank, u64::from(BPF_NOEXIST));
    }
    let Some(first) = kept(ends) else {
        return count(Ledger::ListenerData);
    };
    if !guard::enter(connection::stream(first, RECEIVED)) {
        return count_for(slot, Ledger::SocketBusy, 1);
    }
    let begin = tcp.begin();
    if !reaches(first, begin) {
        count(Ledger::ListenerData);
        start(first, &ends, begin, slot);
    } else if first.cookie & OPEN == 0 {
        // The connection has a socket meanwhile, to which the kernel takes this next.
        return guard::leave(connection::stream(first, RECEIVED));
    }
    // The listener's may have been given to another cgroup since the data before.
    first.slot = slot;
    net::look(ctx, first, Some(ends), tcp, length, FIRST, false);
}

/// Begins with the first data of a connection.
#[inline(always)]
fn start(first: &mut Socket, ends: &Ends, begin: u32, slot: u32) {
    if let Some(blank) = BLANK.get(0) {
        connection::stream(first, RECEIVED).take_over(&blank.streams[RECEIVED as usize]);
        copy_words(&mut first.record.request, &blank.record.request);
    }
    first.role = role::UNKNOWN;
    first.strikes = 0;
    first.turn = 0;
    first.slot = slot;
    // Nothing can come before it: it is the first data of all, or of those that come before the connection is accepted.
    let place = Place {
        next_seq: begin,
        begun: true,
    };
    connection::synchronise(first, RECEIVED, place);
    first.cookie = cookie(ends, begin);
}

/// Takes over what was seen of this connection on the listener's socket, if it is of this connection: either end goes on
/// where that ended, or within it. Returns the cookie that it has had so far.
#[inline(always)]
pub fn claim(socket: &mut Socket, ends: Ends, tcp: &Tcp, direction: u32) -> Option<u64> {
    let first = kept(ends)?;
    if !guard::enter(connection::stream(first, RECEIVED)) {
        count_for(socket.slot, Ledger::SocketBusy, 1);
        return None;
    }
    let reached = if direction == RECEIVED {
        tcp.sequence
    } else {
        tcp.acknowledged
    };
    let mut cookie = None;
    // What TCP did not take yet comes once more, and is known then.
    if first.cookie & OPEN != 0 && reaches(first, reached) {
        cookie = Some(first.cookie);
        socket.role = first.role;
        socket.strikes = first.strikes;
        copy_words(&mut socket.record.request, &first.record.request);
        connection::go_on_from(socket, RECEIVED, connection::stream(first, RECEIVED));
        take_back(Ledger::ListenerData);
        count(Ledger::ListenerClaimed);
    }
    first.cookie &= !OPEN;
    guard::leave(connection::stream(first, RECEIVED));
    cookie
}

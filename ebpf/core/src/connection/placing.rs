//! Where in its stream a segment stands, and what is done with one that came early.

use super::{
    RECEIVED, SENT, exceeded,
    lost::{lose, set_lost},
    stream,
};
use crate::{
    http::{Stream, mark, state},
    order::Early,
    socket::{Outside, Segment, Socket, last, watched},
    words::set,
};

/// What the kernel says of one direction of a socket that is looked at for the first time.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Sequence number of the next byte in order.
    pub next_seq: u32,
    /// Whether no data has passed yet.
    pub begun: bool,
}

/// Takes up a stream at its place.
#[inline(always)]
pub fn synchronise(socket: &mut Socket, direction: u32, place: Place) {
    let this = stream(socket, direction);
    this.next_seq = place.next_seq;
    this.flags |= mark::SYNCED;
    if place.begun {
        this.flags |= mark::BEGUN;
    } else {
        this.state = state::LOST;
        set_lost(socket, direction, true);
    }
}

/// Goes on where the same direction of this connection stands that was looked at before it had a socket.
#[inline(always)]
pub fn go_on_from(socket: &mut Socket, direction: u32, first: &Stream) {
    let this = stream(socket, direction);
    this.take_over(first);
    let lost = this.state == state::LOST;
    set_lost(socket, direction, lost);
}

/// More than a SYN can carry (fast open).
const SYN_DATA: u32 = 1 << 16;

/// Whether a SYN that is sent is of another connection than the one that is known, and not that one's once more: a socket may be
/// disconnected and connected anew (`connect(2)`, `AF_UNSPEC`).
#[inline(always)]
#[must_use]
pub fn is_another(socket: &mut Socket, sequence: u32) -> bool {
    let this = stream(socket, SENT);
    let carried = this.next_seq.wrapping_sub(sequence.wrapping_add(1));
    this.flags & mark::SYNCED != 0 && carried > SYN_DATA
}

/// Forgets a connection: its socket is to be met anew.
#[inline(always)]
pub fn forget(socket: &mut Socket) {
    stream(socket, RECEIVED).clear();
    stream(socket, SENT).clear();
    set(&mut socket.strikes, 0);
    set(&mut socket.turn, 0);
    set(&mut socket.doubt, 0);
    set(&mut socket.watched, watched::HERE);
    set(&mut socket.reset, 0);
    let [received, sent] = &mut socket.lost;
    set(received, 0);
    set(sent, 0);
    set(&mut socket.resumed, 0);
    set(&mut socket.answers_told, 0);
    let request = &mut socket.record.request;
    set(&mut request.sequence, 0);
    set(&mut request.start_ns, 0);
    set(&mut socket.record.end_ns, 0);
    set(&mut socket.record.peer_cgroup_id, 0);
    set(&mut socket.cookie, 0);
}

/// How far ahead of what came a segment can be, in bytes: as much as is ever under way. TCP itself would allow for a window of 1 GiB (RFC
/// 7323, 2.2); the place of whatever is received further ahead is not believed, unless TCP has what lies between.
const AHEAD: u32 = 1 << 26;

/// Whether a reset that is received is one to TCP: only right behind what it has (RFC 5961, 3.2), be that all that came, or all
/// that it has taken in of it (`rcv_nxt`), which may be less while the application reads. What overtook others it may have, too.
#[inline(always)]
#[must_use]
pub fn resets(socket: &mut Socket, sequence: u32, rcv_nxt: Option<u32>) -> bool {
    let this = stream(socket, RECEIVED);
    let ahead = sequence.wrapping_sub(this.next_seq);
    let is_unclear = this.state == state::LOST || this.flags & mark::EARLY != 0;
    (ahead == 0 && this.flags & mark::SYNCED != 0)
        || rcv_nxt == Some(sequence)
        || (is_unclear && ahead < AHEAD)
}

/// Where a segment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It brings nothing.
    Old,
    /// It follows, but for so many of its bytes that were seen before.
    Follows(u32),
    /// Bytes in front of it are missing, and it cannot be read without them: [`keep_early`], else [`give_up`].
    Early,
}

/// Puts a segment at its place in the stream. `is_level` tells whether TCP, too, waits for the byte that is next here.
#[inline(always)]
pub fn place(
    outside: &impl Outside,
    socket: &mut Socket,
    direction: u32,
    sequence: u32,
    payload: u32,
    how: u32,
    is_level: impl FnOnce(&mut Socket) -> bool,
) -> Order {
    let this = stream(socket, direction);
    if this.flags & mark::SYNCED == 0 {
        this.flags |= mark::SYNCED;
        this.next_seq = sequence;
    }
    let distance = sequence.wrapping_sub(this.next_seq) as i32;
    if distance <= 0 {
        let seen = distance.unsigned_abs();
        return if seen < payload {
            Order::Follows(seen)
        } else if how != last::NO {
            Order::Follows(payload)
        } else {
            Order::Old
        };
    }
    if distance.unsigned_abs() > AHEAD && direction == RECEIVED && is_level(socket) {
        return Order::Old;
    }
    let this = stream(socket, direction);
    if payload == 0 && how != last::CONNECTION {
        // The end of a stream whose last bytes are still to come. It may not come again: TCP has it in its queue.
        this.end_seq = sequence;
        this.end_known = 1;
        return Order::Old;
    }
    // A gap. Within a body it is only a number; what fills it later will be old.
    let gap = u64::from(distance.unsigned_abs());
    let in_body = matches!(this.state, state::BODY | state::CHUNK_DATA) && this.left >= gap;
    if in_body || this.state == state::UNTIL_CLOSE {
        this.skip(gap);
        this.flags |= mark::REORDERED;
    } else if how != last::CONNECTION {
        if this.state != state::LOST {
            return Order::Early;
        }
        lose(outside, socket, direction);
    }
    Order::Follows(0)
}

/// Keeps a segment that came early. False if there is no room for it.
#[inline(always)]
pub fn keep_early(
    outside: &impl Outside,
    early: &mut Early,
    segment: &Segment,
    socket: &mut Socket,
    direction: u32,
) -> bool {
    let this = stream(socket, direction);
    if this.flags & mark::EARLY == 0 {
        early.clear();
    }
    if !early.keep(outside, segment, this.next_seq) {
        return false;
    }
    this.flags |= mark::EARLY;
    if segment.last == last::DIRECTION {
        this.end_seq = segment.next_seq;
        this.end_known = 1;
    }
    true
}

/// Whether segments are kept that may follow now.
#[inline(always)]
pub fn has_early(socket: &mut Socket, direction: u32) -> bool {
    stream(socket, direction).flags & mark::EARLY != 0
}

/// There are no steps left to look at what was kept. What of it comes next is lost: it would wait for the next segment, which may never
/// come, and be taken for what came then.
#[inline(always)]
pub fn leave_early(
    outside: &impl Outside,
    early: &Early,
    segment: &mut Segment,
    socket: &mut Socket,
    direction: u32,
) {
    let this = stream(socket, direction);
    if this.state != state::SILENT && early.has_next(this.next_seq) {
        exceeded(outside, segment, socket, direction);
    }
}

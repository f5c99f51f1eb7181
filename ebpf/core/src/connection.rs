//! A TCP connection that may speak HTTP/1.x, seen segment by segment from one of its ends.
//!
//! A segment goes through steps: [`place`] finds where in the stream it stands; [`read`] passes over the rest of a body or
//! fills the window with lines; [`scan`] goes through the window up to an event; [`act`] acts on that. [`read`] follows as
//! long as bytes are left, then [`finish`]. The object makes each step a program of its own, so that the verifier
//! walks one window only, and a segment may hold many messages. What the steps need of the kernel is [`Outside`].

mod filling;
mod lost;

pub use lost::{exceeded, give_up};

use filling::{fill, load, save};
use galileo_ebpf_abi::{Ledger, flags, role};
pub(crate) use lost::{is_lost, set_lost, unparsable};
use lost::{judge, lose, silence};

use crate::{
    chunks,
    exchange::{head_end, message_end},
    head,
    http::{Stream, mark, state},
    lines::{self, Event},
    order::Early,
    socket::{Outside, Segment, Socket, last, watched},
    window::{CARRY, FRESH},
    words::set,
};

/// Index of the received direction.
pub const RECEIVED: u32 = 0;
/// Index of the sent direction.
pub const SENT: u32 = 1;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// There is nothing to act on.
    Nothing,
    /// A body of known length has ended.
    BodyEnd,
    /// After [`read`]: the window is filled. After [`scan`]: it was read up to an unfinished line, or to a body.
    Scan,
    /// See [`Event`].
    HeadEnd,
    /// See [`Event`].
    MessageEnd,
    /// See [`Event`].
    Unparsable,
}

/// One direction of a socket.
#[inline(always)]
pub fn stream(socket: &mut Socket, direction: u32) -> &mut Stream {
    let [received, sent] = &mut socket.streams;
    if direction == RECEIVED {
        received
    } else {
        sent
    }
}

#[inline(always)]
pub(crate) fn other(socket: &mut Socket, direction: u32) -> &mut Stream {
    stream(socket, SENT - direction)
}

#[inline(always)]
pub(crate) fn carries_answers(socket: &Socket, direction: u32) -> bool {
    (socket.role == role::SERVER) == (direction == SENT)
}

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

/// Puts a segment at its place in the stream.
#[inline(always)]
pub fn place(
    outside: &impl Outside,
    socket: &mut Socket,
    direction: u32,
    sequence: u32,
    payload: u32,
    how: u32,
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

/// Reads on: the rest of a body, or a window of lines. `chunks` tells whether those with plain size lines are passed over first,
/// with the same result in fewer steps.
#[inline(always)]
pub fn read(
    outside: &impl Outside,
    segment: &mut Segment,
    socket: &mut Socket,
    direction: u32,
    chunks: bool,
) -> Step {
    let unknown = socket.role == role::UNKNOWN;
    let this = stream(socket, direction);
    if this.left > 0 || matches!(this.state, state::BODY | state::UNTIL_CLOSE) {
        let available = u64::from(segment.end.wrapping_sub(segment.offset));
        segment.offset += this.skip(available) as u32;
        // What lies in the window is of another segment.
        segment.window.len = 0;
        if this.left == 0 && this.state == state::BODY {
            return Step::BodyEnd;
        }
        if segment.offset >= segment.end || !this.wants_lines() {
            return Step::Nothing;
        }
    }
    if chunks {
        chunks::pass_over(outside, segment, stream(socket, direction));
    }
    let this = stream(socket, direction);
    let judged = unknown || this.state == state::LOST;
    if segment.offset >= segment.end || !(judged || this.wants_lines()) {
        segment.offset = segment.end;
        return Step::Nothing;
    }
    if !load(outside, segment, socket, direction)
        || (judged && !judge(outside, segment, socket, direction))
    {
        segment.offset = segment.end;
        return Step::Nothing;
    }
    let this = stream(socket, direction);
    if this.state == state::START && segment.carried == 0 {
        begin(this, segment);
    }
    Step::Scan
}

/// Notes that a message begins here.
#[inline(always)]
fn begin(this: &mut Stream, segment: &mut Segment) {
    this.bytes = 0;
    this.first_ns = segment.now_ns;
    let request = &mut segment.carry.request;
    request.start_ns = segment.now_ns;
    set(&mut request.end_ns, 0);
    request.head_bytes = 0;
    request.flags = 0;
    request.method_len = 0;
    request.path_len = 0;
    request.id_len = 0;
    request.trace_len = 0;
    request.reserved = 0;
}

/// Goes through the window.
#[inline(always)]
pub fn scan(segment: &mut Segment, socket: &mut Socket, direction: u32) -> Step {
    let answers = carries_answers(socket, direction);
    match lines::scan(stream(socket, direction), &mut segment.window, answers) {
        Event::More => Step::Scan,
        Event::HeadEnd => Step::HeadEnd,
        Event::MessageEnd => Step::MessageEnd,
        Event::Unparsable => Step::Unparsable,
    }
}

/// After [`scan`]: fills the window anew if there is nothing to act on in it and the segment goes on, so that long heads take a
/// step for each window and not three. True if [`scan`] follows again.
#[inline(always)]
pub fn scan_on(
    outside: &impl Outside,
    segment: &mut Segment,
    socket: &mut Socket,
    direction: u32,
) -> bool {
    let this = stream(socket, direction);
    let window = &mut segment.window;
    if segment.event != Step::Scan as u32
        || window.at < window.len
        || window.has_notes()
        || !this.wants_lines()
        || this.state == state::START
    {
        return false;
    }
    let rest = window.len.wrapping_sub(window.line);
    if this.flags & mark::SKIP_LINE != 0 {
        this.bytes += u64::from(rest);
        window.line = window.len;
    } else if rest >= FRESH as u32 {
        return false;
    }
    let offset = segment
        .offset
        .wrapping_add(window.line.wrapping_sub(segment.carried));
    let unfinished = window.len.wrapping_sub(window.line);
    if offset.wrapping_add(unfinished) >= segment.end {
        return false;
    }
    let available = segment.end.wrapping_sub(offset);
    let fresh = if available > FRESH as u32 {
        FRESH as u32
    } else {
        available
    };
    if !fill(outside, segment, 0, offset, fresh) {
        return false;
    }
    segment.offset = offset;
    segment.carried = 0;
    segment.window.rewind(fresh);
    true
}

/// Acts on how reading ended, which `segment.event` says.
#[inline(always)]
pub fn act(outside: &impl Outside, segment: &mut Segment, socket: &mut Socket, direction: u32) {
    if segment.event == Step::Nothing as u32 {
        return;
    }
    let ended = if segment.event == Step::BodyEnd as u32 {
        Some(0)
    } else {
        act_on_lines(outside, segment, socket, direction)
    };
    // The one place for it, as it is long and the verifier walks each.
    if let Some(marks) = ended {
        message_end(outside, segment.now_ns, socket, direction, marks);
        if marks & flags::TUNNEL != 0 {
            silence(socket);
            segment.offset = segment.end;
        }
    }
}

/// If a message has ended: what is to be marked of it.
#[inline(always)]
fn act_on_lines(
    outside: &impl Outside,
    segment: &mut Segment,
    socket: &mut Socket,
    direction: u32,
) -> Option<u32> {
    let mut event = segment.event;
    let answers = carries_answers(socket, direction);
    let this = stream(socket, direction);
    let mut rest = segment.window.len.wrapping_sub(segment.window.line);
    // Otherwise there are more lines, or a body, in the window: the next step goes on there.
    let searched = segment.window.at >= segment.window.len;
    if event == Step::Scan as u32 && searched && rest >= CARRY as u32 {
        segment.carry.request.flags |= flags::HEAD_CUT as u16;
        if lines::cut_line(this, &mut segment.window) as u32 == Event::Unparsable as u32 {
            event = Step::Unparsable as u32;
        }
        rest = 0;
    }
    if !head::note_head(
        this,
        &mut segment.carry.request,
        &mut segment.window,
        answers,
    ) {
        event = Step::Unparsable as u32;
    }
    segment.offset = segment
        .offset
        .wrapping_add(segment.window.line.wrapping_sub(segment.carried));

    if event == Step::Scan as u32 {
        if searched && segment.offset.wrapping_add(rest) >= segment.end {
            // All that is left of the segment is an unfinished line, if anything.
            segment.offset = segment.end;
            let unfinished = this.state == state::HEAD && !answers;
            if rest > 0 || unfinished {
                save(outside, segment, socket, direction, rest);
            }
        }
        None
    } else if event == Step::HeadEnd as u32 {
        head_end(outside, segment, socket, direction, answers)
    } else if event == Step::MessageEnd as u32 {
        Some(0)
    } else {
        unparsable(outside, segment, socket, direction);
        None
    }
}

/// What follows [`act`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// [`finish`].
    Finish,
    /// [`read`].
    Read,
    /// [`scan`]: the window holds more lines.
    Scan,
}

/// Decides what follows [`act`]. Without reading again, a segment may hold more messages, as steps are limited.
#[inline(always)]
pub fn next(segment: &mut Segment, socket: &mut Socket, direction: u32) -> Next {
    // Before its begin, while empty lines that were carried over are gone through: what came early is counted from 0.
    if segment.end.wrapping_sub(segment.offset) as i32 <= 0 {
        return Next::Finish;
    }
    let this = stream(socket, direction);
    if !this.wants_lines() || segment.window.at >= segment.window.len {
        return Next::Read;
    }
    segment.window.go_on();
    segment.carried = segment.window.line;
    if this.state == state::START {
        begin(this, segment);
    }
    Next::Scan
}

/// The segment is done: its end is where the stream goes on, and a FIN or RST ends more than that.
#[inline(always)]
pub fn finish(outside: &impl Outside, segment: &mut Segment, socket: &mut Socket, direction: u32) {
    let this = stream(socket, direction);
    let advance = segment.next_seq.wrapping_sub(this.next_seq) as i32;
    if advance > 0 {
        this.next_seq = segment.next_seq;
    }
    if segment.last == last::NO && this.end_known != 0 && this.next_seq == this.end_seq {
        segment.last = last::DIRECTION;
    }
    if segment.last == last::NO || socket.role == role::UNKNOWN {
        return;
    }
    let answers = if socket.role == role::SERVER {
        SENT
    } else {
        RECEIVED
    };
    if direction != answers && segment.last == last::DIRECTION {
        // The answers may still come.
        return;
    }
    let marks = match stream(socket, answers).state {
        state::UNTIL_CLOSE => flags::CLOSE_DELIMITED,
        state::BODY | state::CHUNK_SIZE | state::CHUNK_DATA | state::TRAILER => flags::CUT_OFF,
        _ => 0,
    };
    if marks != 0 {
        message_end(outside, segment.now_ns, socket, answers, marks);
    }
    let outstanding = socket.requests().wrapping_sub(socket.answers());
    if outstanding != 0 {
        outside.count(socket, Ledger::ClosedWithoutAnswer, outstanding);
        socket.set_answers(socket.requests());
    }
    if segment.last == last::CONNECTION {
        silence(socket);
    } else {
        stream(socket, direction).state = state::SILENT;
    }
}

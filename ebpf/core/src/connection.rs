//! A TCP connection that may speak HTTP/1.x, seen segment by segment from one of its ends.
//!
//! A segment goes through steps: [`place`] finds where in the stream it stands; [`read`] passes over the rest of a body or
//! fills the window with lines; [`scan`] goes through the window up to an event; [`act`] acts on that. [`read`] follows as
//! long as bytes are left, then [`finish`]. The object makes each step a program of its own, so that the verifier
//! walks one window only, and a segment may hold many messages. What the steps need of the kernel is [`Outside`].

mod filling;
mod lost;
mod placing;

pub use lost::{exceeded, give_up};
pub use placing::{
    Order, Place, forget, go_on_from, has_early, is_another, keep_early, leave_early, place,
    resets, synchronise,
};

use filling::{fill, load, save};
use galileo_ebpf_abi::{Ledger, flags, role};
pub(crate) use lost::{is_lost, set_lost, unparsable};
use lost::{judge, silence};

use crate::{
    chunks,
    exchange::{head_end, message_end},
    head,
    http::{Stream, mark, state},
    lines::{self, Event},
    socket::{Outside, Segment, Socket, last},
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
        state::UNTIL_CLOSE if segment.last == last::CONNECTION => {
            flags::CLOSE_DELIMITED | flags::CUT_OFF
        }
        state::UNTIL_CLOSE => flags::CLOSE_DELIMITED,
        state::BODY | state::CHUNK_SIZE | state::CHUNK_DATA | state::TRAILER => flags::CUT_OFF,
        _ => 0,
    };
    if marks != 0 {
        message_end(outside, segment.now_ns, socket, answers, marks);
    }
    let outstanding = socket.requests().wrapping_sub(socket.answers());
    if outstanding as i32 > 0 {
        outside.count(socket, Ledger::ClosedWithoutAnswer, outstanding);
        socket.set_answers(socket.requests());
    }
    if segment.last == last::CONNECTION {
        silence(socket);
    } else {
        stream(socket, direction).state = state::SILENT;
    }
}

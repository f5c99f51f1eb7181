//! Connections of which it is not known who asks, or whose place was lost: what they may begin with again, and what is given up.

use galileo_ebpf_abi::{Ledger, flags, role};

use super::{RECEIVED, SENT, begin, carries_answers, filling::save, stream};
use crate::{
    exchange::{DOUBT, change_last_request},
    http::{mark, state},
    opening::{Opening, empty_lines, opening, proxy_header},
    socket::{Outside, Segment, Socket},
};

/// Tells the other direction whether the place in this one is lost.
#[inline(always)]
pub(crate) fn set_lost(socket: &mut Socket, direction: u32, lost: bool) {
    let [received, sent] = &mut socket.lost;
    if direction == RECEIVED {
        *received = u8::from(lost);
    } else {
        *sent = u8::from(lost);
    }
}

/// Whether the place in this direction is lost.
#[inline(always)]
pub(crate) const fn is_lost(socket: &Socket, direction: u32) -> bool {
    let [received, sent] = socket.lost;
    if direction == RECEIVED {
        received != 0
    } else {
        sent != 0
    }
}

/// What is missing in front of a segment will not come, or not soon enough: the place is lost.
#[inline(always)]
pub fn give_up(outside: &impl Outside, socket: &mut Socket, direction: u32) {
    outside.count(socket, Ledger::Reordered, 1);
    lose(outside, socket, direction);
}

/// Decides what a connection of unknown role, or one that lost its place, has before it. False if nothing of use.
///
/// Where the place was lost, what looks like a message may be a body, or the rest of a head. So a message is taken to begin only
/// behind something that the other direction knows to come before it: an answer has ended, or a request was sent.
#[inline(always)]
pub(super) fn judge(
    outside: &impl Outside,
    segment: &mut Segment,
    socket: &mut Socket,
    direction: u32,
) -> bool {
    let lost = stream(socket, direction).state == state::LOST;
    let older = stream(socket, direction).flags & mark::BEGUN == 0;
    let (server, client) = if direction == RECEIVED {
        (role::SERVER, role::CLIENT)
    } else {
        (role::CLIENT, role::SERVER)
    };
    if lost && !(older && socket.role == role::UNKNOWN) {
        let both = socket.role != client && is_lost(socket, SENT - direction);
        if stream(socket, direction).may_resume == 0 && !both {
            return false;
        }
    }
    if !lost && !older {
        let header = proxy_header(&segment.window);
        if header > segment.window.len {
            strike(outside, socket, direction);
            return false;
        }
        // Written down and read back: the compiler knows how far the comparison lets it go, and leaves out the mask that tells the verifier.
        segment.window.begin.set(header);
        let header = segment.window.begin.get();
        segment.window.skip(header);
    }
    if !lost {
        // They are no part of the message, which begins behind them.
        let available = segment.window.len.wrapping_sub(segment.window.line);
        let empty = empty_lines(segment.window.word(segment.window.line), available);
        segment.window.skip(empty);
    }
    let word = segment.window.word(segment.window.line);
    let available = segment.window.len.wrapping_sub(segment.window.line);
    let mut opening = opening(word, available);
    if lost && matches!(opening, Opening::Request) && !(word as u8).is_ascii_uppercase() {
        // All methods in use are written in capitals; what may be the middle of a body is held to that.
        opening = Opening::Other;
    }
    if matches!(opening, Opening::Unclear) {
        // The next bytes tell.
        if available > 0 {
            if segment.carried == 0 {
                begin(stream(socket, direction), segment);
            }
            save(outside, segment, socket, direction, available);
        }
        return false;
    }
    let role = match opening {
        Opening::Request => server,
        Opening::Response => client,
        Opening::Unclear | Opening::Other => role::UNKNOWN,
    };
    if role == role::UNKNOWN || (socket.role != role::UNKNOWN && socket.role != role) {
        stream(socket, direction).may_resume = 0;
        if socket.role == role::UNKNOWN {
            strike(outside, socket, direction);
        }
        return false;
    }
    socket.role = role;
    let this = stream(socket, direction);
    this.may_resume = 0;
    if lost {
        this.restart();
        set_lost(socket, direction, false);
        take_up(socket, direction);
        stream(socket, direction).flags |= mark::BEGUN;
        socket.doubt = DOUBT;
    }
    true
}

/// A request begins though the place was lost: those before it that are not answered are given up. How many these are stands in the
/// other direction, which may be looked at on another CPU just now; so it is left to that to count them.
#[inline(always)]
pub(super) fn take_up(socket: &mut Socket, direction: u32) {
    if !carries_answers(socket, direction) {
        socket.resumed = socket.requests();
    }
}

/// Turns of a connection older than the probes that began like no message before it is left alone: it may be in the middle of a body.
const STRIKES: u8 = 16;
/// The same of a connection seen from its first byte on. Not at once, as something of another kind may have been put in front of the first
/// request, such as a PROXY header whose end is not in sight.
const STRIKES_FROM_THE_BEGIN: u8 = 4;

#[inline(always)]
pub(super) fn strike(outside: &impl Outside, socket: &mut Socket, direction: u32) {
    // A long body is one turn, in however many segments it comes.
    let turn = direction as u8 + 1;
    let begun = stream(socket, direction).flags & mark::BEGUN != 0;
    if socket.turn == turn && !begun {
        return;
    }
    let most = if begun {
        STRIKES_FROM_THE_BEGIN
    } else {
        STRIKES
    };
    socket.turn = turn;
    socket.strikes = socket.strikes.wrapping_add(1);
    if socket.strikes >= most {
        silence(socket);
        outside.count(socket, Ledger::NotHttp, 1);
    }
}

/// Leaves the connection alone from now on.
#[inline(always)]
pub(super) fn silence(socket: &mut Socket) {
    let [received, sent] = &mut socket.streams;
    received.state = state::SILENT;
    received.left = 0;
    sent.state = state::SILENT;
    sent.left = 0;
}

/// The place in this direction is lost. Of answers, those that are outstanding now can no longer be told from one another. Of
/// requests, it was lost in the body of the last one, or behind it.
#[inline(always)]
pub(super) fn lose(outside: &impl Outside, socket: &mut Socket, direction: u32) {
    if socket.role != role::UNKNOWN {
        let outstanding = socket.requests().wrapping_sub(socket.answers());
        if outstanding != 0 && carries_answers(socket, direction) {
            outside.count(socket, Ledger::GivenUp, outstanding);
            socket.set_answers(socket.requests());
        } else if outstanding != 0 && stream(socket, direction).state != state::LOST {
            change_last_request(outside, socket, |request| {
                request.flags |= flags::REORDERED as u16;
            });
        }
    }
    set_lost(socket, direction, true);
    let this = stream(socket, direction);
    this.interim = 0;
    this.restart();
    this.state = state::LOST;
    this.may_resume = 0;
    this.flags &= mark::OF_CONNECTION;
}

#[inline(always)]
pub(crate) fn unparsable(
    outside: &impl Outside,
    segment: &mut Segment,
    socket: &mut Socket,
    direction: u32,
) {
    segment.offset = segment.end;
    if socket.requests() == 0 && socket.answers() == 0 {
        // It never spoke HTTP: what looked like a beginning was none.
        socket.role = role::UNKNOWN;
        let this = stream(socket, direction);
        this.restart();
        this.flags &= mark::OF_CONNECTION;
        set_lost(socket, direction, false);
        strike(outside, socket, direction);
    } else {
        outside.count(socket, Ledger::Unparsable, 1);
        lose(outside, socket, direction);
    }
}

/// There are more messages in one segment than steps are allowed.
#[inline(always)]
pub fn exceeded(
    outside: &impl Outside,
    segment: &mut Segment,
    socket: &mut Socket,
    direction: u32,
) {
    outside.count(socket, Ledger::StepsExceeded, 1);
    lose(outside, socket, direction);
    stream(socket, direction).next_seq = segment.next_seq;
}

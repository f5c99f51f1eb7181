//! Pairs requests with their answers, which come in the same order (RFC 9112, 9.3.2).
//!
//! Of a connection that was not seen whole (older than the probes, or with bytes missing) it is not known how many requests are
//! outstanding, so its exchanges are marked until what is seen of it leaves no doubt.

use galileo_ebpf_abi::{Ledger, PendingKey, Request, flags};

use crate::{
    connection::{SENT, carries_answers, is_lost, other, stream, unparsable},
    http::{Body, mark, method_word},
    number,
    socket::{Outside, Segment, Socket},
    words::copy_words,
};

/// A head has ended: decides how the body is delimited, and passes over it if it lies in this segment. If the message ends
/// with that: what is to be marked of it.
#[inline(always)]
pub(crate) fn head_end(
    outside: &impl Outside,
    segment: &mut Segment,
    socket: &mut Socket,
    direction: u32,
    answers: bool,
) -> Option<u32> {
    let method = if answers {
        match_request(outside, socket, direction)
    } else {
        0
    };
    let this = stream(socket, direction);
    let body = if answers {
        this.response_body(method)
    } else {
        this.request_body()
    };
    if matches!(body, Body::Length(number::NONE)) {
        unparsable(outside, segment, socket, direction);
        return None;
    }
    if answers {
        let this = stream(socket, direction);
        if matches!(body, Body::Interim) && this.interim < u8::MAX {
            this.interim += 1;
        }
        // The final answer's comes last.
        socket.record.response_head_bytes = stream(socket, direction).head_bytes();
    } else {
        let announced = if let Body::Length(length) = body {
            length
        } else {
            0
        };
        let here = segment.end.wrapping_sub(segment.offset);
        if !matches!(body, Body::Chunked) && announced <= u64::from(here) {
            segment.carry.request.end_ns = this.last_ns(segment.now_ns);
            this.flags |= mark::WHOLE;
        }
        segment.carry.request.bytes = this.bytes + announced;
        segment.carry.request.head_bytes = this.head_bytes();
        keep_request(outside, segment, socket);
        if is_lost(socket, SENT - direction) {
            let answers = other(socket, direction);
            answers.may_resume = 1;
        }
    }
    let this = stream(socket, direction);
    if !this.enter(body) {
        return Some(0);
    }
    match body {
        Body::Tunnel => Some(flags::TUNNEL),
        Body::Length(length) => {
            let here = segment.end.wrapping_sub(segment.offset);
            if length > u64::from(here) {
                return None;
            }
            this.skip(length);
            segment.offset = segment.offset.wrapping_add(length as u32);
            segment.window.skip(length as u32);
            Some(0)
        }
        _ => None,
    }
}

#[inline(always)]
fn key(socket: &Socket, sequence: u32) -> PendingKey {
    PendingKey {
        cookie: socket.cookie,
        sequence: u64::from(sequence),
    }
}

/// Keeps the request that was read until its answer has ended.
#[inline(always)]
fn keep_request(outside: &impl Outside, segment: &mut Segment, socket: &mut Socket) {
    let request = &mut segment.carry.request;
    request.sequence = socket.requests();
    if segment.run != 0 && request.start_ns < socket.record.end_ns {
        // What was missing in front of it came only when the answer before it had ended.
        request.flags |= flags::PIPELINED as u16;
    }
    if socket.requests() == socket.answers() {
        copy_words(&mut socket.record.request, request);
    } else {
        request.flags |= flags::PIPELINED as u16;
        outside.keep_request(key(socket, socket.requests()), request);
    }
    socket.set_requests(socket.requests().wrapping_add(1));
}

/// Finds the request that the present answer belongs to; returns its method.
#[inline(always)]
fn match_request(outside: &impl Outside, socket: &mut Socket, direction: u32) -> u64 {
    if stream(socket, direction).flags & mark::ORPHAN != 0 {
        return 0;
    }
    give_up_missed(outside, socket);
    if socket.requests() == socket.answers() {
        stream(socket, direction).flags |= mark::ORPHAN;
        return 0;
    }
    if socket.record.request.sequence != socket.answers() {
        let key = key(socket, socket.answers());
        if !outside.take_request(key, &mut socket.record.request) {
            outside.count(socket, Ledger::PendingLost, 1);
            socket.set_answers(socket.answers().wrapping_add(1));
            stream(socket, direction).flags |= mark::ORPHAN;
            return 0;
        }
    }
    if stream(socket, direction).first_ns < socket.record.request.start_ns {
        // It began before this request, so it answers one that was not seen.
        stream(socket, direction).flags |= mark::ORPHAN;
        return 0;
    }
    method_word(&socket.record.request)
}

/// Gives up the requests that are outstanding from before the place in their stream was lost. True if there were any.
///
/// A `resumed` that stands behind the answers is from before; it goes with the next request that begins while all are answered. A
/// connection that pipelines 2^32 requests without such a moment may mistake it for one in front of them, which then costs those that
/// are outstanding at that moment.
#[inline(always)]
fn give_up_missed(outside: &impl Outside, socket: &mut Socket) -> bool {
    // Asked first: most connections never lost a place, and the requests stand where another CPU writes.
    if socket.resumed == 0 {
        return false;
    }
    let outstanding = socket.requests().wrapping_sub(socket.answers());
    let missed = socket.resumed.wrapping_sub(socket.answers());
    if missed == 0 || missed > outstanding {
        return false;
    }
    outside.count(socket, Ledger::GivenUp, missed);
    socket.set_answers(socket.resumed);
    true
}

/// A message has ended: the next one may follow.
#[inline(always)]
pub(crate) fn message_end(
    outside: &impl Outside,
    now_ns: u64,
    socket: &mut Socket,
    direction: u32,
    marks: u32,
) {
    if carries_answers(socket, direction) {
        answer_end(outside, now_ns, socket, direction, marks);
        if is_lost(socket, SENT - direction) {
            other(socket, direction).may_resume = 1;
        }
    } else {
        request_end(outside, now_ns, socket, direction);
    }
    stream(socket, direction).restart();
}

/// A request's end is known now, and its length also if it came in chunks.
#[inline(always)]
fn request_end(outside: &impl Outside, now_ns: u64, socket: &mut Socket, direction: u32) {
    let this = stream(socket, direction);
    if this.flags & mark::WHOLE != 0 {
        return;
    }
    let (end_ns, bytes) = (this.last_ns(now_ns), this.bytes);
    let reordered = this.flags & mark::REORDERED != 0;
    change_last_request(outside, socket, |request| {
        request.end_ns = end_ns;
        request.bytes = bytes;
        if reordered {
            request.flags |= flags::REORDERED as u16;
        }
    });
}

/// Changes what is kept of the last request.
#[inline(always)]
pub(crate) fn change_last_request(
    outside: &impl Outside,
    socket: &mut Socket,
    change: impl FnOnce(&mut Request),
) {
    let sequence = socket.requests().wrapping_sub(1);
    if socket.record.request.sequence == sequence {
        change(&mut socket.record.request);
    } else {
        outside.change_request(key(socket, sequence), change);
    }
}

#[inline(always)]
fn answer_end(
    outside: &impl Outside,
    now_ns: u64,
    socket: &mut Socket,
    direction: u32,
    mut marks: u32,
) {
    let this = stream(socket, direction);
    let interim = core::mem::take(&mut this.interim);
    let is_orphan = this.flags & mark::ORPHAN != 0;
    // The answer of one that is given up ends as if it had no request.
    if is_orphan || give_up_missed(outside, socket) {
        outside.count(socket, Ledger::JoinedLate, 1);
        if socket.doubt != 0 {
            doubt(socket, DOUBT);
            socket.record.end_ns = now_ns;
        }
        return;
    }
    let this = stream(socket, direction);
    if this.flags & mark::REORDERED != 0 {
        marks |= flags::REORDERED;
    }
    let (status, first_byte_ns, bytes) = (this.status, this.first_ns, this.bytes);
    let end_ns = this.last_ns(now_ns);
    if socket.doubt != 0 {
        marks |= flags::RESUMED;
        settle(socket, first_byte_ns);
    }
    let request = &socket.record.request;
    // It may end on another CPU just now. If its place was lost in its body, it is not known when it ended, or will.
    let request_end_ns = request.end_ns;
    let lost = request_end_ns == 0 && u32::from(request.flags) & flags::REORDERED != 0;
    if !lost && (request_end_ns == 0 || request_end_ns > end_ns) {
        marks |= flags::EARLY_ANSWER;
    }
    let role = socket.role;
    let record = &mut socket.record;
    record.first_byte_ns = first_byte_ns;
    record.end_ns = end_ns;
    record.response_bytes = bytes;
    record.status = status;
    record.role = role;
    record.interim = interim;
    record.flags = marks;
    outside.exchange(socket);
    socket.answered();
}

/// Exchanges in a row that speak against an unseen request before the doubt about a connection ends.
pub(crate) const DOUBT: u8 = 8;
/// How much longer the connection must have been quiet before a request than its answer takes, for that.
const QUIET: u64 = 32;

/// Whether this exchange, the present one, speaks against a request that was never seen and that is always outstanding.
///
/// If there were one, each answer would belong to the request before the one that it is paired with: of a connection that keeps
/// one more request under way than is seen, no single exchange tells. But then each answer would wait for the next request,
/// however long that takes: after a silence the answer would come by chance right when the request has. That is not believed so
/// many times in a row. An answer that nobody asked for shows that there was one, and one less from then on.
#[inline(always)]
fn settle(socket: &mut Socket, first_byte_ns: u64) {
    let record = &socket.record;
    let request = &record.request;
    let quiet_ns = request.start_ns.saturating_sub(record.end_ns);
    let waited_ns = first_byte_ns.saturating_sub(request.start_ns);
    let calm = record.end_ns != 0
        && u32::from(request.flags) & flags::PIPELINED == 0
        && quiet_ns / QUIET >= waited_ns
        // Last, as it stands where another CPU writes.
        && socket.requests().wrapping_sub(1) == socket.answers();
    doubt(socket, if calm { socket.doubt - 1 } else { DOUBT });
}

/// Writes down how doubtful the connection is, only if that is another: both directions read this line.
#[inline(always)]
fn doubt(socket: &mut Socket, doubt: u8) {
    if socket.doubt != doubt {
        socket.doubt = doubt;
    }
}

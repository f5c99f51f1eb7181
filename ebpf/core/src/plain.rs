//! The plain message: its head lies whole in one segment, follows what was seen before, and says its length; no exchange is
//! under way that it could not belong to. Most messages are. It is read at one go and without the steps of
//! [`connection`](crate::connection), which read everything else, and this too, with the same result.

use galileo_ebpf_abi::role;

use crate::{
    chunks::{self, ASIDE},
    connection::{RECEIVED, SENT, carries_answers, is_lost, other, stream},
    exchange::message_end,
    head,
    http::{Body, Stream, mark, method_word, state},
    lines::{header, is_empty},
    number,
    opening::starts_like_a_request,
    socket::{Outside, Socket},
    window::{FRESH, Window, first, matches, text},
    words::set,
};

/// Turns of the loop over lines: one for sixteen bytes or one for a line, whichever ends first.
const TURNS: u32 = FRESH as u32 / 16 + 32;

/// Whether the next segment of this direction, of a connection seen from its begin on, can hold a plain message.
#[inline(always)]
pub fn may_begin(socket: &mut Socket, direction: u32, sequence: u32) -> bool {
    let this = stream(socket, direction);
    this.flags == mark::OF_CONNECTION
        && this.next_seq == sequence
        && this.state == state::START
        && this.end_known == 0
}

/// Asks, before it is needed and all at once, for what has to come from afar as a rule: from the CPU that wrote it, or, as there
/// are many connections, from beyond the cache. Whether the segment is an answer, or a request, is not known yet.
#[inline(always)]
pub fn ask(socket: &Socket, direction: u32) {
    let record = &socket.record;
    // SAFETY: plain integers, of which the value does not matter. Volatile, as nobody looks at it.
    unsafe {
        if carries_answers(socket, direction) {
            (&raw const record.request.start_ns).read_volatile();
            (&raw const record.request.path)
                .cast::<u64>()
                .read_volatile();
            (&raw const record.cgroup_id).read_volatile();
            (&raw const record.end_ns).read_volatile();
        } else {
            (&raw const socket.answers_told).read_volatile();
        }
    }
}

/// The segment that may hold one.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    /// Sequence number of its first byte.
    pub sequence: u32,
    /// Where its bytes begin in the packet.
    pub offset: u32,
    /// Its bytes.
    pub payload: u32,
    /// How many of them lie in the window.
    pub filled: u32,
}

impl Piece {
    /// The same, written down and read back: what holds of its lengths on one way only, the verifier would take to each line.
    #[inline(always)]
    fn noted(self, window: &mut Window) -> Self {
        window.left.set(self.payload);
        window.place.set(self.filled);
        Self {
            payload: window.left.get(),
            filled: window.place.get(),
            ..self
        }
    }
}

/// Reads the message. False if it is none, or not plain: then nothing has changed that matters to who reads it after all.
#[inline(always)]
pub fn message(
    outside: &impl Outside,
    window: &mut Window,
    socket: &mut Socket,
    direction: u32,
    piece: Piece,
    now_ns: u64,
) -> bool {
    let piece = piece.noted(window);
    let payload = piece.payload;
    window.rewind(piece.filled);
    let answer = window.word(0) & (u64::MAX >> 8) == text(b"HTTP/1.");
    if socket.role == role::UNKNOWN {
        if answer || !starts_like_a_request(window.word(0)) {
            return false;
        }
    } else if carries_answers(socket, direction) != answer {
        return false;
    }
    let own = stream(socket, direction).count;
    let turn = if answer {
        let request = &socket.record.request;
        // If requests before this one were missed, those that were kept are given up first.
        let missed = socket.resumed != 0 && socket.resumed.wrapping_sub(own) as i32 > 0;
        // An answer that began before this request is another one's: the steps say so.
        let begun = request.start_ns != 0 && request.start_ns <= now_ns;
        request.sequence == own && begun && !missed
    } else {
        true
    };
    if !turn || stream(socket, direction).interim != 0 || is_lost(socket, SENT - direction) {
        return false;
    }
    window.first_at.set(1);
    window.begin.set(0);
    window.answer.set(u32::from(answer));
    let answer = window.answer.get() != 0;
    if !lines(window, answer) || window.lengths.get() > 1 {
        return false;
    }
    // Late, as it comes from another CPU: a request that is pipelined is none of these.
    if !answer {
        if socket.answers() != own {
            return false;
        }
        // All requests so far are answered, so none is left to be given up, and the answers need not ask any more.
        if socket.resumed != 0 {
            socket.resumed = 0;
        }
    }
    let head = window.begin.get();
    let method = if answer {
        method_word(&socket.record.request)
    } else {
        0
    };
    let [received, sent] = &mut socket.streams;
    let this = if direction == RECEIVED {
        received
    } else {
        sent
    };
    let request = &mut socket.record.request;
    if !answer {
        // Until it is one: an answer is taken for this request's if that has begun.
        set(&mut request.start_ns, 0);
        set(&mut request.end_ns, 0);
        request.head_bytes = head;
        request.flags = 0;
        request.id_len = 0;
        request.trace_len = 0;
    }
    if !head::note_head(this, request, window, answer) {
        this.flags &= !mark::OF_MESSAGE;
        return false;
    }
    let body = if answer {
        this.response_body(method)
    } else {
        this.request_body()
    };
    let here = u64::from(payload - head);
    let reached = match body {
        Body::None if here == 0 => Some((state::START, 0)),
        Body::Length(length) if length == here => Some((state::START, 0)),
        Body::Length(length) if length > here && length != number::NONE => {
            Some((state::BODY, length - here))
        }
        Body::Chunked => {
            window.place.set(head);
            pass_chunks(outside, window, piece)
        }
        _ => None,
    };
    let Some((next, left)) = reached else {
        this.flags &= !mark::OF_MESSAGE;
        return false;
    };
    let (next, left) = forget(window, this, next, left);
    this.next_seq = piece.sequence.wrapping_add(payload);
    this.first_ns = now_ns;
    this.bytes = u64::from(payload);
    if !answer {
        request.start_ns = now_ns;
        request.bytes = if matches!(next, state::START | state::BODY) {
            u64::from(payload) + left
        } else {
            u64::from(head)
        };
        request.sequence = this.count;
        this.count = this.count.wrapping_add(1);
        if socket.role == role::UNKNOWN {
            socket.role = if direction == RECEIVED {
                role::SERVER
            } else {
                role::CLIENT
            };
        }
    }
    if answer {
        socket.record.response_head_bytes = head;
    } else if next == state::START {
        request.end_ns = now_ns;
    }
    if next != state::START {
        this.state = next;
    } else if answer {
        message_end(outside, now_ns, socket, direction, 0);
    } else {
        this.flags &= !mark::OF_MESSAGE;
    }
    true
}

/// Goes through the lines of a head up to its end, behind which `window.begin` then stands. False if the end does not lie in
/// the window.
#[inline(always)]
fn lines(window: &mut Window, answer: bool) -> bool {
    window.place.set(0);
    for _ in 0..TURNS {
        let at = window.place.get();
        if at >= window.len {
            return false;
        }
        let (near, far) = (
            matches(window.word(at), b'\n'),
            matches(window.word(at + 8), b'\n'),
        );
        if near | far == 0 {
            window.place.set(at + 16);
            continue;
        }
        let end = if near != 0 {
            at + first(near)
        } else {
            at + 8 + first(far)
        };
        if end >= window.len {
            return false;
        }
        let start = window.begin.get();
        window.begin.set(end + 1);
        window.place.set(end + 1);
        if end.wrapping_sub(start) < 2 && is_empty(window, start, end) {
            return start != 0;
        }
        if start == 0 {
            window.first_end.set(end);
        }
        header(window, start, end, answer);
    }
    false
}

/// Writes down what a segment leads to and reads it back, so that the verifier walks what follows once and not for each of them.
#[inline(always)]
fn forget(window: &mut Window, this: &mut Stream, next: u8, left: u64) -> (u8, u64) {
    window.begin.set(u32::from(next));
    this.left = left;
    // SAFETY: a field of what is borrowed. Volatile, as the compiler knows what was written.
    let left = unsafe { (&raw const this.left).read_volatile() };
    (window.begin.get() as u8, left)
}

/// Passes over the chunks from `window.place` of the segment's bytes on: the state they lead to, which is [`state::START`] if the
/// message ends with them, and what is still to come of the last one. None if they are not plain, or not all that is there.
#[inline(always)]
fn pass_chunks(outside: &impl Outside, window: &mut Window, piece: Piece) -> Option<(u8, u64)> {
    let end = piece.payload;
    let passed = chunks::pass::<{ chunks::FEW }>(window, end, |window, at, length| {
        if at + length <= piece.filled {
            return Some(at);
        }
        outside
            .load(window, ASIDE, piece.offset + at, length)
            .then_some(ASIDE)
    });
    if !passed {
        return None;
    }
    let left = u64::from(window.left.get());
    if left > 0 {
        Some((state::CHUNK_DATA, left))
    } else if window.place.get() == end {
        Some((state::CHUNK_SIZE, 0))
    } else {
        chunks::ends_message(window, end).then_some((state::START, 0))
    }
}

/// Passes over a segment that lies whole within a body, or ends with it. False if it does not.
#[inline(always)]
pub fn body(
    outside: &impl Outside,
    window: &mut Window,
    socket: &mut Socket,
    direction: u32,
    piece: Piece,
    now_ns: impl FnOnce() -> u64,
) -> bool {
    // Of a connection that was taken for HTTP until the other direction showed that it is none, the steps judge what comes.
    let unknown = socket.role == role::UNKNOWN;
    let this = stream(socket, direction);
    let chunked = chunks::may_pass(this);
    if unknown
        || this.next_seq != piece.sequence
        || !(chunked || this.state == state::BODY)
        || this.end_known != 0
        || this.flags & mark::EARLY != 0
    {
        return false;
    }
    let payload = u64::from(piece.payload);
    let reached = if this.left >= payload {
        let left = this.left - payload;
        let next = match (chunked, left) {
            (true, 0) => state::CHUNK_SIZE,
            (false, 0) => state::START,
            _ => this.state,
        };
        Some((next, left))
    } else if chunked {
        window.place.set(this.left as u32);
        pass_chunks(outside, window, piece)
    } else {
        None
    };
    let Some((next, left)) = reached else {
        return false;
    };
    let (next, _) = forget(window, this, next, left);
    this.bytes += payload;
    this.next_seq = piece.sequence.wrapping_add(piece.payload);
    if next == state::START {
        message_end(outside, now_ns(), socket, direction, 0);
    } else {
        this.state = next;
    }
    true
}

/// Whether the end of a connection, without data, is the end of nothing: all is answered, and nothing is under way.
#[inline(always)]
pub fn ends_nothing(socket: &mut Socket, direction: u32, sequence: u32) -> bool {
    socket.requests() == socket.answers()
        && may_begin(socket, direction, sequence)
        && other(socket, direction).state == state::START
}

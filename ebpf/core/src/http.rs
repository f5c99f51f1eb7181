//! HTTP/1.x framing (RFC 9112) of one direction of a connection, seen segment by segment.
//!
//! [`scan`] goes through a [`Window`] line by line until something happens that its caller has to decide: a head ended,
//! a message ended, or these bytes are no HTTP. It only notes where first line, length, coding and id stand;
//! [`note_head`](crate::head::note_head) reads them once, when the window is done. Bodies of known length are never looked at:
//! [`Stream::skip`].
//!
//! Three loops, each with little in it, because the verifier walks every turn: one line of any kind, header lines, chunks.

use galileo_ebpf_abi::Request;

use crate::{
    number::{self, long_chunk_size},
    socket::Busy,
    window::{Window, first, lower, matches, text},
};

/// Turns of the loop over header lines: one for eight bytes or one for a line, whichever ends first. A window of 1,024
/// bytes with more than 64 lines is looked at in two goes.
const TURNS: u32 = 192;

/// Turns of the loop over chunks that lie in one window: one for eight bytes of a size line. What is left is looked at in the
/// next go.
const CHUNK_TURNS: u32 = 128;

/// Where a stream stands within a message.
pub mod state {
    /// Between messages.
    pub const START: u8 = 0;
    /// In the lines of a head.
    pub const HEAD: u8 = 1;
    /// In a body of known length.
    pub const BODY: u8 = 2;
    /// Before the line that gives a chunk's size.
    pub const CHUNK_SIZE: u8 = 3;
    /// In a chunk, or in the line end behind it.
    pub const CHUNK_DATA: u8 = 4;
    /// Behind the last chunk.
    pub const TRAILER: u8 = 5;
    /// In a body that ends with the connection.
    pub const UNTIL_CLOSE: u8 = 6;
    /// Never to be looked at again.
    pub const SILENT: u8 = 7;
    /// Bytes are missing: waiting for a segment that begins like a message.
    pub const LOST: u8 = 8;
}

/// Bits of [`Stream::flags`].
pub mod mark {
    /// `next_seq` is known.
    pub const SYNCED: u16 = 1 << 0;
    /// The head has a Content-Length.
    pub const LENGTH: u16 = 1 << 1;
    /// The last transfer coding is chunked.
    pub const CHUNKED: u16 = 1 << 2;
    /// There is a transfer coding that is not chunked.
    pub const ENCODED: u16 = 1 << 3;
    /// What comes up to the next line end belongs to a line that was too long.
    pub const SKIP_LINE: u16 = 1 << 4;
    /// The begin of an unfinished line lies in the carry map.
    pub const CARRY: u16 = 1 << 5;
    /// What the head says of its framing contradicts itself or cannot be read.
    pub const BROKEN: u16 = 1 << 6;
    /// This answer's request was not seen.
    pub const ORPHAN: u16 = 1 << 7;
    /// A segment within this body came out of order.
    pub const REORDERED: u16 = 1 << 8;
    /// Segments are kept that came before bytes in front of them.
    pub const EARLY: u16 = 1 << 9;
    /// The stream was seen from its first byte on.
    pub const BEGUN: u16 = 1 << 10;
    /// All of this request lies in the segment in which its head ended.
    pub const WHOLE: u16 = 1 << 11;

    /// What belongs to one message.
    pub const OF_MESSAGE: u16 = LENGTH | CHUNKED | ENCODED | BROKEN | ORPHAN | REORDERED | WHOLE;
    /// What belongs to the connection.
    pub const OF_CONNECTION: u16 = SYNCED | BEGUN;
}

/// One direction of a connection.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Stream {
    /// Sequence number of the next byte in order.
    pub next_seq: u32,
    /// Status of the answer whose first line was read last.
    pub status: u16,
    /// See [`mark`].
    pub flags: u16,
    /// Bytes of the body, or of the chunk with its line end, that are still to come.
    pub left: u64,
    /// Content-Length; of a chunked body, the size of the chunk whose size line is too long to be kept.
    pub length: u64,
    /// Bytes of the present message so far.
    pub bytes: u64,
    /// When the present message began.
    pub first_ns: u64,
    /// See [`state`].
    pub state: u8,
    /// 1 if a message may begin with the next segment though the place is lost. Set by the other direction, which knows.
    pub may_resume: u8,
    /// 1 if `end_seq` is known.
    pub end_known: u8,
    /// Interim answers to the present request.
    pub interim: u8,
    /// Where the stream ends, of one whose end has overtaken its last bytes.
    pub end_seq: u32,
    /// Of requests: heads that have ended. Of answers: requests that are answered or given up. Written by its own direction only,
    /// but for a reset.
    pub count: u32,
    /// Who looks at this direction. It lies in the line that whoever looks at the direction writes anyway.
    pub busy: Busy,
    /// Always 0. A cache line for each direction, as they are looked at on two CPUs.
    pub apart: u32,
}

/// What [`scan`] came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    /// The window is used up, but for an unfinished line.
    More,
    /// A head has ended; the caller decides about the body.
    HeadEnd,
    /// A chunked message has ended.
    MessageEnd,
    /// These bytes cannot be HTTP/1.x.
    Unparsable,
}

/// How the body of a message is delimited, once its head is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until the connection ends.
    UntilClose,
    /// What follows is not HTTP any more.
    Tunnel,
    /// An interim answer: the final one follows.
    Interim,
}

const _: () = assert!(size_of::<Stream>() == 64);

impl Stream {
    /// Whether the next bytes are to be read as lines.
    #[inline(always)]
    #[must_use]
    pub const fn wants_lines(&self) -> bool {
        self.left == 0
            && matches!(
                self.state,
                state::START | state::HEAD | state::CHUNK_SIZE | state::TRAILER
            )
    }

    /// Passes over up to `available` bytes of a body; returns how many it were.
    #[inline(always)]
    pub fn skip(&mut self, available: u64) -> u64 {
        let step = if self.state == state::UNTIL_CLOSE || self.left > available {
            available
        } else {
            self.left
        };
        if self.state != state::UNTIL_CLOSE {
            self.left -= step;
        }
        self.bytes += step;
        if self.state == state::CHUNK_DATA && self.left == 0 {
            self.state = state::CHUNK_SIZE;
        }
        step
    }

    /// Takes over what another stream knows, but for who looks at it.
    #[inline(always)]
    pub fn take_over(&mut self, other: &Self) {
        let (busy, target) = (core::mem::offset_of!(Self, busy), core::ptr::from_mut(self));
        let source = core::ptr::from_ref(other).cast::<u32>();
        for word in 0..busy / 4 {
            // SAFETY: both lie within a `Stream`, before `busy`. Volatile, see `copy_words`.
            unsafe {
                target
                    .cast::<u32>()
                    .add(word)
                    .write_volatile(source.add(word).read_volatile());
            }
        }
    }

    /// Begins to wait for the next message.
    #[inline(always)]
    pub fn restart(&mut self) {
        self.state = state::START;
        self.flags &= !mark::OF_MESSAGE;
        self.left = 0;
        self.bytes = 0;
    }

    /// Bytes of the head that just ended, at most 2^32 - 1.
    #[inline(always)]
    #[must_use]
    pub const fn head_bytes(&self) -> u32 {
        if self.bytes > u32::MAX as u64 {
            u32::MAX
        } else {
            self.bytes as u32
        }
    }

    /// When the present message had ended, given when its last bytes came: they may have come before the first.
    #[inline(always)]
    #[must_use]
    pub const fn last_ns(&self, now_ns: u64) -> u64 {
        if now_ns < self.first_ns {
            self.first_ns
        } else {
            now_ns
        }
    }

    /// How the body of the request whose head just ended is delimited (RFC 9112, 6.3).
    #[inline(always)]
    #[must_use]
    pub fn request_body(&self) -> Body {
        if self.flags & mark::CHUNKED != 0 {
            Body::Chunked
        } else if self.flags & mark::LENGTH != 0 && self.length > 0 {
            Body::Length(self.length)
        } else {
            Body::None
        }
    }

    /// How the body of the answer whose head just ended is delimited (RFC 9112, 6.3), given its request's method
    /// as [`method_word`] has it.
    #[inline(always)]
    #[must_use]
    pub fn response_body(&self, method: u64) -> Body {
        let status = self.status;
        if status == 101 || (method == CONNECT && status / 100 == 2) {
            Body::Tunnel
        } else if status < 200 {
            Body::Interim
        } else if method == HEAD || status == 204 || status == 304 {
            Body::None
        } else if self.flags & mark::CHUNKED != 0 {
            Body::Chunked
        } else if self.flags & mark::ENCODED != 0 {
            Body::UntilClose
        } else if self.flags & mark::LENGTH != 0 {
            if self.length > 0 {
                Body::Length(self.length)
            } else {
                Body::None
            }
        } else {
            Body::UntilClose
        }
    }

    /// Enters the body; false if the message ends with its head.
    #[inline(always)]
    pub fn enter(&mut self, body: Body) -> bool {
        match body {
            Body::None => return false,
            Body::Length(length) => {
                self.state = state::BODY;
                self.left = length;
            }
            Body::Chunked => self.state = state::CHUNK_SIZE,
            Body::UntilClose => self.state = state::UNTIL_CLOSE,
            Body::Tunnel => self.state = state::SILENT,
            Body::Interim => {
                // What is to be said of the final answer is known from here on.
                let kept = self.flags & mark::ORPHAN;
                self.restart();
                self.flags |= kept;
            }
        }
        true
    }
}

const CONNECT: u64 = text(b"CONNECT");
const HEAD: u64 = text(b"HEAD");

/// The first eight characters of a request's method, the rest zero.
#[inline(always)]
#[must_use]
pub fn method_word(request: &Request) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = request.method;
    let word = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let bits = 8 * u64::from(request.method_len);
    if bits >= 64 {
        word
    } else {
        word & ((1 << (bits & 63)) - 1)
    }
}

/// What the first bytes of a segment look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The begin of a request, as far as these few bytes tell.
    Request,
    /// The begin of an answer.
    Response,
    /// Too few bytes to tell.
    Unclear,
    /// Neither.
    Other,
}

/// Whether a message that begins with `word` may be a request: RFC 9110, 5.6.2, `tchar`.
#[inline(always)]
#[must_use]
pub const fn starts_like_a_request(word: u64) -> bool {
    is_token(word as u8)
}

/// `tchar` of RFC 9110, 5.6.2.
#[inline(always)]
#[must_use]
pub const fn is_token(byte: u8) -> bool {
    // One bit for each character, so that the verifier walks two ways and not one for each range.
    const LOW: u64 = bits(0);
    const HIGH: u64 = bits(64);
    let set = if byte < 64 { LOW } else { HIGH };
    byte < 128 && set >> (byte & 63) & 1 != 0
}

const fn bits(from: u8) -> u64 {
    let others = b"!#$%&'*+-.^_`|~";
    let mut bits = 0;
    let mut byte = from;
    while byte < from + 64 {
        let mut token = byte.is_ascii_alphanumeric();
        let mut index = 0;
        while index < others.len() {
            token |= byte == others[index];
            index += 1;
        }
        bits |= (token as u64) << (byte - from);
        byte += 1;
    }
    bits
}

/// What a message begins with that a server ought to pass over: empty lines (RFC 9112, 2.2).
const EMPTY_LINES: u32 = 7;

/// Judges the first `available` bytes of a segment by up to eight of them.
#[inline(always)]
#[must_use]
pub fn opening(mut word: u64, available: u64) -> Opening {
    const HTTP: u64 = text(b"HTTP/");
    let mut available = if available > 8 { 8 } else { available };
    for _ in 0..EMPTY_LINES {
        if available > 0 && matches!(word as u8, b'\r' | b'\n') {
            word >>= 8;
            available -= 1;
        }
    }
    if available == 0 {
        return Opening::Unclear;
    }
    let compared = if available < 5 { available } else { 5 };
    let shown = (1 << (8 * compared)) - 1;
    if word & shown == HTTP & shown {
        return if available < 5 {
            Opening::Unclear
        } else {
            Opening::Response
        };
    }
    if starts_like_a_request(word) {
        Opening::Request
    } else {
        Opening::Other
    }
}

/// Goes through the window from where it stands.
#[inline(always)]
pub fn scan(stream: &mut Stream, window: &mut Window, is_response: bool) -> Event {
    if stream.state == state::CHUNK_SIZE && stream.flags & mark::SKIP_LINE == 0 {
        chunks(stream, window);
        if window.line >= window.len || stream.left > 0 {
            return Event::More;
        }
    }
    if stream.state != state::HEAD || stream.flags & mark::SKIP_LINE != 0 {
        let event = one_line(stream, window);
        if event as u32 != Event::More as u32 {
            return event;
        }
    }
    if stream.state == state::HEAD && stream.flags & mark::SKIP_LINE == 0 {
        return header_lines(stream, window, is_response);
    }
    Event::More
}

/// Finds the end of the line that begins at `window.line`, and acts on it.
#[inline(always)]
fn one_line(stream: &mut Stream, window: &mut Window) -> Event {
    const WORDS: u32 = crate::window::WINDOW as u32 / 8;
    window.at = window.line;
    let mut newlines = 0;
    for _ in 0..WORDS {
        newlines = matches(window.word(window.at), b'\n');
        if newlines != 0 || window.at >= window.len {
            break;
        }
        window.at += 8;
    }
    if newlines == 0 {
        window.at = window.len;
        return Event::More;
    }
    let end = window.at + first(newlines);
    if end >= window.len {
        window.at = window.len;
        return Event::More;
    }
    let start = window.line;
    window.at = end + 1;
    window.line = end + 1;
    stream.bytes += u64::from(end + 1 - start);
    if stream.flags & mark::SKIP_LINE != 0 {
        stream.flags &= !mark::SKIP_LINE;
        if stream.state == state::CHUNK_SIZE {
            enter_chunk(stream, stream.length);
        }
        return Event::More;
    }
    line(stream, window, start, end)
}

/// Behind the line with this chunk's size.
#[inline(always)]
fn enter_chunk(stream: &mut Stream, size: u64) {
    if size == 0 {
        stream.state = state::TRAILER;
    } else {
        // With the line end behind the chunk.
        stream.left = size + 2;
        stream.state = state::CHUNK_DATA;
    }
}

/// A place in the window or shortly behind it, as it is. Kernels from 7.x on remember of a sum what it is the sum of, and walk
/// both ways to the next turn of a loop as if they led to different places; a mask makes them forget.
#[inline(always)]
fn within(at: u32) -> u32 {
    at & (2 * crate::window::WINDOW as u32 - 1)
}

/// Goes through the header lines, up to the empty one if it is there.
#[inline(always)]
fn header_lines(stream: &mut Stream, window: &mut Window, is_response: bool) -> Event {
    let begin = window.line;
    let mut event = Event::More;
    for _ in 0..TURNS {
        let at = window.at;
        if at >= window.len {
            break;
        }
        let newlines = matches(window.word(at), b'\n');
        if newlines == 0 {
            window.at = within(at + 8);
            continue;
        }
        let end = at + first(newlines);
        if end >= window.len {
            window.at = window.len;
            break;
        }
        let start = window.line;
        window.at = within(end + 1);
        window.line = end + 1;
        if is_empty(window, start, end) {
            event = Event::HeadEnd;
            break;
        }
        header(window, start, end, is_response);
    }
    stream.bytes += u64::from(window.line - begin);
    event
}

/// Passes over chunks that lie in the window, whatever their size lines look like. What is left at `window.line` then is an
/// unfinished line, one that is no size, or that of the last chunk.
#[inline(always)]
fn chunks(stream: &mut Stream, window: &mut Window) {
    let begin = window.line;
    window.begin.set(begin);
    window.place.set(begin);
    for _ in 0..CHUNK_TURNS {
        let line = window.begin.get();
        let at = window.place.get();
        if at >= window.len {
            break;
        }
        let newlines = matches(window.word(at), b'\n');
        if newlines == 0 {
            window.place.set(at + 8);
            continue;
        }
        let data = at + first(newlines) + 1;
        if data > window.len {
            break;
        }
        let size = long_chunk_size(window.word(line), window.word(line + 8));
        if size == 0 || size == number::NONE {
            break;
        }
        // The line end behind the chunk is passed over with it.
        let whole = size + 2;
        let here = u64::from(window.len - data);
        if whole > here {
            window.begin.set(window.len);
            stream.state = state::CHUNK_DATA;
            stream.left = whole - here;
            break;
        }
        window.begin.set(data + whole as u32);
        window.place.set(data + whole as u32);
    }
    window.line = window.begin.get();
    window.at = window.line;
    stream.bytes += u64::from(window.line - begin);
}

#[inline(always)]
pub(crate) fn is_empty(window: &Window, start: u32, end: u32) -> bool {
    end == start || (end - start == 1 && window.byte(start) == b'\r')
}

/// Takes the unfinished line at the end of the window for all that will be seen of it: it is longer than is looked at.
#[inline(always)]
pub fn cut_line(stream: &mut Stream, window: &mut Window) -> Event {
    let start = window.line;
    let end = window.len;
    window.line = end;
    window.at = end;
    stream.bytes += u64::from(end - start);
    if stream.flags & mark::SKIP_LINE != 0 {
        return Event::More;
    }
    stream.flags |= mark::SKIP_LINE;
    line(stream, window, start, end)
}

/// One line from `start` to `end`, where its line feed stands.
#[inline(always)]
fn line(stream: &mut Stream, window: &mut Window, start: u32, end: u32) -> Event {
    let empty = is_empty(window, start, end);
    match stream.state {
        // A server should ignore an empty line before a request (RFC 9112, 2.2).
        state::START if empty => stream.bytes = 0,
        state::START => {
            window.first_at.set(start + 1);
            window.first_end.set(end);
            stream.state = state::HEAD;
        }
        state::CHUNK_SIZE => {
            let size = long_chunk_size(window.word(start), window.word(start + 8));
            if size == number::NONE {
                return Event::Unparsable;
            }
            if stream.flags & mark::SKIP_LINE != 0 {
                // The rest of the line is still to come.
                stream.length = size;
            } else {
                enter_chunk(stream, size);
            }
        }
        state::TRAILER if empty => return Event::MessageEnd,
        _ => {}
    }
    Event::More
}

/// Notes where the value of a header line stands, if it is one that matters. The whole name is compared here, so that no other
/// line takes its place.
#[inline(always)]
pub(crate) fn header(window: &mut Window, start: u32, end: u32, is_response: bool) {
    let name = lower(window.word(start));
    if name == text(b"content-") {
        if lower(window.word(start + 8)) & (u64::MAX >> 8) == text(b"length:") {
            if window.lengths.get() == 0 {
                window.length_at.set(start + 15);
            }
            window.last_length_at.set(start + 15);
            let lengths = window.lengths.get().wrapping_add(1);
            window.lengths.set(lengths);
        }
    } else if name == text(b"transfer") {
        if lower(window.word(start + 8)) == text(b"-encodin")
            && lower(window.word(start + 16)) & 0xffff == text(b"g:")
        {
            window.transfer_at.set(start + 18);
            window.transfer_end.set(end);
        }
    } else if is_response {
        // An answer's other lines say nothing here.
    } else if name == text(b"x-galile") {
        if lower(window.word(start + 8)) == text(b"o-reques")
            && lower(window.word(start + 16)) & (u64::MAX >> 24) == text(b"t-id:")
        {
            window.id_at.set(start + 21);
            window.id_end.set(end);
        }
    } else if name == text(b"tracepar")
        && lower(window.word(start + 8)) & (u64::MAX >> 32) == text(b"ent:")
    {
        window.trace_at.set(start + 12);
        window.trace_end.set(end);
    }
}

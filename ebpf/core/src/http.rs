//! HTTP/1.x framing (RFC 9112) of one direction of a connection, seen segment by segment.
//!
//! [`scan`] goes through a [`Window`] line by line until something happens that its caller has to decide: a head ended,
//! a message ended, or these bytes are no HTTP. It only notes where first line, length and id stand; [`note_head`]
//! reads them once, when the window is done. Bodies of known length are never looked at: [`Stream::skip`].

use galileo_ebpf_abi::{METHOD_BYTES, PATH_BYTES, REQUEST_ID_BYTES, Request, flags};

use crate::window::{Window, first, lower, matches, text};

/// Turns of the loop in [`scan`]: one for eight bytes or one for a line, whichever ends first. A window of 1,024 bytes
/// with more than 64 lines is looked at in two goes.
pub const TURNS: u32 = 192;

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
    pub const SYNCED: u8 = 1;
    /// The head has a Content-Length.
    pub const LENGTH: u8 = 2;
    /// The last transfer coding is chunked.
    pub const CHUNKED: u8 = 4;
    /// There is a transfer coding that is not chunked.
    pub const ENCODED: u8 = 8;
    /// What comes up to the next line end belongs to a line that was too long.
    pub const SKIP_LINE: u8 = 16;
    /// The begin of an unfinished line lies in the carry map.
    pub const CARRY: u8 = 32;
    /// What the head says of its framing contradicts itself or cannot be read.
    pub const BROKEN: u8 = 64;
    /// This answer's request was not seen.
    pub const ORPHAN: u8 = 128;

    /// What belongs to one message.
    pub const OF_MESSAGE: u8 = LENGTH | CHUNKED | ENCODED | BROKEN | ORPHAN;
}

/// One direction of a connection.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Stream {
    /// Sequence number of the next byte in order.
    pub next_seq: u32,
    /// Status of the answer whose first line was read last.
    pub status: u16,
    /// See [`state`].
    pub state: u8,
    /// See [`mark`].
    pub flags: u8,
    /// Bytes of the body, or of the chunk with its line end, that are still to come.
    pub left: u64,
    /// Content-Length.
    pub length: u64,
    /// Bytes of the present message so far.
    pub bytes: u64,
    /// When the present message began.
    pub first_ns: u64,
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

impl Stream {
    /// Whether the next bytes are to be read as lines.
    #[inline(always)]
    #[must_use]
    pub const fn wants_lines(&self) -> bool {
        self.left == 0 && matches!(self.state, state::START | state::HEAD | state::CHUNK_SIZE | state::TRAILER)
    }

    /// Passes over up to `available` bytes of a body; returns how many it were.
    #[inline(always)]
    pub fn skip(&mut self, available: u64) -> u64 {
        let step = if self.state == state::UNTIL_CLOSE || self.left > available { available } else { self.left };
        if self.state != state::UNTIL_CLOSE {
            self.left -= step;
        }
        self.bytes += step;
        if self.state == state::CHUNK_DATA && self.left == 0 {
            self.state = state::CHUNK_SIZE;
        }
        step
    }

    /// Begins to wait for the next message.
    #[inline(always)]
    pub fn restart(&mut self) {
        self.state = state::START;
        self.flags &= !mark::OF_MESSAGE;
        self.left = 0;
        self.bytes = 0;
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
            if self.length > 0 { Body::Length(self.length) } else { Body::None }
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
            Body::Interim => self.restart(),
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
    if bits >= 64 { word } else { word & ((1 << (bits & 63)) - 1) }
}

/// What the first bytes of a segment look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The begin of a request, as far as these few bytes tell.
    Request,
    /// The begin of an answer.
    Response,
    /// Neither.
    Other,
}

/// Judges the first `available` bytes of a segment by up to eight of them.
#[inline(always)]
#[must_use]
pub fn opening(word: u64, available: u64) -> Opening {
    const HTTP1: u64 = text(b"HTTP/1.");
    let bits = if available >= 7 { 56 } else { 8 * available };
    let shown = (1 << bits) - 1;
    if word & shown == HTTP1 & shown {
        return Opening::Response;
    }
    let first = word as u8;
    if first.is_ascii_uppercase() { Opening::Request } else { Opening::Other }
}

/// Goes through the window from where it stands, line by line.
#[inline(always)]
pub fn scan(stream: &mut Stream, window: &mut Window, is_response: bool) -> Event {
    for _ in 0..TURNS {
        let at = window.at;
        if at >= window.len {
            break;
        }
        if stream.left > 0 {
            // A chunk, or the part of it that lies in this window.
            let step = stream.skip(u64::from(window.len - at));
            window.at = at + step as u32;
            window.line = window.at;
            continue;
        }
        let newlines = matches(window.word(at), b'\n');
        if newlines == 0 {
            window.at = at + 8;
            continue;
        }
        let end = at + first(newlines);
        if end >= window.len {
            window.at = window.len;
            break;
        }
        let start = window.line;
        window.at = end + 1;
        window.line = end + 1;
        stream.bytes += u64::from(end + 1 - start);
        if stream.flags & mark::SKIP_LINE != 0 {
            stream.flags &= !mark::SKIP_LINE;
            continue;
        }
        let event = line(stream, window, start, end, is_response);
        if event as u32 != Event::More as u32 {
            return event;
        }
    }
    Event::More
}

/// Takes the unfinished line at the end of the window for all that will be seen of it: it is longer than is looked at.
#[inline(always)]
pub fn cut_line(stream: &mut Stream, window: &mut Window, is_response: bool) -> Event {
    let start = window.line;
    let end = window.len;
    window.line = end;
    window.at = end;
    stream.bytes += u64::from(end - start);
    if stream.flags & mark::SKIP_LINE != 0 {
        return Event::More;
    }
    stream.flags |= mark::SKIP_LINE;
    line(stream, window, start, end, is_response)
}

/// One line from `start` to `end`, where its line feed stands.
#[inline(always)]
fn line(stream: &mut Stream, window: &mut Window, start: u32, end: u32, is_response: bool) -> Event {
    let empty = end == start || (end - start == 1 && window.byte(start) == b'\r');
    match stream.state {
        state::HEAD if empty => return Event::HeadEnd,
        state::HEAD => header(stream, window, start, end, is_response),
        // A server should ignore an empty line before a request (RFC 9112, 2.2).
        state::START if empty => stream.bytes = 0,
        state::START => {
            window.first_at = start + 1;
            window.first_end = end;
            stream.state = state::HEAD;
        }
        state::CHUNK_SIZE => match chunk_size(window.word(start)) {
            None => return Event::Unparsable,
            Some(0) => stream.state = state::TRAILER,
            Some(size) => {
                // The line end behind the chunk is passed over with it.
                stream.left = size + 2;
                stream.state = state::CHUNK_DATA;
            }
        },
        state::TRAILER if empty => return Event::MessageEnd,
        _ => {}
    }
    Event::More
}

#[inline(always)]
fn header(stream: &mut Stream, window: &mut Window, start: u32, end: u32, is_response: bool) {
    let name = lower(window.word(start));
    if name == text(b"content-") {
        if lower(window.word(start + 8)) & (u64::MAX >> 8) == text(b"length:") {
            if window.length_at != 0 {
                stream.flags |= mark::BROKEN;
            }
            window.length_at = start + 15;
        }
    } else if name == text(b"transfer") {
        if lower(window.word(start + 8)) == text(b"-encodin")
            && lower(window.word(start + 16)) & 0xffff == text(b"g:")
        {
            let stop = end - u32::from(window.byte(end.wrapping_sub(1)) == b'\r');
            if lower(window.word(stop.wrapping_sub(7))) & (u64::MAX >> 8) == text(b"chunked") {
                stream.flags |= mark::CHUNKED;
            } else {
                stream.flags |= mark::ENCODED;
                stream.flags &= !mark::CHUNKED;
            }
        }
    } else if !is_response
        && name == text(b"x-galile")
        && lower(window.word(start + 8)) == text(b"o-reques")
        && lower(window.word(start + 16)) & (u64::MAX >> 24) == text(b"t-id:")
    {
        window.id_at = start + 21;
        window.id_end = end;
    }
}

/// Reads a chunk's size of up to seven hexadecimal digits (256 MiB), which must be followed by something else.
#[inline(always)]
fn chunk_size(word: u64) -> Option<u64> {
    let mut size = 0_u64;
    let mut digits = 0_u32;
    let mut rest = word;
    for _ in 0..8 {
        let byte = rest as u8;
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => break,
        };
        size = size << 4 | u64::from(digit);
        digits += 1;
        rest >>= 8;
    }
    (digits > 0 && digits < 8).then_some(size)
}

/// Reads what [`scan`] noted in this window: first line, length, id. False if the first line is none of HTTP/1.x.
#[inline(always)]
pub fn note_head(stream: &mut Stream, request: &mut Request, window: &mut Window, is_response: bool) -> bool {
    if window.first_at != 0 {
        let start = window.first_at - 1;
        let end = window.first_end;
        let fine = if is_response {
            status_line(stream, window, start)
        } else {
            request_line(request, window, start, end, end == window.len)
        };
        if !fine {
            return false;
        }
    }
    if window.length_at != 0 {
        content_length(stream, window);
    }
    if window.id_at != 0 && !is_response {
        request_id(request, window);
    }
    true
}

#[inline(always)]
fn status_line(stream: &mut Stream, window: &Window, start: u32) -> bool {
    if window.word(start) & (u64::MAX >> 8) != text(b"HTTP/1.") {
        return false;
    }
    let word = window.word(start + 8);
    let digit = |index: u32| (word >> (8 * index) & 0xff).wrapping_sub(u64::from(b'0'));
    let (hundreds, tens, ones) = (digit(1), digit(2), digit(3));
    // RFC 9110, 15: three digits, 100 to 599. What follows is a space, or the end of the line.
    let after = (word >> 32) as u8;
    let fine = word as u8 == b' '
        && (1..=5).contains(&hundreds)
        && tens <= 9
        && ones <= 9
        && (after == b' ' || after == b'\r' || after == b'\n');
    stream.status = (hundreds * 100 + tens * 10 + ones) as u16;
    fine
}

#[inline(always)]
fn request_line(request: &mut Request, window: &Window, start: u32, end: u32, cut: bool) -> bool {
    let low = matches(window.word(start), b' ');
    let length = if low != 0 {
        first(low)
    } else {
        let high = matches(window.word(start + 8), b' ');
        if high == 0 {
            return false;
        }
        8 + first(high)
    };
    if length == 0 {
        return false;
    }
    let target = start + length + 1;
    let mut stop = end;
    if !cut {
        stop -= u32::from(window.byte(end.wrapping_sub(1)) == b'\r');
        let version = window.word(stop.wrapping_sub(8));
        if version != text(b"HTTP/1.1") && version != text(b"HTTP/1.0") {
            return false;
        }
        stop = stop.wrapping_sub(9);
    }
    // A target of no bytes is none; positions that crossed are no request line.
    if stop <= target || stop > end {
        return false;
    }
    request.method = window.copy::<METHOD_BYTES>(start);
    request.method_len = length as u8;
    request.path = window.copy::<PATH_BYTES>(target);
    let available = stop - target;
    if cut || available > PATH_BYTES as u32 {
        request.flags |= flags::PATH_TRUNCATED;
    }
    request.path_len = if available > PATH_BYTES as u32 { PATH_BYTES as u16 } else { available as u16 };
    true
}

#[inline(always)]
fn content_length(stream: &mut Stream, window: &Window) {
    let mut length = 0_u64;
    let mut digits = 0_u32;
    let mut at = window.length_at;
    for _ in 0..24 {
        let byte = window.byte(at);
        at += 1;
        if byte.is_ascii_digit() {
            length = length.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            digits += 1;
        } else if digits > 0 || (byte != b' ' && byte != b'\t') {
            break;
        }
    }
    // Up to 18 digits: no overflow.
    if digits == 0 || digits > 18 || (stream.flags & mark::LENGTH != 0 && stream.length != length) {
        stream.flags |= mark::BROKEN;
    }
    stream.length = length;
    stream.flags |= mark::LENGTH;
}

#[inline(always)]
fn request_id(request: &mut Request, window: &Window) {
    let start = window.id_at + u32::from(window.byte(window.id_at) == b' ');
    let stop = window.id_end - u32::from(window.byte(window.id_end.wrapping_sub(1)) == b'\r');
    if stop <= start {
        return;
    }
    request.id = window.copy::<REQUEST_ID_BYTES>(start);
    let length = stop - start;
    request.id_len = if length > REQUEST_ID_BYTES as u32 { REQUEST_ID_BYTES as u8 } else { length as u8 };
}

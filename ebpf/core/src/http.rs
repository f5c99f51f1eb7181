//! HTTP/1.x framing (RFC 9112) of one direction of a connection, seen segment by segment. Bodies of known length are never looked
//! at: [`Stream::skip`].

use galileo_ebpf_abi::Request;

use crate::{socket::Busy, window::text};

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
    /// This answer's request was not seen.
    pub const ORPHAN: u16 = 1 << 6;
    /// A segment within this body came out of order.
    pub const REORDERED: u16 = 1 << 7;
    /// Segments are kept that came before bytes in front of them.
    pub const EARLY: u16 = 1 << 8;
    /// The stream was seen from its first byte on.
    pub const BEGUN: u16 = 1 << 9;
    /// All of this request lies in the segment in which its head ended.
    pub const WHOLE: u16 = 1 << 10;

    /// What belongs to one message.
    pub const OF_MESSAGE: u16 = LENGTH | CHUNKED | ENCODED | ORPHAN | REORDERED | WHOLE;
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
    /// Content-Length, [`NONE`](crate::number::NONE) if it contradicts itself or cannot be read; of a chunked body, the size of the chunk
    /// whose size line is too long to be kept.
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
    /// Of requests: heads that have ended. Of answers: requests that are answered or given up. Modulo 2^32.
    pub count: u32,
    /// Who looks at this direction. It lies in the line that whoever looks at the direction writes anyway.
    pub busy: Busy,
    /// Always 0, see `Socket` for why.
    pub apart: [u32; 17],
}

/// How the body of a message is delimited, once its head is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// So many bytes, at least one; [`NONE`](crate::number::NONE) if the head does not tell.
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

const _: () = assert!(size_of::<Stream>() == 128);

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

    /// Forgets everything, but for who looks at it.
    #[inline(always)]
    pub fn clear(&mut self) {
        let (busy, target) = (core::mem::offset_of!(Self, busy), core::ptr::from_mut(self));
        for word in 0..busy / 4 {
            // SAFETY: within a `Stream`, before `busy`. Volatile, see `words::set`.
            unsafe { target.cast::<u32>().add(word).write_volatile(0) };
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
    // SAFETY: the first eight bytes of a field of what is borrowed, aligned as asserted below. Volatile, as the compiler would read it
    // before it is known whether it is needed, and it may have to come from another CPU.
    let word = u64::from_le(unsafe { (&raw const request.method).cast::<u64>().read_volatile() });
    // SAFETY: as above.
    let bits = 8 * u64::from(unsafe { (&raw const request.method_len).read_volatile() });
    if bits >= 64 {
        word
    } else {
        word & ((1 << (bits & 63)) - 1)
    }
}

const _: () = assert!(core::mem::offset_of!(Request, method).is_multiple_of(8));

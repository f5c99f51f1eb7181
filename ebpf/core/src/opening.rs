//! What a connection begins with: a request, an answer, or no HTTP.

use crate::window::text;

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

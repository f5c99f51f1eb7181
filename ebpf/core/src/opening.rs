//! What a connection begins with: a request, an answer, or no HTTP.

use crate::{
    number::leading,
    window::{Window, first, matches, text},
};

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

/// How many of the first `available` bytes of `word` are empty lines, which a server ought to pass over before a request (RFC 9112, 2.2).
#[inline(always)]
#[must_use]
pub fn empty_lines(word: u64, available: u32) -> u32 {
    let empty = leading(word, [b'\r', b'\n']);
    let here = if empty < available { empty } else { available };
    // Eight at most. The mask says so to verifiers that learn nothing from comparing two registers (5.10).
    here & 15
}

/// Bytes of the header that a proxy puts in front of what it passes on (the PROXY protocol, versions 1 and 2, section 2), if the line at
/// which the window stands begins one; else 0. It may go on beyond the window.
#[inline(always)]
#[must_use]
pub fn proxy_header(window: &Window) -> u32 {
    /// Words of the longest header of version 1, which has 107 bytes.
    const WORDS: u32 = 14;
    let line = window.line;
    let word = window.word(line);
    if word & (u64::MAX >> 16) == text(b"PROXY ") {
        for index in 0..WORDS {
            let ends = matches(window.word(line + 8 * index), b'\n');
            if ends != 0 {
                return 8 * index + first(ends) + 1;
            }
        }
        return 0;
    }
    if word == text(b"\r\n\r\n\0\r\nQ")
        && window.word(line + 8) & (u64::MAX >> 32) == text(b"UIT\n")
    {
        let length = [window.byte(line + 14), window.byte(line + 15)];
        return 16 + u32::from(u16::from_be_bytes(length));
    }
    0
}

/// Judges the first `available` bytes of a message, if there are so many, by up to eight of them.
#[inline(always)]
#[must_use]
pub fn opening(word: u64, available: u32) -> Opening {
    const HTTP: u64 = text(b"HTTP/");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_are_counted_as_far_as_there_are_bytes() {
        assert_eq!(empty_lines(text(b"\r\n\n\rGET "), 512), 4);
        assert_eq!(empty_lines(text(b"\r\n\r\n\r\n\r\n"), 512), 8);
        assert_eq!(empty_lines(text(b"\r\n\r\n"), 3), 3);
        assert_eq!(empty_lines(text(b"GET /a H"), 512), 0);
    }

    #[test]
    fn a_message_is_judged_by_what_there_is_of_it() {
        assert_eq!(opening(text(b"HTTP/1.1"), 512), Opening::Response);
        assert_eq!(opening(text(b"HTTP/1.1"), 4), Opening::Unclear);
        assert_eq!(opening(text(b"HTTPISH "), 512), Opening::Request);
        assert_eq!(opening(text(b"HEAD /a "), 2), Opening::Request);
        assert_eq!(opening(text(b"(GET /a "), 8), Opening::Other);
        assert_eq!(opening(0, 0), Opening::Unclear);
    }
}

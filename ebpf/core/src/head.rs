//! What the lines of a head say: first line, length, coding, request id. Where they stand was noted by
//! [`scan`](crate::lines::scan).

use galileo_ebpf_abi::{METHOD_BYTES, PATH_BYTES, REQUEST_ID_BYTES, Request, TRACE_BYTES, flags};

use crate::{
    http::{Stream, mark},
    number,
    opening::is_token,
    window::{Window, controls, first, is_word, lower, matches, text},
};

/// Reads what [`scan`](crate::lines::scan) noted in this window: first line, length, id. False if the first line is none of HTTP/1.x.
#[inline(always)]
pub fn note_head(
    stream: &mut Stream,
    request: &mut Request,
    window: &mut Window,
    is_response: bool,
) -> bool {
    if window.first_at.get() != 0 {
        let start = window.first_at.get() - 1;
        let end = window.first_end.get();
        let fine = if is_response {
            status_line(stream, window, start)
        } else {
            request_line(request, window, start, end, end == window.len)
        };
        if !fine {
            return false;
        }
    }
    if window.length_at.get() != 0 {
        content_length(stream, window);
    }
    if window.transfer_at.get() != 0 {
        transfer_encoding(stream, window);
    }
    if window.id_at.get() != 0 && !is_response {
        request_id(request, window);
    }
    if window.trace_at.get() != 0 && !is_response {
        traceparent(request, window);
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
    stream.status = hundreds
        .wrapping_mul(100)
        .wrapping_add(tens.wrapping_mul(10))
        .wrapping_add(ones) as u16;
    fine
}

/// Most paths are no longer, and copying all that may be kept costs as much as all else that is done with a request line.
pub const SHORT_PATH: usize = 32;

#[inline(always)]
fn request_line(request: &mut Request, window: &Window, start: u32, end: u32, cut: bool) -> bool {
    let length = method_length(window, start);
    if length == 0 {
        return false;
    }
    let target = start + length + 1;
    let mut stop = end;
    if cut {
        // Without a version in sight, what is no plain target is text with a space in it.
        let opening = window.word(target);
        if opening as u8 != b'/' && lower(opening) & 0xffff_ffff != text(b"http") {
            return false;
        }
    } else {
        stop -= u32::from(window.byte(end.wrapping_sub(1)) == b'\r');
        // A blank there is none of the version, and may be passed over (RFC 9112, 3).
        stop -= u32::from(window.byte(stop.wrapping_sub(1)) == b' ');
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
    let available = stop - target;
    let kept = if available > PATH_BYTES as u32 {
        PATH_BYTES as u32
    } else {
        available
    };
    window.copy_to::<METHOD_BYTES>(start, &mut request.method);
    request.method_len = length as u8;
    if available <= SHORT_PATH as u32 {
        window.copy_to::<SHORT_PATH>(target, &mut request.path);
    } else {
        window.copy_to::<PATH_BYTES>(target, &mut request.path);
    }
    if cut || available > PATH_BYTES as u32 {
        request.flags |= flags::PATH_TRUNCATED as u16;
    }
    request.path_len = kept as u16;
    !has_controls(window, target, &request.path_len)
}

/// Whether there is a control character among the `length`, at most [`PATH_BYTES`], bytes of a request's target: none has such (RFC 9112,
/// 3.2).
#[inline(always)]
fn has_controls(window: &Window, target: u32, length: &u16) -> bool {
    for word in 0..PATH_BYTES as u32 / 8 {
        // SAFETY: a shared reference to an integer. Volatile, so that the verifier, which knows of a register what it was compared with,
        // walks what follows once and not for each length.
        let length = u32::from(unsafe { core::ptr::from_ref(length).read_volatile() });
        let at = 8 * word;
        if at >= length {
            break;
        }
        let controls = controls(window.word(target + at));
        if controls != 0 && first(controls) < length - at {
            return true;
        }
    }
    false
}

/// Length of the method that begins at `start` and ends before a blank; 0 if there is none, it is too long to keep, or no token (RFC
/// 9110, 9.1).
#[inline(always)]
fn method_length(window: &Window, start: u32) -> u32 {
    let word = window.word(start);
    let blank = matches(word, b' ');
    if blank != 0 && is_word(word, first(blank)) {
        return first(blank);
    }
    // Rare: long, or with other characters than letters and `-`.
    for length in 0..=METHOD_BYTES as u32 {
        let byte = window.byte(start + length);
        if byte == b' ' {
            return length;
        }
        if !is_token(byte) {
            break;
        }
    }
    0
}

#[inline(always)]
fn content_length(stream: &mut Stream, window: &mut Window) {
    let length = number_at(window, window.length_at.get());
    // More than two lines in one window are taken for a contradiction unread.
    let contradicts = window.lengths.get() > 2
        || (window.lengths.get() == 2 && number_at(window, window.last_length_at.get()) != length)
        || (stream.flags & mark::LENGTH != 0 && stream.length != length);
    stream.length = if contradicts { number::NONE } else { length };
    stream.flags |= mark::LENGTH;
}

/// The number that stands at `at`, behind up to sixteen blanks.
#[inline(always)]
fn number_at(window: &Window, at: u32) -> u64 {
    let at = at + number::blanks(window.word(at));
    let at = at + number::blanks(window.word(at));
    number::decimal([window.word(at), window.word(at + 8), window.word(at + 16)])
}

#[inline(always)]
fn transfer_encoding(stream: &mut Stream, window: &Window) {
    let (start, stop) = window.value(window.transfer_at.get(), window.transfer_end.get());
    let last = lower(window.word(stop.wrapping_sub(7))) & (u64::MAX >> 8);
    // Chunked must be the last coding (RFC 9112, 6.1).
    if stop >= start + 7 && last == text(b"chunked") {
        stream.flags |= mark::CHUNKED;
    } else if stop == start + 8 && lower(window.word(start)) == text(b"identity") {
        // None, in the words of RFC 2616, 3.6.
    } else {
        stream.flags |= mark::ENCODED;
        stream.flags &= !mark::CHUNKED;
    }
}

/// A part of an id would be taken for the id of another request, so one that is too long to keep is none.
#[inline(always)]
fn request_id(request: &mut Request, window: &Window) {
    let (start, stop) = window.value(window.id_at.get(), window.id_end.get());
    if stop.saturating_sub(start) > REQUEST_ID_BYTES as u32 {
        request.id_len = 0;
        request.flags |= flags::HEAD_CUT as u16;
        return;
    }
    window.copy_to::<REQUEST_ID_BYTES>(start, &mut request.id);
    request.id_len = kept(start, stop, REQUEST_ID_BYTES);
}

#[inline(always)]
fn traceparent(request: &mut Request, window: &Window) {
    let (start, stop) = window.value(window.trace_at.get(), window.trace_end.get());
    window.copy_to::<TRACE_BYTES>(start, &mut request.trace);
    request.trace_len = kept(start, stop, TRACE_BYTES);
}

/// How many bytes are kept of what stands from `start` to `stop`.
#[inline(always)]
fn kept(start: u32, stop: u32, most: usize) -> u8 {
    let length = stop.saturating_sub(start);
    if length > most as u32 {
        most as u8
    } else {
        length as u8
    }
}

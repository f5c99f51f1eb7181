//! The lines of a window: heads, chunk sizes, trailers.
//!
//! [`scan`] goes through a [`Window`] line by line until something happens that its caller has to decide: a head ended,
//! a message ended, or these bytes are no HTTP. It only notes where first line, length, coding and id stand;
//! [`note_head`](crate::head::note_head) reads them once, when the window is done.
//!
//! Three loops, each with little in it, because the verifier walks every turn: one line of any kind, lines of heads and trailers, chunks.

use crate::{
    http::{Stream, mark, state},
    number::{self, long_chunk_size},
    window::{Window, first, lower, matches, text},
};

/// Turns of the loop over header lines: one for eight bytes or one for a line, whichever ends first. A window of 1,024
/// bytes with more than 64 lines is looked at in two goes.
const TURNS: u32 = 192;

/// Turns of the loop over chunks that lie in one window: one for eight bytes of a size line. What is left is looked at in the
/// next go.
const CHUNK_TURNS: u32 = 128;

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

/// Goes through the window from where it stands.
#[inline(always)]
pub fn scan(stream: &mut Stream, window: &mut Window, is_response: bool) -> Event {
    if stream.state == state::CHUNK_SIZE && stream.flags & mark::SKIP_LINE == 0 {
        chunks(stream, window);
        if window.line >= window.len || stream.left > 0 {
            return Event::More;
        }
    }
    let fields = stream.state == state::HEAD || stream.state == state::TRAILER;
    if !fields || stream.flags & mark::SKIP_LINE != 0 {
        let event = one_line(stream, window);
        if event as u32 != Event::More as u32 {
            return event;
        }
    }
    let fields = stream.state == state::HEAD || stream.state == state::TRAILER;
    if fields && stream.flags & mark::SKIP_LINE == 0 {
        return fields_of(stream, window, is_response);
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

/// Goes through the lines of a head, or of trailers, up to the empty one if it is there.
#[inline(always)]
fn fields_of(stream: &mut Stream, window: &mut Window, is_response: bool) -> Event {
    let begin = window.line;
    let trailers = stream.state == state::TRAILER;
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
            event = if trailers {
                Event::MessageEnd
            } else {
                Event::HeadEnd
            };
            break;
        }
        // What trailers say comes too late to matter.
        if !trailers {
            header(window, start, end, is_response);
        }
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

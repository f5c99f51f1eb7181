//! Chunks whose size lines are plain, passed over without the steps of [`connection`](crate::connection): a large segment may hold
//! more of them than there may be steps.

use crate::{
    http::{Stream, mark, state},
    number::plain_chunk_size,
    socket::{Outside, Segment},
    window::{CARRY, Window, text},
};

/// Chunks that the steps pass over at one go. A segment of 64 KiB has as many of 1 KiB; what has more takes more steps.
const MANY: u32 = 64;
/// Chunks of a plain segment. Few, as the verifier walks them once for each way that leads there.
pub(crate) const FEW: u32 = 8;

/// Bytes that are looked at of a size line.
const LINE: u32 = 8;

/// Whether the next byte of this direction may be one of a chunk, or of the line with its size, of which nothing was carried over.
#[inline(always)]
#[must_use]
pub(crate) const fn may_pass(stream: &Stream) -> bool {
    matches!(stream.state, state::CHUNK_SIZE | state::CHUNK_DATA)
        && stream.flags & (mark::CARRY | mark::SKIP_LINE) == 0
}

/// Passes over the chunks of a segment that begin here and whose size lines are plain. What comes then is for
/// [`scan`](crate::connection::scan).
#[inline(always)]
pub(crate) fn pass_over(outside: &impl Outside, segment: &mut Segment, this: &mut Stream) {
    // What came early is kept elsewhere, a frame of it at most.
    if !may_pass(this) || this.left > 0 || segment.run != 0 {
        return;
    }
    let begin = segment.offset;
    let window = &mut segment.window;
    window.place.set(begin);
    // What can't be had is missed by who fills the window.
    pass::<MANY>(window, segment.end, |window, at, length| {
        outside.load(window, ASIDE, at, length).then_some(ASIDE)
    });
    segment.offset = window.place.get();
    this.bytes += u64::from(segment.offset.wrapping_sub(begin));
    let left = u64::from(window.left.get());
    if left > 0 {
        this.left = left;
        this.state = state::CHUNK_DATA;
    }
}

/// Passes over up to `CHUNKS` chunks from `window.place` on, where a size line begins, up to `end` or a size line that is not plain, or ends the
/// message. `window.place` is then behind what was passed over, `window.left` what is still to come of the last chunk with its
/// line end, and `window.size_at` where in the window that size line lies. `load` gives where in the window the bytes from a place on
/// lie, of which there are so many; none if they can't be had: then false is returned.
#[inline(always)]
pub(crate) fn pass<const CHUNKS: u32>(
    window: &mut Window,
    end: u32,
    mut load: impl FnMut(&mut Window, u32, u32) -> Option<u32>,
) -> bool {
    window.left.set(0);
    for _ in 0..CHUNKS {
        let at = window.place.get();
        let rest = end.wrapping_sub(at);
        if at >= end {
            break;
        }
        let length = if rest < LINE { rest } else { LINE };
        let Some(line) = load(window, at, length) else {
            return false;
        };
        window.size_at.set(line);
        // As noted: wherever it lies, the verifier walks what follows once.
        let Some((size, bytes)) = plain_chunk_size(window.word(window.size_at.get())) else {
            break;
        };
        if size == 0 || bytes > rest {
            break;
        }
        // With the line end behind the chunk.
        let (whole, here) = (size + 2, rest - bytes);
        if whole > here {
            window.left.set(whole - here);
            window.place.set(end);
            break;
        }
        window.place.set(at + bytes + whole);
    }
    true
}

/// Whether what is left behind [`pass`] is the last chunk, without trailers.
#[inline(always)]
#[must_use]
pub(crate) fn ends_message(window: &Window, end: u32) -> bool {
    const LAST: u64 = text(b"0\r\n\r\n");
    let word = window.word(window.size_at.get());
    end.wrapping_sub(window.place.get()) == 5 && word & (u64::MAX >> 24) == LAST
}

/// Where a size line is put that does not lie in the window.
pub(crate) const ASIDE: u32 = CARRY as u32;

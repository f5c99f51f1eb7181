//! A piece of a byte stream that lies in map memory, read eight bytes at a time.

use crate::number::blanks;

/// Bytes of a stream looked at together: up to [`CARRY`] left over from the segment before, and up to [`FRESH`] new.
pub const WINDOW: usize = CARRY + FRESH;
/// Bytes of an unfinished line that are kept until the next segment. A longer line is cut.
pub const CARRY: usize = 512;
/// Bytes taken from a segment at once.
pub const FRESH: usize = 512;
/// What may be read beyond the end of a window, so that a read at a masked position needs no second check.
const SLACK: usize = 136;

/// A number that is written in a loop and read behind it, always from memory: the compiler would keep it in a register, and
/// the verifier, which knows nothing of what lies in map memory but all of registers, would walk what follows once for
/// each combination of what was met.
#[derive(Debug)]
#[repr(transparent)]
pub struct Note(u32);

impl Note {
    /// The number.
    #[inline(always)]
    #[must_use]
    pub fn get(&self) -> u32 {
        // SAFETY: a shared reference to an integer.
        unsafe { core::ptr::from_ref(&self.0).read_volatile() }
    }

    /// Writes it down.
    #[inline(always)]
    pub fn set(&mut self, value: u32) {
        // SAFETY: an exclusive reference to an integer.
        unsafe { core::ptr::from_mut(&mut self.0).write_volatile(value) };
    }
}

/// See the module.
#[repr(C)]
pub struct Window {
    /// Bytes that are filled.
    pub len: u32,
    /// Position of the next byte to look at.
    pub at: u32,
    /// Where the present line begins.
    pub line: u32,
    /// Begin of the value of a Content-Length line; 0 if none was met.
    pub length_at: Note,
    /// Behind the colon of the line with our request id; 0 if none was met.
    pub id_at: Note,
    /// End of that line.
    pub id_end: Note,
    /// Behind the colon of a Transfer-Encoding line; 0 if none was met.
    pub transfer_at: Note,
    /// End of that line.
    pub transfer_end: Note,
    /// Number of Content-Length lines met.
    pub lengths: Note,
    /// As `length_at`, of the last such line.
    pub last_length_at: Note,
    /// Behind the colon of a `traceparent` line; 0 if none was met.
    pub trace_at: Note,
    /// End of that line.
    pub trace_end: Note,
    /// Begin of the first line of a message, plus one; 0 if none was met.
    pub first_at: Note,
    /// End of that line.
    pub first_end: Note,
    /// What [`plain`](crate::plain) reads: begin of the present line.
    pub begin: Note,
    /// The next byte to look at.
    pub place: Note,
    /// Whether it is an answer.
    pub answer: Note,
    /// What [`chunks`](crate::chunks) reads: bytes of the present chunk that are still to come, with its line end.
    pub left: Note,
    /// Where the present size line begins.
    pub size_at: Note,
    /// Always 0.
    pub reserved: u32,
    /// The bytes; what lies beyond `len` is arbitrary.
    pub bytes: [u8; WINDOW + SLACK],
}

impl Window {
    /// Eight bytes from `at` on, the first as the lowest byte.
    #[inline(always)]
    #[must_use]
    pub fn word(&self, at: u32) -> u64 {
        let at = at as usize & (WINDOW - 1);
        // SAFETY: at + 8 ≤ WINDOW + SLACK, so the read stays within `bytes`.
        u64::from_le(unsafe { self.bytes.as_ptr().add(at).cast::<u64>().read_unaligned() })
    }

    /// Forgets what was noted of the lines before, and begins at the first byte.
    #[inline(always)]
    pub fn rewind(&mut self, len: u32) {
        self.len = len;
        self.line = 0;
        self.go_on();
    }

    /// Forgets what was noted of the lines before, and goes on behind them.
    #[inline(always)]
    pub fn go_on(&mut self) {
        self.at = self.line;
        self.length_at.set(0);
        self.lengths.set(0);
        self.id_at.set(0);
        self.trace_at.set(0);
        self.transfer_at.set(0);
        self.first_at.set(0);
    }

    /// The value of a header line that stands from `from` to `end`, without the blanks around it (RFC 9112, 5; at most eight of them on each
    /// side).
    #[inline(always)]
    #[must_use]
    pub fn value(&self, from: u32, end: u32) -> (u32, u32) {
        let start = from + blanks(self.word(from));
        let mut stop = end;
        if self.byte(stop.wrapping_sub(1)) == b'\r' {
            stop = stop.wrapping_sub(1);
        }
        for _ in 0..8 {
            let last = self.byte(stop.wrapping_sub(1));
            if stop > start && (last == b' ' || last == b'\t') {
                stop -= 1;
            }
        }
        (start, stop)
    }

    /// Whether something was noted.
    #[inline(always)]
    #[must_use]
    pub fn has_notes(&self) -> bool {
        self.first_at.get()
            | self.lengths.get()
            | self.transfer_at.get()
            | self.id_at.get()
            | self.trace_at.get()
            != 0
    }

    /// Passes over bytes that are no lines, which may go beyond the end.
    #[inline(always)]
    pub fn skip(&mut self, count: u32) {
        self.line = self.line.wrapping_add(count);
        self.at = self.line;
    }

    /// Puts a carried line at the begin.
    #[inline(always)]
    pub fn set_words(&mut self, words: &[u64; CARRY / 8]) {
        let begin = self.bytes.as_mut_ptr().cast::<u64>();
        debug_assert!(begin.is_aligned());
        for (index, word) in words.iter().enumerate() {
            // SAFETY: CARRY ≤ WINDOW + SLACK, so the write stays within `bytes`. Volatile, see `copy_words`.
            unsafe { begin.add(index).write_volatile(*word) };
        }
    }

    /// The byte at `at`.
    #[inline(always)]
    #[must_use]
    pub fn byte(&self, at: u32) -> u8 {
        self.bytes[at as usize & (WINDOW - 1)]
    }

    /// Copies the `N` (at most 128, and a multiple of 8) bytes from `at` on to the begin of `target`, which is aligned to 8.
    #[inline(always)]
    pub fn copy_to<const N: usize>(&self, at: u32, target: &mut [u8]) {
        const { assert!(N <= 128 && N.is_multiple_of(8)) };
        let at = at as usize & (WINDOW - 1);
        let target = target
            .get_mut(..N)
            .map_or(core::ptr::null_mut(), <[u8]>::as_mut_ptr);
        let target = target.cast::<u64>();
        debug_assert!(!target.is_null() && target.is_aligned());
        for word in 0..N / 8 {
            // SAFETY: at + 128 ≤ WINDOW + SLACK, so the read stays within `bytes`.
            let value = unsafe {
                self.bytes
                    .as_ptr()
                    .add(at)
                    .cast::<u64>()
                    .add(word)
                    .read_unaligned()
            };
            // SAFETY: the target has N bytes: callers pass fields of that size. Volatile, see `copy_words`.
            unsafe { target.add(word).write_volatile(value) };
        }
    }
}

/// The lowest bit of each byte.
pub(crate) const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
pub(crate) const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks the bytes of `word` that equal `byte` by their highest bit. Exact up to the first match; bytes behind it may be
/// marked wrongly ("Bit Twiddling Hacks", haszero).
#[inline(always)]
#[must_use]
pub const fn matches(word: u64, byte: u8) -> u64 {
    let zeroed = word ^ (byte as u64 * ONES);
    zeroed.wrapping_sub(ONES) & !zeroed & HIGHS
}

/// Marks the control characters of ASCII in `word`, exactly.
#[inline(always)]
#[must_use]
pub const fn controls(word: u64) -> u64 {
    let from_blank = ((word & !HIGHS) + 0x60 * ONES) | word;
    let delete = word ^ (0x7f * ONES);
    let others = ((delete & !HIGHS) + !HIGHS) | delete;
    !(from_blank & others) & HIGHS
}

/// Index of the first marked byte; `marks` must not be 0. eBPF has no instruction that counts zeros.
#[inline(always)]
#[must_use]
pub const fn first(marks: u64) -> u32 {
    let below = (marks.wrapping_sub(1) & !marks) & ONES;
    ((below.wrapping_mul(ONES)) >> 56) as u32 - 1
}

/// `word` with its letters in lower case. Other characters may change too, so compare with constants of letters, digits
/// and `-`, `:` only.
#[inline(always)]
#[must_use]
pub const fn lower(word: u64) -> u64 {
    word | (0x20 * ONES)
}

/// Whether the first `count` (up to eight) bytes of `word` are letters or `-`.
#[inline(always)]
#[must_use]
pub const fn is_word(word: u64, count: u32) -> bool {
    let shown = if count >= 8 {
        u64::MAX
    } else {
        (1 << ((8 * count) & 63)) - 1
    };
    let word = (word & shown) | (text(b"aaaaaaaa") & !shown);
    if word & HIGHS != 0 {
        return false;
    }
    // No byte has its highest bit, so these sums do not reach the next byte.
    let from_a = lower(word).wrapping_add((0x80 - b'a' as u64) * ONES);
    let behind_z = lower(word).wrapping_add((0x7f - b'z' as u64) * ONES);
    let no_dash = (word ^ (b'-' as u64 * ONES)).wrapping_add(0x7f * ONES);
    ((from_a & !behind_z) | !no_dash) & HIGHS == HIGHS
}

/// A constant of up to eight characters as [`Window::word`] would read it.
#[must_use]
pub const fn text(characters: &[u8]) -> u64 {
    let mut word = 0;
    let mut index = 0;
    while index < characters.len() {
        word |= (characters[index] as u64) << (8 * index);
        index += 1;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_match_is_found_at_every_place() {
        for place in 0..8_u32 {
            let word = u64::from_le_bytes(*b"xxxxxxxx") ^ (u64::from(b'x' ^ b'\n') << (8 * place));
            assert_eq!(first(matches(word, b'\n')), place);
        }
        assert_eq!(
            matches(u64::from_le_bytes(*b"\x0b\x8a\x09\x00\xffabc"), b'\n'),
            0
        );
    }

    #[test]
    fn a_word_is_letters_and_dashes_only() {
        for byte in 0..=255_u8 {
            let fine = byte.is_ascii_alphabetic() || byte == b'-';
            for place in 0..8 {
                let mut bytes = *b"GET-POST";
                bytes[place] = byte;
                let word = u64::from_le_bytes(bytes);
                assert_eq!(is_word(word, 8), fine, "{byte} at {place}");
                assert!(is_word(word, place as u32));
            }
        }
    }

    #[test]
    fn letters_lose_their_case() {
        assert_eq!(lower(text(b"CoNtEnT-")), text(b"content-"));
        assert_eq!(lower(text(b"LENGTH: ")), text(b"length: "));
    }
}

//! Numbers, read eight digits at a time and without a branch per digit: the verifier walks every branch of every turn.

use crate::window::{HIGHS, ONES, first, lower, matches};

/// What the functions here say of what is no number.
pub const NONE: u64 = u64::MAX;

/// Reads a chunk's size of up to seven hexadecimal digits (256 MiB), followed by the end of the line or by what a chunk
/// extension begins with; [`NONE`] if it is none.
///
/// All digits at once, without a branch: this stands in the loop that the verifier walks turn by turn.
#[inline(always)]
#[must_use]
pub fn chunk_size(word: u64) -> u64 {
    let word = lower(word);
    let ends = ends_of_size(word);
    if ends == 0 || first(ends) == 0 {
        return NONE;
    }
    hexadecimal(word, first(ends))
}

/// Reads a chunk's size of up to six hexadecimal digits (16 MiB) that the end of the line follows, as nearly all are written: the size,
/// and the bytes of the line. None if it is none of these.
#[inline(always)]
#[must_use]
pub fn plain_chunk_size(word: u64) -> Option<(u32, u32)> {
    let digits = first(matches(word, b'\r') | 1 << 63);
    if digits == 0 || digits > 6 || (word >> (8 * (digits & 7)) >> 8) as u8 != b'\n' {
        return None;
    }
    let size = hexadecimal(lower(word), digits);
    if size == NONE {
        return None;
    }
    Some((size as u32, digits + 2))
}

/// As [`chunk_size`], of up to 15 digits, which are most often leading zeros.
#[inline(always)]
#[must_use]
pub fn long_chunk_size(high: u64, low: u64) -> u64 {
    if ends_of_size(lower(high)) != 0 {
        return chunk_size(high);
    }
    let high = hexadecimal(lower(high), 8);
    let low = lower(low);
    let ends = ends_of_size(low);
    if high == NONE || ends == 0 {
        return NONE;
    }
    let digits = first(ends) & 7;
    let rest = hexadecimal(low, digits);
    if rest == NONE {
        return NONE;
    }
    high << (4 * digits) | rest
}

/// Marks what may follow the digits of a chunk's size in `word`, which is in lower case: so the line end and the tabulator
/// are `-` and `)`; neither is a digit.
#[inline(always)]
const fn ends_of_size(word: u64) -> u64 {
    matches(word, b'\r' | 0x20)
        | matches(word, b'\n' | 0x20)
        | matches(word, b'\t' | 0x20)
        | matches(word, b' ')
        | matches(word, b';')
}

/// The value of the first `digits` (up to eight) characters of `word`, which is in lower case, as hexadecimal digits;
/// [`NONE`] if one of them is none.
#[inline(always)]
fn hexadecimal(word: u64, digits: u32) -> u64 {
    // The digits as the highest bytes, zeros before them.
    let (text, padding) = if digits >= 8 {
        (word, 0)
    } else {
        (
            (word << (8 * (7 - (digits & 7)))) << 8,
            u64::MAX >> (8 * (digits & 7)),
        )
    };
    let letters = (text >> 6) & ONES;
    let values = (text & (0x0f * ONES)) + 9 * letters;
    // Encoded again, the values must give the text: what is no digit does not.
    let above_nine = ((values + 6 * ONES) >> 4) & ONES;
    let encoded = values + 0x30 * ONES + 0x27 * above_nine;
    if encoded & !padding != text & !padding || values & !padding & (0xf0 * ONES) != 0 {
        return NONE;
    }
    // Neighbours join: two digits to a byte, two bytes to a half word, and so on; the first digit is the lowest byte.
    let bytes = ((values & 0x000f_000f_000f_000f) << 4 | (values >> 8) & 0x000f_000f_000f_000f)
        & 0x00ff_00ff_00ff_00ff;
    let halves = ((bytes & 0x0000_00ff_0000_00ff) << 8 | (bytes >> 16) & 0x0000_00ff_0000_00ff)
        & 0x0000_ffff_0000_ffff;
    (halves & 0xffff) << 16 | halves >> 32
}

/// How many blanks and tabulators `word` begins with, up to eight.
#[inline(always)]
#[must_use]
pub fn blanks(word: u64) -> u32 {
    leading(word, [b' ', b'\t'])
}

/// How many bytes of these two kinds `word` begins with, up to eight.
#[inline(always)]
#[must_use]
pub fn leading(word: u64, [one, other]: [u8; 2]) -> u32 {
    // Exact for all bytes, unlike `matches`: the highest bit of each byte tells whether it is zero.
    let differs = |byte: u8| {
        let zeroed = word ^ (u64::from(byte) * ONES);
        (((zeroed & !HIGHS) + !HIGHS) | zeroed) & HIGHS
    };
    let others = differs(one) & differs(other);
    if others == 0 { 8 } else { first(others) }
}

/// Reads a decimal number of up to 18 digits, which a blank or the end of the line follows; [`NONE`] if it is none.
#[inline(always)]
#[must_use]
pub fn decimal(words: [u64; 3]) -> u64 {
    let [a, b, c] = words;
    let digits = leading_digits(a);
    if digits < 8 {
        return if digits > 0 && ends(a, digits) {
            value(a, digits)
        } else {
            NONE
        };
    }
    let high = value(a, 8);
    let digits = leading_digits(b);
    if digits < 8 {
        return if ends(b, digits) {
            high * power(digits) + value(b, digits)
        } else {
            NONE
        };
    }
    let high = high * 100_000_000 + value(b, 8);
    let digits = leading_digits(c);
    if digits <= 2 && ends(c, digits) {
        high * power(digits) + value(c, digits)
    } else {
        NONE
    }
}

/// How many digits `word` begins with.
#[inline(always)]
fn leading_digits(word: u64) -> u32 {
    let values = word ^ (0x30 * ONES);
    let others = (((values & !HIGHS) + 0x76 * ONES) | values) & HIGHS;
    if others == 0 { 8 } else { first(others) }
}

/// Whether the byte at `place` (up to seven) ends a number.
#[inline(always)]
fn ends(word: u64, place: u32) -> bool {
    let byte = (word >> (8 * (place & 7))) as u8;
    byte == b'\r' || byte == b'\n' || byte == b' ' || byte == b'\t'
}

/// Ten to the power of `digits`, up to seven.
#[inline(always)]
fn power(digits: u32) -> u64 {
    let bit = |place: u32| u64::from(digits >> place & 1);
    (1 + 9 * bit(0)) * (1 + 99 * bit(1)) * (1 + 9_999 * bit(2))
}

/// The value of the first `digits` (up to eight) bytes of `word`, which are digits.
#[inline(always)]
fn value(word: u64, digits: u32) -> u64 {
    let values = word ^ (0x30 * ONES);
    // The digits as the highest bytes, zeros before them; neighbours join, the first digit is the lowest byte.
    let values = if digits >= 8 {
        values
    } else {
        (values << (8 * (7 - (digits & 7)))) << 8
    };
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::window::text;

    #[test]
    fn chunk_sizes_are_read_with_extensions_and_in_both_cases() {
        let size = |line: &[u8]| chunk_size(text(line));
        assert_eq!(size(b"4;ext=1"), 4);
        assert_eq!(size(b"0\r\n"), 0);
        assert_eq!(size(b"1aF\r\nabc"), 0x1af);
        assert_eq!(size(b"00001000"), NONE);
        assert_eq!(size(b"fffffff\r"), 0xfff_ffff);
        assert_eq!(size(b"a b"), 10);
        assert_eq!(size(b"0000A\n"), 10);
        let long = |line: &[u8; 16]| long_chunk_size(text(&line[..8]), text(&line[8..]));
        assert_eq!(long(b"0000010f\r\nabcdef"), 0x10f);
        assert_eq!(long(b"000000001aB;e=1\n"), 0x1ab);
        assert_eq!(long(b"123456789abcdef\r"), 0x0123_4567_89ab_cdef);
        assert_eq!(long(b"1\r\nabcdefabcdefa"), 1);
        assert_eq!(long(b"0123456789abcdef"), NONE);
        assert_eq!(long(b"0000000g\r\nabcdef"), NONE);
        assert_eq!(long(b"0000000fg\r\nabcde"), NONE);
        for wrong in [
            &b"\r\n"[..],
            b"xyz\r\n",
            b"-1\r\n",
            b"1g\r\n",
            b"0x10\r\n",
            b"1:\r\n",
            b"@\r\n",
        ] {
            assert_eq!(size(wrong), NONE, "{wrong:?}");
        }
    }

    #[test]
    fn plain_chunk_sizes_are_up_to_six_digits_and_the_end_of_the_line() {
        let size = |line: &[u8]| plain_chunk_size(text(line));
        assert_eq!(size(b"1aF\r\nabc"), Some((0x1af, 5)));
        assert_eq!(size(b"0\r\n\r\n..."), Some((0, 3)));
        assert_eq!(size(b"fffFff\r\n"), Some((0xff_ffff, 8)));
        for other in [
            &b"1000000\r"[..],
            b"4;e=1\r\n.",
            b"4 \r\n....",
            b"4\n......",
            b"4\r.\n....",
            b"\r\n......",
            b"1g\r\n....",
            b"12345678",
            b"0000001\r",
        ] {
            assert_eq!(size(other), None, "{other:?}");
        }
    }

    fn read(text: &str) -> u64 {
        let mut bytes = [b'7'; 24];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        decimal([0, 8, 16].map(|at| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())))
    }

    #[test]
    fn decimal_numbers_of_up_to_18_digits_are_read() {
        for number in [
            0_u64,
            7,
            26,
            1_234_567,
            12_345_678,
            99_999_999,
            100_000_000,
            123_456_789_012_345,
            1_234_567_890_123_456,
            12_345_678_901_234_567,
            999_999_999_999_999_999,
        ] {
            for end in ["\r", "\n", " ", "\t"] {
                assert_eq!(read(&std::format!("{number}{end}")), number);
                assert_eq!(read(&std::format!("{number:018}{end}")), number);
            }
        }
        for wrong in [
            "\r",
            "3,",
            "-1\r",
            "+1\r",
            "0x1\r",
            "12345678a\r",
            "1234567890123456789\r",
        ] {
            assert_eq!(read(wrong), NONE, "{wrong}");
        }
    }

    #[test]
    fn blanks_before_a_number_are_counted() {
        assert_eq!(blanks(text(b"123\r\n   ")), 0);
        assert_eq!(blanks(text(b" \t 1  !")), 3);
        assert_eq!(blanks(text(b" !      ")), 1);
        assert_eq!(blanks(text(b"        ")), 8);
    }
}

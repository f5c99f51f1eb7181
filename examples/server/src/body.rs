//! Finding the end of a request's body, whatever pieces it arrives in.

use crate::head::Framing;

/// Bytes of chunk sizes, extensions and trailers that a body may have besides its data.
const OVERHEAD_LIMIT: u64 = 16 * 1024 * 1024;

/// The body is not framed as its head promises, or has more framing than it may have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Where in a body the reader stands.
pub(crate) struct Body {
    state: State,
    overhead: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// This many bytes are left of a body with a length.
    Sized(u64),
    /// In a chunk's size; whether a digit was seen.
    Size { size: u64, has_digit: bool },
    /// Behind a chunk's size, up to the line's end.
    Extension { size: u64 },
    /// Behind the carriage return of a chunk's size.
    SizeEnd { size: u64 },
    /// In a chunk's data.
    Data { left: u64 },
    /// Behind a chunk's data: its carriage return.
    DataReturn,
    /// Behind a chunk's data: its line feed.
    DataEnd,
    /// At the start of a line behind the last chunk.
    TrailerStart,
    /// In a trailer field.
    Trailer,
    /// Behind the carriage return of the empty line.
    End,
    /// Behind the body.
    Done,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            state: match framing {
                Framing::Length(0) => State::Done,
                Framing::Length(length) => State::Sized(length),
                Framing::Chunked => State::Size {
                    size: 0,
                    has_digit: false,
                },
            },
            overhead: 0,
        }
    }

    /// Whether the whole body has been consumed.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the body's part of `bytes` and returns how many bytes that is.
    ///
    /// # Errors
    ///
    /// If the bytes break the framing.
    pub(crate) fn consume(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut taken = 0;
        while taken < bytes.len() && !self.is_done() {
            let rest = &bytes[taken..];
            taken += match self.state {
                State::Sized(left) => {
                    let (piece, left) = take(rest, left);
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Sized(left)
                    };
                    piece
                }
                State::Data { left } => {
                    let (piece, left) = take(rest, left);
                    self.state = if left == 0 {
                        State::DataReturn
                    } else {
                        State::Data { left }
                    };
                    piece
                }
                state => {
                    self.overhead += 1;
                    if self.overhead > OVERHEAD_LIMIT {
                        return Err(Malformed);
                    }
                    self.state = state.after(rest[0])?;
                    1
                }
            };
        }
        Ok(taken)
    }
}

impl State {
    /// The state behind one byte of a chunked body's framing (RFC 9112 §7.1).
    fn after(self, byte: u8) -> Result<Self, Malformed> {
        Ok(match (self, byte) {
            (Self::Size { size, .. }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => Self::Size {
                size: size
                    .checked_mul(16)
                    .and_then(|size| size.checked_add(hexadecimal(byte)))
                    .ok_or(Malformed)?,
                has_digit: true,
            },
            (
                Self::Size {
                    size,
                    has_digit: true,
                },
                b';' | b' ' | b'\t',
            ) => Self::Extension { size },
            (
                Self::Size {
                    size,
                    has_digit: true,
                }
                | Self::Extension { size },
                b'\r',
            ) => Self::SizeEnd { size },
            (Self::Extension { size }, byte) if byte != b'\n' => Self::Extension { size },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::TrailerStart,
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataReturn, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Size {
                size: 0,
                has_digit: false,
            },
            (Self::TrailerStart, b'\r') => Self::End,
            (Self::Trailer, b'\n') => Self::TrailerStart,
            (Self::TrailerStart | Self::Trailer, _) => Self::Trailer,
            (Self::End, b'\n') => Self::Done,
            _ => return Err(Malformed),
        })
    }
}

/// How much of `bytes` belongs to `left` bytes, and how many are left then.
fn take(bytes: &[u8], left: u64) -> (usize, u64) {
    let piece = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (piece, left - piece as u64)
}

/// The value of a hexadecimal digit.
fn hexadecimal(digit: u8) -> u64 {
    u64::from(match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that belong to the body if `bytes` arrive in pieces of `size`.
    fn length(framing: Framing, bytes: &[u8], size: usize) -> Result<usize, Malformed> {
        let mut body = Body::new(framing);
        let mut total = 0;
        for piece in bytes.chunks(size) {
            let taken = body.consume(piece)?;
            total += taken;
            if taken < piece.len() {
                break;
            }
        }
        assert!(body.is_done());
        Ok(total)
    }

    #[test]
    fn a_body_ends_at_the_same_byte_however_it_is_split() {
        let next = "GET / HTTP/1.1\r\n\r\n";
        for (framing, text) in [
            (Framing::Length(0), ""),
            (Framing::Length(5), "hello"),
            (Framing::Chunked, "0\r\n\r\n"),
            (Framing::Chunked, "5\r\nhello\r\n0\r\n\r\n"),
            (
                Framing::Chunked,
                "4;ext=1\r\nWiki\r\nA\r\n0123456789\r\n0\r\nX-T: HTTP/1.1 500\r\n\r\n",
            ),
        ] {
            let bytes = format!("{text}{next}");
            for size in 1..=bytes.len() {
                assert_eq!(
                    length(framing, bytes.as_bytes(), size),
                    Ok(text.len()),
                    "{text:?} in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn broken_chunks_are_malformed() {
        for text in [
            "\r\n",
            "g\r\n",
            "5\nhello",
            "5\r\nhelloX",
            "5\r\nhello\rX",
            "11111111111111111\r\n",
            "0\r\n\rX",
        ] {
            let mut body = Body::new(Framing::Chunked);
            assert_eq!(body.consume(text.as_bytes()), Err(Malformed), "{text:?}");
        }
    }

    #[test]
    fn an_endless_extension_is_refused() {
        let mut body = Body::new(Framing::Chunked);
        body.consume(b"1;").unwrap();
        let piece = vec![b'a'; 1024 * 1024];

        let refused =
            (0..=OVERHEAD_LIMIT / piece.len() as u64).any(|_| body.consume(&piece).is_err());

        assert!(refused);
    }
}

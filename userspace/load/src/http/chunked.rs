//! Chunked transfer coding (RFC 9112 §7.1): where the body ends, how many bytes it has. The bytes themselves are not kept.

/// Most bytes of one chunk's size line, and of all trailers together.
const LINE_BYTES: usize = 64 * 1024;

/// Reads a chunked body in pieces of any size.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    line_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the hexadecimal size; `digits` of it are read.
    Size {
        bytes: u64,
        digits: u8,
    },
    /// Behind the size, until the end of its line.
    Extension {
        bytes: u64,
    },
    /// In the data of a chunk.
    Data {
        left: u64,
    },
    /// Behind the data: CR LF or LF.
    DataEnd,
    /// At the begin of a trailer line or of the empty line that ends the body.
    TrailerStart,
    /// In a trailer line.
    Trailer,
    /// Behind the CR of the last line.
    LastLine,
    Done,
}

/// What was read of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Bytes that belong to the body as it was coded; all of the piece, unless the body ends in it.
    pub(crate) used: usize,
    /// The part of them that is data.
    pub(crate) data: u64,
    /// The body is whole.
    pub(crate) done: bool,
}

/// What came is no chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Chunked {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Size {
                bytes: 0,
                digits: 0,
            },
            line_bytes: 0,
        }
    }

    /// Reads the next piece.
    pub(crate) fn read(&mut self, piece: &[u8]) -> Result<Piece, Malformed> {
        let (mut used, mut data) = (0, 0);
        while used < piece.len() && self.state != State::Done {
            if let State::Data { left } = self.state {
                let here = left.min((piece.len() - used) as u64);
                data += here;
                // Not more than the piece has, which is a usize.
                used += here as usize;
                self.state = if here == left {
                    State::DataEnd
                } else {
                    State::Data { left: left - here }
                };
            } else {
                self.state = self.step(piece[used])?;
                used += 1;
            }
        }
        Ok(Piece {
            used,
            data,
            done: self.state == State::Done,
        })
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        self.line_bytes += 1;
        if self.line_bytes > LINE_BYTES {
            return Err(Malformed);
        }
        match (self.state, byte) {
            (State::Size { bytes, digits: 1.. } | State::Extension { bytes }, b'\n') => {
                self.line_bytes = 0;
                Ok(if bytes == 0 {
                    State::TrailerStart
                } else {
                    State::Data { left: bytes }
                })
            }
            (State::Size { bytes, digits }, _) => match (byte as char).to_digit(16) {
                // 15 digits are below 2⁶⁰: no real body, and no overflow.
                Some(digit) if digits < 15 => Ok(State::Size {
                    bytes: bytes << 4 | u64::from(digit),
                    digits: digits + 1,
                }),
                None if digits > 0 && matches!(byte, b'\r' | b';' | b' ' | b'\t') => {
                    Ok(State::Extension { bytes })
                }
                _ => Err(Malformed),
            },
            (State::Extension { .. }, _) => Ok(self.state),
            (State::DataEnd, b'\r') if self.line_bytes == 1 => Ok(State::DataEnd),
            (State::DataEnd, b'\n') => {
                self.line_bytes = 0;
                Ok(State::Size {
                    bytes: 0,
                    digits: 0,
                })
            }
            (State::TrailerStart, b'\r') => Ok(State::LastLine),
            (State::TrailerStart | State::LastLine, b'\n') => Ok(State::Done),
            (State::Trailer, b'\n') => Ok(State::TrailerStart),
            (State::TrailerStart | State::Trailer, _) => Ok(State::Trailer),
            (State::DataEnd | State::LastLine, _) => Err(Malformed),
            (State::Data { .. } | State::Done, _) => Ok(self.state),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(body: &[u8]) -> Result<Piece, Malformed> {
        Chunked::new().read(body)
    }

    #[test]
    fn a_body_ends_behind_its_last_empty_line() {
        let body = b"5\r\nhello\r\n6;name=\"v\"\r\n world\r\n0\r\n\r\nHTTP/1.1";
        assert_eq!(
            whole(body),
            Ok(Piece {
                used: body.len() - 8,
                data: 11,
                done: true
            })
        );
    }

    #[test]
    fn trailers_are_skipped() {
        let body = b"1\r\nx\r\n00\r\nExpires: never\r\nA: \r\n\r\n";
        assert_eq!(
            whole(body),
            Ok(Piece {
                used: body.len(),
                data: 1,
                done: true
            })
        );
    }

    #[test]
    fn sizes_may_have_either_case_and_blanks_behind_and_lines_may_end_in_lf() {
        assert_eq!(whole(b"A \r\n0123456789\n0\n\n").unwrap().data, 10);
        assert_eq!(whole(b"a\t\n0123456789\r\n0\n\n").unwrap().data, 10);
    }

    #[test]
    fn what_is_no_size_or_no_line_end_is_malformed() {
        for body in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"0x5\r\n",
            b"1\r\nxy",
            b"1\r\nx\r\r\n",
            b"fffffffffffffffff\r\n",
            b"0\r\n\rx",
        ] {
            assert_eq!(whole(body), Err(Malformed), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn endless_extensions_and_trailers_are_cut_off() {
        let long = vec![b'x'; LINE_BYTES + 1];
        assert_eq!(whole(&[b"1;", long.as_slice()].concat()), Err(Malformed));
        assert_eq!(whole(&[b"0\r\n", long.as_slice()].concat()), Err(Malformed));
        assert_eq!(
            whole(&[b"0\r\n".as_slice(), &b"x: y\r\n".repeat(LINE_BYTES / 6 + 1)].concat()),
            Err(Malformed)
        );
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
            cuts in prop::collection::vec(1..50usize, 1..200),
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let length = body.len();
            body.extend_from_slice(b"next");

            let (mut chunked, mut used, mut data) = (Chunked::new(), 0, 0);
            for cut in cuts.iter().cycle() {
                let end = (used + cut).min(body.len());
                let piece = chunked.read(&body[used..end]).unwrap();
                used += piece.used;
                data += piece.data;
                if piece.done {
                    break;
                }
            }
            prop_assert_eq!(used, length);
            prop_assert_eq!(data, chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>());
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _read = whole(&body);
        }
    }
}

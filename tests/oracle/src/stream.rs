//! One way of a connection, put together again.

use std::ops::Range;

use crate::segment::{Mark, Segment, Way};

/// How a way of the connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Offset behind the last byte.
    pub at: usize,
    /// Index of the segment that said so.
    pub segment: usize,
    /// It was a RST.
    pub reset: bool,
}

/// Bytes that were not there yet when later ones came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The missing bytes.
    pub bytes: Range<usize>,
    /// Index of the segment that came before them.
    pub segment: usize,
}

/// One way of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stream {
    /// All bytes up to the first that never came.
    pub bytes: Vec<u8>,
    /// For each byte the index of the first segment that carried it.
    pub seen: Vec<usize>,
    /// In the order of the segments.
    pub gaps: Vec<Gap>,
    /// The first FIN or RST.
    pub end: Option<End>,
    /// Index of the last one.
    pub last_end: usize,
    /// Index of the last RST.
    pub last_reset: Option<usize>,
}

impl Stream {
    /// Puts one way of these segments together.
    #[must_use]
    pub fn of(segments: &[Segment], way: Way) -> Self {
        let mut base = None;
        let mut places: Vec<Option<(u8, usize)>> = Vec::new();
        let mut gaps = Vec::new();
        // Up to here all bytes have come.
        let mut whole = 0;
        let mut end: Option<End> = None;
        let mut last_end = 0;
        let mut last_reset = None;
        for (index, segment) in segments.iter().enumerate() {
            if segment.way != way {
                continue;
            }
            let base = *base.get_or_insert_with(|| segment.first_byte());
            // Within 2 GiB of the begin, before or behind it, as TCP reads its numbers.
            let first = segment.first_byte().wrapping_sub(base) as i32;
            let behind = first + segment.payload.len() as i32;
            let ends = matches!(segment.mark, Mark::Fin | Mark::Rst);
            let reaches = usize::try_from(behind).unwrap_or(0);
            if let Ok(first) = usize::try_from(first)
                && (!segment.payload.is_empty() || ends)
            {
                let missing =
                    (whole..first).filter(|at| places.get(*at).is_none_or(Option::is_none));
                gaps.extend(ranges(missing).into_iter().map(|bytes| Gap {
                    bytes,
                    segment: index,
                }));
            }
            if places.len() < reaches {
                places.resize(reaches, None);
            }
            for (byte, at) in segment.payload.iter().zip(first..) {
                if let Ok(at) = usize::try_from(at)
                    && places[at].is_none()
                {
                    places[at] = Some((*byte, index));
                }
            }
            whole += places[whole..]
                .iter()
                .take_while(|place| place.is_some())
                .count();
            if ends {
                last_end = index;
            }
            if segment.mark == Mark::Rst {
                last_reset = Some(index);
            }
            if ends && end.is_none() {
                end = Some(End {
                    at: reaches,
                    segment: index,
                    reset: segment.mark == Mark::Rst,
                });
            }
        }
        let (bytes, seen) = places.into_iter().map_while(|place| place).unzip();
        Self {
            bytes,
            seen,
            gaps,
            end,
            last_end,
            last_reset,
        }
    }

    /// Index of the first segment that carried the byte at this offset.
    #[must_use]
    pub fn first_seen(&self, at: usize) -> usize {
        self.seen[at]
    }

    /// Index of the segment with which this byte, and all before it, had come.
    #[must_use]
    pub fn whole(&self, at: usize) -> usize {
        self.last_seen(0..at + 1)
    }

    /// Index of the segment that ended what these bytes are, and of the one with which all of them had come.
    #[must_use]
    pub fn ended(&self, bytes: Range<usize>) -> (usize, usize) {
        let last = bytes.end - 1;
        // Where the last byte is late, what comes behind it is an end as well.
        let gaps = self.gaps.iter();
        let passed = gaps.filter(|gap| gap.bytes.contains(&last));
        let ended = passed
            .map(|gap| gap.segment)
            .fold(self.first_seen(last), usize::min);
        (ended, self.last_seen(bytes))
    }

    /// Index of the segment with which the last missing one of these bytes came.
    #[must_use]
    pub fn last_seen(&self, bytes: Range<usize>) -> usize {
        self.seen[bytes].iter().copied().max().unwrap_or(0)
    }
}

/// Joins neighbouring numbers.
fn ranges(numbers: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for number in numbers {
        match joined.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => joined.push(number..number + 1),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case;

    #[test]
    fn bytes_that_came_late_twice_or_before_the_begin_stand_where_they_belong() {
        let segments = case::read(
            "up 4294967294 syn \"\"\n\
             up 4294967295 \"ab\"\n\
             up 4 \"fg\"\n\
             up 4294967294 \"\\xff\"\n\
             up 0 \"bcdef\"\n\
             up 1 \"XXX\"\n\
             up 6 fin \"\"\n",
        )
        .unwrap();
        let stream = Stream::of(&segments, Way::Up);
        assert_eq!(stream.bytes, b"abcdefg");
        assert_eq!(stream.seen, [1, 1, 4, 4, 4, 2, 2]);
        assert_eq!(
            stream.gaps,
            [Gap {
                bytes: 2..5,
                segment: 2
            }]
        );
        assert_eq!(
            stream.end,
            Some(End {
                at: 7,
                segment: 6,
                reset: false
            })
        );
    }
}

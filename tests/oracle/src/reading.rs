//! Which exchanges a connection held, and what of them can be known from its segments.
//!
//! [`messages`] finds where the messages of a way end, [`pairs`] which answer belongs to which request, and [`doubts`] what of
//! this the probes could not see.

mod doubts;
mod messages;
mod pairs;

use std::ops::{Range, RangeInclusive};

use galileo_ebpf_abi::{PATH_BYTES, REQUEST_ID_BYTES, flags};

use crate::{
    message::{self, Delimited, Head, Line},
    reading::{doubts::Work, messages::Request},
    segment::{Segment, Way},
    stream::Stream,
};

/// Bytes of a line that are looked at. What stands behind them may be missed, if that is marked.
const SEARCHED: usize = 512;

/// Why an exchange need not be seen; what is seen of it must be right all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Bytes that delimit messages came out of order, at this exchange or before it.
    OutOfOrder,
    /// A segment held more than is looked at, at this exchange or before it.
    Crowded,
    /// The connection was older than who looked at it.
    Older,
}

/// One exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// Method, whole.
    pub method: String,
    /// Target, as far as it is kept.
    pub path: String,
    /// Request id, as far as it is kept; empty without one.
    pub id: String,
    /// `traceparent`; empty without one of version 00.
    pub trace: String,
    /// Final status.
    pub status: u16,
    /// Interim answers, at most 255.
    pub interim: u8,
    /// Head and body.
    pub request_bytes: RangeInclusive<u64>,
    /// The head alone.
    pub request_head_bytes: u64,
    /// Head and body of the final answer.
    pub response_bytes: RangeInclusive<u64>,
    /// Its head alone.
    pub response_head_bytes: u64,
    /// The first byte. A range if it came before bytes in front of it: to when these had come.
    pub start_ns: RangeInclusive<u64>,
    /// Last byte of the request; a range as of `end_ns`, none if it never came. To be known only if it came before the answer
    /// had ended: else [`flags::EARLY_ANSWER`] is to be set, see `must` and `may`.
    pub request_end_ns: Option<RangeInclusive<u64>>,
    /// First byte of the final answer. A range as of `start_ns`.
    pub first_byte_ns: RangeInclusive<u64>,
    /// Last byte of the final answer. A range if it came before others.
    pub end_ns: RangeInclusive<u64>,
    /// Flags that must be set.
    pub must: u32,
    /// Further flags that may be set.
    pub may: u32,
    /// Why it may be missing, if it may.
    pub doubt: Option<Doubt>,
    /// Index of the segment that began its request.
    pub begun: usize,
    /// Index of the segment that ended it.
    pub ended: usize,
    /// Index of the one with which all of it had come.
    pub whole: usize,
}

/// What a connection held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// In the order of the answers.
    pub exchanges: Vec<Truth>,
    /// Whole requests to which no whole answer came.
    pub unanswered: usize,
    /// How many of these came when no answer could come any more, and no reset behind them: the connection ended before them.
    pub too_late: usize,
    /// How many more came behind such an end that had overtaken bytes in front of it, and before these; or before the answers' reset.
    pub amid_end: usize,
    /// Answers, interim ones apart, to which there was no request.
    pub orphans: usize,
    /// Bytes that delimit messages came out of order, first with this segment.
    pub disturbed: Option<usize>,
    /// Segments with data behind the end of both ways: they belong to no connection any more.
    pub stray: usize,
    /// How many answers may lie in these.
    pub stray_answers: usize,
    /// Some of it was not seen because of that: what is seen may be wrong, if it is marked as resumed.
    pub lossy: bool,
    /// Not all of it could be seen, for another reason than its order: what is seen may be wrong, if it is marked as resumed.
    pub partial: bool,
    /// For each segment how many steps looking at it takes at most, as [`doubts`] counts them.
    pub steps: Vec<usize>,
    /// The connection became something else than HTTP.
    pub tunnel: bool,
    /// Either way holds what is no HTTP.
    pub wrong: bool,
    /// No answer can come any more.
    pub ended: bool,
    /// The last exchange's answer was cut off by that.
    pub cut: bool,
}

impl Reading {
    /// Reads the segments of a connection, from its first one on.
    #[must_use]
    pub fn of(segments: &[Segment]) -> Self {
        let (up, down) = (
            Stream::of(segments, Way::Up),
            Stream::of(segments, Way::Down),
        );
        let mut reader = Reader {
            segments,
            up,
            down,
            framing: [Vec::new(), Vec::new()],
            work: vec![Work::default(); segments.len()],
            reading: Self::default(),
        };
        reader.read();
        reader.reading
    }

    /// How many requests are to be counted as those without answer.
    #[must_use]
    pub fn closed_without_answer(&self) -> RangeInclusive<usize> {
        if !self.ended {
            return 0..=0;
        }
        let outstanding = self.unanswered - usize::from(self.cut);
        let most = outstanding - self.too_late;
        most - self.amid_end..=most
    }

    /// Those that must be seen.
    pub fn sure(&self) -> impl Iterator<Item = &Truth> {
        self.exchanges.iter().filter(|truth| truth.doubt.is_none())
    }
}

struct Reader<'a> {
    segments: &'a [Segment],
    up: Stream,
    down: Stream,
    /// Bytes of each way that delimit messages.
    framing: [Vec<Range<usize>>; 2],
    /// What there is to look at in each segment.
    work: Vec<Work>,
    reading: Reading,
}

/// What came in answer to a request.
struct Answer<'a> {
    head: &'a Head,
    body: Delimited,
    /// Offset behind it, or behind what there is of it.
    end: usize,
    /// Interim answers before it.
    interim: u8,
    /// Of the answer before: index of the segment that ended it, and of the one with which all of it had come.
    before: Option<(usize, usize)>,
    /// Index of the segment with which the connection ended, of an answer that would have gone on.
    cut: Option<usize>,
}

impl Reader<'_> {
    /// The exchange that a request and its answer make.
    fn truth(&self, request: &Request, answer: &Answer<'_>) -> Truth {
        let Answer {
            head, body, end, ..
        } = *answer;
        let Line::Answer(status) = head.line else {
            unreachable!("an answer")
        };
        let time = |segment: usize| self.segments[segment].time_ns;
        let bytes = head.bytes.start..end;
        let (mut last, mut latest) = self.down.ended(bytes.clone());
        if let Some(cut) = answer.cut {
            // An end may overtake the last bytes.
            (last, latest) = (cut, cut.max(self.down.whole(end - 1)));
        }
        let (mut must, mut may) = (0, flags::REORDERED & self.marks_of_gaps(latest));
        if body == Delimited::Close
            && let Some(fin) = self.down.end
        {
            (last, latest) = (fin.segment, latest.max(self.down.last_end));
            must |= flags::CLOSE_DELIMITED;
        }
        if body == Delimited::Tunnel {
            must |= flags::TUNNEL;
        }
        if request.target.len() > PATH_BYTES {
            must |= flags::PATH_TRUNCATED;
        }
        let asked = request.head.bytes.clone();
        if self.up.bytes[asked.clone()]
            .split(|byte| *byte == b'\n')
            .any(|line| line.len() >= SEARCHED)
        {
            // Not if all of it lies in one segment: how that is cut is not laid down.
            may |= flags::HEAD_CUT;
        }
        // Segments are read in their order: while a hole is open, it is not known that what lies behind it ends the answer.
        if let Some((ended, whole)) = answer.before {
            if self.up.last_seen(asked.clone()) < ended {
                must |= flags::PIPELINED;
            } else if self.up.first_seen(asked.start) < whole {
                may |= flags::PIPELINED;
            }
        }
        let head_bytes = asked.len() as u64;
        let whole = request
            .end
            .map(|end| (end, self.up.last_seen(asked.start..end)));
        let request_bytes = match (whole, request.body) {
            (Some((end, seen)), _) if seen < last => {
                let bytes = (end - asked.start) as u64;
                bytes..=bytes
            }
            (_, Delimited::Length(length)) => {
                must |= flags::EARLY_ANSWER;
                head_bytes + length..=head_bytes + length
            }
            // A body in chunks whose end has not come: at least the head, at most what has come.
            _ => {
                must |= flags::EARLY_ANSWER;
                head_bytes..=(self.up.bytes.len() - asked.start) as u64
            }
        };
        if must & flags::EARLY_ANSWER != 0 && may & flags::REORDERED != 0 {
            // A hole in a body is a number of bytes that are taken for seen, whenever they come.
            may |= flags::EARLY_ANSWER;
            must &= !flags::EARLY_ANSWER;
        }
        let request_end_ns = request.end.map(|end| {
            let (last, latest) = self.up.ended(asked.start..end);
            time(last)..=time(latest.max(self.up.whole(end - 1)))
        });
        let whole_by = latest.max(self.down.whole(end - 1));
        let mut id = request.head.id.clone().unwrap_or_default();
        if id.len() > REQUEST_ID_BYTES {
            id.clear();
            must |= flags::HEAD_CUT;
        }
        let trace = request.head.trace.clone().unwrap_or_default();
        Truth {
            method: request.method.clone(),
            path: request.target.chars().take(PATH_BYTES).collect(),
            id,
            trace,
            status,
            interim: answer.interim,
            request_bytes,
            request_head_bytes: head_bytes,
            response_bytes: bytes.len() as u64..=bytes.len() as u64,
            response_head_bytes: head.bytes.len() as u64,
            start_ns: time(self.up.first_seen(asked.start))..=time(self.up.whole(asked.start)),
            request_end_ns,
            first_byte_ns: time(self.down.first_seen(head.bytes.start))
                ..=time(self.down.whole(head.bytes.start)),
            end_ns: time(last)..=time(whole_by),
            must,
            may,
            doubt: None,
            begun: self.up.first_seen(asked.start),
            ended: last,
            whole: whole_by,
        }
    }

    /// An answer that will not be whole: if the connection has ended, it is handed out as far as it came.
    fn cut(&mut self, request: &Request, answer: &Answer<'_>) {
        if !self.reading.ended {
            return;
        }
        let ends = [self.up.end.filter(|end| end.reset), self.down.end];
        let Some(last) = ends.into_iter().flatten().map(|end| end.segment).min() else {
            return;
        };
        let Answer { head, body, .. } = *answer;
        let mut truth = self.truth(
            request,
            &Answer {
                body: Delimited::Nothing,
                cut: Some(last),
                ..*answer
            },
        );
        if body == Delimited::Chunks {
            // A line is counted when it is whole, as it is looked at again then; one that is too long for that, in parts.
            let least = message::chunk_bytes(&self.down.bytes, head.bytes.end);
            truth.response_bytes = (least - head.bytes.start) as u64..=*truth.response_bytes.end();
        }
        truth.must |= flags::CUT_OFF;
        if body == Delimited::Close {
            truth.must |= flags::CLOSE_DELIMITED;
        }
        self.reading.exchanges.push(truth);
        self.reading.cut = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case;

    fn of(lines: &str) -> Reading {
        Reading::of(&case::read(lines).unwrap())
    }

    #[test]
    fn an_answer_in_two_parts_behind_two_interim_ones_is_one_exchange() {
        let reading = of(r#"
            up 0 "POST /u HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            down 0 "HTTP/1.1 100 Continue\r\n\r\n"
            up 61 "abc"
            down 25 "HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 201 Created\r\n"
            down 68 "Content-Length: 0\r\n\r\n"
        "#);
        let truth = &reading.exchanges[0];
        assert_eq!((truth.status, truth.interim), (201, 2));
        assert_eq!(
            (
                truth.start_ns.clone(),
                truth.request_end_ns.clone(),
                truth.first_byte_ns.clone(),
                truth.end_ns.clone()
            ),
            (1..=1, Some(3..=3), 4..=4, 5..=5)
        );
        assert_eq!((truth.must, truth.may, truth.doubt), (0, 0, None));
        assert_eq!(truth.request_bytes, 64..=64);
        assert_eq!(truth.response_bytes, 43..=43);
        assert_eq!(
            (truth.request_head_bytes, truth.response_head_bytes),
            (61, 43)
        );
    }

    #[test]
    fn a_gap_in_a_body_disturbs_nothing_and_one_in_a_head_what_follows() {
        let reading = of(r#"
            up 0 "GET /a HTTP/1.1\r\n\r\n"
            down 0 "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
            down 40 "cd"
            down 38 "ab"
        "#);
        assert_eq!(reading.disturbed, None);
        assert_eq!(reading.exchanges[0].end_ns, 3..=4);
        assert_eq!(reading.exchanges[0].may, flags::REORDERED);
        let reading = of(r#"
            up 0 ""
            up 3 " /a HTTP/1.1\r\n\r\n"
            up 0 "GET"
            down 0 "HTTP/1.1 204 X\r\n\r\n"
        "#);
        assert_eq!(reading.disturbed, Some(1));
        // Doubted only if anything was lost: what came early may have been kept.
        assert_eq!(reading.exchanges[0].doubt, None);
        let lossy = reading.lossy();
        assert_eq!(lossy.exchanges[0].doubt, Some(Doubt::OutOfOrder));
    }

    #[test]
    fn what_follows_a_tunnel_is_not_read() {
        let reading = of(r#"
            up 0 "CONNECT h:1 HTTP/1.1\r\n\r\n"
            down 0 "HTTP/1.1 200 OK\r\n\r\n"
            up 24 "GET /no HTTP/1.1\r\n\r\n"
            down 19 "HTTP/1.1 500 X\r\n\r\n"
        "#);
        assert_eq!(reading.exchanges.len(), 1);
        assert_eq!(reading.exchanges[0].must, flags::TUNNEL);
        assert!(reading.tunnel && reading.unanswered == 0);
    }

    #[test]
    fn answers_without_request_and_requests_without_answer_are_told_apart() {
        let reading = of(r#"
            down 0 "HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n"
            up 0 "GET /a HTTP/1.1\r\n\r\n"
            up 19 rst ""
        "#);
        assert_eq!((reading.orphans, reading.unanswered), (1, 1));
        assert!(reading.exchanges.is_empty() && reading.ended);
    }
}

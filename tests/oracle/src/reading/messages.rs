//! Where the messages of one way begin and end.

use std::ops::Range;

use super::Reader;
use crate::{
    message::{self, Delimited, Found, Head, Line},
    segment::Way,
};

/// A request whose head is whole.
pub(super) struct Request {
    pub head: Head,
    pub method: String,
    pub target: String,
    pub body: Delimited,
    /// Offset behind it, if all of it is there.
    pub end: Option<usize>,
}

impl Reader<'_> {
    /// All of them, up to the first that is not whole.
    pub(super) fn requests(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        let mut at = 0;
        loop {
            while let Some(behind) = message::empty_line(&self.up.bytes, at) {
                self.frame(Way::Up, at..behind);
                at = behind;
            }
            if at >= self.up.bytes.len() {
                // Whatever comes next begins a message.
                self.frame(Way::Up, at..usize::MAX);
                return requests;
            }
            let head = match message::head(&self.up.bytes, at, false) {
                Found::Whole(head) => head,
                Found::Part => {
                    self.frame(Way::Up, at..usize::MAX);
                    return requests;
                }
                Found::Wrong => return requests,
            };
            let Line::Request(method, target) = head.line.clone() else {
                unreachable!("asked for a request")
            };
            self.frame(Way::Up, head.bytes.clone());
            let body = head.request_body();
            let end = self.end_of(Way::Up, &head, body);
            requests.push(Request {
                head,
                method,
                target,
                body,
                end,
            });
            let Some(end) = end else { return requests };
            at = end;
        }
    }

    /// Notes that these bytes delimit messages.
    pub(super) fn frame(&mut self, way: Way, bytes: Range<usize>) {
        self.work_on(way, bytes.clone(), true);
        self.framing[way.index()].push(bytes);
    }

    /// Offset behind a message, if all of it is there.
    pub(super) fn end_of(&mut self, way: Way, head: &Head, body: Delimited) -> Option<usize> {
        let from = head.bytes.end;
        let end = self.end_behind(way, from, body);
        if !matches!(body, Delimited::Tunnel) {
            self.work_on(way, from..end.unwrap_or(usize::MAX), false);
        }
        end
    }

    /// Offset behind a body that begins at `from`, if all of it is there.
    fn end_behind(&mut self, way: Way, from: usize, body: Delimited) -> Option<usize> {
        let stream = match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        };
        match body {
            Delimited::Nothing | Delimited::Interim | Delimited::Tunnel => Some(from),
            Delimited::Length(length) => {
                let end = from.checked_add(usize::try_from(length).ok()?)?;
                (end <= stream.bytes.len()).then_some(end)
            }
            Delimited::Chunks => match message::chunks(&stream.bytes, from) {
                Found::Whole((end, framing)) => {
                    for bytes in framing {
                        self.frame(way, bytes);
                    }
                    Some(end)
                }
                Found::Part => {
                    self.frame(way, from..usize::MAX);
                    None
                }
                Found::Wrong => {
                    self.reading.wrong = true;
                    None
                }
            },
            Delimited::Close => stream
                .end
                .filter(|end| !end.reset && end.at == stream.bytes.len())
                .map(|end| end.at),
        }
    }
}

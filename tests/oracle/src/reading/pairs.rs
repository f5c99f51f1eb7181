//! Which answer belongs to which request.

use super::{Doubt, Reader, doubts::Work, messages::Request};
use crate::{
    message::{self, Delimited, Found, Line},
    segment::Way,
};

impl Reader<'_> {
    pub(super) fn read(&mut self) {
        self.reading.ended = self.down.end.is_some() || self.up.end.is_some_and(|end| end.reset);
        let requests = self.requests();
        let mut at = 0;
        let mut next = 0;
        let mut interim = 0_u8;
        // Index of the segment that ended the answer before.
        let mut before = None;
        while at < self.down.bytes.len() {
            let head = match message::head(&self.down.bytes, at, true) {
                Found::Whole(head) => head,
                Found::Part => {
                    self.frame(Way::Down, at..usize::MAX);
                    break;
                }
                Found::Wrong => {
                    self.reading.wrong = true;
                    break;
                }
            };
            let Line::Answer(status) = head.line else {
                unreachable!("asked for an answer")
            };
            self.frame(Way::Down, head.bytes.clone());
            let begins = self.down.first_seen(at);
            let asked = requests
                .get(next)
                .filter(|request| self.up.last_seen(request.head.bytes.clone()) < begins);
            let method = asked.map(|request| request.method.as_str());
            let body = head.answer_body(status, method);
            if body == Delimited::Interim {
                interim = interim.saturating_add(1);
                at = head.bytes.end;
                continue;
            }
            let end = self.end_of(Way::Down, &head, body);
            let Some(request) = asked else {
                self.reading.orphans += 1;
                let Some(end) = end else { break };
                at = end;
                continue;
            };
            let Some(end) = end else {
                self.cut(request, &head, body, interim, before);
                break;
            };
            let truth = self.truth(request, &head, body, end, interim, before);
            before = Some(truth.ended);
            self.reading.exchanges.push(truth);
            interim = 0;
            at = end;
            next += 1;
            if body == Delimited::Tunnel {
                self.reading.tunnel = true;
                break;
            }
        }
        if !self.reading.tunnel {
            let left = requests.get(next..).unwrap_or_default();
            self.reading.unanswered = left.len();
            if let Some(end) = self.down.end {
                let head = |request: &Request| self.up.last_seen(request.head.bytes.clone());
                let late = left.iter().filter(|request| head(request) > end.segment);
                self.reading.too_late = late.count();
            }
        }
        if let (Some(up), Some(down)) = (self.up.end, self.down.end) {
            let behind = &self.segments[up.segment.max(down.segment) + 1..];
            let stray = behind.iter().filter(|segment| !segment.payload.is_empty());
            self.reading.stray = stray.count();
        }
        self.disturbances();
        if let Some(first) = self.reading.disturbed {
            self.reading.doubt(first, Doubt::OutOfOrder);
        }
        self.reading.steps = self.work.iter().map(Work::steps).collect();
    }
}

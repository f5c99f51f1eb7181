//! Which answer belongs to which request.

use super::{Answer, Reader, doubts::Work};
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
        // See `Answer`.
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
            let answer = Answer {
                head: &head,
                body,
                end: end.unwrap_or(self.down.bytes.len()),
                interim,
                before,
                cut: None,
            };
            let Some(end) = end else {
                self.cut(request, &answer);
                break;
            };
            let truth = self.truth(request, &answer);
            before = Some((truth.ended, truth.whole));
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
                let reset = self.up.last_reset;
                let late = |head: &usize, behind: usize| {
                    *head > behind && reset.is_none_or(|reset| reset < *head)
                };
                // An end that has overtaken bytes is acted on when these have come, but for those of a body, which are passed over: so a
                // request amid that may have come before the end, or behind it.
                let here = end.at.min(self.down.bytes.len());
                let whole = self.down.last_seen(0..here).max(end.segment);
                let came = left
                    .iter()
                    .map(|one| self.up.last_seen(one.head.bytes.clone()));
                // An end that comes alone between messages is not acted on: then a reset behind it ends what was asked in between.
                let by_peer =
                    |head: &usize| self.down.last_reset.is_some_and(|reset| reset > *head);
                let too_late = came.filter(|head| late(head, whole) && !by_peer(head));
                self.reading.too_late = too_late.count();
                // A head behind a hole is read when that is filled.
                let read = left.iter().map(|one| self.up.whole(one.head.bytes.end - 1));
                let perhaps = read.filter(|head| late(head, end.segment)).count();
                self.reading.amid_end = perhaps.saturating_sub(self.reading.too_late);
            }
        }
        if let (Some(up), Some(down)) = (self.up.end, self.down.end) {
            let behind = &self.segments[up.segment.max(down.segment) + 1..];
            let stray = behind.iter().map(|segment| &segment.payload[..]);
            for payload in stray.filter(|payload| !payload.is_empty()) {
                let begins = payload.windows(5).filter(|word| *word == b"HTTP/");
                self.reading.stray += 1;
                // One may begin in the segment before.
                self.reading.stray_answers += begins.count().max(1);
            }
        }
        self.disturbances();
        self.reading.steps = self.work.iter().map(Work::steps).collect();
    }
}

//! Whether what was seen of a connection agrees with what it held.

use std::fmt::Write;

use galileo_ebpf_abi::flags;

use crate::reading::{Reading, Truth};

/// An exchange as the probes hand it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Target.
    pub path: String,
    /// Request id; empty without one.
    pub id: String,
    /// `traceparent`; empty without one of version 00.
    pub trace: String,
    /// Final status.
    pub status: u16,
    /// Interim answers.
    pub interim: u8,
    /// Head and body.
    pub request_bytes: u64,
    /// The head alone.
    pub request_head_bytes: u64,
    /// Head and body.
    pub response_bytes: u64,
    /// The head alone.
    pub response_head_bytes: u64,
    /// First byte of the request.
    pub start_ns: u64,
    /// Last byte of the request; none if the answer ended before it.
    pub request_end_ns: Option<u64>,
    /// First byte of the final answer.
    pub first_byte_ns: u64,
    /// Last byte of the final answer.
    pub end_ns: u64,
    /// What is not plain.
    pub flags: u32,
}

/// How many exchanges had to be seen, might have been, and were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recall {
    /// Those that had to be seen: all of them were.
    pub sure: usize,
    /// Those that might be missing.
    pub doubtful: usize,
    /// How many of these were seen.
    pub doubtful_seen: usize,
    /// How many were seen that were none, and said themselves that they might not be one.
    pub marked: usize,
}

impl Recall {
    /// Adds another connection's.
    pub fn add(&mut self, other: Self) {
        self.sure += other.sure;
        self.doubtful += other.doubtful;
        self.doubtful_seen += other.doubtful_seen;
        self.marked += other.marked;
    }
}

/// What was counted of a connection, beside its exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Requests whose connection ended before an answer did.
    pub closed_without_answer: u64,
    /// Answers whose request was not seen.
    pub joined_late: u64,
    /// Segments that held more than is looked at.
    pub crowded: u64,
    /// Everything else that means that something was not seen.
    pub other: u64,
}

impl Counted {
    fn all(self) -> u64 {
        self.closed_without_answer + self.joined_late + self.crowded + self.other
    }
}

/// Holds what was seen against what there was.
///
/// `counted` is given where that can be told for this connection alone; `late_ns` is how much the time of a segment may lie
/// behind the one noted for it.
///
/// # Errors
///
/// What does not agree, with both sides.
pub fn check(
    reading: &Reading,
    seen: &[Seen],
    counted: Option<Counted>,
    late_ns: u64,
) -> Result<Recall, String> {
    let crowded;
    let mut reading = reading;
    if counted.is_some_and(|counted| counted.crowded > 0) {
        crowded = reading.clone().crowded();
        let Some(crowded) = &crowded else {
            return Err(report("no segment held so much", reading, seen, counted));
        };
        reading = crowded;
    }
    let mut recall = Recall::default();
    let mut truths = reading.exchanges.iter();
    let mut missing = 0;
    'seen: for one in seen {
        let here = truths.clone();
        loop {
            let may_be_none = reading.disturbed.is_some() || reading.partial;
            let resumed = may_be_none && one.flags & flags::RESUMED != 0;
            let Some(truth) = truths.next() else {
                if resumed {
                    recall.marked += 1;
                    truths = here;
                    continue 'seen;
                }
                return Err(report("an exchange that was none", reading, seen, counted));
            };
            let differs = difference(truth, one, late_ns);
            let found = differs.is_none();
            if let Some(what) = differs.filter(|_| truth.doubt.is_none()) {
                return Err(report(&what, reading, seen, counted));
            }
            if found {
                // Those passed over were not seen.
                let passed = here.len() - truths.len() - 1;
                recall.doubtful += passed;
                missing += passed;
                recall.sure += usize::from(truth.doubt.is_none());
                recall.doubtful += usize::from(truth.doubt.is_some());
                recall.doubtful_seen += usize::from(truth.doubt.is_some());
                continue 'seen;
            }
        }
    }
    for truth in truths {
        if truth.doubt.is_none() {
            let what = format!("{} {} was not seen", truth.method, truth.path);
            return Err(report(&what, reading, seen, counted));
        }
        recall.doubtful += 1;
        missing += 1;
    }
    let Some(counts) = counted else {
        return Ok(recall);
    };
    if missing > 0 && !reading.may_wait() && !reading.partial && counts.all() == 0 {
        return Err(report("missing, and not counted", reading, seen, counted));
    }
    if reading.disturbed.is_none() && !reading.partial && !reading.wrong && !reading.tunnel {
        let expected = Counted {
            closed_without_answer: if reading.ended {
                reading.unanswered as u64 - u64::from(reading.cut)
            } else {
                0
            },
            joined_late: reading.orphans as u64,
            crowded: 0,
            other: 0,
        };
        // Whether a request to which no answer can come is one without answer is not laid down.
        let late = reading.too_late as u64;
        let least = expected.closed_without_answer.saturating_sub(late);
        // What belongs to no connection may come to who listens.
        let stray = counts.other.min(reading.stray as u64);
        let close_enough = Counted {
            closed_without_answer: expected.closed_without_answer,
            other: counts.other - stray,
            ..counts
        };
        if close_enough != expected
            || !(least..=expected.closed_without_answer).contains(&counts.closed_without_answer)
        {
            let what = format!("{expected:?} was to be counted");
            return Err(report(&what, reading, seen, counted));
        }
    }
    Ok(recall)
}

/// What of an exchange differs, if anything does.
fn difference(truth: &Truth, seen: &Seen, late_ns: u64) -> Option<String> {
    let within = |what: &str, range: &std::ops::RangeInclusive<u64>, found: u64| {
        let (from, to) = (*range.start(), *range.end());
        let fine = (from..=to.saturating_add(late_ns)).contains(&found);
        (!fine).then(|| format!("{what}: {found} instead of {from} to {to}"))
    };
    let same = |what: &str, expected: &str, found: &str| {
        (expected != found).then(|| format!("{what}: {found:?} instead of {expected:?}"))
    };
    // What stands far behind in a head may be missed, if that is marked.
    let far = |what: &str, expected: &str, found: &str, is_near: bool| {
        let missed = found.is_empty() && !is_near && seen.flags & flags::HEAD_CUT != 0;
        (!missed).then(|| same(what, expected, found)).flatten()
    };
    // Of what came out of order some bytes may not be told from what was passed over.
    let marked = truth.doubt.is_some() && seen.flags & flags::REORDERED != 0;
    let bytes = |what: &str, expected: &std::ops::RangeInclusive<u64>, found: u64| {
        (!(expected.contains(&found) || marked && found <= *expected.end()))
            .then(|| format!("{what}: {found} instead of {expected:?}"))
    };
    same("method", &truth.method, &seen.method)
        .or_else(|| same("path", &truth.path, &seen.path))
        .or_else(|| {
            same(
                "status",
                &truth.status.to_string(),
                &seen.status.to_string(),
            )
        })
        .or_else(|| far("id", &truth.id, &seen.id, truth.id_is_near))
        .or_else(|| far("trace", &truth.trace, &seen.trace, truth.trace_is_near))
        .or_else(|| {
            same(
                "interim",
                &truth.interim.to_string(),
                &seen.interim.to_string(),
            )
        })
        .or_else(|| bytes("request bytes", &truth.request_bytes, seen.request_bytes))
        .or_else(|| bytes("response bytes", &truth.response_bytes, seen.response_bytes))
        .or_else(|| {
            let (expected, found) = (truth.request_head_bytes, seen.request_head_bytes);
            same("request head", &expected.to_string(), &found.to_string())
        })
        .or_else(|| {
            let (expected, found) = (truth.response_head_bytes, seen.response_head_bytes);
            same("response head", &expected.to_string(), &found.to_string())
        })
        .or_else(|| within("start", &truth.start_ns, seen.start_ns))
        .or_else(|| {
            let early = seen.flags & flags::EARLY_ANSWER != 0;
            match (seen.request_end_ns, &truth.request_end_ns) {
                (Some(at), Some(range)) if !early => within("request end", range, at),
                // Passed over, if not seen: bytes in its body were missing, and never came.
                (Some(_), None) if !early && seen.flags & flags::REORDERED != 0 => None,
                (Some(at), _) => Some(format!("request end: {at} of one that had not ended")),
                // Its place may have been lost.
                (None, _) if early || marked => None,
                (None, range) => Some(format!("request end: none instead of {range:?}")),
            }
        })
        .or_else(|| within("first byte", &truth.first_byte_ns, seen.first_byte_ns))
        .or_else(|| within("end", &truth.end_ns, seen.end_ns))
        .or_else(|| {
            let (lacks, extra) = (
                truth.must & !seen.flags,
                seen.flags & !(truth.must | truth.may),
            );
            (lacks | extra != 0).then(|| {
                format!(
                    "flags: lacks {}, should not have {}",
                    names(lacks),
                    names(extra)
                )
            })
        })
}

fn names(bits: u32) -> String {
    let names: Vec<_> = (0..32)
        .filter(|bit| bits >> bit & 1 != 0)
        .map(|bit| flags::NAMES.get(bit).copied().unwrap_or("unnamed"))
        .collect();
    format!("[{}]", names.join(" "))
}

fn report(what: &str, reading: &Reading, seen: &[Seen], counted: Option<Counted>) -> String {
    let mut text = format!("{what}\n{counted:?}\nheld:");
    let fine = "a string takes what is written to it";
    for truth in &reading.exchanges {
        write!(text, "\n  {truth:?}").expect(fine);
    }
    text.push_str("\nseen:");
    for one in seen {
        write!(text, "\n  {one:?}").expect(fine);
    }
    let Reading {
        unanswered,
        orphans,
        disturbed,
        ..
    } = reading;
    write!(
        text,
        "\nunanswered {unanswered}, orphans {orphans}, disturbed {disturbed:?}"
    )
    .expect(fine);
    text
}

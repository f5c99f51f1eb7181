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
    /// Segments that came to who listens, and not to a connection.
    pub stray: u64,
    /// Everything else that means that something was not seen.
    pub other: u64,
}

impl Counted {
    /// Adds what else was counted.
    pub fn add(&mut self, other: Self) {
        self.closed_without_answer += other.closed_without_answer;
        self.joined_late += other.joined_late;
        self.crowded += other.crowded;
        self.stray += other.stray;
        self.other += other.other;
    }

    /// Whether anything was not seen, or not understood.
    fn is_lossy(self) -> bool {
        self.crowded + self.other > 0
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
    // What came early is kept and read in its order, so nothing is in doubt if nothing is counted as lost.
    let doubted;
    let mut reading = reading;
    if counted.is_some_and(|counted| counted.crowded > 0) {
        doubted = reading.clone().crowded();
        let Some(doubted) = &doubted else {
            return Err(report("no segment held so much", reading, seen, counted));
        };
        reading = doubted;
    } else if counted.is_none_or(Counted::is_lossy) {
        doubted = Some(reading.clone().lossy());
        reading = doubted.as_ref().unwrap_or(reading);
    }
    // Where the place was lost, or never known, it is not known whether a body goes on, and what lies in a body may be the very bytes of
    // a message.
    let may_be_none = reading.partial || reading.lossy;
    let mut recall = Recall::default();
    let mut truths = reading.exchanges.iter();
    'seen: for one in seen {
        let here = truths.clone();
        loop {
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
                recall.doubtful += here.len() - truths.len() - 1;
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
    }
    let Some(counts) = counted else {
        return Ok(recall);
    };
    // Behind the end of both ways, the kernel has forgotten the connection and hands its segments to who listens, where they are data
    // of an unknown one. If it still remembers it, they are old.
    if counts.stray > reading.stray as u64 {
        return Err(report("more stray segments", reading, seen, counted));
    }
    // How many messages lay in what was lost is not known, what follows a message that is none is not read, and what was asked behind the
    // request for a tunnel may be no question: so there is no number that must be counted.
    if may_be_none || reading.wrong || reading.tunnel {
        return Ok(recall);
    }
    let without_answer = reading.closed_without_answer();
    let (least, most) = (*without_answer.start(), *without_answer.end());
    let orphans = reading.orphans as u64;
    // What comes to who listens may look like answers.
    let stray = if counts.stray > 0 {
        reading.stray_answers as u64
    } else {
        0
    };
    let expected = Counted {
        closed_without_answer: counts
            .closed_without_answer
            .clamp(least as u64, most as u64),
        joined_late: counts.joined_late.clamp(orphans, orphans + stray),
        stray: counts.stray,
        // Or begin like a message and go on otherwise.
        other: counts.other.min(counts.stray),
        ..Counted::default()
    };
    if counts != expected {
        let what = format!("{expected:?} was to be counted");
        return Err(report(&what, reading, seen, counted));
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
    // Where the place was lost in a body, its bytes are counted as far as they were read; how many followed is not known.
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
        .or_else(|| same("id", &truth.id, &seen.id))
        .or_else(|| same("trace", &truth.trace, &seen.trace))
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
                // A hole in a body is passed over as a number of bytes: waiting for them would take memory. Whether they ever came is not
                // known when the last byte is here.
                (Some(_), None) if !early && seen.flags & flags::REORDERED != 0 => None,
                (Some(at), _) => Some(format!("request end: {at} of one that had not ended")),
                // Where the place was lost in its body, it was not seen when that ended.
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

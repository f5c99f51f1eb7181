//! Random conversations through the state machines of one end, and of [both](loopback), held against a slow reader that shares no code
//! with them. For how long, see [`galileo_oracle::campaign`].

mod loopback;

use std::{collections::HashMap, fs};

use galileo_ebpf_abi::{Ledger, flags, role};
use galileo_ebpf_core::socket::last;
use galileo_oracle::{
    agreement::{self, Counted, Recall},
    campaign::{Campaign, Kind},
    case,
    reading::Reading,
    segment::{Mark, Segment, Way},
    stream::Stream,
};

use crate::driver::{Connection, TAIL_CALLS, directions};

/// How a segment of this mark ends the connection.
const fn how(mark: Mark) -> u32 {
    match mark {
        Mark::Plain | Mark::Syn => last::NO,
        Mark::Fin => last::DIRECTION,
        Mark::Rst => last::CONNECTION,
    }
}

/// What user space makes of the field's value that the object hands out: nothing, if it is longer than one of version 00, begins
/// with another version, or has what is no digit.
fn trace(kept: &str) -> String {
    let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    let is_one = kept.len() == 55
        && kept.starts_with("00-")
        && kept.bytes().all(digits)
        && kept[3..35].contains(|digit| digit != '0')
        && kept[36..52].contains(|digit| digit != '0');
    if is_one {
        kept.to_owned()
    } else {
        String::new()
    }
}

/// What the ledger says, as far as it matters here.
fn counted(ledger: &HashMap<Ledger, u64>) -> Counted {
    let mut counted = Counted::default();
    for (kind, count) in ledger {
        match kind {
            Ledger::ClosedWithoutAnswer => counted.closed_without_answer += count,
            Ledger::JoinedLate => counted.joined_late += count,
            Ledger::StepsExceeded => counted.crowded += count,
            Ledger::ListenerData => counted.stray += count,
            _ => counted.other += count,
        }
    }
    counted
}

/// Plays the segments from number `from` on to one end of the connection, and holds what it saw against what there was.
pub fn play(segments: &[Segment], role: u8, from: usize) -> Result<Recall, String> {
    let (requests, answers) = directions(role);
    let direction_of = |way| match way {
        Way::Up => requests,
        Way::Down => answers,
    };
    let (mut next_seq, mut begun) = ([0; 2], [true; 2]);
    for segment in segments.iter().filter(|segment| segment.mark == Mark::Syn) {
        let before = Stream::of(&segments[..from], segment.way).bytes.len();
        let direction = direction_of(segment.way) as usize;
        next_seq[direction] = segment.first_byte().wrapping_add(before as u32);
        begun[direction] = before == 0;
    }
    let mut connection = Connection::joined(next_seq, begun);
    connection.limit = TAIL_CALLS;
    for segment in &segments[from..] {
        connection.at(
            direction_of(segment.way),
            segment.time_ns,
            segment.first_byte(),
            &segment.payload,
            how(segment.mark),
        );
    }
    let reading = Reading::of(segments).joined(segments, from);
    let mut seen = Vec::new();
    for (seen_as, mut one) in connection.seen_as_any() {
        // Who asks is known from a connection's first message on. Of one that had begun, all that is known are its bytes, and those in a
        // body may be the other end's messages.
        let may_differ = reading.partial && one.flags & flags::RESUMED != 0;
        if seen_as != role && !may_differ {
            return Err(format!("role: {seen_as} instead of {role}"));
        }
        one.trace = trace(&one.trace);
        seen.push(one);
    }
    let most = reading.steps.iter().max().copied().unwrap_or(0);
    if reading.disturbed.is_none() && !reading.partial && connection.steps as usize > most {
        return Err(format!("steps: {} instead of {most}", connection.steps));
    }
    let counted = counted(&connection.ledger());
    agreement::check(&reading, &seen, Some(counted), 0)
}

/// As [`play`]; a panic is no agreement either.
fn disagreement(segments: &[Segment], role: u8, from: usize) -> Result<Recall, String> {
    std::panic::catch_unwind(|| play(segments, role, from))
        .unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// Runs conversations until there were enough, or the time is over.
fn run(kind: Kind, cases: u64) -> Recall {
    let campaign = Campaign {
        name: "host".to_owned(),
        kind,
        rough: vec![Way::Up, Way::Down],
        cases,
    };
    campaign.run(|segments, from| {
        let mut recall = Recall::default();
        for role in [role::SERVER, role::CLIENT] {
            let one = disagreement(segments, role, from);
            recall.add(one.map_err(|why| format!("{why}\nrole {role}"))?);
        }
        Ok(recall)
    })
}

#[test]
#[cfg_attr(miri, ignore = "a conversation takes half a minute there")]
fn conversations_in_order_are_seen_whole_wherever_they_are_cut() {
    let recall = run(Kind::Orderly, 4_000);
    // But for what is behind more messages in a segment than are looked at.
    assert!(recall.doubtful * 20 < recall.sure, "{recall:?}");
}

#[test]
#[cfg_attr(miri, ignore = "a conversation takes half a minute there")]
fn conversations_in_large_segments_are_seen_whole() {
    let recall = run(Kind::Large, 300);
    assert!(recall.doubtful * 10 < recall.sure, "{recall:?}");
}

#[test]
#[cfg_attr(miri, ignore = "a conversation takes half a minute there")]
fn conversations_out_of_order_are_seen_or_counted_and_never_wrong() {
    run(Kind::Rough, 4_000);
}

#[test]
#[cfg_attr(miri, ignore = "a conversation takes half a minute there")]
fn of_conversations_that_had_begun_what_may_be_wrong_is_marked() {
    let recall = run(Kind::Older, 4_000);
    assert!(recall.doubtful_seen * 4 > recall.doubtful, "{recall:?}");
    assert!(recall.marked < recall.doubtful_seen, "{recall:?}");
}

#[test]
#[cfg_attr(miri, ignore = "a conversation takes half a minute there")]
fn inputs_that_once_failed_agree() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracle/cases");
    let (mut count, mut older) = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let segments = case::read(&text).unwrap();
        let from = case::seen_from(&text).unwrap();
        for role in [role::SERVER, role::CLIENT] {
            match disagreement(&segments, role, from) {
                // Of what had begun before it was looked at nothing is certain.
                Ok(recall) => assert!(from == 0 || recall.sure == 0, "{}", path.display()),
                Err(why) => panic!("{}, role {role}: {why}", path.display()),
            }
        }
        count += 1;
        older += usize::from(from > 0);
    }
    assert!(count > 10 && older > 0, "{count} {older}");
}

#[test]
fn an_answer_to_a_request_with_more_chunks_than_are_looked_at_may_be_marked_instead() {
    let line = format!("5;pad={}\r\nhello\r\n", "p".repeat(600));
    let request = format!(
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        line.repeat(40)
    );
    let text = format!(
        "up 0 syn \"\"\ndown 0 syn \"\"\nup 1 \"{}\"\ndown 1 \"HTTP/1.1 204 X\\r\\n\\r\\n\"",
        request.as_bytes().escape_ascii()
    );
    let segments = case::read(&text).unwrap();
    for role in [role::SERVER, role::CLIENT] {
        let recall = disagreement(&segments, role, 0).unwrap();
        assert_eq!((recall.sure, recall.doubtful_seen), (0, 1), "{recall:?}");
    }
}

//! Random conversations through the state machines, held against a slow reader that shares no code with them.
//!
//! `GALILEO_FUZZ_SECONDS` lets it run that long, `GALILEO_FUZZ_SEED` sets where the seeds begin, and `GALILEO_FUZZ_KEEP`
//! names a folder for the inputs that do not agree: then it goes on behind them. `GALILEO_FUZZ_ALL` generates what [`Oddities::READ`]
//! leaves out.

use std::{
    env, fs,
    time::{Duration, Instant},
};

use galileo_ebpf_abi::{Ledger, role};
use galileo_ebpf_core::socket::last;
use galileo_oracle::{
    agreement::{self, Counted, Recall},
    case,
    delivery::Delivery,
    dice::Dice,
    generate::{Conversation, Oddities},
    reading::Reading,
    segment::{Mark, Segment, Way},
    shrink::{Input, shrink},
    stream::Stream,
};

use crate::driver::{Connection, TAIL_CALLS, directions};

fn odd() -> Oddities {
    if env::var_os("GALILEO_FUZZ_ALL").is_some() {
        Oddities::ALL
    } else {
        Oddities::READ
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
        let how = match segment.mark {
            Mark::Plain | Mark::Syn => last::NO,
            Mark::Fin => last::DIRECTION,
            Mark::Rst => last::CONNECTION,
        };
        connection.at(
            direction_of(segment.way),
            segment.time_ns,
            segment.first_byte(),
            &segment.payload,
            how,
        );
    }
    let seen: Vec<_> = connection
        .seen(role)
        .into_iter()
        .map(|seen| agreement::Seen {
            method: seen.method,
            path: seen.path,
            id: seen.id,
            trace: trace(&seen.trace),
            status: seen.status,
            interim: seen.interim,
            request_bytes: seen.request_bytes,
            request_head_bytes: seen.request_head_bytes.into(),
            response_bytes: seen.response_bytes,
            response_head_bytes: seen.response_head_bytes.into(),
            start_ns: seen.start_ns,
            request_end_ns: seen.request_end_ns,
            first_byte_ns: seen.first_byte_ns,
            end_ns: seen.end_ns,
            flags: seen.flags,
        })
        .collect();
    let mut counted = Counted::default();
    for (kind, count) in connection.ledger() {
        match kind {
            Ledger::ClosedWithoutAnswer => counted.closed_without_answer += count,
            Ledger::JoinedLate => counted.joined_late += count,
            Ledger::StepsExceeded => counted.crowded += count,
            _ => counted.other += count,
        }
    }
    let reading = Reading::of(segments).joined(segments, from);
    let most = reading.steps.iter().max().copied().unwrap_or(0);
    if reading.disturbed.is_none() && !reading.partial && connection.steps as usize > most {
        return Err(format!("steps: {} instead of {most}", connection.steps));
    }
    agreement::check(&reading, &seen, Some(counted), 0)
}

/// As [`play`]; a panic is no agreement either.
fn disagreement(segments: &[Segment], role: u8, from: usize) -> Result<Recall, String> {
    std::panic::catch_unwind(|| play(segments, role, from))
        .unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// What kind of disagreement it is, so that a smaller input shows the same one.
fn what(why: &str) -> String {
    let line = why.lines().next().unwrap_or_default();
    let word = line.split_once(':').map(|(word, _)| word.to_owned());
    word.unwrap_or_else(|| line.rsplit(' ').take(2).collect())
}

/// How conversations are played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// From their begin, in order.
    Orderly,
    /// From their begin, with segments late, lost and twice.
    Rough,
    /// In order, from a segment in their midst.
    Older,
    /// In order, with bodies of up to 150 kB in segments of up to 64 kB.
    Large,
}

impl Kind {
    /// Conversations, if no time is given.
    fn cases(self) -> u64 {
        match self {
            Self::Orderly | Self::Rough | Self::Older => 4000,
            Self::Large => 300,
        }
    }
}

/// Runs conversations until there were enough, or the time is over.
fn run(kind: Kind) -> Recall {
    let number = |name| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seconds = number("GALILEO_FUZZ_SECONDS");
    let first = number("GALILEO_FUZZ_SEED").unwrap_or(0);
    let keep = env::var("GALILEO_FUZZ_KEEP").ok();
    let begin = Instant::now();
    let mut recall = Recall::default();
    let mut kept = 0;
    for seed in first.. {
        let over = match seconds {
            Some(seconds) => begin.elapsed() > Duration::from_secs(seconds),
            None => seed >= first + kind.cases(),
        };
        if over {
            println!("{} conversations: {recall:?}", seed - first);
            break;
        }
        let mut dice = Dice::new(seed);
        let mut conversation = Conversation::random(&mut dice, odd());
        if kind == Kind::Large {
            conversation.enlarge(&mut dice);
        }
        let script = conversation.script();
        let ways: &[Way] = match kind {
            Kind::Rough => &[Way::Up, Way::Down],
            Kind::Orderly | Kind::Older | Kind::Large => &[],
        };
        let delivery = Delivery::random(&mut dice, &script, ways, odd());
        let input = Input {
            conversation,
            delivery,
        };
        let count = input.segments().len();
        let from = match kind {
            Kind::Older => dice.below(count),
            Kind::Orderly | Kind::Rough | Kind::Large => 0,
        };
        for role in [role::SERVER, role::CLIENT] {
            match disagreement(&input.segments(), role, from) {
                Ok(one) => recall.add(one),
                Err(why) => {
                    let what = what(&why);
                    // So far from the end, as shrinking takes from the begin as well.
                    let from_end = count - from;
                    let again = |input: &Input| {
                        let segments = input.segments();
                        let from = match kind {
                            Kind::Older => segments.len().saturating_sub(from_end),
                            Kind::Orderly | Kind::Rough | Kind::Large => 0,
                        };
                        let disagreement = disagreement(&segments, role, from);
                        (segments, from, disagreement)
                    };
                    let small = shrink(input.clone(), |input| {
                        again(input).2.is_err_and(|why| what == self::what(&why))
                    });
                    let (segments, from, why) = again(&small);
                    let why = why.expect_err("it still fails").replace('\n', "\n# ");
                    let text = format!(
                        "# seed {seed}, role {role}, from {from}: {why}\n{}",
                        case::write(&segments)
                    );
                    let Some(keep) = &keep else { panic!("{text}") };
                    fs::write(format!("{keep}/{kind:?}-{seed}-{role}.txt"), text).unwrap();
                    kept += 1;
                    if kept >= 60 {
                        return recall;
                    }
                    break;
                }
            }
        }
    }
    recall
}

#[test]
#[cfg_attr(miri, ignore = "a conversation takes half a minute there")]
fn conversations_in_order_are_seen_whole_wherever_they_are_cut() {
    let recall = run(Kind::Orderly);
    // But for what is behind more messages in a segment than are looked at.
    assert!(recall.doubtful * 20 < recall.sure, "{recall:?}");
}

#[test]
#[cfg_attr(miri, ignore = "a conversation takes half a minute there")]
fn conversations_in_large_segments_are_seen_whole() {
    let recall = run(Kind::Large);
    assert!(recall.doubtful * 20 < recall.sure, "{recall:?}");
}

#[test]
#[cfg_attr(miri, ignore = "a conversation takes half a minute there")]
fn conversations_out_of_order_are_seen_or_counted_and_never_wrong() {
    run(Kind::Rough);
}

#[test]
#[cfg_attr(miri, ignore = "a conversation takes half a minute there")]
fn of_conversations_that_had_begun_what_may_be_wrong_is_marked() {
    let recall = run(Kind::Older);
    assert!(recall.doubtful_seen * 4 > recall.doubtful, "{recall:?}");
    assert!(recall.marked < recall.doubtful_seen, "{recall:?}");
}

#[test]
#[cfg_attr(miri, ignore = "a conversation takes half a minute there")]
fn inputs_that_once_failed_agree() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracle/cases");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let segments = case::read(&fs::read_to_string(&path).unwrap()).unwrap();
        for role in [role::SERVER, role::CLIENT] {
            if let Err(why) = disagreement(&segments, role, 0) {
                panic!("{}, role {role}: {why}", path.display());
            }
        }
        count += 1;
    }
    assert!(count > 10, "{count}");
}

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
};

use crate::driver::{Connection, directions};

/// Conversations, if no time is given.
const CASES: u64 = 4000;

fn odd() -> Oddities {
    if env::var_os("GALILEO_FUZZ_ALL").is_some() {
        Oddities::ALL
    } else {
        Oddities::READ
    }
}

/// Plays the segments to one end of the connection, and holds what it saw against what there was.
fn play(segments: &[Segment], role: u8) -> Result<Recall, String> {
    let (requests, answers) = directions(role);
    let mut next_seq = [0; 2];
    for segment in segments.iter().filter(|segment| segment.mark == Mark::Syn) {
        let direction = match segment.way {
            Way::Up => requests,
            Way::Down => answers,
        };
        next_seq[direction as usize] = segment.first_byte();
    }
    let mut connection = Connection::with_numbers(next_seq);
    for segment in segments {
        let direction = match segment.way {
            Way::Up => requests,
            Way::Down => answers,
        };
        let how = match segment.mark {
            Mark::Plain | Mark::Syn => last::NO,
            Mark::Fin => last::DIRECTION,
            Mark::Rst => last::CONNECTION,
        };
        connection.at(
            direction,
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
            _ => counted.other += count,
        }
    }
    agreement::check(&Reading::of(segments), &seen, Some(counted), 0)
}

/// As [`play`]; a panic is no agreement either.
fn disagreement(segments: &[Segment], role: u8) -> Result<Recall, String> {
    std::panic::catch_unwind(|| play(segments, role)).unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// What kind of disagreement it is, so that a smaller input shows the same one.
fn kind(why: &str) -> String {
    let line = why.lines().next().unwrap_or_default();
    let word = line.split_once(':').map(|(word, _)| word.to_owned());
    word.unwrap_or_else(|| line.rsplit(' ').take(2).collect())
}

/// Runs conversations until there were enough, or the time is over.
fn run(rough: bool) -> Recall {
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
            None => seed >= first + CASES,
        };
        if over {
            println!("{} conversations: {recall:?}", seed - first);
            break;
        }
        let mut dice = Dice::new(seed);
        let conversation = Conversation::random(&mut dice, odd());
        let script = conversation.script();
        let ways: &[Way] = if rough { &[Way::Up, Way::Down] } else { &[] };
        let delivery = Delivery::random(&mut dice, &script, ways, odd());
        let input = Input {
            conversation,
            delivery,
        };
        for role in [role::SERVER, role::CLIENT] {
            match disagreement(&input.segments(), role) {
                Ok(one) => recall.add(one),
                Err(why) => {
                    let kind = kind(&why);
                    let small = shrink(input.clone(), |input| {
                        disagreement(&input.segments(), role)
                            .is_err_and(|why| kind == self::kind(&why))
                    });
                    let segments = small.segments();
                    let why = disagreement(&segments, role).expect_err("it still fails");
                    let why = why.replace('\n', "\n# ");
                    let text = format!(
                        "# seed {seed}, role {role}: {why}\n{}",
                        case::write(&segments)
                    );
                    let Some(keep) = &keep else { panic!("{text}") };
                    fs::write(format!("{keep}/{rough}-{seed}-{role}.txt"), text).unwrap();
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
    let recall = run(false);
    assert_eq!(recall.doubtful_seen, 0);
}

#[test]
#[cfg_attr(miri, ignore = "a conversation takes half a minute there")]
fn conversations_out_of_order_are_seen_or_counted_and_never_wrong() {
    run(true);
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
            if let Err(why) = disagreement(&segments, role) {
                panic!("{}, role {role}: {why}", path.display());
            }
        }
        count += 1;
    }
    assert!(count > 10, "{count}");
}

//! Random conversations through the kernel's hook, held against a slow reader that shares no code with the probes.
//!
//! `GALILEO_FUZZ_SECONDS` lets each test run that long, `GALILEO_FUZZ_SEED` sets where the seeds begin, and
//! `GALILEO_FUZZ_KEEP` names a folder for the inputs that do not agree: then it goes on behind them. `GALILEO_FUZZ_ALL`
//! generates what [`Oddities::READ`] leaves out.

use std::{
    env, fs,
    time::{Duration, Instant},
};

use galileo_oracle::{
    agreement::Recall,
    case,
    delivery::Delivery,
    dice::Dice,
    generate::{Conversation, Oddities},
    segment::{Segment, Way},
    shrink::{Input, shrink},
};
use galileo_probes::Role;
use galileo_tests::{
    segments::{
        place::{Family, Size},
        play::Stage,
    },
    turn,
};

/// How conversations are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In order.
    Orderly,
    /// With segments late, lost and twice.
    Rough,
    /// With bodies of up to 150 kB, in segments of up to 64 kB that are cut, and put together, by the device.
    Large,
    /// In order, and the probes come when they have begun.
    Older,
}

impl Kind {
    /// Conversations of a test, if no time is given.
    fn cases(self) -> u64 {
        match self {
            Self::Orderly | Self::Rough => 250,
            Self::Large => 80,
            Self::Older => 60,
        }
    }
}

/// What kind of disagreement it is, so that a smaller input shows the same one.
fn what(why: &str) -> String {
    let line = why.lines().next().unwrap_or_default();
    let word = line.split_once(':').map(|(word, _)| word.to_owned());
    word.unwrap_or_else(|| line.rsplit(' ').take(2).collect())
}

/// What was seen of them; none if probes may not be loaded here.
fn run(family: Family, role: Role, kind: Kind) -> Option<Recall> {
    let _turn = turn();
    let size = match kind {
        Kind::Large => Size::Cut,
        Kind::Orderly | Kind::Rough | Kind::Older => Size::Whole,
    };
    let mut stage = Stage::new(family, role, size)?;
    let number = |name| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seconds = number("GALILEO_FUZZ_SECONDS");
    let first = number("GALILEO_FUZZ_SEED").unwrap_or(0);
    let keep = env::var("GALILEO_FUZZ_KEEP").ok();
    let all = env::var_os("GALILEO_FUZZ_ALL").is_some();
    let odd = if all { Oddities::ALL } else { Oddities::READ };
    let begin = Instant::now();
    let mut recall = Recall::default();
    let mut kept = 0;
    for seed in first.. {
        let over = match seconds {
            Some(seconds) => begin.elapsed() > Duration::from_secs(seconds),
            None => seed >= first + kind.cases(),
        };
        if over || kept >= 20 {
            println!("{} conversations: {recall:?}", seed - first);
            break;
        }
        let mut dice = Dice::new(seed);
        let mut conversation = Conversation::random(&mut dice, odd);
        if kind == Kind::Large {
            conversation.enlarge(&mut dice);
        }
        let script = conversation.script();
        let ours = stage.ours();
        let ways = match kind {
            Kind::Rough => std::slice::from_ref(&ours),
            Kind::Orderly | Kind::Large | Kind::Older => &[],
        };
        let delivery = Delivery::random(&mut dice, &script, ways, odd);
        let input = Input {
            conversation,
            delivery,
        };
        let count = input.segments().len();
        // From the end, as shrinking takes from the begin as well.
        let seen = match kind {
            Kind::Older => dice.between(1, count - 2),
            Kind::Orderly | Kind::Rough | Kind::Large => usize::MAX,
        };
        let mut check = |input: &Input| {
            let segments = input.segments();
            stage.check_from(&segments, segments.len().saturating_sub(seen))
        };
        match check(&input) {
            Ok(one) => recall.add(one),
            Err(why) => {
                let what = what(&why);
                let small = shrink(input, |input| {
                    check(input).is_err_and(|why| what == self::what(&why))
                });
                let segments = small.segments();
                let from = segments.len().saturating_sub(seen);
                let again = check(&small).err().unwrap_or(why).replace('\n', "\n# ");
                let text = format!(
                    "# seed {seed}, from {from}: {again}\n{}",
                    case::write(&segments)
                );
                let Some(keep) = &keep else { panic!("{text}") };
                fs::write(
                    format!("{keep}/{family:?}-{role:?}-{kind:?}-{seed}.txt"),
                    text,
                )
                .unwrap();
                kept += 1;
            }
        }
    }
    if kind == Kind::Large {
        // Many times what goes into a frame: as GSO and GRO make them.
        assert!(
            stage.largest.iter().all(|bytes| *bytes > 30_000),
            "{:?}",
            stage.largest
        );
    }
    Some(recall)
}

/// Of conversations in order nearly everything must be seen: what may be missing lies behind more in one segment than is looked at.
fn whole(family: Family, role: Role, kind: Kind) {
    if let Some(recall) = run(family, role, kind) {
        assert!(recall.doubtful * 10 < recall.sure, "{recall:?}");
    }
}

#[test]
fn a_server_on_ipv4_is_seen_as_the_slow_reader_sees_it() {
    whole(Family::V4, Role::Server, Kind::Orderly);
}

#[test]
fn a_client_on_ipv6_is_seen_as_the_slow_reader_sees_it() {
    whole(Family::V6, Role::Client, Kind::Orderly);
}

#[test]
fn a_server_on_ipv6_whose_client_sends_out_of_order_is_seen_right_or_not_at_all() {
    run(Family::V6, Role::Server, Kind::Rough);
}

#[test]
fn a_client_on_ipv4_whose_server_sends_out_of_order_is_seen_right_or_not_at_all() {
    run(Family::V4, Role::Client, Kind::Rough);
}

#[test]
fn a_server_on_ipv4_is_seen_in_segments_that_the_device_cuts() {
    whole(Family::V4, Role::Server, Kind::Large);
}

#[test]
fn a_client_on_ipv6_is_seen_in_segments_that_the_device_cuts() {
    whole(Family::V6, Role::Client, Kind::Large);
}

/// What may be wrong must be marked; but much of it must be seen.
fn joined(family: Family, role: Role) {
    if let Some(recall) = run(family, role, Kind::Older) {
        assert!(recall.doubtful_seen * 2 > recall.doubtful, "{recall:?}");
    }
}

#[test]
fn of_a_server_whose_connections_had_begun_what_may_be_wrong_is_marked() {
    joined(Family::V4, Role::Server);
}

#[test]
fn of_a_client_whose_connections_had_begun_what_may_be_wrong_is_marked() {
    joined(Family::V6, Role::Client);
}

/// Whether each byte of this way comes once, and behind the one before it: so the kernel sends.
fn in_order(segments: &[Segment], way: Way) -> bool {
    let mut sent = segments.iter().filter(|segment| segment.way == way);
    let Some(mut next) = sent.clone().next().map(Segment::first_byte) else {
        return true;
    };
    sent.all(|segment| {
        let follows = segment.first_byte() == next;
        next = next.wrapping_add(segment.payload.len() as u32);
        follows
    })
}

#[test]
fn inputs_that_once_failed_agree_in_the_kernel() {
    let _turn = turn();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/oracle/cases");
    for (family, role) in [(Family::V4, Role::Server), (Family::V6, Role::Client)] {
        let Some(mut stage) = Stage::new(family, role, Size::Whole) else {
            return;
        };
        let kernels = stage.ours().back();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let segments = case::read(&fs::read_to_string(&path).unwrap()).unwrap();
            if !in_order(&segments, kernels) {
                continue;
            }
            if let Err(why) = stage.check(&segments) {
                panic!("{}, {role:?}: {why}", path.display());
            }
        }
    }
}

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
    shrink::{Input, shrink},
    stream::Stream,
};
use galileo_probes::Role;
use galileo_tests::{
    segments::{place::Family, play::Stage},
    turn,
};

/// Conversations of a test, if no time is given.
const CASES: u64 = 250;

/// What kind of disagreement it is, so that a smaller input shows the same one.
fn kind(why: &str) -> String {
    let line = why.lines().next().unwrap_or_default();
    let word = line.split_once(':').map(|(word, _)| word.to_owned());
    word.unwrap_or_else(|| line.rsplit(' ').take(2).collect())
}

fn run(family: Family, role: Role, rough: bool) {
    let _turn = turn();
    let Some(mut stage) = Stage::new(family, role) else {
        return;
    };
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
    let mut exceeded = 0;
    for seed in first.. {
        let over = match seconds {
            Some(seconds) => begin.elapsed() > Duration::from_secs(seconds),
            None => seed >= first + CASES,
        };
        if over || kept >= 20 {
            println!(
                "{} conversations, {exceeded} beyond bounds: {recall:?}",
                seed - first
            );
            assert!(exceeded * 50 < seed - first, "{exceeded}");
            break;
        }
        let mut dice = Dice::new(seed);
        let conversation = Conversation::random(&mut dice, odd);
        let script = conversation.script();
        let ours = stage.ours();
        let ways = if rough {
            std::slice::from_ref(&ours)
        } else {
            &[]
        };
        let delivery = Delivery::random(&mut dice, &script, ways, odd);
        let input = Input {
            conversation,
            delivery,
        };
        match stage.check(&input.segments()) {
            Ok(one) => recall.add(one),
            // The bound on messages in a segment, which is counted.
            Err(_) if !all && stage.exceeded > 0 => exceeded += 1,
            Err(why) => {
                let kind = kind(&why);
                let small = shrink(input, |input| {
                    let again = stage.check(&input.segments());
                    again.is_err_and(|why| kind == self::kind(&why))
                });
                let segments = small.segments();
                let again = stage.check(&segments).err().unwrap_or(why);
                let again = again.replace('\n', "\n# ");
                let text = format!("# seed {seed}: {again}\n{}", case::write(&segments));
                let Some(keep) = &keep else { panic!("{text}") };
                fs::write(
                    format!("{keep}/{family:?}-{role:?}-{rough}-{seed}.txt"),
                    text,
                )
                .unwrap();
                kept += 1;
            }
        }
    }
}

#[test]
fn a_server_on_ipv4_is_seen_as_the_slow_reader_sees_it() {
    run(Family::V4, Role::Server, false);
}

#[test]
fn a_client_on_ipv6_is_seen_as_the_slow_reader_sees_it() {
    run(Family::V6, Role::Client, false);
}

#[test]
fn a_server_on_ipv6_whose_client_sends_out_of_order_is_seen_right_or_not_at_all() {
    run(Family::V6, Role::Server, true);
}

#[test]
fn a_client_on_ipv4_whose_server_sends_out_of_order_is_seen_right_or_not_at_all() {
    run(Family::V4, Role::Client, true);
}

#[test]
fn inputs_that_once_failed_agree_in_the_kernel() {
    let _turn = turn();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/oracle/cases");
    for (family, role) in [(Family::V4, Role::Server), (Family::V6, Role::Client)] {
        let Some(mut stage) = Stage::new(family, role) else {
            return;
        };
        let kernels = stage.ours().back();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let segments = case::read(&fs::read_to_string(&path).unwrap()).unwrap();
            // The kernel sends in order.
            if !Stream::of(&segments, kernels).gaps.is_empty() {
                continue;
            }
            if let Err(why) = stage.check(&segments) {
                panic!("{}, {role:?}: {why}", path.display());
            }
        }
    }
}

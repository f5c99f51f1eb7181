//! Connections whose begin was not seen, on which requests were under way then: no two that do not belong together are handed out
//! as one exchange without saying that they may not.

use galileo_ebpf_abi::{flags, role};
use galileo_oracle::{
    dice::Dice,
    segment::{Mark, Segment, Way},
};

use crate::{
    driver::{Connection, directions},
    fuzz::play,
};

/// Requests of a connection.
const REQUESTS: usize = 60;

/// A client that keeps `ahead` requests under way and thinks before each further one, and a server that takes its time. Each message is
/// one segment.
fn talk(dice: &mut Dice, ahead: usize, think: usize, serve: usize) -> Vec<Segment> {
    let mut takes = |most: usize| (1_u64 << dice.between(most - 4, most)) + dice.below(16) as u64;
    let (mut asked, mut answered) = (Vec::new(), Vec::<u64>::new());
    for number in 0..REQUESTS {
        let free = number
            .checked_sub(ahead)
            .map_or(0, |before| answered[before]);
        let last = asked.last().copied().unwrap_or(0).max(free);
        asked.push(last + takes(think));
        let begins = answered.last().copied().unwrap_or(0).max(asked[number]);
        answered.push(begins + takes(serve));
    }
    let mut messages = Vec::new();
    for number in 0..REQUESTS {
        let request = format!("GET /{number} HTTP/1.1\r\n\r\n");
        let answer = format!("HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n", 200 + number);
        messages.push((asked[number], Way::Up, request));
        messages.push((answered[number], Way::Down, answer));
    }
    // Of the same time, a request comes before an answer.
    messages.sort_by_key(|(time, way, _)| (*time, way.index()));
    let mut next = [0; 2];
    let mut segments: Vec<_> = [Way::Up, Way::Down]
        .map(|way| Segment {
            way,
            time_ns: 0,
            sequence: u32::MAX,
            mark: Mark::Syn,
            payload: Vec::new(),
        })
        .into();
    for (time_ns, way, text) in messages {
        let sequence = next[way.index()];
        next[way.index()] += text.len() as u32;
        segments.push(Segment {
            way,
            time_ns,
            sequence,
            mark: Mark::Plain,
            payload: text.into_bytes(),
        });
    }
    segments
}

#[test]
fn answers_to_requests_that_were_not_seen_make_no_pair_that_is_not_marked() {
    let (mut seen, mut sure) = (0, 0);
    for seed in 0..2000 {
        let mut dice = Dice::new(seed);
        let (ahead, think, serve) = (dice.between(1, 4), dice.between(4, 30), dice.between(4, 24));
        let segments = talk(&mut dice, ahead, think, serve);
        let from = dice.between(2, segments.len() - 1);
        for role in [role::SERVER, role::CLIENT] {
            let (requests, answers) = directions(role);
            let mut next_seq = [0; 2];
            let direction_of = |way| match way {
                Way::Up => requests,
                Way::Down => answers,
            };
            let mut begun = [true; 2];
            for segment in &segments[2..from] {
                let direction = direction_of(segment.way) as usize;
                next_seq[direction] += segment.payload.len() as u32;
                begun[direction] = false;
            }
            let mut connection = Connection::joined(next_seq, begun);
            for segment in &segments[from..] {
                let direction = direction_of(segment.way);
                connection.segment(direction, segment.time_ns, &segment.payload);
            }
            for one in connection.seen(role) {
                let right = one.path == format!("/{}", one.status - 200);
                let marked = one.flags & flags::RESUMED != 0;
                assert!(
                    right || marked,
                    "seed {seed} {ahead} {think} {serve}: {one:?}"
                );
                seen += 1;
                sure += usize::from(!marked);
            }
            play(&segments, role, from).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        }
    }
    // Some connections leave no doubt in the end.
    assert!(sure * 20 > seen, "{sure} of {seen}");
}

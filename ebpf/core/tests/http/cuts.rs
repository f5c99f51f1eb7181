//! Properties that hold wherever a stream is cut.

use galileo_ebpf_abi::{PATH_BYTES, flags, role};
use galileo_ebpf_core::opening::is_token;
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::{
    driver::{Connection, Seen, directions},
    traffic::{Pair, cut, pair},
};

/// What must be seen of a pair; times and flags are looked at apart.
fn expected(pair: &Pair) -> Seen {
    Seen {
        method: pair.method.to_owned(),
        path: pair.path.chars().take(PATH_BYTES).collect(),
        id: pair.id.clone(),
        trace: pair.trace.clone(),
        status: pair.status,
        interim: pair.interim,
        request_bytes: pair.request.len() as u64,
        request_head_bytes: head_bytes(&pair.request),
        response_bytes: pair.response.len() as u64,
        response_head_bytes: head_bytes(&pair.response),
        start_ns: 0,
        request_end_ns: None,
        first_byte_ns: 0,
        end_ns: 0,
        flags: 0,
    }
}

/// Bytes up to and with the first empty line.
fn head_bytes(message: &[u8]) -> u64 {
    let before = message.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    before.expect("a head has an end") as u64 + 4
}

fn without_times(seen: &Seen) -> Seen {
    Seen {
        start_ns: 0,
        request_end_ns: None,
        first_byte_ns: 0,
        end_ns: 0,
        flags: 0,
        ..seen.clone()
    }
}

/// First and last byte of the request, then of the answer.
fn times_of(seen: &Seen) -> (u64, Option<u64>, u64, u64) {
    (
        seen.start_ns,
        seen.request_end_ns,
        seen.first_byte_ns,
        seen.end_ns,
    )
}

/// How much there is of something: under Miri, which is some hundred times slower than a processor, a part of it.
const fn size(usual: usize, under_miri: usize) -> usize {
    if cfg!(miri) { under_miri } else { usual }
}

proptest! {
    #[test]
    fn keep_alive_exchanges_are_seen_in_both_roles_wherever_they_are_cut(
        pairs in vec(pair(), 1..size(5, 2)),
        cuts in vec(vec(any::<Index>(), 0..12), 10),
        server in any::<bool>(),
    ) {
        let role = if server { role::SERVER } else { role::CLIENT };
        let (requests, answers) = directions(role);
        let mut connection = Connection::new();
        let mut now = 0;
        let mut times = Vec::new();
        for (index, pair) in pairs.iter().enumerate() {
            let start = now + 1;
            for part in cut(&pair.request, &cuts[2 * index]) {
                now += 1;
                connection.segment(requests, now, part);
            }
            let end = now;
            for part in cut(&pair.before, &cuts[2 * index + 1]) {
                now += 1;
                connection.segment(answers, now, part);
            }
            let first = now + 1;
            for part in cut(&pair.response, &cuts[2 * index + 1]) {
                now += 1;
                connection.segment(answers, now, part);
            }
            times.push((start, Some(end), first, now));
        }
        let seen = connection.seen(role);
        prop_assert_eq!(
            seen.iter().map(without_times).collect::<Vec<_>>(),
            pairs.iter().map(expected).collect::<Vec<_>>()
        );
        prop_assert_eq!(
            seen.iter().map(times_of).collect::<Vec<_>>(),
            times
        );
        for seen in &seen {
            prop_assert_eq!(seen.flags & !flags::HEAD_CUT, 0);
        }
        prop_assert!(connection.ledger().is_empty(), "{:?}", connection.ledger());
    }

    #[test]
    fn pipelined_exchanges_are_paired_in_order_wherever_they_are_cut(
        pairs in vec(pair(), 2..size(6, 3)),
        up in vec(any::<Index>(), 0..12),
        down in vec(any::<Index>(), 0..12),
        server in any::<bool>(),
    ) {
        let role = if server { role::SERVER } else { role::CLIENT };
        let (requests, answers) = directions(role);
        let mut connection = Connection::new();
        let stream: Vec<u8> = pairs.iter().flat_map(|pair| pair.request.clone()).collect();
        // When each byte came.
        let mut asked = Vec::new();
        for (now, part) in (1..).zip(cut(&stream, &up)) {
            connection.segment(requests, now, part);
            asked.resize(asked.len() + part.len(), now);
        }
        let stream: Vec<u8> = pairs.iter().flat_map(|pair| [&pair.before[..], &pair.response].concat()).collect();
        let mut answered = Vec::new();
        for (now, part) in (1_000..).zip(cut(&stream, &down)) {
            connection.segment(answers, now, part);
            answered.resize(answered.len() + part.len(), now);
        }
        let (mut asked, mut answered) = (&asked[..], &answered[..]);
        let mut times = Vec::new();
        for pair in &pairs {
            let (request, after) = asked.split_at(pair.request.len());
            let (answer, behind) = answered[pair.before.len()..].split_at(pair.response.len());
            times.push((request[0], request.last().copied(), answer[0], answer[answer.len() - 1]));
            (asked, answered) = (after, behind);
        }
        let seen = connection.seen(role);
        prop_assert_eq!(
            seen.iter().map(without_times).collect::<Vec<_>>(),
            pairs.iter().map(expected).collect::<Vec<_>>()
        );
        prop_assert_eq!(seen.iter().map(times_of).collect::<Vec<_>>(), times);
        for (index, seen) in seen.iter().enumerate() {
            prop_assert_eq!(seen.flags & flags::PIPELINED != 0, index > 0);
        }
        prop_assert!(connection.ledger().is_empty(), "{:?}", connection.ledger());
    }

    #[test]
    fn arbitrary_bytes_never_become_an_exchange_that_http_cannot_be(
        segments in vec((any::<bool>(), any::<bool>(), vec(any::<u8>(), 0..size(900, 100))), 0..size(40, 3)),
        pair in pair(),
    ) {
        let mut connection = Connection::new();
        for (sent, legal, noise) in segments {
            let payload = match (legal, sent) {
                (false, _) => &noise,
                (true, false) => &pair.request,
                (true, true) => &pair.response,
            };
            connection.segment(u32::from(sent), 1, payload);
        }
        // Noise in the midst of bodies may be anything; what is handed out keeps the bounds all the same.
        for role in [role::SERVER, role::CLIENT] {
            let ledger = connection.ledger();
            let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| connection.seen(role)));
            for seen in seen.unwrap_or_default() {
                prop_assert!((100..600).contains(&seen.status), "{seen:?} {ledger:?}");
                prop_assert!(seen.method.bytes().all(is_token), "{seen:?}");
                prop_assert!(!seen.path.is_empty());
            }
        }
    }
}

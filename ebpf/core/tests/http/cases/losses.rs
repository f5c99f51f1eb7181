//! What cannot be kept, or read, is counted as often as it happens, and costs no exchange but those it belongs to.

use std::collections::HashMap;

use galileo_ebpf_abi::{Ledger, flags, role};
use galileo_ebpf_core::socket::{PIPELINED, last};

use super::{EMPTY, GET, lines};
use crate::driver::{Connection, Refused, directions};

/// What was counted, without what was not.
fn ledger<const N: usize>(kinds: [(Ledger, usize); N]) -> HashMap<Ledger, u64> {
    let kinds = kinds.into_iter().filter(|(_, count)| *count != 0);
    kinds.map(|(kind, count)| (kind, count as u64)).collect()
}

fn path_of(number: usize) -> String {
    format!("/{number}")
}

/// So many requests without waiting, then all answers; one exchange more behind them.
fn pipeline(of: u8, requests: usize, refused: Option<Refused>) -> Connection {
    let mut connection = Connection::new();
    connection.refuse(refused);
    let (ask, answer) = directions(of);
    for number in 0..requests {
        let request = format!("GET {} HTTP/1.1\r\n\r\n", path_of(number));
        connection.segment(ask, 1 + number as u64, request.as_bytes());
    }
    for number in 0..requests {
        connection.segment(answer, 1000 + number as u64, EMPTY);
    }
    connection.refuse(None);
    connection.segment(ask, 5000, GET);
    connection.segment(answer, 5001, EMPTY);
    connection
}

#[test]
fn of_more_requests_than_are_kept_the_oldest_and_the_newest_keep_their_answers() {
    // Miri is some hundred times slower than a processor.
    let most = if cfg!(miri) { 30 } else { 300 };
    for of in [role::SERVER, role::CLIENT] {
        for requests in [1, 2, 28, 29, 30, 31, 57, 58, 100, 300] {
            if requests > most {
                break;
            }
            let connection = pipeline(of, requests, None);
            let kept = requests.min(1 + PIPELINED);
            let lost = requests - kept;
            let mut expected: Vec<_> = (0..requests).map(path_of).collect();
            expected.drain(1..1 + lost);
            expected.push("/a".to_owned());
            let seen = connection.seen(of);
            let paths: Vec<_> = seen.iter().map(|seen| seen.path.clone()).collect();
            assert_eq!(paths, expected, "{requests} requests");
            // Each answer without its request is told as one, too.
            let counted = ledger([(Ledger::PendingLost, lost), (Ledger::JoinedLate, lost)]);
            assert_eq!(connection.ledger(), counted, "{requests} requests");
            // Nothing is in doubt afterwards.
            assert_eq!(seen.last().map(|seen| seen.flags), Some(0));
        }
    }
}

#[test]
fn pipelined_requests_that_the_kernel_gives_no_memory_for_are_lost_one_by_one() {
    for of in [role::SERVER, role::CLIENT] {
        let connection = pipeline(of, 10, Some(Refused::Pipelines));
        let seen = connection.seen(of);
        assert_eq!(lines(&seen), [("GET", "/0", 200), ("GET", "/a", 200)]);
        let counted = ledger([(Ledger::PendingLost, 9), (Ledger::JoinedLate, 9)]);
        assert_eq!(connection.ledger(), counted);
    }
}

/// An exchange; one that is lost, as the kernel refuses something while its request or its answer passes in two segments; two more.
fn interrupted(of: u8, refused: Refused, request: &[u8], answer: &[u8]) -> Connection {
    let (ask, reply) = directions(of);
    let mut connection = Connection::new();
    let exchange = |connection: &mut Connection, now| {
        connection.segment(ask, now, GET);
        connection.segment(reply, now + 1, EMPTY);
    };
    exchange(&mut connection, 10);
    for (direction, now, message) in [(ask, 20, request), (reply, 25, answer)] {
        let (one, two) = message.split_at(25.min(message.len()));
        connection.refuse((!two.is_empty()).then_some(refused));
        connection.segment(direction, now, one);
        connection.segment(direction, now + 1, two);
        connection.refuse(None);
    }
    exchange(&mut connection, 30);
    exchange(&mut connection, 40);
    connection
}

/// What is left of a conversation of four exchanges of which the second one was lost.
fn assert_one_is_lost(connection: &Connection, of: u8, refused: Refused) {
    let seen = connection.seen(of);
    assert_eq!(lines(&seen), [("GET", "/a", 200); 3], "{refused:?}");
    let told = seen.iter().map(|seen| seen.flags & flags::RESUMED);
    let resumed = flags::RESUMED;
    assert_eq!(told.collect::<Vec<_>>(), [0, resumed, resumed]);
}

/// What may be refused of a head in two segments, and what is counted then how often: a head is lost once, but neither segment can be read.
const HEADS: [(Refused, Ledger, usize); 3] = [
    (Refused::Carries, Ledger::CarryLost, 1),
    (Refused::Carried, Ledger::CarryLost, 1),
    (Refused::Bytes, Ledger::LoadFailed, 2),
];

const SHORT_REQUEST: &[u8] = b"GET /l HTTP/1.1\r\n\r\n";
const SHORT_ANSWER: &[u8] = b"HTTP/1.1 204 No\r\n\r\n";
const SPLIT_REQUEST: &[u8] = b"GET /lost HTTP/1.1\r\nHost: of-two-segments\r\n\r\n";

#[test]
fn a_request_whose_head_cannot_be_kept_or_read_is_counted_once_and_the_next_one_is_seen() {
    for of in [role::SERVER, role::CLIENT] {
        for (refused, kind, times) in HEADS {
            let connection = interrupted(of, refused, SPLIT_REQUEST, SHORT_ANSWER);
            assert_one_is_lost(&connection, of, refused);
            // Nobody asked for the answer that comes, as far as is known.
            let counted = ledger([(kind, times), (Ledger::JoinedLate, 1)]);
            assert_eq!(connection.ledger(), counted, "{refused:?}");
        }
    }
}

const SPLIT_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: of-two-segments\r\nContent-Length: 0\r\n\r\n";

#[test]
fn an_answer_whose_head_cannot_be_kept_or_read_gives_up_its_request_and_the_next_one_is_seen() {
    for of in [role::SERVER, role::CLIENT] {
        for (refused, kind, times) in HEADS {
            let connection = interrupted(of, refused, SHORT_REQUEST, SPLIT_ANSWER);
            assert_one_is_lost(&connection, of, refused);
            let counted = ledger([(kind, times), (Ledger::GivenUp, 1)]);
            assert_eq!(connection.ledger(), counted, "{refused:?}");
        }
    }
}

#[test]
fn what_came_early_and_cannot_be_read_is_a_gap() {
    let (ask, answer) = directions(role::SERVER);
    let (one, two) = SPLIT_REQUEST.split_at(25);
    let mut connection = Connection::new();
    let first = connection.miss(ask, one);
    connection.refuse(Some(Refused::Bytes));
    connection.segment(ask, 2, two);
    connection.refuse(None);
    connection.at(ask, 3, first, one, last::NO);
    connection.segment(answer, 4, EMPTY);
    connection.segment(ask, 5, GET);
    connection.segment(answer, 6, EMPTY);
    assert_eq!(lines(&connection.seen(role::SERVER)), [("GET", "/a", 200)]);
    // Neither for later nor at once.
    let counted = ledger([
        (Ledger::Reordered, 1),
        (Ledger::LoadFailed, 1),
        (Ledger::JoinedLate, 1),
    ]);
    assert_eq!(connection.ledger(), counted);
}

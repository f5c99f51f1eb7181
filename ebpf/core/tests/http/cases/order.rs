//! Segments that come twice, late or not at all.

use galileo_ebpf_abi::{Ledger, flags, role};
use galileo_ebpf_core::{
    connection::{RECEIVED, SENT},
    socket::last,
};

use super::{ANSWER, ASK, EMPTY, GET, lines, talk};
use crate::driver::{Connection, TAIL_CALLS};

#[test]
fn retransmitted_bytes_are_seen_once() {
    let mut connection = Connection::new();
    let (first, second) = GET.split_at(9);
    let sequence = connection.miss(ASK, b"");
    connection.segment(ASK, 1, first);
    connection.at(ASK, 2, sequence, first, last::NO);
    // A retransmission that brings what is new, too.
    connection.miss(ASK, second);
    connection.at(ASK, 3, sequence, GET, last::NO);
    connection.at(ASK, 4, sequence, GET, last::NO);
    let answer = connection.miss(ANSWER, EMPTY);
    connection.at(ANSWER, 5, answer, EMPTY, last::NO);
    connection.at(ANSWER, 6, answer, EMPTY, last::NO);
    let seen = connection.seen(role::SERVER);
    assert_eq!(lines(&seen), [("GET", "/a", 200)]);
    assert_eq!((seen[0].start_ns, seen[0].end_ns), (1, 5));
    assert!(connection.ledger().is_empty());
}

#[test]
fn a_gap_in_a_body_is_bridged_and_marked() {
    let mut connection = talk(&[
        (ASK, GET),
        (ANSWER, b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n"),
    ]);
    let late = connection.miss(ANSWER, b"0123456789");
    connection.segment(ANSWER, 3, b"0123456789");
    connection.at(ANSWER, 4, late, b"0123456789", last::NO);
    connection.segment(ANSWER, 5, b"0123456789");
    connection.segment(ASK, 6, GET);
    connection.segment(ANSWER, 7, EMPTY);
    let seen = connection.seen(role::SERVER);
    assert_eq!(
        seen.iter()
            .map(|seen| (seen.status, seen.flags))
            .collect::<Vec<_>>(),
        [(200, flags::REORDERED), (200, 0)]
    );
    assert_eq!(seen[0].end_ns, 5);
}

#[test]
fn a_gap_in_a_head_costs_what_is_outstanding_and_no_more() {
    let mut connection = talk(&[(ASK, GET), (ANSWER, EMPTY)]);
    connection.pass_by(ASK, &GET[..10]);
    connection.segment(ASK, 3, &GET[10..]);
    connection.segment(ANSWER, 4, EMPTY);
    connection.segment(ASK, 5, b"GET /c HTTP/1.1\r\n\r\n");
    connection.segment(ANSWER, 6, EMPTY);
    assert_eq!(
        lines(&connection.seen(role::SERVER)),
        [("GET", "/a", 200), ("GET", "/c", 200)]
    );
    assert_eq!(connection.counted(Ledger::Reordered), 1);
    assert_eq!(connection.counted(Ledger::JoinedLate), 1);
}

/// The same in four parts that come in each order there is.
fn shuffled(cuts: [usize; 3], role: u8, payload: &[u8]) {
    let parts = [0, cuts[0], cuts[1], cuts[2], payload.len()];
    for first in 0..4 {
        for second in (0..4).filter(|part| *part != first) {
            for third in (0..4).filter(|part| ![first, second].contains(part)) {
                let order = [first, second, third, 6 - first - second - third];
                let mut connection = Connection::new();
                let mut now = 1;
                if role == role::CLIENT {
                    connection.segment(SENT, now, &GET.repeat(3));
                }
                let begin = connection.miss(RECEIVED, payload);
                for part in order {
                    now += 1;
                    let (from, to) = (parts[part], parts[part + 1]);
                    let sequence = begin.wrapping_add(from as u32);
                    connection.at(RECEIVED, now, sequence, &payload[from..to], last::NO);
                }
                if role == role::SERVER {
                    for _ in 0..3 {
                        connection.segment(SENT, now, EMPTY);
                    }
                }
                let seen = connection.seen(role);
                assert_eq!(seen.len(), 3, "{order:?}");
                assert!(connection.ledger().is_empty(), "{:?}", connection.ledger());
                assert!(connection.steps <= TAIL_CALLS, "{}", connection.steps);
            }
        }
    }
}

#[test]
fn parts_of_heads_that_change_places_are_put_in_order() {
    let requests = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n";
    let answers = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n0\r\n\r\nHTTP/1.1 204 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    for cuts in [[3, 20, 60], [1, 2, 3], [40, 44, 50], [44, 63, 80]] {
        shuffled(cuts, role::SERVER, requests);
        shuffled(cuts, role::CLIENT, answers);
    }
}

#[test]
fn the_body_behind_a_head_that_comes_late_may_be_of_any_length() {
    for length in [1, 1000, 1536, 10_000, 1_000_000] {
        let head = format!("POST /a HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
        let body = vec![b'\n'; length];
        let mut connection = Connection::new();
        let late = connection.miss(ASK, head.as_bytes());
        for part in body.chunks(1448) {
            connection.segment(ASK, 2, part);
        }
        connection.at(ASK, 3, late, head.as_bytes(), last::NO);
        connection.segment(1, 4, EMPTY);
        connection.segment(ASK, 5, GET);
        connection.segment(1, 6, EMPTY);
        let seen = connection.seen(role::SERVER);
        assert_eq!(lines(&seen), [("POST", "/a", 200), ("GET", "/a", 200)]);
        assert_eq!(seen[0].request_bytes, (head.len() + length) as u64);
        assert!(connection.ledger().is_empty(), "{:?}", connection.ledger());
    }
}

#[test]
fn what_does_not_fit_behind_a_hole_is_lost_and_counted() {
    let mut connection = Connection::new();
    let late = connection.miss(ASK, &GET[..5]);
    // With holes between them, so that they cannot be joined.
    let mut rest = GET.repeat(40);
    rest.drain(..5);
    for part in rest.chunks_exact(90) {
        connection.segment(ASK, 2, &part[..60]);
        connection.miss(ASK, &part[60..]);
    }
    connection.at(ASK, 3, late, &GET[..5], last::NO);
    assert!(connection.counted(Ledger::Reordered) > 0);
    connection.segment(ASK, 4, GET);
    connection.segment(1, 5, EMPTY);
    let seen = connection.seen(role::SERVER);
    assert!(
        seen.iter().all(|one| one.flags & flags::RESUMED != 0),
        "{seen:?}"
    );
}

#[test]
fn what_is_kept_when_no_steps_are_left_for_it_is_lost_and_counted() {
    let answer: &[u8] = b"HTTP/1.1 204 X\r\n\r\n";
    let mut connection = Connection::new();
    connection.limit = TAIL_CALLS;
    for _ in 0..17 {
        connection.segment(SENT, 1, GET);
    }
    // As many answers as there are steps for, and one behind them.
    let missing = answer.repeat(16);
    let late = connection.miss(RECEIVED, &missing);
    connection.segment(RECEIVED, 2, answer);
    connection.at(RECEIVED, 3, late, &missing, last::NO);
    assert_eq!(connection.seen(role::CLIENT).len(), 16);
    assert_eq!(connection.counted(Ledger::StepsExceeded), 1);
    assert_eq!(connection.counted(Ledger::GivenUp), 1);
}

#[test]
fn the_rest_of_a_head_with_a_gap_is_not_taken_for_a_head() {
    let mut connection = Connection::new();
    connection.pass_by(ASK, b"G");
    connection.segment(ASK, 1, b"ET /wrong HTTP/1.1\r\n\r\n");
    connection.segment(ANSWER, 2, EMPTY);
    connection.segment(ASK, 3, GET);
    connection.segment(ANSWER, 4, EMPTY);
    let seen = connection.seen(role::SERVER);
    assert_eq!(lines(&seen), [("GET", "/a", 200)]);
    assert_eq!(seen[0].flags, flags::RESUMED);
    assert_eq!(connection.counted(Ledger::Reordered), 1);
}

#[test]
fn answers_that_change_places_are_not_paired_with_the_wrong_request() {
    let mut connection = talk(&[(ASK, b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")]);
    let first = b"HTTP/1.1 201 One\r\nContent-Length: 0\r\n\r\n";
    let late = connection.miss(ANSWER, first);
    connection.segment(ANSWER, 2, b"HTTP/1.1 202 Two\r\nContent-Length: 0\r\n\r\n");
    connection.at(ANSWER, 3, late, first, last::NO);
    assert_eq!(connection.seen(role::SERVER), []);
    connection.segment(ASK, 4, GET);
    connection.segment(ANSWER, 5, EMPTY);
    let seen = connection.seen(role::SERVER);
    assert_eq!(lines(&seen), [("GET", "/a", 200)]);
    assert_eq!(connection.counted(Ledger::GivenUp), 2);
}

#[test]
fn what_an_answer_with_a_gap_had_before_it_is_not_counted_to_the_next() {
    let interim: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\n";
    let mut connection = talk(&[(ASK, GET), (ANSWER, interim), (ANSWER, interim)]);
    connection.miss(ANSWER, &EMPTY[..10]);
    connection.segment(ANSWER, 4, &EMPTY[10..]);
    connection.segment(ASK, 5, b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
    connection.segment(ANSWER, 6, interim);
    connection.segment(
        ANSWER,
        7,
        b"HTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\nHTTP/1.1 202 B\r\nContent-Length: 0\r\n\r\n",
    );
    let seen = connection.seen(role::SERVER);
    assert_eq!(lines(&seen), [("GET", "/1", 201), ("GET", "/2", 202)]);
    assert_eq!((seen[0].interim, seen[1].interim), (1, 0));
    // Had an answer been under way still, both would be shifted by it.
    assert_eq!(seen[0].flags, flags::RESUMED);
    assert_eq!(seen[1].flags, flags::RESUMED | flags::PIPELINED);
    assert_eq!(connection.counted(Ledger::GivenUp), 1);
}

//! Connections that end before all is said.

use galileo_ebpf_abi::{Ledger, flags, role};
use galileo_ebpf_core::socket::last;

use super::{ANSWER, ASK, EMPTY, GET, lines, talk};
use crate::driver::directions;

#[test]
fn an_answer_without_length_ends_with_its_connection() {
    let mut connection = talk(&[
        (ASK, GET),
        (ANSWER, b"HTTP/1.0 200 OK\r\n\r\nHTTP/1.1 500 X\r\n"),
        (ANSWER, b"more"),
    ]);
    assert_eq!(connection.seen(role::SERVER), []);
    connection.end(ANSWER, 9, last::DIRECTION);
    let seen = connection.seen(role::SERVER);
    assert_eq!(lines(&seen), [("GET", "/a", 200)]);
    assert_eq!(
        (seen[0].end_ns, seen[0].flags, seen[0].response_bytes),
        (9, flags::CLOSE_DELIMITED, 19 + 16 + 4)
    );
}

#[test]
fn a_request_without_answer_is_counted_at_fin_and_at_reset_from_either_end() {
    for (direction, how) in [
        (ANSWER, last::DIRECTION),
        (ANSWER, last::CONNECTION),
        (ASK, last::CONNECTION),
    ] {
        let mut connection = talk(&[(ASK, GET)]);
        connection.end(direction, 2, how);
        connection.end(direction, 3, how);
        assert_eq!(connection.counted(Ledger::ClosedWithoutAnswer), 1);
    }
    let mut half_closed = talk(&[(ASK, GET)]);
    half_closed.end(ASK, 2, last::DIRECTION);
    half_closed.segment(ANSWER, 3, EMPTY);
    assert_eq!(lines(&half_closed.seen(role::SERVER)), [("GET", "/a", 200)]);
}

#[test]
fn an_answer_cut_off_by_the_end_of_its_connection_is_marked() {
    for how in [last::DIRECTION, last::CONNECTION] {
        let mut connection = talk(&[
            (ASK, GET),
            (ANSWER, b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n0123"),
        ]);
        connection.end(ANSWER, 3, how);
        let seen = connection.seen(role::SERVER);
        assert_eq!(lines(&seen), [("GET", "/a", 200)]);
        assert_eq!((seen[0].flags, seen[0].end_ns), (flags::CUT_OFF, 3));
        assert!(connection.ledger().is_empty());
    }
}

#[test]
fn an_end_that_overtakes_the_last_bytes_ends_nothing_yet() {
    let mut connection = talk(&[
        (ASK, GET),
        (ANSWER, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n012"),
    ]);
    let late = connection.miss(ANSWER, b"3");
    connection.end(ANSWER, 3, last::DIRECTION);
    connection.at(ANSWER, 4, late, b"3", last::NO);
    let seen = connection.seen(role::SERVER);
    assert_eq!((seen[0].flags, seen[0].end_ns), (0, 4));
}

#[test]
fn an_end_that_overtakes_the_last_bytes_is_remembered() {
    let mut connection = talk(&[(ASK, GET)]);
    let late = connection.miss(ANSWER, b"HTTP/1.0 200 OK\r\n\r\nab");
    connection.end(ANSWER, 3, last::DIRECTION);
    connection.at(ANSWER, 4, late, b"HTTP/1.0 200 OK\r\n\r\nab", last::NO);
    let seen = connection.seen(role::SERVER);
    assert_eq!(lines(&seen), [("GET", "/a", 200)]);
    assert_eq!((seen[0].flags, seen[0].end_ns), (flags::CLOSE_DELIMITED, 4));
}

#[test]
fn a_request_behind_the_end_of_the_answers_is_counted() {
    let mut connection = talk(&[(ASK, GET), (ANSWER, EMPTY)]);
    connection.end(ANSWER, 3, last::DIRECTION);
    connection.segment(ASK, 4, GET);
    connection.end(ASK, 5, last::CONNECTION);
    assert_eq!(connection.counted(Ledger::ClosedWithoutAnswer), 1);
}

#[test]
fn every_request_that_is_never_answered_is_counted() {
    let mut connection = talk(&[(ASK, b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")]);
    connection.end(ANSWER, 2, last::CONNECTION);
    assert_eq!(connection.counted(Ledger::ClosedWithoutAnswer), 2);
}

#[test]
fn a_reset_ends_an_answer_without_length_and_cuts_it_off() {
    let mut connection = talk(&[(ASK, GET), (ANSWER, b"HTTP/1.0 200 OK\r\n\r\nab")]);
    connection.end(ASK, 3, last::CONNECTION);
    let seen = connection.seen(role::SERVER);
    let cut = flags::CLOSE_DELIMITED | flags::CUT_OFF;
    assert_eq!((seen[0].flags, seen[0].end_ns), (cut, 3));
}

#[test]
fn a_reset_that_tcp_does_not_take_ends_nothing() {
    for off in [1_u32, 1_000_000_000, 1_000_000_u32.wrapping_neg()] {
        let mut connection = talk(&[(ASK, GET)]);
        let next = connection.miss(ASK, b"");
        connection.at(ASK, 2, next.wrapping_add(off), b"", last::CONNECTION);
        connection.segment(ANSWER, 3, EMPTY);
        connection.segment(ASK, 4, GET);
        connection.segment(ANSWER, 5, EMPTY);
        let seen = connection.seen(role::SERVER);
        assert_eq!(lines(&seen), [("GET", "/a", 200); 2], "{off}");
        assert!(connection.ledger().is_empty());
    }
}

#[test]
fn a_reset_behind_what_tcp_has_is_one_though_not_all_of_that_was_seen() {
    let mut connection = talk(&[(ASK, GET)]);
    connection.pass_by(ASK, b"lost here, and not there");
    connection.end(ASK, 2, last::CONNECTION);
    assert_eq!(connection.counted(Ledger::ClosedWithoutAnswer), 1);
}

#[test]
fn what_lies_further_ahead_than_can_be_under_way_is_not_believed() {
    let (ask, answer) = directions(role::CLIENT);
    let mut connection = talk(&[(ask, GET), (answer, b"HTTP/1.0 200 OK\r\n\r\nab")]);
    let next = connection.miss(answer, b"");
    let far = next.wrapping_add(1 << 28);
    connection.at(answer, 3, far, b"x", last::NO);
    connection.at(answer, 4, far, b"", last::DIRECTION);
    connection.segment(answer, 5, b"cd");
    connection.end(answer, 6, last::DIRECTION);
    let seen = connection.seen(role::CLIENT);
    assert_eq!((seen[0].response_bytes, seen[0].end_ns), (19 + 4, 6));
}

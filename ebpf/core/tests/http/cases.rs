//! Single cases with a name, mostly faults that other programs had.

use galileo_ebpf_abi::{Ledger, flags, role};
use galileo_ebpf_core::{
    connection::{RECEIVED, SENT},
    socket::last,
};

use crate::driver::{Connection, Seen, directions};

/// Requests and answers in turn, each as one segment; seen as a server.
fn talk(turns: &[(u32, &[u8])]) -> Connection {
    talk_on(Connection::new(), turns)
}

fn talk_on(mut connection: Connection, turns: &[(u32, &[u8])]) -> Connection {
    for (now, (direction, bytes)) in (1..).zip(turns) {
        connection.segment(*direction, now, bytes);
    }
    connection
}

const ASK: u32 = 0;
const ANSWER: u32 = 1;

fn lines(seen: &[Seen]) -> Vec<(&str, &str, u16)> {
    seen.iter()
        .map(|seen| (seen.method.as_str(), seen.path.as_str(), seen.status))
        .collect()
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn interim_answers_are_counted_and_the_final_one_ends_the_exchange() {
    // D-01, with 100 before the body, 102 twice, and 103 in one segment with the final answer.
    let connection = talk(&[
        (
            ASK,
            b"POST /u HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        ),
        (ANSWER, b"HTTP/1.1 100 Continue\r\n\r\n"),
        (ASK, b"abc"),
        (ANSWER, b"HTTP/1.1 102 Processing\r\n\r\n"),
        (ANSWER, b"HTTP/1.1 102 Processing\r\n\r\n"),
        (
            ANSWER,
            b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        ),
    ]);
    let seen = connection.seen(role::SERVER);
    assert_eq!(lines(&seen), [("POST", "/u", 201)]);
    assert_eq!(
        (seen[0].interim, seen[0].start_ns, seen[0].end_ns),
        (4, 1, 6)
    );
}

#[test]
fn bodies_that_look_like_heads_are_no_heads() {
    // D-02
    let connection = talk(&[
        (ASK, b"POST /real HTTP/1.1\r\nContent-Length: 20\r\n\r\n"),
        (ASK, b"GET /evil HTTP/1.1\r\n"),
        (ANSWER, b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n"),
        (ANSWER, b"HTTP/1.1 4770 not a status"),
        (ASK, GET),
        (ANSWER, EMPTY),
    ]);
    assert_eq!(
        lines(&connection.seen(role::SERVER)),
        [("POST", "/real", 200), ("GET", "/a", 200)]
    );
}

#[test]
fn an_impossible_status_is_never_handed_out() {
    for status in ["099", "600", "4770", "20", "2x0", "000"] {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let connection = talk(&[(ASK, GET), (ANSWER, answer.as_bytes())]);
        assert_eq!(connection.seen(role::SERVER), [], "{status}");
        assert_eq!(connection.counted(Ledger::Unparsable), 1, "{status}");
    }
}

#[test]
fn a_head_answer_ends_with_its_head_whatever_its_length_says() {
    // D-05
    let connection = talk(&[
        (ASK, b"HEAD /a HTTP/1.1\r\n\r\n"),
        (ANSWER, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
        (ASK, b"GET /b HTTP/1.1\r\n\r\n"),
        (
            ANSWER,
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        ),
    ]);
    assert_eq!(
        lines(&connection.seen(role::SERVER)),
        [("HEAD", "/a", 200), ("GET", "/b", 404)]
    );
}

#[test]
fn nothing_is_read_behind_an_upgrade_or_connect() {
    // D-06
    for (request, answer, expected) in [
        (
            &b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"[..],
            &b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"[..],
            ("GET", "/chat", 101),
        ),
        (
            b"CONNECT h:443 HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            ("CONNECT", "h:443", 200),
        ),
    ] {
        let connection = talk(&[
            (ASK, request),
            (ANSWER, answer),
            (ASK, b"GET /fake HTTP/1.1\r\n\r\n"),
            (ANSWER, b"HTTP/1.1 500 X\r\n\r\n"),
        ]);
        let seen = connection.seen(role::SERVER);
        assert_eq!(lines(&seen), [expected]);
        assert_eq!(seen[0].flags, flags::TUNNEL);
        assert!(connection.ledger().is_empty());
    }
}

#[test]
fn trailers_belong_to_the_message_before_them() {
    // D-07
    let connection = talk(&[
        (ASK, GET),
        (
            ANSWER,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n\
              4;ext=1\r\nWiki\r\n0\r\nX-T: HTTP/1.1 500\r\n\r\n",
        ),
        (ASK, b"DELETE /b HTTP/1.1\r\n\r\n"),
        (ANSWER, b"HTTP/1.1 204 No Content\r\n\r\n"),
    ]);
    assert_eq!(
        lines(&connection.seen(role::SERVER)),
        [("GET", "/a", 200), ("DELETE", "/b", 204)]
    );
}

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
fn an_early_answer_is_marked() {
    let connection = talk(&[
        (ASK, b"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"),
        (
            ANSWER,
            b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n",
        ),
    ]);
    let seen = connection.seen(role::SERVER);
    assert_eq!(lines(&seen), [("POST", "/a", 413)]);
    assert_eq!(seen[0].flags, flags::EARLY_ANSWER);
}

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

#[test]
fn a_connection_older_than_the_probes_is_seen_from_its_next_message_on() {
    let connection = talk_on(
        Connection::older(),
        &[
            (ASK, b"the rest of a body"),
            (ANSWER, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"),
            (ASK, GET),
            (ANSWER, EMPTY),
            (ASK, GET),
            (ANSWER, EMPTY),
        ],
    );
    let seen = connection.seen(role::SERVER);
    assert_eq!(lines(&seen), [("GET", "/a", 200), ("GET", "/a", 200)]);
    // Whether nothing else is outstanding is not known yet.
    let resumed = flags::RESUMED;
    assert_eq!((seen[0].flags, seen[1].flags), (resumed, resumed));
    assert_eq!(connection.counted(Ledger::JoinedLate), 1);
}

/// An older connection, after an answer: as often as told a silence, a request, and its answer after a while.
fn settled(mut connection: Connection, times: u64, quiet: u64, waited: u64) -> Vec<u32> {
    let mut now = 0;
    for _ in 0..times {
        now += quiet;
        connection.segment(ASK, now, GET);
        now += waited;
        connection.segment(ANSWER, now, EMPTY);
    }
    let seen = connection.seen(role::SERVER);
    assert_eq!(seen.len() as u64, times);
    seen.iter().map(|seen| seen.flags).collect()
}

#[test]
fn an_older_connection_is_in_doubt_until_it_has_been_quiet_before_enough_requests() {
    // The first one has no answer before it; eight then speak against an unseen request.
    let flags = settled(Connection::older(), 12, 1000, 10);
    let resumed = vec![flags::RESUMED; 9];
    assert_eq!(flags, [resumed, vec![0; 3]].concat());
    // Answers that take as long as the silence before them say nothing.
    let flags = settled(Connection::older(), 40, 1000, 100);
    assert_eq!(flags, vec![flags::RESUMED; 40]);
    assert_eq!(settled(Connection::new(), 3, 1, 100), [0; 3]);
}

#[test]
fn a_request_under_way_when_the_probes_came_makes_no_wrong_pair_that_is_not_marked() {
    for pipelined in [1, 2, 5] {
        let mut connection = Connection::older();
        let answer = |number: usize| format!("HTTP/1.1 {number} X\r\nContent-Length: 0\r\n\r\n");
        let request = |number: usize| format!("GET /{number} HTTP/1.1\r\n\r\n");
        let mut now = 0;
        // Requests 200 and so on were sent before; each further one when an answer has come.
        let mut asked = 200 + pipelined;
        for answered in 200..260 {
            now += 100;
            connection.segment(ASK, now, request(asked).as_bytes());
            asked += 1;
            now += 100;
            connection.segment(ANSWER, now, answer(answered).as_bytes());
        }
        // Until all are answered, and for some time after.
        for answered in 260..asked {
            now += 100;
            connection.segment(ANSWER, now, answer(answered).as_bytes());
        }
        for number in asked..asked + 30 {
            now += 1000;
            connection.segment(ASK, now, request(number).as_bytes());
            now += 1;
            connection.segment(ANSWER, now, answer(number).as_bytes());
        }
        let seen = connection.seen(role::SERVER);
        assert!(seen.len() >= 80, "{}", seen.len());
        for one in &seen {
            let right = one.path == format!("/{}", one.status);
            assert!(right || one.flags & flags::RESUMED != 0, "{one:?}");
        }
        assert_eq!(connection.counted(Ledger::JoinedLate), pipelined as u64);
        assert_eq!(seen.last().map(|one| one.flags), Some(0));
    }
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
fn a_long_body_that_was_under_way_does_not_end_the_patience_with_a_connection() {
    let mut connection = Connection::older();
    for now in 0..1000 {
        connection.segment(ANSWER, now, &[b'\n'; 1400]);
    }
    connection.segment(ASK, 1001, GET);
    connection.segment(ANSWER, 1002, EMPTY);
    assert_eq!(lines(&connection.seen(role::SERVER)), [("GET", "/a", 200)]);
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

#[test]
fn every_request_that_is_never_answered_is_counted() {
    let mut connection = talk(&[(ASK, b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")]);
    connection.end(ANSWER, 2, last::CONNECTION);
    assert_eq!(connection.counted(Ledger::ClosedWithoutAnswer), 2);
}

#[test]
fn empty_lines_before_a_request_are_passed_over() {
    let connection = talk(&[
        (ASK, b"\r\n"),
        (ASK, b"\r\nGET /a HTTP/1.1\r\n\r\n"),
        (ANSWER, EMPTY),
    ]);
    let seen = connection.seen(role::SERVER);
    assert_eq!(lines(&seen), [("GET", "/a", 200)]);
    assert_eq!(seen[0].request_bytes, 19);
}

#[test]
fn a_method_is_any_token_of_up_to_24_characters() {
    for method in [
        "BASELINE-CONTROL",
        "UPDATEREDIRECTREF",
        "MY_METHOD",
        "get",
        "HTTPISH",
        "A!#$%&'*+.^`|~0123456789",
    ] {
        let request = format!("{method} /a HTTP/1.1\r\n\r\n");
        let connection = talk(&[(ASK, request.as_bytes()), (ANSWER, EMPTY)]);
        assert_eq!(lines(&connection.seen(role::SERVER)), [(method, "/a", 200)]);
    }
    for method in ["", "A;B", "A@B", "\u{e4}", "A234567890123456789012345"] {
        let request = format!("{method} /a HTTP/1.1\r\n\r\n");
        let connection = talk(&[(ASK, request.as_bytes()), (ANSWER, EMPTY)]);
        assert_eq!(connection.seen(role::SERVER), [], "{method}");
    }
}

#[test]
fn blanks_around_a_value_are_no_part_of_it() {
    let connection = talk(&[
        (ASK, b"POST /a HTTP/1.1\r\nx-galileo-request-id:\t  7 \t\r\nx-galileo-request-id-of: 8\r\nTransfer-Encoding: \tchunked  \r\n\r\n1\r\na\r\n0\r\n\r\n"),
        (ANSWER, EMPTY),
    ]);
    let seen = connection.seen(role::SERVER);
    assert_eq!(lines(&seen), [("POST", "/a", 200)]);
    assert_eq!((seen[0].id.as_str(), seen[0].flags), ("7", 0));
}

#[test]
fn the_head_of_the_next_request_makes_no_early_answer() {
    let connection = talk(&[(ASK, b"GET /a HTTP/1.1\r\n\r\nPUT /b HT"), (ANSWER, EMPTY)]);
    assert_eq!(connection.seen(role::SERVER)[0].flags, 0);
}

#[test]
fn a_chunk_extension_of_any_length_is_passed_over() {
    let line = format!("5;e={}\r\nabcde\r\n0\r\n\r\n", "x".repeat(2000));
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{line}");
    for cut in [1, 60, 600, 1200, 2040] {
        let (first, second) = answer.as_bytes().split_at(cut);
        let connection = talk(&[
            (ASK, GET),
            (ANSWER, first),
            (ANSWER, second),
            (ASK, GET),
            (ANSWER, EMPTY),
        ]);
        let seen = connection.seen(role::SERVER);
        assert_eq!(lines(&seen), [("GET", "/a", 200), ("GET", "/a", 200)]);
        assert_eq!(seen[0].response_bytes, answer.len() as u64);
    }
}

#[test]
fn equal_lengths_are_one_and_others_a_contradiction() {
    let twice = talk(&[
        (
            ASK,
            b"PUT /a HTTP/1.1\r\nContent-Length: 1\r\ncontent-length:1\r\n\r\na",
        ),
        (ANSWER, EMPTY),
    ]);
    assert_eq!(lines(&twice.seen(role::SERVER)), [("PUT", "/a", 200)]);
    let both = talk(&[
        (
            ASK,
            b"PUT /a HTTP/1.1\r\nContent-Length: 1\r\ncontent-length:2\r\n\r\na",
        ),
        (ANSWER, EMPTY),
    ]);
    assert_eq!(both.seen(role::SERVER), []);
}

#[test]
fn what_is_no_http_is_left_alone_after_some_segments() {
    let mut connection = Connection::new();
    for now in 0..100 {
        connection.segment(now as u32 & 1, now, b"\x16\x03\x01 this is TLS");
        // Begins like a request, and is none.
        connection.segment(0, now, b"Hello World, how are you\r\n");
        connection.segment(0, now, &[b'W'; 1400]);
        connection.segment(0, now, &b"Hello World, how are you? ".repeat(40));
    }
    assert_eq!(connection.seen(role::SERVER), []);
    assert_eq!(connection.counted(Ledger::NotHttp), 1);
    let looked = connection.loads();
    connection.segment(0, 101, GET);
    assert_eq!(connection.loads(), looked);
}

#[test]
fn the_first_write_may_have_any_length_around_what_is_looked_at() {
    // D-03: 512 bytes are looked at together, 1,024 with what was carried over.
    for size in [
        511, 512, 513, 1023, 1024, 1025, 1535, 1536, 1537, 2048, 5000,
    ] {
        let fixed = "GET /path HTTP/1.1\r\nHost: x\r\nX-Pad: \r\nx-galileo-request-id: 7\r\n\r\n";
        let pad = "p".repeat(size - fixed.len());
        let head = format!(
            "GET /path HTTP/1.1\r\nHost: x\r\nX-Pad: {pad}\r\nx-galileo-request-id: 7\r\n\r\n"
        );
        assert_eq!(head.len(), size);
        for role in [role::SERVER, role::CLIENT] {
            let (requests, answers) = directions(role);
            let mut connection = Connection::new();
            connection.segment(requests, 1, head.as_bytes());
            connection.segment(answers, 2, EMPTY);
            let seen = connection.seen(role);
            assert_eq!(lines(&seen), [("GET", "/path", 200)], "{size}");
            assert_eq!(
                (seen[0].id.as_str(), seen[0].request_bytes),
                ("7", size as u64)
            );
        }
    }
}

#[test]
fn a_path_too_long_to_keep_is_cut_and_marked() {
    for length in [127, 128, 129, 400, 600, 3000] {
        let path = format!("/{}", "a".repeat(length - 1));
        let head = format!("GET {path} HTTP/1.1\r\n\r\n");
        let connection = talk(&[(ASK, head.as_bytes()), (ANSWER, EMPTY)]);
        let seen = connection.seen(role::SERVER);
        assert_eq!(seen.len(), 1, "{length}");
        assert_eq!(seen[0].path, path[..length.min(128)]);
        assert_eq!(
            seen[0].flags & flags::PATH_TRUNCATED != 0,
            length > 128,
            "{length}"
        );
    }
}

#[test]
fn contradicting_lengths_are_unparsable() {
    let connection = talk(&[
        (ASK, GET),
        (ANSWER, EMPTY),
        (
            ASK,
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        ),
    ]);
    assert_eq!(connection.counted(Ledger::Unparsable), 1);
}

#[test]
fn many_small_chunks_in_one_segment_take_few_steps() {
    let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..300 {
        answer.extend_from_slice(b"1\r\nx\r\n");
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    let connection = talk(&[(ASK, GET), (ANSWER, &answer)]);
    assert_eq!(connection.seen(role::SERVER).len(), 1);
    assert!(connection.steps <= TAIL_CALLS, "{}", connection.steps);
}

/// `MAX_TAIL_CALL_CNT` of the kernel; 32 in some versions.
const TAIL_CALLS: u32 = 32;

#[test]
fn fourteen_pipelined_messages_with_bodies_fit_into_one_segment() {
    let requests = b"POST /p HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".repeat(14);
    let answers = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found".repeat(14);
    let connection = talk(&[(ASK, &requests), (ANSWER, &answers)]);
    assert_eq!(connection.seen(role::SERVER).len(), 14);
    assert!(connection.steps <= TAIL_CALLS, "{}", connection.steps);
}

#[test]
fn a_head_of_ten_thousand_bytes_in_one_segment_takes_few_steps() {
    let cookie = "c".repeat(3300);
    let lines = "X-Some-Header: with a value\r\n".repeat(115);
    for padding in [
        format!("Cookie: {}\r\n", cookie.repeat(3)),
        lines.repeat(3),
        format!("Cookie: {cookie}\r\n{lines}Cookie: {cookie}\r\n"),
    ] {
        let head = format!("GET /a HTTP/1.1\r\n{padding}x-galileo-request-id: 7\r\n\r\n");
        let connection = talk(&[(ASK, head.as_bytes()), (ANSWER, EMPTY)]);
        let seen = connection.seen(role::SERVER);
        assert_eq!(self::lines(&seen), [("GET", "/a", 200)]);
        assert_eq!(seen[0].id, "7");
        assert_eq!(seen[0].request_bytes, head.len() as u64);
        assert!(connection.steps <= TAIL_CALLS, "{}", connection.steps);
    }
}

#[test]
fn chunks_with_padded_sizes_or_extensions_take_few_steps() {
    for size in ["00000001", "1;name=\"a quoted value\"", "1    "] {
        let body = format!("{size}\r\nx\r\n").repeat(300);
        let answer =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n");
        let connection = talk(&[(ASK, GET), (ANSWER, answer.as_bytes())]);
        assert_eq!(
            connection.seen(role::SERVER)[0].response_bytes,
            answer.len() as u64
        );
        assert!(connection.steps <= TAIL_CALLS, "{}", connection.steps);
    }
}

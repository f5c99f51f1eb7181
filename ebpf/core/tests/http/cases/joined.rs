//! Connections older than the probes.

use galileo_ebpf_abi::{Ledger, flags, role};

use super::{ANSWER, ASK, EMPTY, GET, lines, talk_on};
use crate::driver::Connection;

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

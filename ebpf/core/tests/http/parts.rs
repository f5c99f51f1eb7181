//! When requests end, and which bytes of a message are its head.

use galileo_ebpf_abi::{Ledger, flags, role};
use galileo_ebpf_core::{connection::SENT, socket::last};

use crate::driver::{Connection, Seen, directions};

/// Requests of each kind of framing, head and body.
const REQUESTS: [(&str, &str); 4] = [
    ("GET /a HTTP/1.1\r\nHost: x\r\n\r\n", ""),
    ("POST /b HTTP/1.1\r\nContent-Length: 0\r\n\r\n", ""),
    (
        "PUT /c HTTP/1.1\r\nContent-Length: 21\r\n\r\n",
        "GET /no HTTP/1.1\r\n\r\nx",
    ),
    (
        "POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5;ext=\"a\"\r\nhello\r\n1\r\n\n\r\n0\r\nX-T: t\r\n\r\n",
    ),
];

/// Answers of each kind of framing, head and body, but those that end with their connection.
const ANSWERS: [(&str, &str); 4] = [
    ("HTTP/1.1 204 No Content\r\n\r\n", ""),
    ("HTTP/1.1 304 X\r\nContent-Length: 70\r\n\r\n", ""),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n",
        "HTTP/1.1 500 No\r\n\r\nxx",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "1\r\nx\r\n0;last\r\n\r\n",
    ),
];

const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn message((head, body): (&str, &str)) -> Vec<u8> {
    [head, body].concat().into_bytes()
}

/// Bytes of the request's head and body, and of the answer's.
fn sizes(seen: &Seen) -> [u64; 4] {
    let heads = [seen.request_head_bytes, seen.response_head_bytes];
    [
        heads[0],
        seen.request_bytes - heads[0],
        heads[1],
        seen.response_bytes - heads[1],
    ]
}

/// Plays a message in two segments, or in one if that is cut at its end; returns when its last byte came.
fn cut_in_two(
    connection: &mut Connection,
    direction: u32,
    begin: u64,
    bytes: &[u8],
    at: usize,
) -> u64 {
    let (one, two) = bytes.split_at(at);
    connection.segment(direction, begin, one);
    if two.is_empty() {
        return begin;
    }
    connection.segment(direction, begin + 1, two);
    begin + 1
}

#[test]
fn each_kind_of_message_has_its_parts_and_its_end_wherever_it_is_cut() {
    for role in [role::SERVER, role::CLIENT] {
        let (requests, answers) = directions(role);
        for (asked, answered) in REQUESTS
            .iter()
            .flat_map(|asked| ANSWERS.iter().map(move |answered| (*asked, *answered)))
        {
            let (request, answer) = (message(asked), message(answered));
            for at in 1..=request.len() {
                let mut connection = Connection::new();
                // On a connection that has been used before.
                connection.segment(requests, 1, &message(REQUESTS[2]));
                connection.segment(answers, 2, &message(ANSWERS[2]));
                let end = cut_in_two(&mut connection, requests, 3, &request, at);
                let cut = 1 + at % answer.len();
                cut_in_two(&mut connection, answers, 5, &answer, cut);

                let seen = connection.seen(role);

                let context = format!("role {role}, {asked:?} cut at {at}, {answered:?} at {cut}");
                assert_eq!(seen.len(), 2, "{context}");
                assert_eq!(seen[0].request_end_ns, Some(1), "{context}");
                assert_eq!(
                    (seen[1].start_ns, seen[1].request_end_ns),
                    (3, Some(end)),
                    "{context}"
                );
                let expected = [asked.0, asked.1, answered.0, answered.1].map(|s| s.len() as u64);
                assert_eq!(sizes(&seen[1]), expected, "{context}");
            }
        }
    }
}

#[test]
fn a_body_that_ends_with_its_connection_is_told_from_its_head() {
    let mut connection = Connection::new();
    connection.segment(0, 1, b"GET /a HTTP/1.0\r\n\r\n");
    connection.segment(1, 2, b"HTTP/1.0 200 OK\r\n\r\nHTTP/1.1");
    connection.segment(1, 3, b" 500 No\r\n\r\n");
    connection.end(1, 4, last::DIRECTION);
    let seen = connection.seen(role::SERVER);
    assert_eq!(sizes(&seen[0]), [19, 0, 19, 19]);
    assert_eq!(seen[0].flags, flags::CLOSE_DELIMITED);
}

#[test]
fn interim_answers_belong_to_no_head() {
    let mut connection = Connection::new();
    connection.segment(
        0,
        1,
        b"POST /u HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    );
    connection.segment(1, 2, b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.segment(0, 3, b"abc");
    connection.segment(
        1,
        4,
        b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let seen = connection.seen(role::SERVER);
    assert_eq!(sizes(&seen[0]), [61, 3, 38, 2]);
    assert_eq!((seen[0].start_ns, seen[0].request_end_ns), (1, Some(3)));
}

#[test]
fn empty_lines_before_a_request_belong_to_no_head() {
    for text in ["\r\nGET /a HTTP/1.1\r\n\r\n", "\n\r\nGET /a HTTP/1.1\n\n"] {
        let mut connection = Connection::new();
        connection.segment(0, 1, text.as_bytes());
        connection.segment(1, 2, EMPTY);
        let seen = connection.seen(role::SERVER);
        assert_eq!(
            sizes(&seen[0])[..2],
            [text.trim_start().len() as u64, 0],
            "{text:?}"
        );
    }
}

#[test]
fn a_head_of_many_windows_is_counted_whole() {
    let head = format!(
        "GET /a HTTP/1.1\r\n{}X-Long: {}\r\n{}\r\n",
        "X-Field: value\r\n".repeat(90),
        "l".repeat(1500),
        "X-Field: value\r\n".repeat(90),
    );
    for step in [7, 511, 5000] {
        let mut connection = Connection::new();
        let mut end = 0;
        for (now, part) in (1..).zip(head.as_bytes().chunks(step)) {
            connection.segment(0, now, part);
            end = now;
        }
        connection.segment(1, end + 1, EMPTY);
        let seen = connection.seen(role::SERVER);
        assert_eq!(seen[0].request_end_ns, Some(end));
        assert_eq!(sizes(&seen[0])[..2], [head.len() as u64, 0]);
    }
}

#[test]
fn pipelined_requests_end_each_with_its_own_last_byte() {
    // The last of them ends when its answer has begun, the one before while it waits for its turn.
    for role in [role::SERVER, role::CLIENT] {
        let (requests, answers) = directions(role);
        for waiting in [REQUESTS[2], REQUESTS[3]] {
            let mut connection = Connection::new();
            let (head, body) = waiting;
            let (some, rest) = body.split_at(body.len() / 2);
            connection.segment(requests, 1, &message(REQUESTS[0]));
            connection.segment(requests, 2, head.as_bytes());
            connection.segment(requests, 3, some.as_bytes());
            connection.segment(requests, 4, [rest, head, some].concat().as_bytes());
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no";
            connection.segment(answers, 5, b"HTTP/1.1 204 X\r\n\r\n");
            connection.segment(answers, 6, answer);
            connection.segment(answers, 7, b"k");
            connection.segment(answers, 8, answer);
            connection.segment(requests, 9, rest.as_bytes());
            connection.segment(answers, 10, b"k");

            let seen = connection.seen(role);

            let times: Vec<_> = seen
                .iter()
                .map(|seen| (seen.start_ns, seen.request_end_ns, seen.end_ns))
                .collect();
            assert_eq!(
                times,
                [(1, Some(1), 5), (2, Some(4), 7), (4, Some(9), 10)],
                "{seen:#?}"
            );
            for one in &seen[1..] {
                let expected = [head.len() as u64, body.len() as u64, 38, 2];
                assert_eq!(sizes(one), expected);
                assert_eq!(one.flags, flags::PIPELINED);
            }
            assert!(connection.ledger().is_empty(), "{:?}", connection.ledger());
        }
    }
}

#[test]
fn the_end_of_a_request_that_goes_on_behind_its_answer_stays_unknown() {
    for role in [role::SERVER, role::CLIENT] {
        let (requests, answers) = directions(role);
        for (head, body) in [REQUESTS[2], REQUESTS[3]] {
            for at in 0..body.len() {
                let mut connection = Connection::new();
                let (some, rest) = body.split_at(at);
                connection.segment(requests, 1, [head, some].concat().as_bytes());
                connection.segment(answers, 2, EMPTY);
                connection.segment(requests, 3, rest.as_bytes());
                connection.segment(requests, 4, &message(REQUESTS[0]));
                connection.segment(answers, 5, EMPTY);

                let seen = connection.seen(role);

                assert_eq!(seen.len(), 2, "{head:?}, {at} bytes of its body first");
                assert_eq!(
                    (seen[0].request_end_ns, seen[0].flags),
                    (None, flags::EARLY_ANSWER)
                );
                assert_eq!(seen[0].request_head_bytes as usize, head.len());
                assert_eq!((seen[1].request_end_ns, seen[1].flags), (Some(4), 0));
            }
        }
    }
}

#[test]
fn the_end_of_a_request_that_is_cut_off_stays_unknown() {
    for how in [last::DIRECTION, last::CONNECTION] {
        let mut connection = Connection::new();
        connection.segment(0, 1, b"PUT /c HTTP/1.1\r\nContent-Length: 21\r\n\r\nGET");
        connection.segment(1, 2, b"HTTP/1.1 400 X\r\nContent-Length: 2\r\n\r\nn");
        connection.end(0, 3, how);
        connection.segment(1, 4, b"o");
        let seen = connection.seen(role::SERVER);
        let cut = if how == last::CONNECTION {
            flags::CUT_OFF
        } else {
            0
        };
        assert_eq!(
            (seen[0].request_end_ns, seen[0].flags),
            (None, flags::EARLY_ANSWER | cut)
        );
    }
}

#[test]
fn a_request_whose_last_bytes_came_before_its_first_ends_with_its_first() {
    for request in REQUESTS.map(message) {
        let (one, two) = request.split_at(9);
        let mut connection = Connection::new();
        let first = connection.miss(0, one);
        connection.segment(0, 1, two);
        connection.at(0, 2, first, one, last::NO);
        connection.segment(1, 3, EMPTY);
        let seen = connection.seen(role::SERVER);
        assert_eq!((seen[0].start_ns, seen[0].request_end_ns), (2, Some(2)));
    }
}

#[test]
fn a_body_out_of_order_ends_with_its_last_byte() {
    let mut connection = Connection::new();
    connection.segment(0, 1, b"PUT /c HTTP/1.1\r\nContent-Length: 6\r\n\r\nab");
    let missing = connection.miss(0, b"cd");
    connection.segment(0, 2, b"ef");
    connection.at(0, 3, missing, b"cd", last::NO);
    connection.segment(1, 4, EMPTY);
    let seen = connection.seen(role::SERVER);
    assert_eq!(
        (seen[0].request_end_ns, seen[0].flags),
        (Some(2), flags::REORDERED)
    );
    assert_eq!(sizes(&seen[0])[..2], [38, 6]);
}

#[test]
fn the_end_of_a_request_in_whose_body_the_place_was_lost_stays_unknown() {
    // Of what is sent nothing is kept behind a hole: it goes through TCP before it is seen.
    let mut connection = Connection::new();
    let (head, body) = REQUESTS[3];
    connection.segment(SENT, 1, head.as_bytes());
    connection.miss(SENT, &body.as_bytes()[..5]);
    connection.segment(SENT, 2, &body.as_bytes()[5..]);
    connection.segment(0, 3, EMPTY);
    let seen = connection.seen(role::CLIENT);
    assert_eq!(connection.counted(Ledger::Reordered), 1);
    assert_eq!(
        (seen[0].request_end_ns, seen[0].flags),
        (None, flags::REORDERED)
    );
    assert_eq!(seen[0].request_head_bytes as usize, head.len());
}

#[test]
fn an_answer_that_ended_before_a_reordered_request_did_is_early() {
    let mut connection = Connection::new();
    connection.segment(0, 1, b"PUT /c HTTP/1.1\r\nContent-Length: 6\r\n\r\nab");
    connection.miss(0, b"cd");
    connection.segment(0, 9, b"ef");
    // As on another CPU, where its time was taken before.
    connection.segment(1, 4, EMPTY);
    let seen = connection.seen(role::SERVER);
    assert_eq!(
        (seen[0].request_end_ns, seen[0].flags),
        (None, flags::REORDERED | flags::EARLY_ANSWER)
    );
}

#[test]
fn an_answer_that_began_before_its_request_is_another_ones() {
    let mut connection = Connection::new();
    connection.segment(0, 5, b"GET /a HTTP/1.1\r\n\r\n");
    connection.segment(1, 4, EMPTY);
    assert_eq!(connection.seen(role::SERVER), []);
}

//! What a head says, and what is none.

use galileo_ebpf_abi::{Ledger, PATH_BYTES, flags, role};

use super::{ANSWER, ASK, EMPTY, GET, lines, talk};
use crate::driver::{Connection, directions};

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
fn an_id_that_is_too_long_to_keep_is_none_and_marked() {
    for (length, flags) in [(40, 0), (41, flags::HEAD_CUT), (400, flags::HEAD_CUT)] {
        let id = "i".repeat(length);
        let request = format!("GET /a HTTP/1.1\r\nX-Galileo-Request-Id: {id}\r\n\r\n");
        let connection = talk(&[(ASK, request.as_bytes()), (ANSWER, EMPTY)]);
        let seen = connection.seen(role::SERVER);
        let kept = if flags == 0 { id.as_str() } else { "" };
        assert_eq!((seen[0].id.as_str(), seen[0].flags), (kept, flags));
    }
}

#[test]
fn a_length_that_cannot_be_read_matters_only_where_it_counts() {
    for length in [
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: x",
    ] {
        let chunked =
            format!("POST /a HTTP/1.1\r\n{length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        let answer = format!("HTTP/1.1 304 X\r\n{length}\r\n\r\n");
        let fine = talk(&[(ASK, chunked.as_bytes()), (ANSWER, answer.as_bytes())]);
        assert_eq!(lines(&fine.seen(role::SERVER)), [("POST", "/a", 304)]);
        let answer = format!("HTTP/1.1 200 X\r\n{length}\r\n\r\n");
        let unclear = talk(&[(ASK, GET), (ANSWER, answer.as_bytes())]);
        assert_eq!(unclear.seen(role::SERVER), []);
        assert_eq!(unclear.counted(Ledger::Unparsable), 1);
    }
}

#[test]
fn a_coding_named_identity_is_none() {
    let connection = talk(&[
        (ASK, GET),
        (
            ANSWER,
            b"HTTP/1.1 200 X\r\nTransfer-Encoding: Identity\r\nContent-Length: 2\r\n\r\nab",
        ),
        (ASK, GET),
        (ANSWER, EMPTY),
    ]);
    assert_eq!(
        lines(&connection.seen(role::SERVER)),
        [("GET", "/a", 200); 2]
    );
}

#[test]
fn a_blank_behind_the_version_is_passed_over() {
    let connection = talk(&[(ASK, b"GET /a HTTP/1.1 \r\n\r\n"), (ANSWER, EMPTY)]);
    assert_eq!(lines(&connection.seen(role::SERVER)), [("GET", "/a", 200)]);
}

#[test]
fn what_a_proxy_puts_in_front_of_a_connection_is_passed_over() {
    let one = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n".to_vec();
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    let mut two = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    two.extend([192, 0, 2, 1, 192, 0, 2, 2, 10, 10, 0, 80]);
    for header in [one, unknown, two] {
        for apart in [false, true] {
            let mut turns: Vec<(u32, Vec<u8>)> = if apart {
                vec![(ASK, header.clone()), (ASK, GET.to_vec())]
            } else {
                vec![(ASK, [header.clone(), GET.to_vec()].concat())]
            };
            turns.extend([
                (ANSWER, EMPTY.to_vec()),
                (ASK, GET.to_vec()),
                (ANSWER, EMPTY.to_vec()),
            ]);
            let turns: Vec<_> = turns
                .iter()
                .map(|(way, bytes)| (*way, &bytes[..]))
                .collect();
            let connection = talk(&turns);
            let seen = connection.seen(role::SERVER);
            assert_eq!(lines(&seen), [("GET", "/a", 200); 2]);
            assert_eq!(seen[0].request_bytes, GET.len() as u64);
            assert!(connection.ledger().is_empty());
        }
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
fn an_answer_behind_what_was_no_request_answers_nothing() {
    let answer: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
    let connection = talk(&[
        (ANSWER, answer),
        (ASK, b"\0\n\n"),
        (ANSWER, answer),
        (ANSWER, answer),
    ]);
    assert!(connection.seen(role::SERVER).is_empty());
    assert_eq!(connection.counted(Ledger::JoinedLate), 3);
    assert_eq!(connection.counted(Ledger::GivenUp), 0);
}

#[test]
fn a_control_character_in_a_target_makes_it_no_request() {
    for control in ['\0', '\t', '\u{1f}', '\u{7f}'] {
        for place in [0, 1, 6, 7, 8, 30, 31, 32, 100, 126, 127] {
            let target = format!("/{}{control}b", "a".repeat(place));
            let request = format!("GET {target} HTTP/1.1\r\n\r\n");
            let request = request.as_bytes();
            let connection = talk(&[(ASK, GET), (ANSWER, EMPTY), (ASK, request), (ANSWER, EMPTY)]);
            // Behind what is kept of it nobody looks.
            let refused = place + 1 < PATH_BYTES;
            let seen = connection.seen(role::SERVER);
            assert_eq!(seen.len(), 2 - usize::from(refused), "{target:?}");
            let counted = connection.counted(Ledger::Unparsable);
            assert_eq!(counted, u64::from(refused), "{target:?}");
        }
    }
    // What is no ASCII is a target's own affair.
    let connection = talk(&[
        (ASK, "GET /\u{80}\u{ff} HTTP/1.1\r\n\r\n".as_bytes()),
        (ANSWER, EMPTY),
    ]);
    assert_eq!(connection.seen(role::SERVER).len(), 1);
}

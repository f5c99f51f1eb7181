//! What follows a head: bodies, their ends, and what there is instead.

use galileo_ebpf_abi::{flags, role};

use super::{ANSWER, ASK, EMPTY, GET, lines, talk};

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

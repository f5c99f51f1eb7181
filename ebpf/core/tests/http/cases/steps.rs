//! How many steps a segment takes, each a tail call in the object.

use galileo_ebpf_abi::role;

use super::{ANSWER, ASK, EMPTY, GET, talk};
use crate::driver::TAIL_CALLS;

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

#[test]
fn many_trailers_in_one_segment_take_few_steps() {
    let mut answer =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n".to_vec();
    answer.extend(b"X-Trailer: a\r\n".repeat(200));
    answer.extend_from_slice(b"\r\n");
    let connection = talk(&[(ASK, GET), (ANSWER, &answer)]);
    let seen = connection.seen(role::SERVER);
    assert_eq!(seen[0].response_bytes, answer.len() as u64);
    assert!(connection.steps <= TAIL_CALLS, "{}", connection.steps);
}

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
        assert_eq!(super::lines(&seen), [("GET", "/a", 200)]);
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

/// An answer in chunks of these sizes, none of which looks like the begin of a message.
fn chunked(sizes: &[usize]) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for size in sizes {
        answer.extend_from_slice(format!("{size:x}\r\n{}\r\n", "5".repeat(*size)).as_bytes());
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    answer
}

#[test]
fn as_many_chunks_as_the_largest_segment_holds_take_few_steps() {
    for (size, count) in [(1000, 63), (4096, 15), (7000, 9), (7000, 8)] {
        let answer = chunked(&vec![size; count]);
        assert!(answer.len() < 1 << 16);
        let connection = talk(&[(ASK, GET), (ANSWER, &answer), (ASK, GET), (ANSWER, EMPTY)]);
        let seen = connection.seen(role::SERVER);
        assert_eq!(super::lines(&seen), [("GET", "/a", 200); 2]);
        assert_eq!(seen[0].response_bytes, answer.len() as u64);
        assert!(connection.steps <= TAIL_CALLS, "{}", connection.steps);
        assert!(connection.ledger().is_empty());
    }
}

#[test]
fn chunks_beyond_the_window_are_passed_over_wherever_they_are_cut() {
    let answer = chunked(&[1, 600, 0x10, 700, 9]);
    let cuts = if cfg!(miri) { 40 } else { 1 };
    for cut in (1..answer.len()).step_by(cuts) {
        let (first, second) = answer.split_at(cut);
        let next: Vec<u8> = [second, EMPTY].concat();
        for turns in [
            [
                (ANSWER, first),
                (ANSWER, second),
                (ASK, GET),
                (ANSWER, EMPTY),
            ],
            // What follows lies in the same segment.
            [(ASK, GET), (ANSWER, first), (ANSWER, &next), (ASK, GET)],
        ] {
            let mut connection = talk(&[(ASK, GET)]);
            for (now, (direction, bytes)) in (2..).zip(turns) {
                connection.segment(direction, now, bytes);
            }
            let seen = connection.seen(role::SERVER);
            assert_eq!(super::lines(&seen), [("GET", "/a", 200); 2], "cut at {cut}");
            assert_eq!(seen[0].response_bytes, answer.len() as u64, "cut at {cut}");
        }
    }
}

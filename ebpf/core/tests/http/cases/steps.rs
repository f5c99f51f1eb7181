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

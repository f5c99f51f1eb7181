use std::{
    pin::Pin,
    task::{Context, Poll},
};

use proptest::prelude::*;
use tokio::io::ReadBuf;

use super::*;

/// Bytes that come in pieces of given sizes, then the end of the connection.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: Box<dyn Iterator<Item = usize> + 'a>,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let size = self
            .sizes
            .next()
            .unwrap_or(usize::MAX)
            .min(self.bytes.len())
            .min(into.remaining());
        let (now, later) = self.bytes.split_at(size);
        into.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

/// What came of an answer: reusable or failure, status, bytes of its body.
type Read = (Result<bool, FailureKind>, Option<u16>, u64);

fn read_in(bytes: &[u8], sizes: impl IntoIterator<Item = usize>, to_head: bool) -> Read {
    let sizes: Vec<_> = sizes.into_iter().collect();
    let mut reader = Pieces {
        bytes,
        sizes: Box::new(sizes.into_iter()),
    };
    let seen = Seen::default();
    let mut buffer = BytesMut::new();
    let reading = read_answer(&mut reader, &mut buffer, to_head, &seen);
    let result =
        futures_util::FutureExt::now_or_never(reading).expect("the pieces are there at once");
    (result, seen.status.get(), seen.body_bytes.get())
}

fn read(answer: &str) -> Read {
    read_in(answer.as_bytes(), [], false)
}

#[test]
fn a_length_ends_the_body_and_the_connection_stays() {
    assert_eq!(
        read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        (Ok(true), Some(200), 5)
    );
    assert_eq!(
        read("HTTP/1.1 404 \r\ncontent-length: 0\r\n\r\n"),
        (Ok(true), Some(404), 0)
    );
    assert_eq!(
        read("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\nhello"),
        (Ok(true), Some(200), 5)
    );
}

#[test]
fn chunks_end_the_body_and_the_connection_stays() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: v\r\n\r\n";
    assert_eq!(read(answer), (Ok(true), Some(200), 3));
}

#[test]
fn without_a_length_the_end_of_the_connection_ends_the_body() {
    assert_eq!(
        read("HTTP/1.1 200 OK\r\n\r\nhello"),
        (Ok(false), Some(200), 5)
    );
    assert_eq!(
        read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhello"),
        (Ok(false), Some(200), 5)
    );
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    assert_eq!(
        read("HTTP/1.1 204 No Content\r\n\r\n"),
        (Ok(true), Some(204), 0)
    );
    assert_eq!(
        read("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
        (Ok(true), Some(304), 0)
    );
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    assert_eq!(read_in(head, [], true), (Ok(true), Some(200), 0));
}

#[test]
fn interim_answers_are_skipped() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(read(answer), (Ok(true), Some(200), 1));
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(40);
    assert_eq!(read(&endless).0, Err(FailureKind::Protocol));
    assert_eq!(
        read("HTTP/1.1 101 Switching Protocols\r\n\r\n").0,
        Err(FailureKind::Protocol)
    );
}

#[test]
fn a_connection_stays_only_if_both_versions_rules_allow_it() {
    let stays = |head: &str| read(&format!("{head}\r\nContent-Length: 0\r\n\r\n")).0;
    assert_eq!(stays("HTTP/1.1 200 OK\r\nConnection: Close"), Ok(false));
    assert_eq!(stays("HTTP/1.1 200 OK\r\nConnection: x, close"), Ok(false));
    assert_eq!(stays("HTTP/1.0 200 OK"), Ok(false));
    assert_eq!(stays("HTTP/1.0 200 OK\r\nConnection: keep-alive"), Ok(true));
}

#[test]
fn two_lengths_at_once_cost_the_connection() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 90\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    assert_eq!(read(answer), (Ok(false), Some(200), 1));
}

#[test]
fn bytes_behind_the_answer_cost_the_connection() {
    assert_eq!(
        read("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy"),
        (Ok(false), Some(200), 1)
    );
}

#[test]
fn a_connection_that_ends_early_is_a_failure() {
    assert_eq!(read("").0, Err(FailureKind::Closed));
    assert_eq!(
        read("HTTP/1.1 200 OK\r\nContent-").0,
        Err(FailureKind::Closed)
    );
    assert_eq!(
        read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
        (Err(FailureKind::Closed), Some(200), 3)
    );
    assert_eq!(
        read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        (Err(FailureKind::Closed), Some(200), 5)
    );
}

#[test]
fn what_is_no_answer_is_a_failure() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello",
    ] {
        assert_eq!(read(answer).0, Err(FailureKind::Protocol), "{answer:?}");
    }
}

#[test]
fn a_head_without_end_is_cut_off() {
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(2 * HEAD_BYTES));
    assert_eq!(read(&endless).0, Err(FailureKind::Protocol));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
    assert_eq!(read(&many).0, Err(FailureKind::Protocol));
}

#[test]
fn the_replica_named_by_the_balancer_is_kept() {
    let bytes = b"HTTP/1.1 200 OK\r\nX-Final-Host: 10.0.0.7:8080\r\nContent-Length: 0\r\n\r\n";
    let (_, head) = Head::parse(bytes, false).unwrap().unwrap();
    assert_eq!(head.server.as_deref(), Some("10.0.0.7:8080"));
}

/// Answers of every framing.
fn any_answer() -> impl Strategy<Value = String> {
    let fixed = "[a-z\r\n]{0,80}".prop_map(|body| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    });
    let chunked = prop::collection::vec("[a-z\r\n]{1,40}", 0..5).prop_map(|chunks| {
        let chunks: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
        format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\nA: b\r\n\r\n")
    });
    let closed = "[a-z\r\n]{0,80}".prop_map(|body| format!("HTTP/1.0 200 OK\r\n\r\n{body}"));
    prop_oneof![fixed, chunked, closed]
}

proptest! {
    #[test]
    fn any_split_of_an_answer_reads_the_same(answer in any_answer(), sizes in prop::collection::vec(1..20usize, 1..200)) {
        let sizes = sizes.into_iter().cycle().take(1_000);
        prop_assert_eq!(read_in(answer.as_bytes(), sizes, false), read(&answer));
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_wait_without_reading(
        start in prop::sample::select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _read = read_in(&[start.as_bytes(), &bytes].concat(), [], false);
    }
}

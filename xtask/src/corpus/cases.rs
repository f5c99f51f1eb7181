//! The cases themselves.

use super::{
    case::{Case, Counter, Listener, Skill, USUAL},
    network::Network,
    request::Request,
};

/// Segments that TCP had to put into order.
pub(super) const OVERTAKEN: Counter = ("TcpExt", "TCPOFOQueue");

/// A body that begins like a message.
const EVIL: &str = "GET /evil HTTP/1.1\r\nHost: evil\r\nx-galileo-request-id: evil\r\n\r\n";

/// Every case, in the order of the page.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "keep-alive",
        about: "one request after the other over one connection (wrk: four)",
        ..USUAL
    },
    Case {
        name: "new-connections",
        about: "a connection for each request",
        fresh: true,
        ..USUAL
    },
    Case {
        name: "pipelined",
        about: "eight requests in one write; answers in order, often several in a segment",
        skill: Skill::Pipelining,
        manner: "pipelined",
        ..USUAL
    },
    Case {
        name: "pipelined-mixed",
        about: "as before, with HEAD, POST, 204 and 304 among them",
        skill: Skill::MixedPipelining,
        manner: "pipelined",
        request: |index, request| match index % 5 {
            0 => request.head(),
            1 => request.post(300),
            2 => request.to("204"),
            3 => request.to("304").conditional(),
            _ => request,
        },
        ..USUAL
    },
    Case {
        name: "interim",
        about: "103 (Early Hints) three times before the final answer, apart or in one segment with it",
        skill: Skill::Interim,
        kind: "interim",
        ..USUAL
    },
    Case {
        name: "expect",
        about: "POST with Expect: 100-continue",
        skill: Skill::Expect,
        kind: "echo",
        request: |_, request| request.post(5_000).with("Expect", "100-continue"),
        ..USUAL
    },
    Case {
        name: "head",
        about: "HEAD of a megabyte and GET in turns over one connection",
        skill: Skill::Head,
        request: |index, request| {
            every_second(index, request, |request| request.to("large").head())
        },
        ..USUAL
    },
    Case {
        name: "204",
        about: "No Content and GET in turns",
        kind: "204",
        request: |index, request| every_second(index, request, |request| request.to("204")),
        ..USUAL
    },
    Case {
        name: "304",
        about: "Not Modified, with the length a GET would get where the server sends it, and GET in turns",
        kind: "304",
        request: |index, request| {
            every_second(index, request, |request| request.to("304")).conditional()
        },
        ..USUAL
    },
    Case {
        name: "chunked",
        about: "chunked answers and others in turns",
        kind: "chunked",
        request: |index, request| every_second(index, request, |request| request.to("chunked")),
        ..USUAL
    },
    Case {
        name: "trailers",
        about: "chunked with trailers that look like a status line, and with extensions where the server sends them",
        kind: "trailers",
        request: |index, request| every_second(index, request, |request| request.to("trailers")),
        ..USUAL
    },
    Case {
        name: "split-requests",
        about: "each byte of the request a segment of its own",
        skill: Skill::Sockets,
        manner: "split",
        ..USUAL
    },
    Case {
        name: "split-answers",
        about: "each byte of the answer a write of its own",
        kind: "split",
        ..USUAL
    },
    Case {
        name: "close-delimited",
        about: "answers that end with their connection",
        kind: "close",
        request: |_, request| request.to("close"),
        ..USUAL
    },
    Case {
        name: "http-1.0",
        about: "HTTP/1.0, each second request with keep-alive",
        skill: Skill::OldVersion,
        kind: "old-version",
        request: |index, mut request| {
            request.version = "1.0";
            if index.is_multiple_of(2) {
                request.with("Connection", "keep-alive")
            } else {
                request
            }
        },
        ..USUAL
    },
    Case {
        name: "connect",
        about: "CONNECT, then text in both directions that looks like messages",
        skill: Skill::Connect,
        kind: "connect",
        request: |_, mut request| {
            request.method = "CONNECT";
            request
        },
        ..USUAL
    },
    Case {
        name: "upgrade",
        about: "101 (Switching Protocols), then text in both directions that looks like messages",
        skill: Skill::Upgrade,
        kind: "upgrade",
        request: |_, request| {
            request
                .to("upgrade")
                .with("Connection", "Upgrade")
                .with("Upgrade", "galileo")
        },
        ..USUAL
    },
    Case {
        name: "early-answers",
        about: "an answer before the body of 300 kB was read, or instead of reading it",
        skill: Skill::EarlyAnswer,
        kind: "early",
        request: |_, request| request.to("early").post(300_000),
        few: true,
        ..USUAL
    },
    Case {
        name: "half-close",
        about: "the client ends its direction behind the request",
        skill: Skill::Sockets,
        manner: "half-close",
        ..USUAL
    },
    Case {
        name: "resets",
        about: "the client resets the connection behind the answer",
        skill: Skill::Sockets,
        manner: "reset",
        evidence: Some(("Tcp", "OutRsts")),
        ..USUAL
    },
    Case {
        name: "broken-off",
        about: "each second connection is reset within its answer, which must not pass for a whole one",
        skill: Skill::Sockets,
        manner: "broken-off",
        kind: "large",
        request: |_, request| request.to("large"),
        few: true,
        evidence: Some(("Tcp", "OutRsts")),
        ..USUAL
    },
    Case {
        name: "large",
        about: "answers of a megabyte: sendfile (nginx, Apache, Go, http.server), splice (HAProxy), writes (the others)",
        kind: "large",
        request: |_, request| request.to("large"),
        few: true,
        ..USUAL
    },
    Case {
        name: "large-new-connections",
        about: "the same, with a connection for each",
        kind: "large",
        fresh: true,
        request: |_, request| request.to("large"),
        few: true,
        ..USUAL
    },
    Case {
        name: "fast-open",
        about: "the request comes with the SYN",
        skill: Skill::FastOpen,
        manner: "fast-open",
        evidence: Some(("TcpExt", "TCPFastOpenPassive")),
        ..USUAL
    },
    Case {
        name: "deferred",
        about: "a listener with TCP_DEFER_ACCEPT: the first request comes with the third packet",
        kind: "deferred",
        fresh: true,
        listener: Listener::Deferred,
        evidence: Some(("TcpExt", "TCPDeferAcceptDrop")),
        ..USUAL
    },
    Case {
        name: "older-than-probes",
        about: "the probes are attached in the middle of the connection's requests; those from then on are counted",
        skill: Skill::Hold,
        ..USUAL
    },
    Case {
        name: "big-request-heads",
        about: "request heads of 2 to 7 kB, the id before or behind the rest",
        request: |index, request| {
            let pad = "p".repeat(2_000 + 125 * (index % 40));
            if index.is_multiple_of(2) {
                request.with("X-Pad", &pad)
            } else {
                let mut request = request;
                request.headers.insert(0, ("A-Pad", pad));
                request
            }
        },
        ..USUAL
    },
    Case {
        name: "big-answer-heads",
        about: "answer heads of 6 kB",
        kind: "big-head",
        request: |_, request| request.to("big-head"),
        ..USUAL
    },
    Case {
        name: "long-paths",
        about: "paths of 100 to 400 bytes, more than is kept",
        request: |index, mut request| {
            request.path += "/";
            request.path += &"d".repeat(100 + 8 * (index % 37));
            request
        },
        ..USUAL
    },
    Case {
        name: "lookalike-answers",
        about: "bodies of answers that look like messages, beginning a segment where the server writes so",
        kind: "lookalike",
        request: |index, request| every_second(index, request, |request| request.to("lookalike")),
        ..USUAL
    },
    Case {
        name: "lookalike-requests",
        about: "bodies of requests that look like messages",
        kind: "echo",
        manner: "apart",
        request: |_, request| {
            let mut request = request.post(EVIL.len() + 20);
            request.body_prefix = EVIL;
            request
        },
        ..USUAL
    },
    Case {
        name: "post",
        about: "POST of 1 B, 1 kB and 20 kB in turns",
        kind: "echo",
        request: |index, request| request.post([1, 1_000, 20_000][index % 3]),
        ..USUAL
    },
    Case {
        name: "post-large",
        about: "POST of a megabyte",
        kind: "echo",
        request: |_, request| request.post(1 << 20),
        few: true,
        ..USUAL
    },
    Case {
        name: "post-chunked",
        about: "POST in chunks (plain sockets and wrk: with extensions and a trailer)",
        skill: Skill::ChunkedBody,
        kind: "chunked-body",
        request: |index, request| {
            let mut request = request.post([2, 1_000, 20_000][index % 3]);
            request.chunked = true;
            request
        },
        ..USUAL
    },
    Case {
        name: "segmented",
        about: "heads of 2 to 7 kB and POST of 20 kB that are sent in one piece and arrive in pieces of 1,448 bytes",
        network: Network::Segmented,
        request: |index, request| {
            if index.is_multiple_of(2) {
                request.with("X-Pad", &"p".repeat(2_000 + 125 * (index % 40)))
            } else {
                request.post(20_000).to("echo")
            }
        },
        ..USUAL
    },
    Case {
        name: "segmented-answers",
        about: "answers of a megabyte in pieces of 1,448 bytes, which may overtake one another between two CPUs",
        kind: "large",
        network: Network::Segmented,
        request: |_, request| request.to("large"),
        few: true,
        ..USUAL
    },
    Case {
        name: "retransmitted",
        about: "each eighth segment is lost and sent again",
        network: Network::Lossy,
        evidence: Some(("Tcp", "RetransSegs")),
        ..USUAL
    },
    Case {
        name: "reordered-heads",
        about: "heads of 2 to 7 kB in pieces of 1,448 bytes, of which each eighth is lost and overtaken",
        network: Network::LossyHeads,
        evidence: Some(OVERTAKEN),
        request: |index, request| request.with("X-Pad", &"p".repeat(2_000 + 125 * (index % 40))),
        ..USUAL
    },
    Case {
        name: "reordered-bodies",
        about: "POST of 200 kB and answers of a megabyte, of which each twentieth segment is lost and overtaken",
        kind: "large",
        network: Network::LossyBodies,
        evidence: Some(OVERTAKEN),
        request: |index, request| {
            if index.is_multiple_of(2) {
                request.to("large")
            } else {
                request.post(200_000).to("echo")
            }
        },
        few: true,
        ..USUAL
    },
    Case {
        name: "ipv6",
        about: "::1",
        listener: Listener::Both,
        host: "::1",
        ..USUAL
    },
    Case {
        name: "ipv4-on-ipv6",
        about: "127.0.0.1 to a listener of both families, which sees a mapped address",
        listener: Listener::Both,
        ..USUAL
    },
    Case {
        name: "ipv4-mapped",
        about: "::ffff:127.0.0.1: mapped on both sides",
        skill: Skill::Mapped,
        listener: Listener::Both,
        host: "::ffff:127.0.0.1",
        ..USUAL
    },
    Case {
        name: "strangers",
        about: "between the requests, connections that speak something else; what is answered to that is no exchange",
        skill: Skill::Sockets,
        manner: "strangers",
        ..USUAL
    },
];

/// The first, the third and so on are changed.
fn every_second(
    index: usize,
    request: Request,
    change: impl FnOnce(Request) -> Request,
) -> Request {
    if index.is_multiple_of(2) {
        change(request)
    } else {
        request
    }
}

//! The kinds of exchanges.

use galileo_probes::flags;

use super::script::{Script, Step, Way};

/// One connection of each kind. Rounds differ in where messages are cut.
pub(crate) fn all(round: u32) -> Vec<Script> {
    vec![
        plain(round, Way::Four, "plain"),
        plain(round, Way::Six, "six"),
        plain(round, Way::Deferred, "deferred"),
        bodies_like_heads(round),
        chunked(round),
        interim(round),
        bodiless(round),
        pipelined(round),
        byte_by_byte(round),
        cut_anywhere(round),
        close_delimited(round),
        long_heads(round),
        half_closed(round),
        upgraded(round),
        connect(round),
        not_http(round),
        large(round),
        methods(round),
        early(round),
    ]
}

/// Where to cut: a generator of the same numbers each time (xorshift, Marsaglia 2003).
struct Cuts(u32);

impl Cuts {
    fn new(round: u32) -> Self {
        Self(round.wrapping_mul(0x9e37_79b9) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % limit
    }

    /// The bytes in up to `most` pieces.
    fn pieces(&mut self, bytes: &[u8], most: usize) -> Vec<Vec<u8>> {
        let mut at: Vec<_> = (1..most).map(|_| self.below(bytes.len())).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.dedup();
        at.windows(2)
            .map(|ends| bytes[ends[0]..ends[1]].to_vec())
            .collect()
    }
}

/// A request without body, with our id.
fn head(script: &Script, method: &str, more: &str) -> String {
    format!(
        "{method} {} HTTP/1.1\r\nHost: h\r\n{more}X-Galileo-Request-Id: {}\r\n\r\n",
        script.path(),
        script.id()
    )
}

/// An answer with a body.
fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nServer: s\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn plain(round: u32, way: Way, kind: &'static str) -> Script {
    let mut script = Script::new(kind, round);
    script.way = way;
    for (status, text) in [(200, "200 OK"), (404, "404 Not Found"), (503, "503 Busy")] {
        let request = head(&script, "GET", "");
        script.exchange("GET", &[request], status, &[answer(text, "hello")]);
    }
    let request = head(&script, "POST", "Content-Length: 4\r\n") + "body";
    script.exchange("POST", &[request], 201, &[answer("201 Created", "")]);
    script
}

/// D-02: what a body contains is opaque.
fn bodies_like_heads(round: u32) -> Script {
    let mut script = Script::new("bodies", round);
    for _ in 0..3 {
        let request = head(&script, "POST", "Content-Length: 20\r\n");
        script.exchange(
            "POST",
            &[request.as_str(), "GET /evil HTTP/1.1\r\n"],
            200,
            &[
                "HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n",
                "HTTP/1.1 4770 not a status",
            ],
        );
    }
    script
}

/// D-07, both ways, cut anywhere.
fn chunked(round: u32) -> Script {
    let mut cuts = Cuts::new(round + 1);
    let mut script = Script::new("chunked", round);
    for _ in 0..4 {
        let body = "4;ext=\"1\"\r\nWiki\r\n00A\r\n0123456789\r\n0;last\r\nX-T: HTTP/1.1 500\r\nX-U: u\r\n\r\n";
        let request = head(&script, "PUT", "Transfer-Encoding: chunked\r\n") + body;
        let answer =
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding:  Chunked\r\nTrailer: X-T\r\n\r\n{body}");
        script.exchange(
            "PUT",
            &cuts.pieces(request.as_bytes(), 4),
            200,
            &cuts.pieces(answer.as_bytes(), 5),
        );
        let request = head(&script, "DELETE", "");
        script.exchange(
            "DELETE",
            &[request],
            204,
            &["HTTP/1.1 204 No Content\r\n\r\n"],
        );
    }
    script
}

/// D-01: any number of interim answers, also with the final one in one segment.
fn interim(round: u32) -> Script {
    let mut script = Script::new("interim", round);
    for _ in 0..3 {
        let request = head(
            &script,
            "POST",
            "Expect: 100-continue\r\nContent-Length: 3\r\n",
        );
        let last = "HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok";
        let answer = &last[last.rfind("HTTP").unwrap_or(0)..];
        script.ask(&request);
        script.answer("HTTP/1.1 100 Continue\r\n\r\n");
        script.ask("abc");
        script.answer("HTTP/1.1 102 Processing\r\n\r\n");
        script.answer("HTTP/1.1 102 Processing\r\n\r\n");
        script.answer(last);
        script.expect("POST", request + "abc", 201, answer).interim = 4;
    }
    script
}

/// D-05: no body follows, whatever the length headers say.
fn bodiless(round: u32) -> Script {
    let mut script = Script::new("bodiless", round);
    for (method, status, text) in [
        ("HEAD", 200, "200 OK"),
        ("GET", 304, "304 Not Modified"),
        ("HEAD", 404, "404 Not Found"),
    ] {
        let request = head(&script, method, "");
        let answer = format!("HTTP/1.1 {text}\r\nContent-Length: 5000\r\n\r\n");
        script.exchange(method, &[request], status, &[answer]);
    }
    let request = head(&script, "HEAD", "");
    script.exchange(
        "HEAD",
        &[request],
        200,
        &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
    );
    let request = head(&script, "OPTIONS", "");
    script.exchange("OPTIONS", &[request], 204, &["HTTP/1.1 204 N\r\n\r\n"]);
    script
}

/// Several requests in one segment; their answers in one, too, in order.
fn pipelined(round: u32) -> Script {
    let mut script = Script::new("pipelined", round);
    let mut requests = String::new();
    let mut answers = String::new();
    for index in 0..6 {
        let (request, response) = (head(&script, "GET", ""), answer("200 OK", "0123"));
        requests += &request;
        answers += &response;
        let expected = script.expect("GET", request, 200, response);
        if index > 0 {
            expected.flags = flags::PIPELINED;
        }
    }
    script.ask(requests);
    script.answer(answers);
    script
}

/// Heads of which each byte is a segment.
fn byte_by_byte(round: u32) -> Script {
    let mut script = Script::new("bytes", round);
    let request = head(&script, "GET", "");
    let answer = answer("200 OK", "x");
    let each = |text: &str| text.bytes().map(|byte| vec![byte]).collect::<Vec<_>>();
    script.exchange("GET", &each(&request), 200, &each(&answer));
    script
}

/// Messages cut at any two places.
fn cut_anywhere(round: u32) -> Script {
    let mut cuts = Cuts::new(round + 7);
    let mut script = Script::new("cut", round);
    for _ in 0..6 {
        let request = head(&script, "POST", "Content-Length: 10\r\n") + "0123456789";
        let answer = answer("200 OK", "a body of some length");
        script.exchange(
            "POST",
            &cuts.pieces(request.as_bytes(), 3),
            200,
            &cuts.pieces(answer.as_bytes(), 3),
        );
    }
    script
}

/// An answer that ends with its connection.
fn close_delimited(round: u32) -> Script {
    let mut script = Script::new("close", round);
    let request = format!(
        "GET {} HTTP/1.0\r\nx-galileo-request-id:{}\r\n\r\n",
        script.path(),
        script.id()
    );
    script
        .exchange(
            "GET",
            &[request],
            200,
            &["HTTP/1.0 200 OK\r\n\r\nHTTP/1.1 500 X\r\n", "more"],
        )
        .flags = flags::CLOSE_DELIMITED;
    script.steps.push(Step::ServerEnds);
    script
}

/// Our id far behind in the head, and a line that is longer than most.
fn long_heads(round: u32) -> Script {
    let mut script = Script::new("long", round);
    for fields in [2, 5, 9] {
        let more: String = (0..fields)
            .map(|index| format!("X-Field-{index}: {}\r\n", "v".repeat(40)))
            .collect();
        let request = head(&script, "GET", &more);
        script.exchange("GET", &[request], 200, &[answer("200 OK", "y")]);
    }
    script
}

/// The client has nothing more to say, and is answered all the same.
fn half_closed(round: u32) -> Script {
    let mut script = Script::new("half", round);
    let request = head(&script, "GET", "");
    let answer = answer("200 OK", "half");
    script.ask(&request);
    script.steps.push(Step::ClientEnds);
    script.answer(&answer);
    script.expect("GET", request, 200, answer);
    script
}

/// D-06: silence behind an upgrade.
fn upgraded(round: u32) -> Script {
    let mut script = Script::new("upgraded", round);
    let request = head(
        &script,
        "GET",
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
    );
    script
        .exchange(
            "GET",
            &[request],
            101,
            &["HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"],
        )
        .flags = flags::TUNNEL;
    script.ask("GET /fake HTTP/1.1\r\n\r\n");
    script.answer("HTTP/1.1 500 X\r\n\r\n");
    script
}

/// As [`upgraded`].
fn connect(round: u32) -> Script {
    let mut script = Script::new("connect", round);
    let target = format!("h{round}:443");
    let request = format!(
        "CONNECT {target} HTTP/1.1\r\nx-galileo-request-id: {}\r\n\r\n",
        script.id()
    );
    let expected = script.exchange("CONNECT", &[request], 200, &["HTTP/1.1 200 OK\r\n\r\n"]);
    expected.flags = flags::TUNNEL;
    expected.path = target;
    script.ask("GET /fake HTTP/1.1\r\n\r\n");
    script.answer("HTTP/1.1 500 X\r\n\r\n");
    script
}

/// Something else, which never becomes HTTP.
fn not_http(round: u32) -> Script {
    let mut script = Script::new("other", round);
    script.ask(b"*1\r\n$4\r\nPING\r\n");
    script.answer("+PONG\r\n");
    script.ask([0, 1, 2, 255, b'G', b'E', b'T']);
    script.answer("-ERR\r\n");
    script
}

/// Bodies of many segments, which the kernel merges and splits.
fn large(round: u32) -> Script {
    let mut script = Script::new("large", round);
    let body = "b".repeat(100_000);
    let request = head(&script, "GET", "");
    script.exchange("GET", &[request], 200, &[answer("200 OK", &body)]);
    let request = head(&script, "PUT", "Content-Length: 100000\r\n") + &body;
    script.exchange("PUT", &[request], 200, &[answer("200 OK", "")]);
    script
}

/// Methods that few have heard of, and none of our ids.
fn methods(round: u32) -> Script {
    let mut script = Script::new("methods", round);
    for method in ["M-SEARCH", "PROPFIND", "PATCH", "BASELINE-CONTROL", "X"] {
        let request = format!("{method} {} HTTP/1.1\r\nHost: h\r\n\r\n", script.path());
        let expected = script.exchange(method, &[request], 207, &[answer("207 M", "<m/>")]);
        expected.id = None;
    }
    script
}

/// An answer before the request has ended, which then goes on.
fn early(round: u32) -> Script {
    let mut script = Script::new("early", round);
    let request = head(&script, "POST", "Content-Length: 9\r\n") + "abc";
    let answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
    script.ask(&request);
    script.answer(answer);
    script.ask("defghi");
    let expected = script.expect("POST", request + "defghi", 413, answer);
    expected.flags = flags::EARLY_ANSWER;
    script
}

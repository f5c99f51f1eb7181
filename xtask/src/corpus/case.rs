//! What is done: the cases, each a plan of requests that any client can be given.

use serde::Serialize;

use super::network::Network;

/// What a client is to do. The programs under `xtask/corpus/clients` read it as a line of JSON.
#[derive(Serialize)]
pub(super) struct Plan {
    /// Address of the server.
    pub host: &'static str,
    /// Its port.
    pub port: u16,
    /// See [`Case::manner`].
    pub manner: &'static str,
    /// A connection for each request, which the client asks to close.
    pub fresh: bool,
    /// In the middle the client says so and waits for a line.
    pub hold: bool,
    pub requests: Vec<Request>,
}

/// One request.
#[derive(Serialize, Clone)]
pub(super) struct Request {
    /// Value of `x-galileo-request-id`; no two are alike.
    pub id: String,
    pub method: &'static str,
    /// The target. Its first part tells the server what to do.
    pub path: String,
    /// `1.1` or `1.0`.
    pub version: &'static str,
    pub headers: Vec<(&'static str, String)>,
    /// What the body begins with; the rest is `x`.
    pub body_prefix: &'static str,
    pub body_bytes: usize,
    /// The body is sent in chunks.
    pub chunked: bool,
}

/// What a client must be able to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Skill {
    /// Requests of one method, one after the other.
    Plain,
    /// HEAD.
    Head,
    /// HTTP/1.0.
    OldVersion,
    /// Bodies in chunks.
    ChunkedBody,
    /// Waits for 100 (Continue).
    Expect,
    /// Understands interim answers that it did not ask for.
    Interim,
    /// Can be answered before it has sent all.
    EarlyAnswer,
    /// CONNECT.
    Connect,
    /// Upgrade.
    Upgrade,
    /// Waits between two requests on one connection.
    Hold,
    /// Several requests before the first answer.
    Pipelining,
    /// As [`Skill::Pipelining`], with methods mixed.
    MixedPipelining,
    /// Data with the SYN.
    FastOpen,
    /// What only a program on plain sockets does: split, half-close, reset, speak something else.
    Sockets,
    /// Connects to `::ffff:127.0.0.1`.
    Mapped,
}

/// Which of the server's listeners is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// 127.0.0.1.
    Plain,
    /// \[::\], for both families.
    Both,
    /// 127.0.0.1 with `TCP_DEFER_ACCEPT`.
    Deferred,
}

/// Header with the id of a request, which the probes look for.
pub(super) const ID: &str = "x-galileo-request-id";
/// Header with its trace, as above.
pub(super) const TRACE: &str = "traceparent";

/// A counter of the kernel's TCP, as the two files of `/proc/net` have it: group and name.
pub(super) type Counter = (&'static str, &'static str);

/// One case.
pub(super) struct Case {
    /// Short name, as given on the command line.
    pub name: &'static str,
    /// What is special about it, for the page.
    pub about: &'static str,
    pub skill: Skill,
    /// What the server must be able to do: the first part of the paths, or `connect`, `chunked-body`, `deferred`, `old-version`.
    pub kind: &'static str,
    /// How the client treats its sockets; `""` is the usual way.
    pub manner: &'static str,
    pub fresh: bool,
    pub listener: Listener,
    pub host: &'static str,
    /// What the network does meanwhile.
    pub network: Network,
    /// What must have risen meanwhile, or the case did not happen.
    pub evidence: Option<Counter>,
    /// Requests are not many, as each is long.
    pub few: bool,
    /// Makes the request of this index.
    request: fn(usize, Request) -> Request,
}

const USUAL: Case = Case {
    name: "",
    about: "",
    skill: Skill::Plain,
    kind: "ok",
    manner: "",
    fresh: false,
    listener: Listener::Plain,
    host: "127.0.0.1",
    network: Network::Usual,
    evidence: None,
    few: false,
    request: |_, request| request,
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
            if index.is_multiple_of(2) {
                request.to("large").head()
            } else {
                request
            }
        },
        ..USUAL
    },
    Case {
        name: "204",
        about: "No Content and GET in turns",
        kind: "204",
        request: |index, request| every_second(index, request, "204"),
        ..USUAL
    },
    Case {
        name: "304",
        about: "Not Modified, with the length a GET would get where the server sends it, and GET in turns",
        kind: "304",
        request: |index, request| every_second(index, request, "304").conditional(),
        ..USUAL
    },
    Case {
        name: "chunked",
        about: "chunked answers and others in turns",
        kind: "chunked",
        request: |index, request| every_second(index, request, "chunked"),
        ..USUAL
    },
    Case {
        name: "trailers",
        about: "chunked with trailers that look like a status line, and with extensions where the server sends them",
        kind: "trailers",
        request: |index, request| every_second(index, request, "trailers"),
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
        request: |index, request| every_second(index, request, "lookalike"),
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

fn every_second(index: usize, request: Request, kind: &str) -> Request {
    if index.is_multiple_of(2) {
        request.to(kind)
    } else {
        request
    }
}

impl Case {
    /// The plan for `count` requests, whose ids begin with `prefix`. `tunnel_target`: what CONNECT asks for.
    pub(super) fn plan(
        &self,
        prefix: &str,
        count: usize,
        port: u16,
        tunnel_target: Option<&str>,
    ) -> Plan {
        let requests = (0..count).map(|index| {
            let id = format!("{prefix}-{index}");
            let plain = Request {
                method: "GET",
                path: format!("/ok/{id}"),
                version: "1.1",
                headers: vec![(ID, id.clone()), (TRACE, traceparent(&id, index))],
                body_prefix: "",
                body_bytes: 0,
                chunked: false,
                id,
            };
            let mut request = (self.request)(index, plain);
            // The first part of the path tells what to do: the kind, unless the request itself says otherwise.
            if matches!(self.kind, "echo" | "interim" | "split" | "chunked-body") {
                let kind = if self.kind == "chunked-body" {
                    "echo"
                } else {
                    self.kind
                };
                request = request.to(kind);
            }
            if request.method == "CONNECT" {
                request.path =
                    tunnel_target.map_or_else(|| format!("{}.test:443", request.id), str::to_owned);
            }
            request
        });
        Plan {
            host: self.host,
            port,
            manner: self.manner,
            fresh: self.fresh,
            hold: self.skill == Skill::Hold,
            requests: requests.collect(),
        }
    }
}

impl Request {
    /// The same to another part of the server.
    fn to(mut self, kind: &str) -> Self {
        let rest = self.path.splitn(3, '/').nth(2).unwrap_or_default();
        self.path = format!("/{kind}/{rest}");
        self
    }

    /// Statuses of which one must be the answer's.
    pub(super) fn statuses(&self) -> &'static [u16] {
        match self.path.split('/').nth(1) {
            Some("204") => &[204],
            Some("304") => &[304],
            Some("early") => &[403, 413],
            Some("upgrade") => &[101],
            _ => &[200],
        }
    }

    fn head(mut self) -> Self {
        self.method = "HEAD";
        self
    }

    fn post(mut self, body_bytes: usize) -> Self {
        self.method = "POST";
        self.body_bytes = body_bytes;
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Asks for what was modified since a moment that is later than any file's and not in the future: now.
    fn conditional(self) -> Self {
        if self.path.starts_with("/304/") {
            let now = http_date(std::time::SystemTime::now());
            self.with("If-Modified-Since", &now)
        } else {
            self
        }
    }
}

/// A `traceparent` of W3C Trace Context, version 00, whose trace is the id.
fn traceparent(id: &str, index: usize) -> String {
    let mut trace: String = id.bytes().map(|byte| format!("{byte:02x}")).collect();
    trace.truncate(32);
    format!("00-{trace:0<32}-{:016x}-01", index + 1)
}

/// A time as HTTP writes it (RFC 9110, 5.6.7).
fn http_date(time: std::time::SystemTime) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    // Before 1970 there was no HTTP.
    let seconds = time
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days, for days after 1970.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_are_written_as_in_the_rfc() {
        // The example of RFC 9110, 5.6.7, and a leap day.
        for (seconds, text) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn no_two_cases_have_a_name_and_no_two_requests_an_id() {
        let names: HashSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        let plan = CASES[0].plan("a", 40, 1, None);
        let ids: HashSet<_> = plan.requests.iter().map(|request| &request.id).collect();
        assert_eq!(ids.len(), 40);
    }

    #[test]
    fn every_request_carries_its_id_and_a_path_of_its_own() {
        for case in CASES {
            let plan = case.plan("p", 9, 1, None);
            let paths: HashSet<_> = plan.requests.iter().map(|request| &request.path).collect();
            assert_eq!(paths.len(), 9, "{}", case.name);
            for request in &plan.requests {
                let id = (ID, request.id.clone());
                assert!(request.headers.contains(&id), "{}", case.name);
                assert!(request.path.contains(&request.id), "{}", case.name);
            }
        }
    }
}

//! Legal messages, and what must be seen of them.

use std::fmt;

use proptest::{collection::vec, prelude::*, sample::select};

/// A request, its answer, and what is known of both.
#[derive(Clone)]
pub struct Pair {
    pub method: &'static str,
    pub path: String,
    pub id: String,
    pub trace: String,
    pub status: u16,
    pub interim: u8,
    pub request: Vec<u8>,
    /// All interim answers.
    pub before: Vec<u8>,
    /// The final answer.
    pub response: Vec<u8>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.request, &self.before, &self.response] {
            writeln!(to, "b\"{}\"", part.escape_ascii())?;
        }
        Ok(())
    }
}

/// How a body is framed.
#[derive(Debug, Clone)]
enum Framing {
    Length,
    Chunked {
        sizes: Vec<usize>,
        extension: &'static str,
        trailer: bool,
        padded: bool,
    },
}

/// Bodies: arbitrary bytes, and what a parser must not take for a head (D-02).
fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..if cfg!(miri) { 100 } else { 1500 }),
        select(vec![
            b"HTTP/1.1 4770 not a status".to_vec(),
            b"GET /evil HTTP/1.1\r\nContent-Length: 7\r\n\r\n".to_vec(),
            b"\r\n\r\n0\r\n\r\nHTTP/1.1 500 X\r\n\r\n".to_vec(),
            vec![b'\n'; 700],
        ]),
    ]
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        Just(Framing::Length),
        (
            vec(1_usize..700, 1..8),
            select(vec!["", ";ext=1", ";name=\"a quoted value\"", " ;a", "\t"]),
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(sizes, extension, trailer, padded)| Framing::Chunked {
                sizes,
                extension,
                trailer,
                padded,
            }),
    ]
}

impl Framing {
    fn header(&self, body: &[u8], upper: bool) -> String {
        match (self, upper) {
            (Self::Length, true) => format!("Content-Length: {}\r\n", body.len()),
            (Self::Length, false) => format!("content-length:{}\r\n", body.len()),
            (Self::Chunked { .. }, true) => "Transfer-Encoding: chunked\r\n".to_owned(),
            (Self::Chunked { .. }, false) => "transfer-encoding: gzip, chunked\r\n".to_owned(),
        }
    }

    fn write(&self, body: &[u8], into: &mut Vec<u8>) {
        let Self::Chunked {
            sizes,
            extension,
            trailer,
            padded,
        } = self
        else {
            return into.extend_from_slice(body);
        };
        let mut rest = body;
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            let size = if *padded {
                format!("{:08X}{extension}\r\n", chunk.len())
            } else {
                format!("{:x}{extension}\r\n", chunk.len())
            };
            into.extend_from_slice(size.as_bytes());
            into.extend_from_slice(chunk);
            into.extend_from_slice(b"\r\n");
            rest = after;
        }
        into.extend_from_slice(if *trailer {
            b"0\r\nX-T: HTTP/1.1 500\r\nx-galileo-request-id: wrong\r\n\r\n"
        } else {
            b"0\r\n\r\n"
        });
    }
}

/// Header lines that say nothing of the framing, some of them long.
fn headers() -> impl Strategy<Value = String> {
    vec(
        prop_oneof![
            Just("Host: example.org\r\n".to_owned()),
            Just("Content-Type: text/plain\r\n".to_owned()),
            Just("X-Content-Length: 77\r\n".to_owned()),
            Just("x-galileo-other: 1\r\n".to_owned()),
            Just("Transfer-Note: chunked\r\n".to_owned()),
            (1_usize..700).prop_map(|length| format!("Cookie: {}\r\n", "c".repeat(length))),
        ],
        0..5,
    )
    .prop_map(|lines| lines.concat())
}

/// A request and its answer.
pub fn pair() -> impl Strategy<Value = Pair> {
    let request = (
        select(vec!["GET", "HEAD", "POST", "DELETE", "VERSION-CONTROL"]),
        "/[a-z/]{0,60}(\\?[a-z=&]{0,40})?",
        prop_oneof![Just(String::new()), "[0-9a-f-]{1,40}"],
        prop_oneof![Just(String::new()), "00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]"],
        headers(),
        headers(),
    );
    let bodies = (framing(), body(), framing(), body(), any::<bool>());
    let answer = (
        select(vec![200_u16, 201, 204, 304, 404, 500]),
        select(vec!["", "HTTP/1.1 100 Continue\r\n\r\n"]),
        0_u8..3,
        headers(),
    );
    (request, bodies, answer).prop_map(
        |(
            (method, path, id, trace, before, behind),
            (sent, up, received, down, upper),
            (status, hint, hints, lines),
        )| {
            let mut request = format!("{method} {path} HTTP/1.1\r\n{before}").into_bytes();
            if !id.is_empty() {
                let name = if upper {
                    "X-Galileo-Request-Id: "
                } else {
                    "x-galileo-request-id:"
                };
                request.extend_from_slice(format!("{name}{id}\r\n").as_bytes());
            }
            if !trace.is_empty() {
                let name = if upper {
                    "Traceparent:"
                } else {
                    "traceparent: "
                };
                request.extend_from_slice(format!("{name}{trace}\r\n").as_bytes());
            }
            let with_body = matches!(method, "POST" | "DELETE");
            if with_body {
                request.extend_from_slice(sent.header(&up, upper).as_bytes());
            }
            request.extend_from_slice(format!("{behind}\r\n").as_bytes());
            if with_body {
                sent.write(&up, &mut request);
            }
            // Length headers stand there whether a body follows or not: D-05.
            let mut response = format!(
                "HTTP/1.1 {status} {lines_reason}\r\n{lines}{}\r\n",
                received.header(&down, !upper),
                lines_reason = if upper { "Some Reason" } else { "" },
            )
            .into_bytes();
            if method != "HEAD" && status != 204 && status != 304 {
                received.write(&down, &mut response);
            }
            let interim = if hint.is_empty() { 0 } else { hints };
            Pair {
                method,
                path,
                id,
                trace,
                status,
                interim,
                request,
                before: hint.repeat(usize::from(interim)).into_bytes(),
                response,
            }
        },
    )
}

/// Splits a stream at these places.
pub fn cut<'a>(stream: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = places
        .iter()
        .map(|place| place.index(stream.len().max(1)))
        .collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.dedup();
    at.windows(2)
        .map(|ends| &stream[ends[0]..ends[1]])
        .collect()
}

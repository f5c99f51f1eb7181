//! A whole conversation in its parts.

use super::{
    Oddities,
    message::{self, Body, Chunk, Message},
};
use crate::dice::Dice;

/// A request and what comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The request.
    pub request: Message,
    /// Interim answers.
    pub interim: Vec<Message>,
    /// The final answer.
    pub answer: Message,
    /// The request need not wait for the answer to the one before it.
    pub pipelined: bool,
    /// The answer need not wait for more than the head of the request.
    pub early: bool,
    /// The body of the request waits for the first interim answer.
    pub expects: bool,
}

/// How a conversation ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// It does not: the connection stays open.
    Open,
    /// The server closes behind the last answer.
    ServerCloses,
    /// The client closes behind the last answer.
    ClientCloses,
    /// The client closes its side behind the last request, the server behind the last answer.
    HalfClose,
    /// The client resets when it has so many bytes.
    ClientResets(usize),
    /// The server resets when it has sent so many bytes.
    ServerResets(usize),
    /// The server closes when it has sent so many bytes, although the answer is longer.
    ServerCuts(usize),
    /// Something else than HTTP goes on both ways.
    Tunnel(Vec<u8>, Vec<u8>),
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// In order.
    pub pairs: Vec<Pair>,
    /// Requests behind those that are never answered.
    pub unanswered: Vec<Message>,
    /// An answer that nobody asked for, behind the last one.
    pub unasked: Option<Message>,
    /// How it ends.
    pub finish: Finish,
}

const METHODS: [&str; 9] = [
    "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH",
];

/// As [`RARE_METHODS`].
const LONG_METHODS: [&str; 2] = ["BASELINE-CONTROL", "UPDATEREDIRECTREF"];

/// Registered (RFC 9110, 18.2, and its registry), or merely legal.
const RARE_METHODS: [&str; 6] = [
    "M-SEARCH",
    "VERSION-CONTROL",
    "MKCOL",
    "X",
    "TRACE",
    "HTTPISH",
];

impl Conversation {
    /// A random one.
    #[must_use]
    pub fn random(dice: &mut Dice, odd: Oddities) -> Self {
        let count = dice.between(1, 5);
        let pipelining = dice.one_in(3);
        let mut pairs: Vec<Pair> = (0..count).map(|_| pair(dice, odd, pipelining)).collect();
        let mut conversation = Self {
            pairs: Vec::new(),
            unanswered: Vec::new(),
            unasked: None,
            finish: Finish::Open,
        };
        match dice.below(10) {
            0 => conversation.finish = Finish::ServerCloses,
            1 => conversation.finish = Finish::ClientCloses,
            2 => conversation.finish = Finish::HalfClose,
            3 => {
                close_delimited(dice, pairs.last_mut().expect("at least one"));
                conversation.finish = if dice.one_in(4) {
                    Finish::HalfClose
                } else {
                    Finish::ServerCloses
                };
            }
            4 => {
                let most = if odd.many_unanswered { 3 } else { 1 };
                for _ in 0..dice.between(1, most) {
                    conversation.unanswered.push(request(dice, odd));
                }
                conversation.finish = if dice.one_in(2) {
                    Finish::ServerCloses
                } else {
                    Finish::ClientResets(usize::MAX)
                };
            }
            5 => {
                conversation.finish = tunnel(dice, pairs.last_mut().expect("at least one"));
            }
            6 => {
                if dice.one_in(4) {
                    close_delimited(dice, pairs.last_mut().expect("at least one"));
                }
                let sent: usize = pairs
                    .iter()
                    .map(|pair| pair.answer.head().len() + pair.answer.tail().len())
                    .sum();
                let at = dice.between(1, sent);
                conversation.finish = match dice.below(3) {
                    0 => Finish::ClientResets(at),
                    1 => Finish::ServerResets(at),
                    _ => Finish::ServerCuts(at),
                };
            }
            7 if dice.one_in(3) => {
                conversation.unasked = Some(Message {
                    line: "HTTP/1.1 408 Request Timeout".to_owned(),
                    framing: vec!["Content-Length: #".to_owned()],
                    body: Body::Plain(message::content(dice)),
                    ..Message::default()
                });
                conversation.finish = Finish::ServerCloses;
            }
            _ => {}
        }
        if !odd.empty_lines_first
            && let Some(first) = pairs.first_mut()
        {
            first.request.empty_lines = 0;
        }
        conversation.pairs = pairs;
        conversation
    }
}

impl Conversation {
    /// Gives some of its messages bodies of up to 150 kB, as far as they have one that can grow.
    pub fn enlarge(&mut self, dice: &mut Dice) {
        for _ in 0..dice.between(1, 3) {
            let at = dice.below(self.pairs.len());
            let pair = &mut self.pairs[at];
            let message = if dice.one_in(3) {
                &mut pair.request
            } else {
                &mut pair.answer
            };
            let length = dice.between(10_000, 150_000);
            let data = dice.bytes(length);
            match &mut message.body {
                Body::None => {}
                Body::Plain(bytes) => *bytes = data,
                Body::Chunked(chunks, _, _) => {
                    let size = format!("{length:x}");
                    chunks.insert(dice.below(chunks.len() + 1), Chunk { data, size });
                }
            }
        }
    }
}

fn target(dice: &mut Dice, odd: Oddities) -> String {
    let length = match dice.below(12) {
        0 => dice.between(100, 160),
        1 if dice.one_in(3) => dice.between(160, odd.longest()),
        _ => dice.below(40),
    };
    let mut target = format!("/{}", dice.letters(length));
    match dice.below(10) {
        0 => target.push_str("?a=b&c=%20/d"),
        1 => target.insert_str(0, "http://example.org:80"),
        2 => target.insert_str(0, "HTTP://EXAMPLE.org"),
        3 => target.push_str("/HTTP/1.1"),
        _ => {}
    }
    target
}

fn request(dice: &mut Dice, odd: Oddities) -> Message {
    let method = if odd.long_methods && dice.one_in(30) {
        dice.pick(&LONG_METHODS)
    } else if dice.one_in(12) {
        dice.pick(&RARE_METHODS)
    } else {
        dice.pick(&METHODS)
    };
    let method = if method == "HTTPISH" && !odd.methods_like_http {
        "PROPFIND"
    } else {
        method
    };
    let mut target = target(dice, odd);
    if method == "OPTIONS" && dice.one_in(2) {
        target = "*".to_owned();
    }
    let version = if dice.one_in(12) { 0 } else { 1 };
    let mut message = Message {
        empty_lines: if odd.empty_lines && dice.one_in(12) {
            dice.between(1, 3)
        } else {
            0
        },
        line: format!("{method} {target} HTTP/1.{version}"),
        fields: message::fields(dice, odd),
        bare: dice.one_in(15),
        ..Message::default()
    };
    if dice.one_in(2) {
        let name = dice.pick(&[
            "x-galileo-request-id",
            "X-Galileo-Request-Id",
            "X-GALILEO-REQUEST-ID",
        ]);
        let (blank, behind) = blanks(dice, odd);
        let length = dice.between(1, 44);
        let at = dice.below(message.fields.len() + 1);
        let field = format!("{name}:{blank}{}{behind}", dice.letters(length));
        message.fields.insert(at, field);
    }
    if dice.one_in(3) {
        let field = traceparent(dice, odd);
        let at = dice.below(message.fields.len() + 1);
        message.fields.insert(at, field);
    }
    message.framing_at = dice.below(message.fields.len() + 1);
    let has_body = match method {
        "POST" | "PUT" | "PATCH" => !dice.one_in(8),
        "GET" | "DELETE" | "OPTIONS" => dice.one_in(8),
        _ => false,
    };
    // HTTP/1.0 knows no chunks.
    if has_body && version == 0 {
        message.framing.push("Content-Length: #".to_owned());
        message.body = Body::Plain(message::content(dice));
    } else if has_body {
        message.with_body(dice, odd);
    }
    message
}

/// What stands before a value, and behind it.
fn blanks(dice: &mut Dice, odd: Oddities) -> (&'static str, &'static str) {
    let before = if odd.blanks_behind && dice.one_in(8) {
        dice.pick(&["  ", "\t"])
    } else if dice.one_in(6) {
        ""
    } else {
        " "
    };
    let behind = if odd.blanks_behind && dice.one_in(10) {
        " "
    } else {
        ""
    };
    (before, behind)
}

/// A `traceparent` field, now and then one that is not to be taken for one.
fn traceparent(dice: &mut Dice, odd: Oddities) -> String {
    let name = dice.pick(&["traceparent", "Traceparent", "TRACEPARENT", "traceParent"]);
    let (blank, behind) = blanks(dice, odd);
    let (trace, span) = (dice.digits(32), dice.digits(16));
    let marks = dice.digits(2);
    let value = match dice.below(12) {
        0 => format!("01-{trace}-{span}-{marks}"),
        1 => format!("00-{trace}-{span}-{marks}-later"),
        2 => format!("00-{trace}-{span}-{}", marks.to_uppercase() + "X"),
        3 => format!("00-{}-{span}-{marks}", "0".repeat(32)),
        4 => format!("00-{trace}-{}-{marks}", "0".repeat(16)),
        _ => format!("00-{trace}-{span}-{marks}"),
    };
    format!("{name}:{blank}{value}{behind}")
}

fn method_of(request: &Message) -> &str {
    request.line.split(' ').next().unwrap_or_default()
}

fn pair(dice: &mut Dice, odd: Oddities, pipelining: bool) -> Pair {
    let request = request(dice, odd);
    let status = *dice.pick(&[
        &200_u16, &200, &200, &201, &204, &304, &404, &500, &301, &599, &299,
    ]);
    let reason = dice.pick(&[" OK", " ", "", " Some Reason", " 200 HTTP/1.1"]);
    let new = request.line.ends_with('1');
    let version = u8::from(new || dice.one_in(2));
    let mut answer = Message {
        line: format!("HTTP/1.{version} {status}{reason}"),
        fields: message::fields(dice, odd),
        bare: dice.one_in(15),
        ..Message::default()
    };
    answer.framing_at = dice.below(answer.fields.len() + 1);
    if matches!(status, 204 | 304) || method_of(&request) == "HEAD" {
        // Whatever these say of a body, there is none.
        match dice.below(3) {
            0 => answer.framing.push("Content-Length: 5000".to_owned()),
            1 => answer.framing.push("Transfer-Encoding: chunked".to_owned()),
            _ => {}
        }
    } else if new {
        answer.with_body(dice, odd);
    } else {
        answer.framing.push("Content-Length: #".to_owned());
        answer.body = Body::Plain(message::content(dice));
    }
    let has_body = request.body != Body::None;
    let expects = has_body && new && dice.one_in(4);
    let interim = if new && (expects || dice.one_in(6)) {
        (0..dice.between(1, 3))
            .map(|_| interim(dice, odd))
            .collect()
    } else {
        Vec::new()
    };
    let mut pair = Pair {
        early: has_body && dice.one_in(6),
        pipelined: pipelining && !dice.one_in(4),
        expects,
        request,
        interim,
        answer,
    };
    if expects {
        pair.request.fields.push("Expect: 100-continue".to_owned());
    }
    pair
}

fn interim(dice: &mut Dice, odd: Oddities) -> Message {
    let line = dice.pick(&[
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 102 Processing",
        "HTTP/1.1 103 Early Hints",
        "HTTP/1.1 100 ",
        "HTTP/1.1 199",
    ]);
    Message {
        line: line.to_owned(),
        fields: if dice.one_in(3) {
            message::fields(dice, odd)
        } else {
            Vec::new()
        },
        ..Message::default()
    }
}

/// Lets the answer's body end with the connection.
fn close_delimited(dice: &mut Dice, pair: &mut Pair) {
    if pair.request.line.starts_with("HEAD ") {
        pair.request.line.replace_range(..4, "GET");
    }
    pair.answer.line = format!("HTTP/1.{} 200 OK", dice.below(2));
    pair.answer.framing = if dice.one_in(4) {
        vec!["Transfer-Encoding: gzip".to_owned()]
    } else {
        Vec::new()
    };
    pair.answer.body = Body::Plain(message::content(dice));
    // A client that sees no end may go on sending until the server closes; that is not looked at here.
    pair.early = false;
}

/// Makes the last pair one that ends HTTP.
fn tunnel(dice: &mut Dice, pair: &mut Pair) -> Finish {
    pair.request.framing.clear();
    pair.request.body = Body::None;
    pair.request
        .fields
        .retain(|field| !field.starts_with("Expect"));
    (pair.expects, pair.early) = (false, false);
    pair.answer.body = Body::None;
    pair.answer.framing.clear();
    if dice.one_in(2) {
        pair.request.line = "GET /chat HTTP/1.1".to_owned();
        pair.request.fields.push("Upgrade: websocket".to_owned());
        pair.answer.line = "HTTP/1.1 101 Switching Protocols".to_owned();
        pair.answer.fields.push("Upgrade: websocket".to_owned());
    } else {
        pair.request.line = "CONNECT h.example:443 HTTP/1.1".to_owned();
        pair.answer.line = format!("HTTP/1.1 {} OK", dice.pick(&[&200_u16, &204, &299]));
        if dice.one_in(3) {
            pair.answer.framing.push("Content-Length: 7".to_owned());
        }
    }
    Finish::Tunnel(message::content(dice), message::content(dice))
}

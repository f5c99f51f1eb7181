//! What happens on one connection, and what the probes must say of it.

use galileo_probes::{Exchange, flags};

/// What one end does.
pub(crate) enum Step {
    /// The client writes this, at one go.
    Ask(Vec<u8>),
    /// The server writes this, at one go.
    Answer(Vec<u8>),
    /// The client says that it writes no more.
    ClientEnds,
    /// The server says so.
    ServerEnds,
}

/// How the connection comes about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// IPv4.
    Four,
    /// IPv6.
    Six,
    /// On a listener that defers accepting until there is data.
    Deferred,
}

/// One connection.
pub(crate) struct Script {
    pub(crate) kind: &'static str,
    pub(crate) way: Way,
    pub(crate) steps: Vec<Step>,
    pub(crate) expected: Vec<Expected>,
    prefix: String,
}

/// One exchange, as it must be reported.
#[derive(Clone)]
pub(crate) struct Expected {
    pub(crate) kind: &'static str,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) id: Option<String>,
    pub(crate) status: u16,
    pub(crate) interim: u8,
    /// Bytes of head and body.
    pub(crate) request: (u64, u64),
    /// Bytes of head and body.
    pub(crate) response: (u64, u64),
    pub(crate) flags: u32,
}

impl Script {
    /// Nothing yet; paths begin with kind and round, so that each is there once.
    pub(crate) fn new(kind: &'static str, round: u32) -> Self {
        Self {
            kind,
            way: Way::Four,
            steps: Vec::new(),
            expected: Vec::new(),
            prefix: format!("/{kind}/{round}"),
        }
    }

    /// The path of the next exchange.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.prefix, self.expected.len())
    }

    /// The id of the next exchange.
    pub(crate) fn id(&self) -> String {
        self.path()
            .trim_start_matches('/')
            .replace(|byte: char| !byte.is_ascii_alphanumeric(), "-")
    }

    pub(crate) fn ask(&mut self, bytes: impl AsRef<[u8]>) {
        self.steps.push(Step::Ask(bytes.as_ref().to_vec()));
    }

    pub(crate) fn answer(&mut self, bytes: impl AsRef<[u8]>) {
        self.steps.push(Step::Answer(bytes.as_ref().to_vec()));
    }

    /// Writes a request in pieces, an answer in pieces, and expects an exchange of them: with the path and id that are next,
    /// which must stand in the request.
    pub(crate) fn exchange(
        &mut self,
        method: &str,
        request: &[impl AsRef<[u8]>],
        status: u16,
        answer: &[impl AsRef<[u8]>],
    ) -> &mut Expected {
        for piece in request {
            self.ask(piece);
        }
        for piece in answer {
            self.answer(piece);
        }
        self.expect(method, joined(request), status, joined(answer))
    }

    /// Expects an exchange of these messages, with the path and id that are next.
    pub(crate) fn expect(
        &mut self,
        method: &str,
        request: impl AsRef<[u8]>,
        status: u16,
        answer: impl AsRef<[u8]>,
    ) -> &mut Expected {
        self.expected.push(Expected {
            kind: self.kind,
            method: method.to_owned(),
            path: self.path(),
            id: Some(self.id()),
            status,
            interim: 0,
            request: parts(request.as_ref()),
            response: parts(answer.as_ref()),
            flags: 0,
        });
        let last = self.expected.len() - 1;
        &mut self.expected[last]
    }
}

fn joined(pieces: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let pieces: Vec<_> = pieces.iter().map(AsRef::as_ref).collect();
    pieces.concat()
}

/// Bytes of head and body.
fn parts(message: &[u8]) -> (u64, u64) {
    let before = message.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let head = before.map_or(message.len(), |before| before + 4);
    (head as u64, (message.len() - head) as u64)
}

impl Expected {
    /// What is wrong about a report of this exchange; none if nothing is.
    pub(crate) fn difference(&self, seen: &Exchange) -> Option<String> {
        // Of a request that went on behind its answer, neither its end nor the bytes of its body are known.
        let has_end = self.flags & flags::EARLY_ANSWER == 0;
        let expected = (
            self.method.as_str(),
            self.id.as_deref(),
            self.status,
            self.interim,
            (self.request.0, has_end.then_some(self.request.1)),
            self.response,
            names(self.flags),
            true,
        );
        let found = (
            seen.method.as_str(),
            seen.request_id.as_deref(),
            seen.status,
            seen.interim,
            (seen.request_head_bytes, seen.request_body_bytes()),
            (seen.response_head_bytes, seen.response_body_bytes()),
            // Where it was looked at is no part of what it was.
            names(seen.flags & !flags::PEER_TIMES),
            seen.request_end_ns
                .is_none_or(|end| (seen.start_ns..=seen.end_ns).contains(&end)),
        );
        (expected != found).then(|| format!("{}: {expected:?} became {found:?}", self.path))
    }
}

fn names(bits: u32) -> Vec<&'static str> {
    let named = flags::NAMES.iter().enumerate();
    named
        .filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect()
}

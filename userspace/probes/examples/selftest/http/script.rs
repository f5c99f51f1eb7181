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
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
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
        self.expect(method, length(request), status, length(answer))
    }

    /// Expects an exchange with the path and id that are next.
    pub(crate) fn expect(
        &mut self,
        method: &str,
        request_bytes: u64,
        status: u16,
        response_bytes: u64,
    ) -> &mut Expected {
        self.expected.push(Expected {
            kind: self.kind,
            method: method.to_owned(),
            path: self.path(),
            id: Some(self.id()),
            status,
            interim: 0,
            request_bytes,
            response_bytes,
            flags: 0,
        });
        let last = self.expected.len() - 1;
        &mut self.expected[last]
    }
}

/// Bytes of all pieces.
pub(crate) fn length(pieces: &[impl AsRef<[u8]>]) -> u64 {
    pieces.iter().map(|piece| piece.as_ref().len() as u64).sum()
}

impl Expected {
    /// What is wrong about a report of this exchange; none if nothing is.
    pub(crate) fn difference(&self, seen: &Exchange) -> Option<String> {
        let expected = (
            self.method.as_str(),
            self.id.as_deref(),
            self.status,
            self.interim,
            self.request_bytes,
            self.response_bytes,
            names(self.flags),
        );
        let found = (
            seen.method.as_str(),
            seen.request_id.as_deref(),
            seen.status,
            seen.interim,
            seen.request_bytes,
            seen.response_bytes,
            names(seen.flags),
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

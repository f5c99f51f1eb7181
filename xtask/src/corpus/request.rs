//! One request of a plan.

use std::time::SystemTime;

use serde::Serialize;

use super::date::http_date;

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

/// Header with the id of a request, which the probes look for.
pub(super) const ID: &str = "x-galileo-request-id";
/// Header with its trace, as above.
pub(super) const TRACE: &str = "traceparent";

impl Request {
    /// A GET with this id, the one with this index in its plan.
    pub(super) fn plain(id: String, index: usize) -> Self {
        Self {
            method: "GET",
            path: format!("/ok/{id}"),
            version: "1.1",
            headers: vec![(ID, id.clone()), (TRACE, traceparent(&id, index))],
            body_prefix: "",
            body_bytes: 0,
            chunked: false,
            id,
        }
    }

    /// The same to another part of the server.
    pub(super) fn to(mut self, kind: &str) -> Self {
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

    pub(super) fn head(mut self) -> Self {
        self.method = "HEAD";
        self
    }

    pub(super) fn post(mut self, body_bytes: usize) -> Self {
        self.method = "POST";
        self.body_bytes = body_bytes;
        self
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Asks for what was modified since a moment that is later than any file's and not in the future: now.
    pub(super) fn conditional(self) -> Self {
        if self.path.starts_with("/304/") {
            let now = http_date(SystemTime::now());
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

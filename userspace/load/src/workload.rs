//! What load to put on what: plain data, and the check that it can be sent.

use std::{net::SocketAddr, time::Duration};

use crate::{
    error::Error,
    schedule::{Arrival, Extent},
};

/// Random streams are kept per client (about 300 bytes each), and request ids have room for 2²⁴ of them.
const MOST_CLIENTS: u32 = 1 << 20;

/// Names of headers that the engine writes itself.
const OWN_HEADERS: [&str; 5] = [
    "content-length",
    "host",
    "traceparent",
    "transfer-encoding",
    "x-galileo-request-id",
];

/// One workload: who sends what, where to, when and how much of it.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Position of the workload in the experiment file; workloads of one run differ in it.
    pub index: u16,
    /// The service asked for.
    pub service: String,
    /// Number of clients, at least 1.
    pub clients: u32,
    /// When requests are due; the rate is the total of all clients.
    pub arrival: Arrival,
    /// Load before the measured phase with the same process; none if zero.
    pub warmup: Duration,
    /// How long the measured phase is.
    pub extent: Extent,
    /// Determines the schedule.
    pub seed: u64,
    /// A number that differs from run to run and is the same for all workloads of a run: it makes request ids differ from
    /// those of other runs, and keeps them apart within a run.
    pub run_nonce: u64,
    /// Where to send; the j-th request (from 0, per phase) of client c goes to target (c + j) mod n.
    pub targets: Vec<Target>,
    /// What to send.
    pub request: Request,
    /// Most requests in flight; what is due beyond is dropped and counted.
    pub in_flight: usize,
    /// Time for an answer, from the first byte written; also the time for a connection to be made.
    pub timeout: Duration,
    /// How long to wait for answers after the measured phase.
    pub drain: Duration,
}

/// A place to send requests to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Address to connect to.
    pub addr: SocketAddr,
    /// Value of the `Host` header.
    pub host: String,
}

impl Target {
    /// A target whose `Host` is its address.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            host: addr.to_string(),
        }
    }
}

/// What every request of a workload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Method, e.g. `GET`.
    pub method: String,
    /// Path with query, e.g. `/function/web/?n=1`.
    pub path: String,
    /// Headers in the order in which they are written, behind those of the engine (`Host`, `x-galileo-request-id`,
    /// `traceparent`).
    pub headers: Vec<(String, String)>,
    /// Body; `Content-Length` is written if it is not empty, or if the method is one that usually has a body.
    pub body: Vec<u8>,
}

impl Default for Request {
    /// `GET /`.
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

impl Workload {
    /// A workload of one client that asks for `/`, with the usual limits: 1,024 requests in flight, 30 s for an answer, 5 s to
    /// drain, no warm-up, seed 1.
    #[must_use]
    pub fn new(
        service: impl Into<String>,
        target: Target,
        arrival: Arrival,
        extent: Extent,
    ) -> Self {
        Self {
            index: 0,
            service: service.into(),
            clients: 1,
            arrival,
            warmup: Duration::ZERO,
            extent,
            seed: 1,
            run_nonce: 0,
            targets: vec![target],
            request: Request::default(),
            in_flight: 1_024,
            timeout: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }

    /// Refuses what cannot be sent as it stands.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.fault().map_or(Ok(()), |why| {
            Err(Error::Invalid {
                service: self.service.clone(),
                why,
            })
        })
    }

    fn fault(&self) -> Option<String> {
        if !(1..=MOST_CLIENTS).contains(&self.clients) {
            return Some(format!(
                "it has {} clients; 1 to {MOST_CLIENTS} are possible",
                self.clients
            ));
        }
        if self.targets.is_empty() {
            return Some("it has no target; name at least one".to_owned());
        }
        if self.in_flight == 0 {
            return Some("`in_flight` is 0, so nothing could be sent; 1 is the least".to_owned());
        }
        if self.timeout.is_zero() {
            return Some("its time-out is 0, so no answer could come in time".to_owned());
        }
        if let Some(target) = self
            .targets
            .iter()
            .find(|target| !is_value(&target.host) || target.host.is_empty())
        {
            return Some(format!(
                "`{}` is no value for the Host header",
                target.host.escape_debug()
            ));
        }
        self.request.fault()
    }
}

impl Request {
    fn fault(&self) -> Option<String> {
        if !is_token(&self.method) {
            return Some(format!(
                "`{}` is no HTTP method",
                self.method.escape_debug()
            ));
        }
        if self.method == "CONNECT" {
            return Some(
                "CONNECT asks for a tunnel, which is no request that has an answer of its own"
                    .to_owned(),
            );
        }
        if !self.path.starts_with('/') || !self.path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(format!(
                "`{}` is no path: it begins with `/` and has no spaces and only ASCII; write others as %XX",
                self.path.escape_debug()
            ));
        }
        self.headers.iter().find_map(|(name, value)| {
            if !is_token(name) || !is_value(value) {
                return Some(format!(
                    "`{}: {}` is no header",
                    name.escape_debug(),
                    value.escape_debug()
                ));
            }
            let own = OWN_HEADERS
                .iter()
                .find(|own| own.eq_ignore_ascii_case(name))?;
            Some(format!(
                "the header `{own}` is written by the load engine itself; leave it out"
            ))
        })
    }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// RFC 9110 §5.5 without leading and trailing white space; bytes above ASCII are opaque to HTTP and allowed.
fn is_value(text: &str) -> bool {
    text.trim() == text
        && text
            .bytes()
            .all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> Workload {
        let target = Target::new(([127, 0, 0, 1], 80).into());
        Workload::new(
            "web",
            target,
            Arrival::Constant("1/s".parse().unwrap()),
            Extent::Requests(1),
        )
    }

    fn why(change: impl FnOnce(&mut Workload)) -> String {
        let mut workload = workload();
        change(&mut workload);
        workload.check().unwrap_err().to_string()
    }

    #[test]
    fn a_usual_workload_is_accepted() {
        let mut usual = workload();
        usual
            .request
            .headers
            .push(("Accept".to_owned(), "text/html; q=0.5, ü".to_owned()));
        usual.request.path = "/a?b=%20&c=[1]".to_owned();
        usual.check().unwrap();
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_what_would_be_right() {
        assert_eq!(
            why(|it| it.clients = 0),
            "the workload for `web` cannot run: it has 0 clients; 1 to 1048576 are possible"
        );
        assert!(why(|it| it.targets.clear()).contains("no target"));
        assert!(why(|it| it.in_flight = 0).contains("`in_flight` is 0"));
        assert!(why(|it| it.timeout = Duration::ZERO).contains("time-out is 0"));
        assert!(
            why(|it| it.targets[0].host = "a\r\nb".to_owned())
                .contains("no value for the Host header")
        );
        assert!(why(|it| it.request.method = "GET /".to_owned()).contains("no HTTP method"));
        assert!(why(|it| it.request.path = "/a b".to_owned()).contains("no path"));
        assert!(why(|it| it.request.path = "a".to_owned()).contains("no path"));
    }

    #[test]
    fn headers_cannot_smuggle_lines_or_replace_those_of_the_engine() {
        let header = |name: &str, value: &str| {
            let header = (name.to_owned(), value.to_owned());
            why(move |it| it.request.headers.push(header))
        };
        assert!(header("a", "b\r\nc: d").contains(r"`a: b\r\nc: d` is no header"));
        assert!(header("a b", "c").contains("is no header"));
        assert!(
            header("Traceparent", "x")
                .contains("`traceparent` is written by the load engine itself")
        );
        assert!(header("HOST", "x").contains("`host` is written by"));
    }
}

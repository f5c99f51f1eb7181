//! What is done: a case is a plan of requests that any client can be given.

use serde::Serialize;

use super::{network::Network, request::Request};

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
    pub(super) request: fn(usize, Request) -> Request,
}

/// A case of which nothing is special.
pub(super) const USUAL: Case = Case {
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
            let plain = Request::plain(format!("{prefix}-{index}"), index);
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

#[cfg(test)]
mod tests {
    use crate::corpus::{cases::CASES, request::ID};
    use std::collections::HashSet;

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

//! The real clients: how they are started and given their plans, and what they cannot do.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::case::{Case, Plan, Skill};
use super::place::{Group, Process, log_file};
use super::server::{Server, system_program};
use crate::namespace::Namespace;

/// A client program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Client {
    Curl,
    Wrk,
    Python,
    Node,
    Go,
    /// A program of our own on plain sockets, for what no library does.
    Sockets,
}

/// A line of a client's: what it did, or where it stands.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub(super) struct Said {
    /// The request that it tells of.
    pub id: Option<String>,
    /// Status of the final answer.
    pub status: u16,
    /// Bytes sent for it; none if the client cannot know.
    pub request_bytes: Option<u64>,
    /// Those of its head alone.
    pub request_head_bytes: Option<u64>,
    /// Bytes of the final answer; none if the client cannot know.
    pub response_bytes: Option<u64>,
    /// Those of its head alone.
    pub response_head_bytes: Option<u64>,
    /// Interim answers; none if the client cannot know.
    pub interim: Option<u8>,
    /// It broke the exchange off.
    pub cut: bool,
    /// Bytes of all answers of the plan.
    pub all_response_bytes: Option<u64>,
    /// It waits for a line.
    pub hold: bool,
    /// The plan is done.
    pub done: bool,
    /// The plan was given up.
    pub error: Option<String>,
}

/// Longest time between two lines of a client.
const PATIENCE: Duration = Duration::from_secs(15);

impl Client {
    /// Every client, in the order of the page.
    pub(super) const ALL: [Self; 6] = [
        Self::Curl,
        Self::Wrk,
        Self::Python,
        Self::Node,
        Self::Go,
        Self::Sockets,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Wrk => "wrk",
            Self::Python => "Python",
            Self::Node => "Node",
            Self::Go => "Go",
            Self::Sockets => "sockets",
        }
    }

    /// The programs that it needs of the machine.
    pub(super) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Curl => &["python3", "curl"],
            Self::Wrk => &["python3", "wrk"],
            Self::Python | Self::Sockets => &["python3"],
            Self::Node => &["node"],
            Self::Go => &["go"],
        }
    }

    /// What it is.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Curl => "curl, one process for all requests of a cell",
            Self::Wrk => {
                "wrk with a script that sends each request once, 2,000 where others send 40"
            }
            Self::Python => "Python's http.client",
            Self::Node => "Node's http with an agent",
            Self::Go => "Go's net/http",
            Self::Sockets => "a program of our own on Python's sockets, for what no library does",
        }
    }

    /// Why it cannot do a case against a server; none if it can.
    pub(super) fn lacks(self, server: Server, case: &Case) -> Option<&'static str> {
        match (self, case.skill) {
            (Self::Sockets, _) | (_, Skill::Plain) => {}
            (Self::Wrk, Skill::Pipelining | Skill::ChunkedBody | Skill::Mapped) => {}
            (_, Skill::Sockets) => return Some("no library does that; see sockets"),
            (Self::Wrk, Skill::Head | Skill::MixedPipelining) => {
                return Some("wrk waits for the body that the answer to a HEAD announces");
            }
            (Self::Wrk, Skill::Interim | Skill::Expect) => {
                return Some("wrk takes an interim answer for the final one");
            }
            (Self::Wrk, _) => return Some("wrk has no way to do that"),
            (_, Skill::Pipelining | Skill::MixedPipelining) => {
                return Some("it waits for each answer");
            }
            (Self::Python, Skill::Interim) => {
                return Some("http.client takes 103 for the final answer");
            }
            (Self::Curl, Skill::Upgrade) => return Some("curl takes 101 for an interim answer"),
            (Self::Curl, Skill::Hold) => return Some("curl does not wait between two requests"),
            (Self::Node | Self::Go, Skill::OldVersion) => return Some("it speaks HTTP/1.1 only"),
            (Self::Go, Skill::Connect) => {
                return Some("net/http sends CONNECT only ahead of TLS");
            }
            (Self::Python | Self::Node | Self::Go, Skill::FastOpen) => {
                return Some("its interface does not reach TCP fast open");
            }
            _ => {}
        }
        match (self, case.name, server) {
            (Self::Wrk, "lookalike-requests", _) => {
                Some("wrk sends a request in one write; see sockets")
            }
            (Self::Wrk, "304", server) if server.announces_in_304() => {
                Some("wrk waits for the body whose length a 304 tells")
            }
            (Self::Wrk | Self::Sockets, "post-chunked", Server::Java) => {
                Some("com.sun.net.httpserver takes neither extensions of chunks nor trailers")
            }
            _ => None,
        }
    }

    /// How many requests a cell has.
    pub(super) fn count(self, case: &Case) -> usize {
        match (self, case.few) {
            (Self::Wrk, false) => 2_000,
            (_, false) => 40,
            (_, true) => 10,
        }
    }
}

/// A client that runs; it ends when this is dropped.
pub(super) struct Running {
    /// Id of its cgroup.
    pub cgroup: u64,
    input: ChildStdin,
    lines: Receiver<String>,
    _process: Process,
    _group: Group,
}

impl Running {
    /// Starts a client.
    pub(super) fn start(
        client: Client,
        mount: &Path,
        namespace: &Namespace,
        assets: &Path,
        target: &Path,
        folder: &Path,
    ) -> Result<Self> {
        let assets = assets.join("clients");
        let group = Group::new(mount, &format!("client-{}", client.name()))?;
        let script = |name: &str, program: &str| -> Result<_> {
            let mut command = group.command(namespace, &system_program(program)?);
            command.arg(assets.join(name)).arg(folder);
            Ok(command)
        };
        let mut command = match client {
            Client::Curl => script("curl.py", "python3")?,
            Client::Wrk => script("wrk.py", "python3")?,
            Client::Python => script("python.py", "python3")?,
            Client::Sockets => script("sockets.py", "python3")?,
            Client::Node => script("node.js", "node")?,
            Client::Go => group.command(namespace, &target.join("go-client")),
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file(&folder.join("said"))?);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", client.name()))?;
        let input = child.stdin.take().context("piped")?;
        let output = child.stdout.take().context("piped")?;
        let (send, lines) = channel();
        // It ends with the process, whose end of the pipe is closed then.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            cgroup: group.id,
            input,
            lines,
            _process: Process(child),
            _group: group,
        })
    }

    /// Has a plan done; `at_hold` is called when the client waits in the middle.
    ///
    /// # Errors
    ///
    /// If the client gives up, ends or says nothing for long. Start another one then.
    pub(super) fn perform(
        &mut self,
        plan: &Plan,
        at_hold: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<Said>> {
        self.say(&serde_json::to_string(plan)?)?;
        let mut told = Vec::new();
        loop {
            let line = match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => bail!("the client said nothing for 15 s"),
                Err(RecvTimeoutError::Disconnected) => bail!("the client has ended"),
            };
            let said: Said =
                serde_json::from_str(&line).with_context(|| format!("the client said {line}"))?;
            if let Some(error) = said.error {
                bail!("the client gave up: {error}");
            } else if said.done {
                return Ok(told);
            } else if said.hold {
                at_hold()?;
                self.say("")?;
            } else {
                told.push(said);
            }
        }
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").context("the client has ended")
    }
}

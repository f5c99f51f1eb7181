//! The program that has the probes: `userspace/probes/examples/conformance.rs`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::place::Process;

/// An exchange that the probes saw.
#[derive(Deserialize, Clone, Debug)]
pub(super) struct Seen {
    pub role: Role,
    pub cgroup: u64,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub method: String,
    pub path: String,
    pub status: u16,
    pub interim: u8,
    pub request_bytes: u64,
    pub request_head_bytes: u64,
    pub request_body_bytes: Option<u64>,
    pub response_bytes: u64,
    pub response_head_bytes: u64,
    pub response_body_bytes: u64,
    pub id: Option<String>,
    pub traceparent: Option<String>,
    pub flags: Vec<String>,
    pub start_ns: u64,
    pub request_end_ns: Option<u64>,
    pub first_byte_ns: u64,
    pub end_ns: u64,
}

/// What the probes count beside exchanges, by kind.
pub(super) type Ledger = BTreeMap<String, u64>;

/// Whose side.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Server,
    Client,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Ready { ready: PathBuf },
    Synced { synced: Ledger },
    Exchange(Box<Seen>),
}

/// The probes, attached; they go when this is dropped.
pub(super) struct Watcher {
    /// Where cgroup2 is mounted.
    pub mount: PathBuf,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Process,
}

impl Watcher {
    /// Starts it for exchanges with servers on these ports.
    pub(super) fn start(program: &Path, ports: &[u16]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(ports.iter().map(u16::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the measuring program")?;
        let input = child.stdin.take().context("piped")?;
        let output = child.stdout.take().context("piped")?;
        let mut watcher = Self {
            mount: PathBuf::new(),
            input,
            lines: BufReader::new(output).lines(),
            _process: Process(child),
        };
        watcher.mount = watcher.ready()?;
        Ok(watcher)
    }

    fn ready(&mut self) -> Result<PathBuf> {
        match self.line()? {
            Line::Ready { ready } => Ok(ready),
            _ => bail!("the measuring program said something else"),
        }
    }

    fn line(&mut self) -> Result<Line> {
        let line = self
            .lines
            .next()
            .context("the measuring program has ended; is this root?")??;
        serde_json::from_str(&line).with_context(|| format!("the measuring program said {line}"))
    }

    fn order(&mut self, order: &str) -> Result<()> {
        writeln!(self.input, "{order}").context("the measuring program has ended")
    }

    /// Detaches the probes.
    pub(super) fn pause(&mut self) -> Result<()> {
        self.order("pause")?;
        self.ready().map(drop)
    }

    /// Attaches them again.
    pub(super) fn resume(&mut self) -> Result<()> {
        self.order("resume")?;
        self.ready().map(drop)
    }

    /// Appends what was seen since the last call; returns the probes' ledger of these cgroups, and of none.
    pub(super) fn sync(&mut self, cgroups: [u64; 2], seen: &mut Vec<Seen>) -> Result<Ledger> {
        self.order(&format!("sync {} {}", cgroups[0], cgroups[1]))?;
        loop {
            match self.line()? {
                Line::Exchange(exchange) => seen.push(*exchange),
                Line::Synced { synced } => return Ok(synced),
                Line::Ready { .. } => bail!("the measuring program said something else"),
            }
        }
    }
}

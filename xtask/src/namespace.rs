//! A network namespace of our own: nothing that is done in it touches the machine's network, and it leaves nothing behind.

use std::fs;
use std::io::Read;
use std::process::{Child, ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A network namespace; it goes with the last process in it.
pub(crate) struct Namespace {
    /// Keeps it: reads from a pipe until that is closed, and ends with this process in any case.
    holder: Child,
}

impl Namespace {
    /// Makes one with `lo` up, in which the shell then runs `setup`.
    pub(crate) fn new(setup: &str) -> Result<Self> {
        let script = format!("ip link set lo up && {setup} && echo up && exec cat");
        let mut holder = process::leashed("KILL")
            .args(["unshare", "--net", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start `setpriv` of util-linux")?;
        let mut answer = [0; 3];
        let output: Option<&mut ChildStdout> = holder.stdout.as_mut();
        let read = output.context("piped")?.read_exact(&mut answer);
        let namespace = Self { holder };
        read.context("cannot make a network namespace; is this root?")?;
        Ok(namespace)
    }

    /// A process in it that lives as long as this.
    pub(crate) fn process(&self) -> String {
        self.holder.id().to_string()
    }

    /// The beginning of a command that is to run inside.
    pub(crate) fn entry(&self) -> [String; 2] {
        let of_holder = format!("--net=/proc/{}/ns/net", self.holder.id());
        ["nsenter".to_owned(), of_holder]
    }

    /// A counter of its TCP: group and name. In the files is for each group a line of names, then a line of values.
    pub(crate) fn counter(&self, (group, name): (&str, &str)) -> Result<u64> {
        let file = if group == "TcpExt" { "netstat" } else { "snmp" };
        let path = format!("/proc/{}/net/{file}", self.holder.id());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let mut lines = text.lines().filter(|line| {
            line.split_once(':')
                .is_some_and(|(begin, _)| begin == group)
        });
        let (names, values) = (lines.next(), lines.next());
        let pairs = names.zip(values).map(|(names, values)| {
            let names = names.split_whitespace();
            names.zip(values.split_whitespace())
        });
        let found = pairs.and_then(|mut pairs| pairs.find(|(one, _)| *one == name));
        let value = found
            .with_context(|| format!("{path} has no {group} {name}"))?
            .1;
        value
            .parse()
            .with_context(|| format!("{path}: {name} is {value}"))
    }

    /// As [`wait_for_listener`], in this namespace.
    pub(crate) fn wait_for_listener(
        &self,
        port: u16,
        check: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        wait_for_listener(&self.process(), port, check)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It has no other work; nobody could be told of an error.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Waits until somebody listens on a port in the network namespace of a process (`self` for our own), or `check` finds an
/// error.
pub(crate) fn wait_for_listener(
    process: &str,
    port: u16,
    mut check: impl FnMut() -> Result<()>,
) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        check()?;
        if listens(process, port)? {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
    bail!("nobody listens on port {port} after 20 s")
}

/// Whether a socket of either family is in LISTEN (state 0A of `proc_net_tcp.rst`) on a port.
fn listens(process: &str, port: u16) -> Result<bool> {
    let suffix = format!(":{port:04X}");
    for table in ["tcp", "tcp6"] {
        let path = format!("/proc/{process}/net/{table}");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let found = text.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().unwrap_or_default();
            local.ends_with(&suffix) && fields.nth(1) == Some("0A")
        });
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

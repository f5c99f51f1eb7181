//! Starting the process of a replica, and learning of its end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use galileo_wire::clock::boot_ns;
use rustix::process::Signal;
use tokio::sync::watch;

use super::control;
use super::exec::{EXEC, FAILED, JOINED, Request};
use super::limits::Limited;
use super::output::Output;
use super::supervise::{EXITED, SIGNALLED, STARTED};

/// How long a helper may take until it is the command.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the process of a replica ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitInfo {
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Signal that ended it, if one did. Neither code nor signal: its supervisor was killed, and nobody saw the end.
    pub signal: Option<i32>,
    /// The kernel killed it, or one of its processes, because the memory limit was reached.
    pub oom_killed: bool,
    /// When the end was noticed, on `CLOCK_BOOTTIME`.
    pub at_ns: u64,
}

impl ExitInfo {
    /// It ended by itself and says that all is well.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    fn new(code: Option<i32>, signal: Option<i32>, limited: &Limited) -> Self {
        let oom_killed = signal == Some(Signal::KILL.as_raw()) && limited.oom_kills() > 0;
        Self {
            code,
            signal,
            oom_killed,
            at_ns: boot_ns(),
        }
    }
}

impl fmt::Display for ExitInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            _ if self.oom_killed => f.write_str("was killed by the kernel at its memory limit"),
            (Some(code), _) => write!(f, "ended with exit code {code}"),
            (None, Some(signal)) => match name_of(signal) {
                Some(name) => write!(f, "was ended by {name}"),
                None => write!(f, "was ended by signal {signal}"),
            },
            (None, None) => f.write_str("ended with its supervisor, which was killed"),
        }
    }
}

fn name_of(signal: i32) -> Option<&'static str> {
    let names = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::TERM, "SIGTERM"),
    ];
    names
        .iter()
        .find(|(known, _)| known.as_raw() == signal)
        .map(|(_, name)| *name)
}

/// What is to be started.
pub(crate) struct Launch<'a> {
    pub helper: &'a Path,
    pub request: Request,
    pub argv: &'a [String],
    pub env: BTreeMap<OsString, OsString>,
    pub output: &'a Output,
}

/// A replica's process that has just become its command.
pub(crate) struct Launched {
    /// The command, or its supervisor.
    child: Child,
    /// The command.
    pub pid: u32,
    /// The channel to the supervisor, if there is one.
    supervisor: Option<BufReader<UnixStream>>,
}

impl Launch<'_> {
    /// Starts the process, and waits for its `exec`. The error is the reason for people.
    pub(crate) fn start(self) -> Result<Launched, String> {
        let failed = |error: io::Error| format!("cannot be started: {error}");
        let (channel, stdin) = control::pair().map_err(failed)?;
        let (stdout, stderr) = self
            .output
            .create()
            .map_err(|error| format!("its output cannot be kept: {error}"))?;
        let mut child = Command::new(self.helper)
            .arg(EXEC)
            .args(self.request.arguments())
            .args(self.argv)
            .envs(&self.env)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            // The terminal's Ctrl-C is for Galileo, which then ends its replicas in order.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                format!(
                    "the helper {} cannot be started: {error}",
                    self.helper.display()
                )
            })?;
        match listen(channel) {
            Ok(Answer::Joined) => Ok(Launched {
                pid: child.id(),
                child,
                supervisor: None,
            }),
            Ok(Answer::Started(pid, channel)) => Ok(Launched {
                child,
                pid,
                supervisor: Some(channel),
            }),
            refused => {
                // It may be gone already; the refusal is what counts.
                let _ = child.kill();
                let _ = child.wait();
                Err(match refused {
                    Ok(Answer::Failed(reason)) => reason,
                    Ok(_) => {
                        "the helper does not do its work; its `main` must call `helper_main` first"
                            .to_owned()
                    }
                    // What a socket says when its time-out has passed.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => format!(
                        "it did not start within {} s; is the machine overloaded, or was it stopped?",
                        PATIENCE.as_secs()
                    ),
                    Err(error) => format!("the helper does not answer: {error}"),
                })
            }
        }
    }
}

enum Answer {
    /// The process is the command.
    Joined,
    /// The process is the supervisor of the command with this id.
    Started(u32, BufReader<UnixStream>),
    /// There is no command, for this reason.
    Failed(String),
    /// Not the words of a helper.
    Strange,
}

fn listen(channel: UnixStream) -> io::Result<Answer> {
    channel.set_read_timeout(Some(PATIENCE))?;
    let mut channel = BufReader::new(channel);
    let mut text = String::new();
    channel.read_line(&mut text)?;
    if let Some(pid) = text
        .strip_prefix(STARTED)
        .and_then(|pid| pid.trim_end().parse().ok())
    {
        channel.get_ref().set_read_timeout(None)?;
        return Ok(Answer::Started(pid, channel));
    }
    channel.read_to_string(&mut text)?;
    let reason = text.strip_prefix(JOINED).unwrap_or(&text);
    Ok(match reason.strip_prefix(FAILED) {
        Some(reason) => Answer::Failed(reason.to_owned()),
        None if text == JOINED => Answer::Joined,
        None => Answer::Strange,
    })
}

/// Somebody who waits for the end of a replica's process.
pub(crate) struct Watch {
    /// How it ended, once it has.
    pub exit: watch::Receiver<Option<ExitInfo>>,
    /// The thread that waits.
    pub thread: JoinHandle<()>,
    /// The supervisor and the channel to it, whose end ends it.
    pub supervisor: Option<(u32, UnixStream)>,
}

impl Launched {
    /// Waits for the end in a thread of its own: that needs no runtime, and works while one is being torn down.
    pub(crate) fn watch(mut self, limited: Limited) -> io::Result<Watch> {
        let (tell, exit) = watch::channel(None);
        let own_end = self
            .supervisor
            .as_ref()
            .map(|channel| channel.get_ref().try_clone())
            .transpose()?;
        let supervisor = own_end.map(|channel| (self.child.id(), channel));
        let thread = thread::Builder::new()
            .name("replica".to_owned())
            .spawn(move || {
                let mut told = false;
                for line in self
                    .supervisor
                    .take()
                    .into_iter()
                    .flat_map(BufRead::lines)
                    .map_while(Result::ok)
                {
                    if let Some((code, signal)) = told_end(&line) {
                        tell.send_replace(Some(ExitInfo::new(code, signal, &limited)));
                        told = true;
                    }
                }
                let own = self.child.wait();
                if !told {
                    let (code, signal) = match own {
                        Ok(status) if self.pid == self.child.id() => {
                            (status.code(), status.signal())
                        }
                        // The supervisor's end is not that of the command.
                        _ => (None, None),
                    };
                    tell.send_replace(Some(ExitInfo::new(code, signal, &limited)));
                }
            })?;
        Ok(Watch {
            exit,
            thread,
            supervisor,
        })
    }
}

fn told_end(line: &str) -> Option<(Option<i32>, Option<i32>)> {
    if let Some(code) = line.strip_prefix(EXITED) {
        return Some((code.parse().ok(), None));
    }
    Some((None, line.strip_prefix(SIGNALLED)?.parse().ok()))
}

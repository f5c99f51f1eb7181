//! `__guard`: removes what a run left if Galileo dies without doing so.
//!
//! A process cannot clean up after its own SIGKILL, and the parent-death signal reaches direct children only (and is sent
//! when the *thread* that started them ends, which a runtime's threads do at any time). So a small process waits at the
//! other end of a channel: `goodbye` ends it, the channel's end without that sets it to work. It is in a session of its
//! own, away from the terminal's Ctrl-C, and does not carry Galileo's name, so that `killall -9 galileo` spares it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::control;
use super::error::{Error, Result};
use super::tree::{GUARD, Tree};
use super::{cgroup, clean};

/// The hidden subcommand.
pub(crate) const COMMAND: &str = "__guard";
const NAME: &std::ffi::CStr = c"run-guard";
const READY: &str = "ready\n";
const GOODBYE: &str = "goodbye\n";
/// Said instead if nothing is left of the run but the guard and its cgroup.
const LAST: &str = "goodbye, you are the last\n";
/// How long a helper may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the guard is to remove.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Charge {
    pub run_id: String,
    pub base: PathBuf,
    pub home: PathBuf,
    pub owner: PathBuf,
    /// File that it writes to if it had to work.
    pub log: PathBuf,
}

/// A guard on duty.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    channel: UnixStream,
}

impl Guard {
    /// Starts a guard and waits until it is on duty.
    pub(crate) fn start(helper: &Path, charge: &Charge) -> Result<Self> {
        let refused = |why: String| Error::Helper {
            helper: helper.to_owned(),
            why,
        };
        let (mut channel, stdin) = control::pair().map_err(|error| refused(error.to_string()))?;
        // The description goes through the channel, because `pkill -f galileo` looks at arguments.
        let mut child = Command::new(helper)
            .arg0(NAME.to_string_lossy().as_ref())
            .arg(COMMAND)
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()
            .map_err(|error| refused(error.to_string()))?;
        let greeted = (|| {
            channel.set_read_timeout(Some(PATIENCE))?;
            serde_json::to_writer(&channel, charge)?;
            channel.write_all(b"\n")?;
            let mut answer = String::new();
            BufReader::new(&channel).read_line(&mut answer)?;
            Ok::<_, io::Error>(answer)
        })();
        match greeted {
            Ok(answer) if answer == READY => Ok(Self { child, channel }),
            other => {
                // It may be gone already; the refusal is what counts.
                let _ = child.kill();
                let _ = child.wait();
                Err(refused(match other {
                    Ok(answer) if !answer.is_empty() => answer.trim_end().to_owned(),
                    _ => "it does not answer; its `main` must call `helper_main` first".to_owned(),
                }))
            }
        }
    }

    /// Sends the guard home and waits until it has gone. As the last one of the run it takes the run's cgroup along, so
    /// that there is no moment at which nobody would do that.
    pub(crate) fn dismiss(mut self, last: bool) -> io::Result<()> {
        let farewell = if last { LAST } else { GOODBYE };
        // One that is dead already needs no goodbye.
        let _ = self.channel.write_all(farewell.as_bytes());
        let _ = self.channel.shutdown(Shutdown::Write);
        // It closes its end when it ends; one that was stopped (SIGSTOP) does not.
        if self.channel.read_to_end(&mut Vec::new()).is_err() {
            self.child.kill()?;
        }
        self.child.wait().map(|_| ())
    }
}

/// Is the guard.
pub(crate) fn main() -> ExitCode {
    match watch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{COMMAND} is for galileo's own use: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch() -> Result<()> {
    let failed = |source: io::Error| Error::Io {
        doing: "stand guard".to_owned(),
        source,
    };
    let mut channel = control::take().map_err(failed)?;
    let mut reader = BufReader::new(channel.try_clone().map_err(failed)?);
    let mut line = String::new();
    reader.read_line(&mut line).map_err(failed)?;
    let charge: Charge = serde_json::from_str(&line).map_err(|error| failed(error.into()))?;
    rustix::process::setsid().map_err(|error| failed(error.into()))?;
    rustix::thread::set_name(NAME).map_err(|error| failed(error.into()))?;
    let tree = Tree::adopt(charge.base.clone(), charge.home.clone(), &charge.run_id)?;
    let ready = cgroup::create_and_join(&tree.folder(GUARD));
    let answer = ready.as_ref().map_or_else(
        |error| format!("no cgroup for the guard: {error}\n"),
        |()| READY.to_owned(),
    );
    channel.write_all(answer.as_bytes()).map_err(failed)?;
    ready.map_err(failed)?;

    let mut said = String::new();
    // A broken channel is an end like any other.
    let _ = reader.read_to_string(&mut said);
    match said.as_str() {
        GOODBYE => return Ok(()),
        LAST => {
            // What does not work Galileo tries once more, and tells.
            tree.dissolve(Some(GUARD), PATIENCE);
            return Ok(());
        }
        _ => {}
    }
    let report = clean::end_of_run(&tree, Some(GUARD), &charge.run_id, Some(&charge.owner));
    fs::write(&charge.log, format!("galileo died; {report}\n"))
        .map_err(|source| Error::at("write", &charge.log, source))
}

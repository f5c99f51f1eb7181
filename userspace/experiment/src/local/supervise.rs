//! `__exec --supervise`: without cgroups a replica is the tree of processes below a supervisor.
//!
//! The supervisor is the command's parent and the subreaper of all that the command starts: an orphan becomes its child,
//! and what it used is added to the supervisor's account when it ends. So no process gets out of sight, and no CPU time
//! is lost. When the channel to Galileo ends, for whatever reason, the supervisor kills them all.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, set_child_subreaper, wait};

use super::exec::Refusal;
use super::{cgroup, procfs};

/// Said on the channel with the command's process id.
pub(crate) const STARTED: &str = "started ";
/// Said on the channel with the command's exit code.
pub(crate) const EXITED: &str = "exited ";
/// Said on the channel with the signal that ended the command.
pub(crate) const SIGNALLED: &str = "signalled ";

/// Runs the command until Galileo ends the channel.
pub(crate) fn run(
    mut channel: &UnixStream,
    program: &OsStr,
    arguments: &[OsString],
) -> Result<(), Refusal> {
    let own = |error: String| Refusal {
        reason: format!("cannot supervise the command: {error}"),
        code: 125,
    };
    set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| own(error.to_string()))?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| Refusal::of(Path::new(program), &error))?;
    let main = child.id();
    let mut ended = channel
        .try_clone()
        .map_err(|error| own(error.to_string()))?;
    let killer = thread::spawn(move || {
        // Galileo says nothing; any end of the reading means that it is done, or dead.
        let _ = ended.read(&mut [0]);
        kill_descendants();
    });
    // A failing channel has ended; the killer knows.
    let _ = writeln!(channel, "{STARTED}{main}");
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == main.cast_signed() => {
                // As above.
                let _ = channel.write_all(describe(status).as_bytes());
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // No children are left, and none can come: who could start one is a descendant.
            Err(_) => break,
        }
    }
    // The account must stay readable until Galileo has read it.
    killer.join().map_err(|_| own("a thread failed".to_owned()))
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("{EXITED}{code}\n"),
        (None, Some(signal)) => format!("{SIGNALLED}{signal}\n"),
        (None, None) => String::new(),
    }
}

fn kill_descendants() {
    loop {
        let living: Vec<Pid> = procfs::descendants(std::process::id())
            .into_iter()
            .filter(|stat| stat.state != 'Z')
            .filter_map(|stat| Pid::from_raw(stat.pid))
            .collect();
        if living.is_empty() {
            return;
        }
        cgroup::signal(&living, Signal::KILL);
        thread::sleep(Duration::from_millis(2));
    }
}

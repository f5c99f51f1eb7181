//! `__exec`: what a replica is before it is its command. Joins cgroups, pins, changes the folder, executes.
//!
//! Doing this between `fork` and `exec` of Galileo would need `unsafe` code in a process with many threads; a program
//! that does it to itself needs neither. The parent reads `joined` on the channel and then its end, which is the moment
//! of the `exec`; or `failed` and the reason.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::{cgroup, control, supervise};

/// The hidden subcommand.
pub(crate) const EXEC: &str = "__exec";
/// Said on the channel before the command is executed.
pub(crate) const JOINED: &str = "joined\n";
/// Said on the channel before the reason why there will be no command.
pub(crate) const FAILED: &str = "failed ";

/// What to do before the command is executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// Folders of the cgroups to join.
    pub join: Vec<PathBuf>,
    /// CPUs to pin to; none for no pinning.
    pub cpus: Vec<u32>,
    /// Folder to change to.
    pub cwd: Option<PathBuf>,
    /// Process that must still be the parent.
    pub parent: u32,
    /// Stay as the parent of the command and of all its orphans.
    pub supervise: bool,
}

impl Request {
    /// The arguments of `__exec` up to and including `--`.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--parent".into(), self.parent.to_string().into()];
        for folder in &self.join {
            arguments.extend(["--join".into(), folder.into()]);
        }
        for cpu in &self.cpus {
            arguments.extend(["--cpu".into(), cpu.to_string().into()]);
        }
        if let Some(cwd) = &self.cwd {
            arguments.extend(["--cwd".into(), cwd.into()]);
        }
        if self.supervise {
            arguments.push("--supervise".into());
        }
        arguments.push("--".into());
        arguments
    }

    /// Takes the arguments up to and including `--`; what follows is the command.
    pub(crate) fn parse(arguments: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let mut request = Self::default();
        loop {
            match arguments.next()?.to_str()? {
                "--" => return Some(request),
                "--supervise" => request.supervise = true,
                "--parent" => request.parent = arguments.next()?.to_str()?.parse().ok()?,
                "--join" => request.join.push(arguments.next()?.into()),
                "--cpu" => request.cpus.push(arguments.next()?.to_str()?.parse().ok()?),
                "--cwd" => request.cwd = Some(arguments.next()?.into()),
                _ => return None,
            }
        }
    }
}

/// Why there is no command, and the exit code that shells use for it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub reason: String,
    pub code: u8,
}

impl Refusal {
    fn own(reason: String) -> Self {
        Self { reason, code: 125 }
    }

    /// Why `exec` of a command failed.
    pub(crate) fn of(program: &Path, error: &io::Error) -> Self {
        let name = program.display();
        let is_path = program.components().count() > 1 || program.is_absolute();
        let (reason, code) = match error.kind() {
            io::ErrorKind::NotFound if is_path && program.exists() => (
                format!("{name} is there, but the interpreter that it names is not"),
                127,
            ),
            io::ErrorKind::NotFound if is_path && program.is_relative() => {
                let cwd = std::env::current_dir().unwrap_or_default();
                (
                    format!(
                        "command not found: {name} (looked for in {})",
                        cwd.display()
                    ),
                    127,
                )
            }
            io::ErrorKind::NotFound => (format!("command not found: {name}"), 127),
            io::ErrorKind::PermissionDenied => {
                (format!("{name} is not executable (chmod +x?)"), 126)
            }
            _ => (format!("{name} cannot be executed: {error}"), 126),
        };
        Self { reason, code }
    }
}

/// Does what the arguments behind `__exec` say. Returns only if there is no command to become.
pub(crate) fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut channel = match control::take() {
        Ok(channel) => channel,
        Err(error) => {
            eprintln!("{EXEC} is for galileo's own use: {error}");
            return ExitCode::from(125);
        }
    };
    let prepared = prepare(&mut arguments);
    let refusal = match prepared {
        Ok(Prepared {
            supervise: true,
            program,
            arguments,
        }) => match supervise::run(&channel, &program, &arguments) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(refusal) => refusal,
        },
        Ok(Prepared {
            program, arguments, ..
        }) => {
            // If nobody listens any more, the command's own end is near, too.
            let _ = channel.write_all(JOINED.as_bytes());
            Refusal::of(
                Path::new(&program),
                &Command::new(&program).args(arguments).exec(),
            )
        }
        Err(refusal) => refusal,
    };
    // As above.
    let _ = write!(channel, "{FAILED}{}", refusal.reason);
    ExitCode::from(refusal.code)
}

struct Prepared {
    supervise: bool,
    program: OsString,
    arguments: Vec<OsString>,
}

fn prepare(arguments: &mut impl Iterator<Item = OsString>) -> Result<Prepared, Refusal> {
    let request = Request::parse(arguments).ok_or_else(|| {
        Refusal::own(format!(
            "{EXEC} does not understand its arguments; mixed versions of galileo?"
        ))
    })?;
    let program = arguments
        .next()
        .ok_or_else(|| Refusal::own("the command is empty".to_owned()))?;
    // What it has run by now is its new cgroup's by the probes and its old one's by the kernel (docs/measurements.md), unless it leaves
    // its CPU in between.
    std::thread::sleep(Duration::from_micros(1));
    for folder in &request.join {
        cgroup::join(folder, std::process::id()).map_err(|error| {
            Refusal::own(format!(
                "cannot join the cgroup {}: {error}",
                folder.display()
            ))
        })?;
    }
    // If Galileo was killed before the replica stood in its cgroup, nobody would come to look for it.
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get())
        != Some(request.parent.cast_signed())
    {
        return Err(Refusal::own("galileo is gone".to_owned()));
    }
    pin(&request.cpus)?;
    if let Some(cwd) = &request.cwd {
        std::env::set_current_dir(cwd).map_err(|error| {
            Refusal::own(format!(
                "cannot change to the folder {}: {error}",
                cwd.display()
            ))
        })?;
    }
    Ok(Prepared {
        supervise: request.supervise,
        program,
        arguments: arguments.collect(),
    })
}

fn pin(cpus: &[u32]) -> Result<(), Refusal> {
    if cpus.is_empty() {
        return Ok(());
    }
    let refused =
        |error: String| Refusal::own(format!("cannot be pinned to the CPUs {cpus:?}: {error}"));
    let allowed = sched_getaffinity(None).map_err(|error| refused(error.to_string()))?;
    let mut wanted = CpuSet::new();
    for cpu in cpus.iter().map(|cpu| *cpu as usize) {
        // The kernel would leave out what is not allowed without a word, as long as one CPU remains.
        if cpu >= CpuSet::MAX_CPU || !allowed.is_set(cpu) {
            let allowed: Vec<usize> = (0..CpuSet::MAX_CPU)
                .filter(|cpu| allowed.is_set(*cpu))
                .collect();
            return Err(refused(format!(
                "there is no CPU {cpu} for this process, which may use {allowed:?}"
            )));
        }
        wanted.set(cpu);
    }
    sched_setaffinity(None, &wanted).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_survives_its_way_through_the_arguments() {
        let request = Request {
            join: vec!["/sys/fs/cgroup/a b".into(), "/c".into()],
            cpus: vec![0, 3],
            cwd: Some("/tmp".into()),
            parent: 4711,
            supervise: true,
        };
        let mut arguments = request.arguments();
        arguments.extend(["./server".into(), "--".into(), "--join".into()]);
        let mut arguments = arguments.into_iter();
        assert_eq!(Request::parse(&mut arguments), Some(request));
        assert_eq!(arguments.collect::<Vec<_>>(), ["./server", "--", "--join"]);
    }

    #[test]
    fn unknown_or_missing_arguments_are_refused() {
        for arguments in [
            vec!["--what"],
            vec!["--parent"],
            vec!["--parent", "x", "--"],
            vec![],
        ] {
            let mut arguments = arguments.into_iter().map(OsString::from);
            assert_eq!(Request::parse(&mut arguments), None);
        }
    }
}

//! Work in a cgroup of its own, done by another process of this program.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use galileo_probes::cgroup::{self, CgroupId};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

use crate::Outcome;

/// A cgroup with one process, which works when it is asked. Both go when this is dropped.
pub(crate) struct Worker {
    folder: PathBuf,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Makes the cgroup, starts the process in it, and waits until it is ready; returns what it said then, too.
    pub(crate) fn start(name: &str, what: &str, argument: &str) -> Outcome<(Self, String)> {
        let mount = cgroup::mount_point().ok_or("no cgroup2 is mounted")?;
        let folder = mount.join(format!("selftest-{name}"));
        fs::create_dir_all(&folder)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("child")
            .arg(&folder)
            .args([what, argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no pipe")?;
        let output = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut worker = Self {
            folder,
            child,
            input,
            output,
        };
        let said = worker.line()?;
        Ok((worker, said))
    }

    /// The kernel's id of the cgroup.
    pub(crate) fn id(&self) -> Outcome<CgroupId> {
        Ok(cgroup::id(&self.folder)?)
    }

    /// The cgroup's CPU time by the kernel, in nanoseconds.
    pub(crate) fn used_ns(&self) -> Outcome<u64> {
        let text = fs::read_to_string(self.folder.join("cpu.stat"))?;
        let used = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        Ok(used.ok_or("cpu.stat has no usage_usec")?.parse::<u64>()? * 1000)
    }

    /// Lets it begin.
    pub(crate) fn go(&mut self) -> Outcome {
        self.input.write_all(b"go\n")?;
        Ok(())
    }

    /// Waits for its next line.
    pub(crate) fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("a part of the self-test ended early".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Waits until it sleeps: what it used is accounted then.
    pub(crate) fn sleeps(&self) -> Outcome {
        let path = format!("/proc/{}/stat", self.child.id());
        loop {
            let stat = fs::read_to_string(&path)?;
            if stat
                .rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('S'))
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be gone already; nobody is left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir(&self.folder);
    }
}

/// The process in the cgroup.
pub(crate) fn run(cgroup: &Path, what: &str, argument: &str) -> Outcome {
    fs::write(cgroup.join("cgroup.procs"), "0")?;
    match what {
        "spin" => spin(Duration::from_millis(argument.parse()?)),
        "run" => run_until_told(),
        "send" => transfer_out(argument.parse()?),
        "receive" => transfer_in(argument.parse()?),
        _ => Err(format!("no part is called {what}").into()),
    }
}

/// Runs on CPU 0 from one word to the next.
fn run_until_told() -> Outcome {
    stay_on_the_first_cpu()?;
    say("ready")?;
    asked()?;
    // One thread only: a second one would wait beside it for the other cgroup, and twice as long together.
    let input = std::io::stdin();
    let now = Timespec::default();
    while poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&now))? == 0 {}
    asked()?;
    say("done")?;
    asked()?;
    Ok(())
}

fn stay_on_the_first_cpu() -> Outcome {
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first)?;
    Ok(())
}

/// Uses that much CPU time on CPU 0 each time it is asked.
fn spin(time: Duration) -> Outcome {
    stay_on_the_first_cpu()?;
    let used = || {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(used.tv_sec.unsigned_abs(), used.tv_nsec as u32)
    };
    say("ready")?;
    while asked()? {
        let end = used() + time;
        while used() < end {}
        say("done")?;
    }
    Ok(())
}

/// Sends so many bytes to the first that connects.
fn transfer_out(bytes: u64) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say(&listener.local_addr()?.port().to_string())?;
    let (mut peer, _) = listener.accept()?;
    std::io::copy(&mut std::io::repeat(0).take(bytes), &mut peer)?;
    drop(peer);
    say("sent")?;
    asked()?;
    Ok(())
}

/// Receives what comes from that port.
fn transfer_in(port: u16) -> Outcome {
    say("ready")?;
    asked()?;
    let mut peer = TcpStream::connect(("127.0.0.1", port))?;
    let received = std::io::copy(&mut peer, &mut std::io::sink())?;
    say(&received.to_string())?;
    asked()?;
    Ok(())
}

fn say(line: &str) -> Outcome {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()?;
    Ok(())
}

/// Waits for a line; false at the end of them.
fn asked() -> Outcome<bool> {
    Ok(std::io::stdin().lock().read_line(&mut String::new())? > 0)
}

//! A kernel booted in qemu, and the lines of its console.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::catalog::Architecture;
use crate::process::Running;

/// What is booted.
pub(crate) struct Guest<'a> {
    pub(crate) architecture: Architecture,
    pub(crate) image: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// What the kernel is told besides what every one is.
    pub(crate) arguments: &'a str,
    /// Variables of the first process.
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// Where to keep what the console says.
    pub(crate) console: &'a Path,
    /// Longest time until the machine turns itself off.
    pub(crate) limit: Duration,
}

/// What came of it.
pub(crate) struct Booted {
    /// The console's lines.
    pub(crate) lines: Vec<String>,
    /// How long it ran.
    pub(crate) took: Duration,
}

impl Guest<'_> {
    /// Boots it and waits until it turns itself off.
    ///
    /// # Errors
    ///
    /// If qemu fails, or the time is over.
    pub(crate) fn boot(&self) -> Result<Booted> {
        let begin = Instant::now();
        let mut kept = File::create(self.console)
            .with_context(|| format!("cannot create {}", self.console.display()))?;
        let mut qemu = Running::start(&mut self.command())?;
        let mut output = BufReader::new(qemu.stdout()?);
        // A console that says nothing more must not keep us: so a thread reads, which ends with qemu.
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut line = Vec::new();
            while output
                .read_until(b'\n', &mut line)
                .is_ok_and(|read| read > 0)
            {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        let mut lines = Vec::new();
        loop {
            let left = self.limit.saturating_sub(begin.elapsed());
            match receiver.recv_timeout(left) {
                Ok(line) => {
                    writeln!(kept, "{line}")
                        .with_context(|| format!("cannot write {}", self.console.display()))?;
                    lines.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!(
                    "the machine is not done after {} s; its console stands in {}",
                    self.limit.as_secs(),
                    self.console.display()
                ),
            }
        }
        qemu.wait()?;
        Ok(Booted {
            lines,
            took: begin.elapsed(),
        })
    }

    fn command(&self) -> Command {
        let (program, machine, processor, console) = match self.architecture {
            Architecture::X86 => ("qemu-system-x86_64", "q35", "max", "ttyS0"),
            // A Raspberry Pi 5's, which has pages of 16 KiB.
            Architecture::Arm => ("qemu-system-aarch64", "virt", "cortex-a76", "ttyAMA0"),
        };
        // Only what is an emergency may come between the lines of the self-test.
        let mut arguments = format!(
            "console={console} quiet loglevel=1 panic=-1 {}",
            self.arguments
        );
        for (name, value) in self.environment {
            arguments += &format!(" {name}={value}");
        }
        let mut command = Command::new(program);
        command
            .args([
                "-accel",
                // One thread for all CPUs: with one for each, a CPU may still run the breakpoint by which a kernel changes code that
                // others run (`text_poke_bp`) when nobody handles that any more, and such a kernel dies of `int3`.
                "tcg,thread=single",
                "-machine",
                machine,
                "-cpu",
                processor,
            ])
            .args(["-smp", "4", "-m", "1024", "-nodefaults", "-no-reboot"])
            .args(["-display", "none", "-serial", "stdio"])
            .arg("-kernel")
            .arg(self.image)
            .arg("-initrd")
            .arg(self.initramfs)
            .args(["-append", &arguments])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }
}

//! The load generator: wrk with one thread and 64 connections, pinned to CPU 1.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::network::{End, Network};
use super::nginx::Nginx;
use super::rows::{Asking, Load};
use crate::cgroup::{self, Group};
use crate::process::{self, Running};

/// A load that runs; it ends when this is dropped.
pub(super) struct Wrk {
    running: Running,
    // Goes after what runs in it.
    _group: Group,
}

impl Wrk {
    /// Starts it for some seconds. A script is written to the folder.
    pub(super) fn start(
        load: Load,
        network: &Network,
        nginx: &Nginx,
        folder: &Path,
        seconds: u64,
    ) -> Result<Self> {
        let group = Group::new(
            &cgroup::mount_point()?,
            &format!("galileo-bench-{}-wrk-{}", std::process::id(), nginx.port),
        )?;
        let mut command = network.command(End::Client, "KILL");
        group
            .enter(&mut command)
            .args(["taskset", "-c", "1", "wrk", "-t1", "-c64"]);
        command.arg(format!("-d{seconds}s"));
        match load.asking {
            Asking::Kept => {}
            Asking::Anew => {
                command.args(["-H", "Connection: close"]);
            }
            Asking::Script(text) => {
                let script = folder.join("wrk.lua");
                fs::write(&script, text)
                    .with_context(|| format!("cannot write {}", script.display()))?;
                command.arg("-s").arg(script);
            }
        }
        command
            .arg(format!(
                "http://{}:{}{}",
                network.address(),
                nginx.port,
                load.path
            ))
            .stdout(Stdio::piped());
        Ok(Self {
            running: Running::start(&mut command)?,
            _group: group,
        })
    }

    /// Holds it: its connections stay open, and nothing is asked any more.
    pub(super) fn hold(&self) -> Result<()> {
        process::run(Command::new("kill").args(["-STOP", &self.running.id().to_string()]))
            .context("cannot hold wrk")
    }

    /// Waits for its end. That answers are not what was asked for is an error.
    pub(super) fn finish(mut self) -> Result<()> {
        let mut text = String::new();
        self.running
            .stdout()?
            .read_to_string(&mut text)
            .context("cannot read from wrk")?;
        self.running.wait()?;
        must_be_fine(&text)
    }
}

/// An error if wrk's report tells of refusals.
fn must_be_fine(report: &str) -> Result<()> {
    match report.lines().find(|line| line.contains("Non-2xx")) {
        Some(line) => bail!("nginx refuses what wrk asks for: {}", line.trim()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told() {
        let fine = "  100 requests in 1.00s, 1.00MB read\nRequests/sec:    100.50\n";
        let refused = format!("  Non-2xx or 3xx responses: 7\n{fine}");

        assert!(must_be_fine(fine).is_ok());
        let error = must_be_fine(&refused).unwrap_err().to_string();
        assert!(error.ends_with("responses: 7"), "{error}");
    }
}

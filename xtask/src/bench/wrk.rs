//! The load generator: wrk with one thread and 64 connections, pinned to CPU 1.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::network::{End, Network};
use super::nginx::Nginx;
use super::rows::{Asking, Load};
use crate::process::Running;

/// A load that runs; it ends when this is dropped.
pub(super) struct Wrk(Running);

impl Wrk {
    /// Starts it for some seconds. A script is written to the folder.
    pub(super) fn start(
        load: Load,
        network: &Network,
        nginx: &Nginx,
        folder: &Path,
        seconds: u64,
    ) -> Result<Self> {
        let mut command = network.command(End::Client, "KILL");
        command.args(["taskset", "-c", "1", "wrk", "-t1", "-c64"]);
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
        Running::start(&mut command).map(Self)
    }

    /// Waits for its end; returns the requests a second that wrk saw.
    pub(super) fn finish(mut self) -> Result<f64> {
        let mut text = String::new();
        self.0
            .stdout()?
            .read_to_string(&mut text)
            .context("cannot read from wrk")?;
        self.0.wait()?;
        rate(&text)
    }
}

/// The rate in wrk's report. That answers are not what was asked for is an error.
fn rate(report: &str) -> Result<f64> {
    if let Some(line) = report.lines().find(|line| line.contains("Non-2xx")) {
        bail!("nginx refuses what wrk asks for: {}", line.trim());
    }
    let rate = report
        .lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    rate.context("wrk names no rate")?
        .trim()
        .parse()
        .context("wrk's rate is no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_and_refusals_are_told() {
        let report = "  100 requests in 1.00s, 1.00MB read\n";
        let refused = format!("{report}  Non-2xx or 3xx responses: 7\nRequests/sec:    100.50\n");
        let fine = format!("{report}Requests/sec:    100.50\n");

        assert_eq!(rate(&fine).unwrap(), 100.5);
        assert!(rate(&refused).unwrap_err().to_string().ends_with("7"));
        assert!(rate(report).is_err());
    }
}

//! `cargo xtask bench probes`: what the probes see, and what they cost.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use super::peers::{Load, Nginx, example};
use crate::machine::{self, Purpose};
use crate::process::{self, Running};
use crate::repository::Repository;

/// How long to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds of load in which the probes are attached and detached, for each row
    #[arg(long, default_value_t = 30)]
    kept_seconds: u64,
    /// Seconds of load in which all exchanges are counted, for each row
    #[arg(long, default_value_t = 5)]
    recall_seconds: u64,
    /// Attach and detach the programs of this feature only, e.g. tcp; all others stay attached
    #[arg(long)]
    only: Option<String>,
}

const LOADS: [Load; 3] = [
    Load {
        name: "keep-alive, 12 B",
        path: "/",
        new_connections: false,
    },
    Load {
        name: "new connection each, 12 B",
        path: "/",
        new_connections: true,
    },
    Load {
        name: "keep-alive, 100 kB by sendfile",
        path: "/100k",
        new_connections: false,
    },
];

#[derive(Deserialize)]
struct Recall {
    server: u64,
    client: u64,
    lost: u64,
}

#[derive(Deserialize)]
struct Kept {
    kept: f64,
    low: f64,
    high: f64,
    pairs: u64,
    without_per_second: f64,
    added_ns: f64,
}

pub(super) fn run(repository: &Repository, options: &Options) -> Result<()> {
    machine::prepare(Purpose::Test)?;
    process::announce("building the measuring program");
    let program = example(repository, "galileo-probes", "bench")?;
    let nginx = Nginx::start(repository.target().join("bench"))?;
    let mut rows = Vec::new();
    for load in LOADS {
        process::announce(&format!(
            "{}: counting for {} s",
            load.name, options.recall_seconds
        ));
        let (rate, counted, seen) = recall(&program, &nginx, load, options.recall_seconds)?;
        process::announce(&format!(
            "{}: attaching and detaching for {} s",
            load.name, options.kept_seconds
        ));
        let kept = kept(&program, &nginx, load, options)?;
        rows.push(format!(
            "| {} | {rate:.0} | {counted} | {} | {:.4} | {} | {:.4} | {} | {:.3} [{:.3}–{:.3}] | {:.0} | {:.0} |",
            load.name,
            seen.server,
            seen.server as f64 / counted as f64,
            seen.client,
            seen.client as f64 / counted as f64,
            seen.lost,
            kept.kept,
            kept.low,
            kept.high,
            kept.added_ns,
            kept.without_per_second,
        ));
        eprintln!("{} pairs of 0.1 s", kept.pairs);
    }
    println!(
        "| load (nginx 1 worker, wrk 64 connections, loopback) | req/s watched | counted by nginx | seen as server | recall | seen as client | recall | lost | throughput kept [95 %] | ns added per exchange | req/s unwatched |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        println!("{row}");
    }
    Ok(())
}

/// Counts all exchanges of a load from before its begin until after its end.
fn recall(program: &Path, nginx: &Nginx, load: Load, seconds: u64) -> Result<(f64, u64, Recall)> {
    let mut counter = Running::start(
        Command::new(program)
            .args(["recall", &nginx.port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    )?;
    let mut lines = BufReader::new(counter.stdout()?).lines();
    lines
        .next()
        .context("the measuring program ended early; is this root?")??;
    // Asking is a request as well: the one before falls out of the difference, the one after is seen by the probes.
    let before = nginx.requests()?;
    let rate = Load::finish(load.start(nginx.port, seconds)?)?;
    let after = nginx.requests()?;
    counter.close_stdin();
    let line = lines
        .next()
        .context("the measuring program told nothing")??;
    counter.wait()?;
    let mut seen: Recall = serde_json::from_str(&line)?;
    // Both questions were seen in both roles, and nginx counted the second within the difference.
    let without_one = |count: u64, role| {
        let nothing = || format!("the probes saw no exchange in the role of a {role}");
        count.checked_sub(1).with_context(nothing)
    };
    seen.server = without_one(seen.server, "server")?;
    seen.client = without_one(seen.client, "client")?;
    Ok((rate, after - before, seen))
}

fn kept(program: &Path, nginx: &Nginx, load: Load, options: &Options) -> Result<Kept> {
    let seconds = options.kept_seconds;
    let wrk = load.start(nginx.port, seconds + 2)?;
    let line = process::output(
        Command::new("taskset")
            .args(["-c", "1"])
            .arg(program)
            .args(["kept", &nginx.port.to_string(), &seconds.to_string()])
            .args(&options.only),
    )?;
    Load::finish(wrk)?;
    serde_json::from_str(&line).context("the measuring program told something else")
}

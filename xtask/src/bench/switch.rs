//! `cargo xtask bench switch`: what the scheduler's probes add to a context switch, step by step.

use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use super::example;
use crate::machine::{self, Purpose};
use crate::process;
use crate::repository::Repository;

/// What the programs do up to each step.
const STEPS: [&str; 6] = [
    "nothing",
    "+ clock",
    "+ tasks and cgroup",
    "+ time, switches, run history",
    "+ waits and histogram",
    "+ who disturbed whom: all",
];

/// What to measure, and how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds of measuring, for two cgroups and for one
    #[arg(long, default_value_t = 45)]
    seconds: u64,
    /// Steps to measure, from 0 (programs that do nothing) to 5 (all)
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 2, 3, 4, 5])]
    steps: Vec<usize>,
}

#[derive(Deserialize)]
struct Added {
    step: usize,
    added_ns: f64,
    low: f64,
    high: f64,
    without_ns: f64,
    rounds: u64,
}

pub(super) fn run(repository: &Repository, options: &Options) -> Result<()> {
    machine::prepare(Purpose::Test)?;
    process::announce("building the measuring program");
    let program = example(repository, "galileo-probes", "bench_switch")?;
    let mut tables = Vec::new();
    for cgroups in ["2", "1"] {
        process::announce(&format!(
            "handing a byte to and fro in {cgroups} cgroup(s) for {} s",
            options.seconds
        ));
        // The players have CPU 1 for themselves.
        let lines = process::output(
            Command::new("taskset")
                .args(["-c", "0"])
                .arg(&program)
                .args([&options.seconds.to_string(), cgroups])
                .args(options.steps.iter().map(usize::to_string)),
        )?;
        let rows: Vec<Added> = lines
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .context("the measuring program told something else")?;
        tables.push(rows);
    }
    let [two, one] = &tables[..] else {
        unreachable!("two tables were made");
    };
    for (rows, name) in [(two, "two cgroups"), (one, "one cgroup")] {
        if let Some(row) = rows.first() {
            eprintln!(
                "{name}: {:.0} ns a switch without, {} rounds",
                row.without_ns, row.rounds
            );
        }
    }
    println!("| step | ns added, two cgroups [95 %] | ns added, one cgroup [95 %] |");
    println!("|---|---|---|");
    for (two, one) in two.iter().zip(one) {
        println!(
            "| {} | {:.0} [{:.0}–{:.0}] | {:.0} [{:.0}–{:.0}] |",
            STEPS.get(two.step).copied().unwrap_or("all"),
            two.added_ns,
            two.low,
            two.high,
            one.added_ns,
            one.low,
            one.high,
        );
    }
    Ok(())
}

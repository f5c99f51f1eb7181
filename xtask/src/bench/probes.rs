//! `cargo xtask bench probes`: what the probes see, and what they cost.

use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::de::DeserializeOwned;

use super::example;
use super::network::{End, Network};
use super::nginx::Nginx;
use super::page::{Kept, Measured, Recall, Seen};
use super::rows::{self, Row};
use super::samples;
use super::wrk::Wrk;
use crate::cgroup;
use crate::machine::{self, Purpose};
use crate::process::{self, Running};
use crate::progress::Progress;
use crate::repository::Repository;

/// What to measure, and how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Rows to measure, e.g. keep-alive,veth-100k
    ///
    /// keep-alive, new-connections, pipelined (8 requests at once), 100k, 1m (sendfile), chunked, chunked-20k (5 chunks), post (20 kB
    /// asked, answered when read); each with veth- before it between two network namespaces instead of over loopback.
    #[arg(
        long,
        value_name = "ROW,…",
        value_delimiter = ',',
        value_parser = Row::parse,
        default_values = rows::ALL,
        hide_default_value = true
    )]
    rows: Vec<Row>,
    /// Features that are attached and detached together; each set is a line of its own
    #[arg(long, value_enum, value_name = "SET,…", value_delimiter = ',', default_values = ["network", "all"])]
    features: Vec<Set>,
    /// Seconds of load in which programs are attached and detached, for each row; 0 leaves it out
    #[arg(long, default_value_t = 30)]
    kept_seconds: u64,
    /// Seconds of load in which all exchanges are counted, with all features on, for each row; 0 leaves it out
    #[arg(long, default_value_t = 5)]
    recall_seconds: u64,
    /// Seconds of load in which both CPUs are sampled by perf, with all features on, for each row: where the time that is added goes
    #[arg(long, default_value_t = 0)]
    sample_seconds: u64,
    /// How to print the results
    #[arg(long, value_enum, default_value_t = Output::Markdown)]
    output: Output,
}

/// Features by the names that the measuring program knows.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Set {
    /// Packets and HTTP
    Network,
    /// Packets, HTTP and TCP connections
    Tcp,
    /// The scheduler
    Cpu,
    /// All that is on by default
    All,
    /// All that is on by default, and interrupts and softirqs
    Interrupts,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The tables of docs/measurements.md
    Markdown,
    /// One document with every figure
    Json,
}

/// How the measuring program begins, which reads the records: it shares the load generator's CPU.
const READER: [&str; 3] = ["taskset", "-c", "1"];
/// Seconds of load beside those that are told: the round that is under way in the end, and counting runs after it.
const KEPT_BESIDES: u64 = 5;
/// The same where the load is ended from here, and this only bounds it.
const RECALL_BESIDES: u64 = 10;
/// About the seconds that it takes to load the programs.
const LOADING: u64 = 3;

pub(super) fn run(repository: &Repository, options: &Options) -> Result<()> {
    if options.expected().is_zero() {
        bail!(
            "there is nothing to measure: give --kept-seconds, --recall-seconds or --sample-seconds"
        );
    }
    machine::prepare(options.purpose())?;
    cgroup::remove_remains(&cgroup::mount_point()?, "galileo-bench-");
    process::announce("building the measuring program");
    let mut bench = Bench {
        program: example(repository, "galileo-probes", "bench")?,
        folder: repository.target().join("bench"),
        progress: Progress::start(options.expected()),
    };
    let mut measured = Vec::new();
    let all = options.rows.iter().try_for_each(|row| {
        measured.push(bench.measure(*row, options).with_context(|| row.name())?);
        Ok(())
    });
    // The line goes before anything is printed.
    drop(bench);
    // What was measured before a row failed took its time, too.
    match options.output {
        Output::Markdown => print!("{}", super::page::markdown(&measured)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&measured)?),
    }
    all
}

impl Options {
    const fn purpose(&self) -> Purpose {
        if self.sample_seconds > 0 {
            Purpose::Samples
        } else {
            Purpose::Test
        }
    }

    /// How long all rows take.
    fn expected(&self) -> Duration {
        let one = |seconds, besides| match seconds {
            0 => 0,
            seconds => LOADING + seconds + besides,
        };
        let row = one(self.recall_seconds, 0)
            + one(self.kept_seconds, KEPT_BESIDES)
            + one(self.sample_seconds, 0);
        Duration::from_secs(row * self.rows.len() as u64)
    }
}

struct Bench {
    program: PathBuf,
    folder: PathBuf,
    progress: Progress,
}

impl Bench {
    fn measure(&mut self, row: Row, options: &Options) -> Result<Measured> {
        // In this order: nginx ends before its network goes.
        let network = if row.over_veth {
            Network::veth()?
        } else {
            Network::Loopback
        };
        let nginx = Nginx::start(&self.folder, &network)?;
        let mut measured = Measured {
            row: row.name(),
            title: row.to_string(),
            recall: None,
            kept: None,
            samples: Vec::new(),
        };
        if options.recall_seconds > 0 {
            self.progress.step(&format!("{row}: counting"));
            let seconds = options.recall_seconds;
            measured.recall = Some(self.recall(row, &network, &nginx, seconds, || {
                thread::sleep(Duration::from_secs(seconds));
                Ok(())
            })?);
        }
        if options.kept_seconds > 0 {
            self.progress
                .step(&format!("{row}: attaching and detaching"));
            measured.kept = Some(self.kept(row, &network, &nginx, options)?);
        }
        if options.sample_seconds > 0 {
            self.progress.step(&format!("{row}: sampling"));
            let seconds = options.sample_seconds;
            let counted = self.recall(row, &network, &nginx, seconds, || {
                samples::record(&self.folder, seconds)
            })?;
            measured.samples = samples::shares(&self.folder, counted.watched_per_second)?;
        }
        Ok(measured)
    }

    /// Counts all exchanges of a load from before its begin until after its end; in between something else is done that takes so many
    /// seconds.
    fn recall(
        &self,
        row: Row,
        network: &Network,
        nginx: &Nginx,
        seconds: u64,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<Recall> {
        let port = nginx.port.to_string();
        let mut counter = Measuring::start(
            network
                .command(End::Server, "KILL")
                .args(READER)
                .arg(&self.program)
                .args(["recall", &port]),
        )?;
        let begin = Instant::now();
        let wrk = Wrk::start(
            row.load,
            network,
            nginx,
            &self.folder,
            seconds + RECALL_BESIDES,
        )?;
        // The load is what takes the time; that it is held then is what ends it.
        meanwhile()?;
        wrk.hold()?;
        let taken = begin.elapsed();
        counter.ask("held\n")?;
        drop(wrk);
        let seen: Seen = counter.end()?;
        Ok(Recall {
            watched_per_second: seen.counted as f64 / taken.as_secs_f64(),
            seen,
        })
    }

    /// Attaches and detaches programs beside a load.
    fn kept(&self, row: Row, network: &Network, nginx: &Nginx, options: &Options) -> Result<Kept> {
        let sets: Vec<String> = options
            .features
            .iter()
            .filter_map(ValueEnum::to_possible_value)
            .map(|value| value.get_name().to_owned())
            .collect();
        let (port, seconds) = (nginx.port.to_string(), options.kept_seconds);
        let measuring = Measuring::start(
            network
                .command(End::Server, "KILL")
                .args(READER)
                .arg(&self.program)
                .args(["kept", &port, &seconds.to_string(), &sets.join(",")]),
        )?;
        let wrk = Wrk::start(
            row.load,
            network,
            nginx,
            &self.folder,
            seconds + KEPT_BESIDES,
        )?;
        let kept = measuring.end()?;
        // Its own report says no more than whether all answers were right.
        wrk.finish()?;
        Ok(kept)
    }
}

/// The measuring program at work.
struct Measuring {
    running: Running,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Measuring {
    /// Starts it and waits until it is ready for the load.
    fn start(command: &mut Command) -> Result<Self> {
        let mut running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let mut lines = BufReader::new(running.stdout()?).lines();
        lines
            .next()
            .context("the measuring program ended early; is this root?")??;
        Ok(Self { running, lines })
    }

    /// Tells it something and waits for its answer.
    fn ask(&mut self, text: &str) -> Result<()> {
        self.running.tell(text)?;
        let answer = self.lines.next();
        answer
            .context("the measuring program ended early")?
            .map(drop)
            .context("cannot read from the measuring program")
    }

    /// Tells it that the load is gone, if it wants to know, and takes its result.
    fn end<T: DeserializeOwned>(mut self) -> Result<T> {
        self.running.close_stdin();
        let line = self.lines.next();
        // Why it failed stands above.
        self.running.wait()?;
        let line = line.context("the measuring program told nothing")??;
        serde_json::from_str(&line).with_context(|| format!("the measuring program told {line}"))
    }
}

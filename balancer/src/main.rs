//! `galileo-balancer`: see `--help`.

mod args;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use galileo_balancer::{Config, FileWeights, HopSender, hop_channel, start, write_hops};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command};

/// Hop records that may wait for the file: some 20 MB.
const HOPS_WAITING: usize = 65_536;

fn main() -> ExitCode {
    run(Args::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "galileo-balancer", &mut text);
            print(&text)
        }
        Some(Command::Man) => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut text)?;
            print(&text)
        }
        None => {
            let filter = EnvFilter::try_from_default_env()
                // Pingora tells its start and end in a dozen lines.
                .unwrap_or_else(|_| EnvFilter::new("info,pingora_core=warn"));
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(io::stderr)
                .with_ansi(io::stderr().is_terminal())
                .init();
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(serve(args))
        }
    }
}

async fn serve(args: Args) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;

    let mut config = Config::new(args.listen(), args.node());
    config.threads = args.threads.unwrap_or(config.threads);
    config.attempts = args.attempts;
    config.connect_timeout = args.connect_timeout;
    config.response_timeout = args.response_timeout;
    let weights = FileWeights::open(args.weights.context("--weights is missing")?)?;
    let (hops, log) = match &args.hops {
        None => (HopSender::none(), None),
        Some(path) => {
            let (sender, receiver) = hop_channel(HOPS_WAITING);
            let log = write_hops(path, receiver)
                .with_context(|| format!("cannot write to {}", path.display()))?;
            (sender, Some(log))
        }
    };
    let running = start(config, weights, hops)?;

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::select! {
        drained = running.stop(args.drain) => tracing::info!(left = drained.left_in_flight, "the balancer has stopped"),
        _ = terminate.recv() => return Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => return Ok(ExitCode::FAILURE),
    }
    if let Some(log) = log {
        let end = log
            .join()
            .map_err(|_| anyhow::anyhow!("the thread that writes hops failed"))?;
        let end = end.context("cannot write hops")?;
        tracing::info!(written = end.written, dropped = end.dropped, "hop records");
    }
    Ok(ExitCode::SUCCESS)
}

/// To standard output, where a closed pipe (`| head -1`) is no failure.
fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

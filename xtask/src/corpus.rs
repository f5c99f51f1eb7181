//! `cargo xtask corpus`: real servers, real clients, and what the probes see of them.
//!
//! In reading order: [`request`], [`date`], [`case`] and [`cases`] (what is done), [`server`], [`client`], [`chosen`] (which of
//! them), [`place`] (where they run), [`network`], [`watcher`] (the probes), [`site`] (all that runs), [`judge`] (recall and
//! precision), [`exceptions`], [`page`] (docs/conformance.md).

mod case;
mod cases;
mod chosen;
mod client;
mod date;
mod exceptions;
mod judge;
mod network;
mod page;
mod place;
mod request;
mod server;
mod site;
mod watcher;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

pub(crate) use chosen::Options;

use crate::machine::{self, Purpose};
use crate::process;
use crate::repository::Repository;
use cases::CASES;
use chosen::Chosen;
use client::Client;
use page::{Cell, Outcome, Page};
use place::{Folder, Sweeper};
use server::{Ports, Programs, Server};
use site::{Built, Site};
use watcher::Watcher;

/// Runs the corpus.
///
/// # Errors
///
/// If something could not be set up, or a cell is not perfect and no known exception.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<()> {
    let begin = Instant::now();
    machine::prepare(Purpose::Test)?;
    if let Err(error) = machine::prepare(Purpose::Corpus) {
        eprintln!("warning: {error:#}");
    }
    let chosen = Chosen::new(options);
    let built = build(repository, &chosen)?;
    let mut page = Page {
        servers: Vec::new(),
        cells: Vec::new(),
        absent: chosen.absent.clone(),
        kernel: process::output(Command::new("uname").arg("-r"))?,
    };
    let ports = chosen.servers.iter().map(|_| Ports::new());
    let ports = ports.collect::<Result<Vec<_>>>()?;
    let watched: Vec<u16> = ports.iter().flat_map(|ports| ports.all()).collect();
    let watcher = Watcher::start(&built.watcher, &watched)?;
    place::remove_remains(&watcher.mount);
    // In this order, as what comes later goes first.
    let _sweeper = Sweeper::start(&watcher.mount)?;
    let folder = Folder::new()?;
    let mut site = Site::new(&built, &folder, watcher, ports)?;
    for (index, server) in chosen.servers.iter().copied().enumerate() {
        process::announce(&format!(
            "{} ({} of {})",
            server.name(),
            index + 1,
            chosen.servers.len()
        ));
        page.servers
            .push((server, server.version(repository.root())));
        let mut running = site.start(server, index)?;
        for client in Client::ALL {
            let (begin, first) = (Instant::now(), page.cells.len());
            for case in CASES {
                let outcome = site.cell(&chosen, &mut running, client, case)?;
                let cell = Cell {
                    server,
                    client,
                    case,
                    outcome,
                };
                tell(&cell, options.faults);
                page.cells.push(cell);
            }
            if chosen.clients.contains(&client) {
                tell_sum(client, &page.cells[first..], begin);
            }
        }
    }
    let bad = page.cells.iter().filter(|cell| cell.is_bad()).count();
    write(repository, options, &page)?;
    eprintln!("{} s", begin.elapsed().as_secs());
    if bad > 0 {
        bail!("{bad} cells are not perfect, and no known exceptions");
    }
    Ok(())
}

/// Builds the programs that are needed.
fn build(repository: &Repository, chosen: &Chosen) -> Result<Built> {
    process::announce("building servers, clients and the measuring program");
    let target = repository.target();
    let mut cargo = Command::new("cargo");
    cargo.current_dir(repository.root()).arg("build");
    process::run(
        cargo
            .args(["--package", "galileo-probes", "--example", "conformance"])
            .args([
                "--package",
                "galileo-corpus-hyper",
                "--bin",
                "galileo-corpus-hyper",
            ]),
    )?;
    let built = Built {
        watcher: target.join("debug/examples/conformance"),
        clients: target.join("corpus"),
        programs: Programs {
            assets: repository.root().join("xtask/corpus"),
            go: target.join("corpus/go-server"),
            hyper: target.join("debug/galileo-corpus-hyper"),
        },
    };
    if chosen.servers.contains(&Server::Go) || chosen.clients.contains(&Client::Go) {
        server::build_go(&built.programs.assets, &built.clients)?;
    }
    Ok(built)
}

/// One line for a cell, more if something is wrong.
fn tell(cell: &Cell, faults: usize) {
    let name = format!(
        "{} × {} × {}",
        cell.server.name(),
        cell.client.name(),
        cell.case.name
    );
    match &cell.outcome {
        Outcome::Judged(score) if score.is_perfect() => {}
        Outcome::Judged(score) => {
            eprintln!(
                "{name}: {} wanted, found {:?}, seen {:?}, right {:?}",
                score.wanted, score.found, score.seen, score.right
            );
            for fault in score.faults.iter().take(faults) {
                eprintln!("  {fault}");
            }
        }
        Outcome::Failed(why) => eprintln!("{name}: failed: {why}"),
        Outcome::Cannot(_) | Outcome::LeftOut => {}
    }
}

/// One line for all cells of a server with a client.
fn tell_sum(client: Client, cells: &[Cell], begin: Instant) {
    let scores: Vec<_> = cells
        .iter()
        .filter_map(|cell| match &cell.outcome {
            Outcome::Judged(score) => Some(score),
            _ => None,
        })
        .collect();
    let exchanges: u64 = scores.iter().map(|score| score.wanted).sum();
    let bad = cells.iter().filter(|cell| cell.is_bad()).count();
    eprintln!(
        "{}: {} cases, {exchanges} exchanges, {bad} cases not perfect, {:.1} s",
        client.name(),
        scores.len(),
        begin.elapsed().as_secs_f64()
    );
}

fn write(repository: &Repository, options: &Options, page: &Page) -> Result<()> {
    let path = match &options.page {
        Some(path) => path.clone(),
        None if options.is_whole() => repository.root().join("docs/conformance.md"),
        None => {
            print!("{}", page.text());
            return Ok(());
        }
    };
    write_to(&path, &page.text())
}

fn write_to(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

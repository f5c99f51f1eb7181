//! `cargo xtask corpus`: real servers, real clients, and what the probes see of them.
//!
//! In reading order: [`case`] (what is done), [`server`], [`client`], [`place`] (where they run), [`watcher`] (the probes),
//! [`judge`] (recall and precision), [`exceptions`], [`page`] (docs/conformance.md).

mod case;
mod client;
mod exceptions;
mod judge;
mod page;
mod place;
mod server;
mod watcher;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::machine::{self, Purpose};
use crate::process;
use crate::repository::Repository;
use case::{CASES, Case, Plan};
use client::{Client, Said};
use judge::{Ground, Score, Truth};
use page::{Cell, Outcome, Page};
use place::{Folder, Namespace};
use server::{Ports, Programs, Server};
use watcher::{Seen, Watcher};

/// What to do, and where to write it.
#[derive(Args)]
pub(crate) struct Options {
    /// Servers, divided by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "SERVER")]
    servers: Vec<Server>,
    /// Clients, divided by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "CLIENT")]
    clients: Vec<Client>,
    /// Cases, divided by commas [default: all], for example `keep-alive,chunked`
    #[arg(long, value_delimiter = ',', value_name = "CASE", value_parser = a_case)]
    cases: Vec<String>,
    /// File to write the page to [default: docs/conformance.md if all is done, else standard output]
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Faults that are shown of each cell
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    faults: usize,
}

fn a_case(name: &str) -> Result<String, String> {
    if CASES.iter().any(|case| case.name == name) {
        return Ok(name.to_owned());
    }
    let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
    Err(format!("the cases are: {}", names.join(", ")))
}

/// How long what was seen may be on its way from the kernel.
const SETTLE: Duration = Duration::from_millis(700);
/// How often it is asked for.
const LOOK: Duration = Duration::from_millis(3);

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
    let programs = build(repository, &chosen)?;
    let mut page = Page {
        servers: Vec::new(),
        cells: Vec::new(),
        absent: chosen.absent.clone(),
        kernel: process::output(Command::new("uname").arg("-r"))?,
    };
    let folder = Folder::new()?;
    let mut site = Site::new(&programs, &folder, &chosen)?;
    for index in 0..chosen.servers.len() {
        let server = chosen.servers[index];
        process::announce(server.name());
        page.servers
            .push((server, server.version(repository.root())));
        let running = site.start(server, index)?;
        for client in Client::ALL {
            for case in CASES {
                let outcome = site.cell(&chosen, &running, client, case)?;
                let cell = Cell {
                    server,
                    client,
                    case,
                    outcome,
                };
                tell(&cell, options.faults);
                page.cells.push(cell);
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

/// What is to be done, of what can be done on this machine.
struct Chosen {
    servers: Vec<Server>,
    clients: Vec<Client>,
    cases: Vec<String>,
    /// What was to be done and cannot be.
    absent: Vec<String>,
}

impl Chosen {
    fn new(options: &Options) -> Self {
        let mut chosen = Self {
            servers: or_all(&options.servers, &Server::ALL),
            clients: or_all(&options.clients, &Client::ALL),
            cases: options.cases.clone(),
            absent: Vec::new(),
        };
        let is_there = |name: &&str| machine::program(name).is_ok();
        let absent = &mut chosen.absent;
        chosen.servers.retain(|server| {
            let lacks = server.program().filter(|name| !is_there(name));
            if let Some(name) = lacks {
                absent.push(format!(
                    "the server {}, as there is no {name}",
                    server.name()
                ));
            }
            lacks.is_none()
        });
        chosen.clients.retain(|client| {
            let lacks = client.programs().iter().find(|name| !is_there(name));
            if let Some(name) = lacks {
                absent.push(format!(
                    "the client {}, as there is no {name}",
                    client.name()
                ));
            }
            lacks.is_none()
        });
        chosen
    }

    fn has(&self, client: Client, case: &Case) -> bool {
        self.clients.contains(&client)
            && (self.cases.is_empty() || self.cases.iter().any(|name| name == case.name))
    }
}

fn or_all<T: Copy + PartialEq>(some: &[T], all: &[T]) -> Vec<T> {
    if some.is_empty() {
        return all.to_vec();
    }
    all.iter()
        .copied()
        .filter(|one| some.contains(one))
        .collect()
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

/// What was built.
struct Built {
    /// The measuring program.
    watcher: PathBuf,
    /// The folder of the compiled clients.
    clients: PathBuf,
    programs: Programs,
}

/// All that runs during the corpus.
struct Site<'a> {
    // In this order: what runs in the namespace ends before it.
    clients: BTreeMap<&'static str, client::Running>,
    origin: Option<server::Running>,
    watcher: Watcher,
    namespace: Namespace,
    ports: Vec<Ports>,
    built: &'a Built,
    folder: &'a Folder,
    /// Cells so far, for ids.
    cells: usize,
    /// Clients so far, for folders.
    started: usize,
}

impl<'a> Site<'a> {
    fn new(built: &'a Built, folder: &'a Folder, chosen: &Chosen) -> Result<Self> {
        let ports = chosen
            .servers
            .iter()
            .map(|_| Ports::new())
            .collect::<Result<Vec<_>>>()?;
        let watched: Vec<u16> = ports.iter().flat_map(|ports| ports.all()).collect();
        let watcher = Watcher::start(&built.watcher, &watched)?;
        place::remove_remains(&watcher.mount);
        let namespace = Namespace::new()?;
        Ok(Self {
            clients: BTreeMap::new(),
            origin: None,
            watcher,
            namespace,
            ports,
            built,
            folder,
            cells: 0,
            started: 0,
        })
    }

    /// Starts a server, and the one behind it if it is a proxy.
    fn start(&mut self, server: Server, index: usize) -> Result<server::Running> {
        if server.has_origin() && self.origin.is_none() {
            self.origin = Some(self.start_one(Server::Asyncio, "origin", Ports::new()?, 0)?);
        }
        let origin = self.origin.as_ref().map_or(0, |origin| origin.ports.plain);
        self.start_one(server, server.name(), self.ports[index], origin)
    }

    fn start_one(
        &self,
        server: Server,
        name: &str,
        ports: Ports,
        origin: u16,
    ) -> Result<server::Running> {
        server::Running::start(
            server,
            name,
            &self.watcher.mount,
            &self.namespace,
            &self.built.programs,
            &self.folder.below(name)?,
            ports,
            origin,
        )
    }

    /// Does a cell and judges it. An error is of the corpus itself.
    fn cell(
        &mut self,
        chosen: &Chosen,
        running: &server::Running,
        client: Client,
        case: &'static Case,
    ) -> Result<Outcome> {
        if !chosen.has(client, case) {
            return Ok(Outcome::LeftOut);
        }
        let cannot = running
            .server
            .lacks(case)
            .or_else(|| client.lacks(running.server, case));
        if let Some(reason) = cannot {
            return Ok(Outcome::Cannot(reason));
        }
        self.cells += 1;
        let prefix = format!("g{}c{}", std::process::id(), self.cells);
        let origin = self.origin.as_ref().map_or(0, |origin| origin.ports.plain);
        let target = running.server.tunnel_target(origin);
        let port = running.ports.of(case.listener);
        let plan = case.plan(&prefix, client.count(case), port, target.as_deref());
        let told = match self.perform(client, &plan)? {
            Ok(told) => told,
            Err(error) => {
                // What it left behind is not to be taken for the next cell's.
                self.clients.remove(client.name());
                self.watcher.sync(&mut Vec::new())?;
                return Ok(Outcome::Failed(format!("{error:#}")));
            }
        };
        let truths = match truths(&plan, &told) {
            Ok(truths) => truths,
            Err(error) => return Ok(Outcome::Failed(format!("{error:#}"))),
        };
        let mut score = self.judge(running, client, &plan, &truths)?;
        check_sum(&told, &mut score);
        check_log(running, &truths, &mut score);
        Ok(Outcome::Judged(score))
    }

    /// Has a client do a plan. The outer error is of the corpus itself, the inner one the client's.
    fn perform(&mut self, client: Client, plan: &Plan) -> Result<Result<Vec<Said>>> {
        if !self.clients.contains_key(client.name()) {
            self.started += 1;
            let folder = self.folder.below(&format!("client-{}", self.started))?;
            let running = client::Running::start(
                client,
                &self.watcher.mount,
                &self.namespace,
                &self.built.programs.assets,
                &self.built.clients,
                &folder,
            )?;
            self.clients.insert(client.name(), running);
        }
        let running = self.clients.get_mut(client.name()).context("just there")?;
        if plan.hold {
            self.watcher.pause()?;
        }
        let watcher = &mut self.watcher;
        let mut resumed = !plan.hold;
        let result = running.perform(plan, &mut || {
            resumed = true;
            watcher.resume()
        });
        if !resumed {
            self.watcher.resume()?;
        }
        Ok(result)
    }

    /// Takes what was seen, until all that is looked for is there or nothing more comes, and judges it.
    fn judge(
        &mut self,
        running: &server::Running,
        client: Client,
        plan: &Plan,
        truths: &[Truth],
    ) -> Result<Score> {
        let client = self.clients.get(client.name()).context("it just ran")?;
        let mut seen: Vec<Seen> = Vec::new();
        let deadline = Instant::now() + SETTLE;
        loop {
            self.watcher.sync(&mut seen)?;
            if judge::is_complete(truths, &seen) || Instant::now() > deadline {
                break;
            }
            std::thread::sleep(LOOK);
        }
        let address: IpAddr = plan.host.parse().context("a literal")?;
        let ground = Ground {
            cgroups: [running.cgroup, client.cgroup],
            address: address.to_canonical(),
            port: plan.port,
        };
        Ok(judge::judge(truths, &seen, &ground))
    }
}

/// What was, by request: each must have been told of.
fn truths(plan: &Plan, told: &[Said]) -> Result<Vec<Truth>> {
    let mut by_id: BTreeMap<&str, &Said> = BTreeMap::new();
    for said in told {
        if let Some(id) = &said.id {
            by_id.insert(id, said);
        }
    }
    let half = plan.requests.len() / 2;
    let truths = plan.requests.iter().enumerate().map(|(index, request)| {
        let said = by_id.get(request.id.as_str()).with_context(|| {
            format!(
                "the client tells nothing of {} {}",
                request.method, request.path
            )
        })?;
        Ok(Truth {
            request: request.clone(),
            said: (*said).clone(),
            wanted: !said.cut && !(plan.hold && index < half),
        })
    });
    truths.collect()
}

/// wrk knows the bytes of all answers together only.
fn check_sum(told: &[Said], score: &mut Score) {
    if let Some(bytes) = told.iter().find_map(|said| said.all_response_bytes)
        && score.response_bytes != [bytes; 2]
    {
        score.faults.push(format!(
            "answers of {:?} bytes were seen, and the client got {bytes}",
            score.response_bytes
        ));
    }
}

/// The server's log must know each request, with the same status.
fn check_log(running: &server::Running, truths: &[Truth], score: &mut Score) {
    let deadline = Instant::now() + SETTLE;
    loop {
        let noted = running.noted();
        let differs = truths.iter().find(|truth| {
            !truth.said.cut && noted.get(&truth.request.id) != Some(&truth.said.status)
        });
        let Some(truth) = differs else { return };
        if Instant::now() > deadline {
            score.faults.push(format!(
                "the server's log says {:?} of what the client says {:?}",
                noted.get(&truth.request.id),
                truth.said
            ));
            return;
        }
        std::thread::sleep(LOOK);
    }
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

fn write(repository: &Repository, options: &Options, page: &Page) -> Result<()> {
    let whole =
        options.servers.is_empty() && options.clients.is_empty() && options.cases.is_empty();
    let path = match &options.page {
        Some(path) => path.clone(),
        None if whole => repository.root().join("docs/conformance.md"),
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

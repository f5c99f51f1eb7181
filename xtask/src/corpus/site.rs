//! Does cell after cell: starts servers and clients, hands out plans, and gathers what everybody says of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::case::{Case, Plan};
use super::cases::OVERTAKEN;
use super::chosen::Chosen;
use super::client::{self, Client, Said};
use super::judge::{self, Ground, Score, Truth};
use super::network::Network;
use super::page::Outcome;
use super::place::{FAST_OPEN, Folder};
use super::server::{self, Ports, Programs, Server};
use super::watcher::{Ledger, Seen, Watcher};
use crate::namespace::Namespace;

/// How long what was seen may be on its way from the kernel.
const SETTLE: Duration = Duration::from_millis(700);
/// How often it is asked for.
const LOOK: Duration = Duration::from_millis(3);

/// What was built.
pub(super) struct Built {
    /// The measuring program.
    pub watcher: PathBuf,
    /// The folder of the compiled clients.
    pub clients: PathBuf,
    pub programs: Programs,
}

/// All that runs during the corpus.
pub(super) struct Site<'a> {
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
    /// With nothing running yet; `ports`: those of each server, which the watcher looks at.
    pub(super) fn new(
        built: &'a Built,
        folder: &'a Folder,
        watcher: Watcher,
        ports: Vec<Ports>,
    ) -> Result<Self> {
        Ok(Self {
            clients: BTreeMap::new(),
            origin: None,
            watcher,
            namespace: Namespace::new(FAST_OPEN)?,
            ports,
            built,
            folder,
            cells: 0,
            started: 0,
        })
    }

    /// Starts a server, and the one behind it if it is a proxy.
    pub(super) fn start(&mut self, server: Server, index: usize) -> Result<server::Running> {
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
    pub(super) fn cell(
        &mut self,
        chosen: &Chosen,
        running: &mut server::Running,
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
        let overtaken = self.namespace.counter(OVERTAKEN)?;
        let evidence = |site: &Self| match case.evidence {
            Some(counter) => site.namespace.counter(counter).map(Some),
            None => Ok(None),
        };
        let before = evidence(self)?;
        let groups = [running.cgroup, self.client(client)?.cgroup];
        // What comes late is held against this cell, too.
        let mut seen = Vec::new();
        let ledger = self.watcher.sync(groups, &mut seen)?;
        let told = match self.perform(client, case.network, &plan)? {
            Ok(told) => told,
            Err(error) => {
                // What it left behind is not to be taken for the next cell's.
                self.clients.remove(client.name());
                self.watcher.sync(groups, &mut Vec::new())?;
                return Ok(Outcome::Failed(format!("{error:#}")));
            }
        };
        let truths = match truths(case, &plan, &told) {
            Ok(truths) => truths,
            Err(error) => return Ok(Outcome::Failed(format!("{error:#}"))),
        };
        let counted = self.wait_for(&truths, groups, &mut seen)?;
        let address: IpAddr = plan.host.parse().context("a literal")?;
        let ground = Ground {
            cgroups: groups,
            address: address.to_canonical(),
            port: plan.port,
            reordered: self.namespace.counter(OVERTAKEN)? > overtaken,
        };
        let mut score = judge::judge(&truths, &seen, &ground);
        if let Some((_, name)) = case.evidence
            && before == evidence(self)?
        {
            return Ok(Outcome::Failed(format!(
                "the case did not happen: the kernel counts no {name}"
            )));
        }
        if let Some(fault) = log_fault(running, &truths) {
            return Ok(Outcome::Failed(fault));
        }
        check_sum(&told, &mut score);
        if !score.is_perfect() {
            score.faults.insert(0, risen(&ledger, &counted));
        }
        Ok(Outcome::Judged(score))
    }

    /// The client, which is started if it does not run.
    fn client(&mut self, client: Client) -> Result<&mut client::Running> {
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
        self.clients.get_mut(client.name()).context("just there")
    }

    /// Has a client that runs do a plan. The outer error is of the corpus itself, the inner one the client's.
    fn perform(
        &mut self,
        client: Client,
        network: Network,
        plan: &Plan,
    ) -> Result<Result<Vec<Said>>> {
        let running = self.clients.get_mut(client.name()).context("it runs")?;
        if plan.hold {
            self.watcher.pause()?;
        }
        let watcher = &mut self.watcher;
        let mut resumed = !plan.hold;
        let mut at_hold = || {
            resumed = true;
            watcher.resume()
        };
        let result = network.during(&self.namespace, plan.port, || {
            Ok(running.perform(plan, &mut at_hold))
        })?;
        if !resumed {
            self.watcher.resume()?;
        }
        Ok(result)
    }

    /// Takes what was seen, until all that is looked for is there or nothing more comes.
    fn wait_for(
        &mut self,
        truths: &[Truth],
        groups: [u64; 2],
        seen: &mut Vec<Seen>,
    ) -> Result<Ledger> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let counted = self.watcher.sync(groups, seen)?;
            if judge::is_complete(truths, seen) || Instant::now() > deadline {
                return Ok(counted);
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// What the ledger counted meanwhile, for people. Exchanges and connections that were seen are no news.
fn risen(before: &Ledger, after: &Ledger) -> String {
    let kinds = after.iter().filter_map(|(kind, count)| {
        let rise = count - before.get(kind).unwrap_or(&0);
        let counts_whole = ["exchanges_", "connections_"];
        let is_news = rise > 0 && !counts_whole.iter().any(|begin| kind.starts_with(begin));
        is_news.then(|| format!("{kind} {rise}"))
    });
    let kinds: Vec<_> = kinds.collect();
    if kinds.is_empty() {
        return "the ledger counts nothing".to_owned();
    }
    format!("the ledger counts {}", kinds.join(", "))
}

/// What was, by request: each must have been told of.
fn truths(case: &Case, plan: &Plan, told: &[Said]) -> Result<Vec<Truth>> {
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
        let expected = request.statuses();
        if !said.cut && !expected.contains(&said.status) {
            bail!(
                "{} {} was answered with {}, and the case is about {expected:?}",
                request.method,
                request.path,
                said.status
            );
        }
        let least = if case.kind == "interim" { 3 } else { 0 };
        if said.interim.is_some_and(|count| count < least) {
            bail!("{} {} got no interim answers", request.method, request.path);
        }
        Ok(Truth {
            request: request.clone(),
            said: (*said).clone(),
            wanted: !(said.cut || plan.hold && index < half),
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

/// The server's log must know each request, with the same status: what is wrong, if something is.
fn log_fault(running: &mut server::Running, truths: &[Truth]) -> Option<String> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let noted = running.noted();
        let truth = truths.iter().find(|truth| {
            !truth.said.cut && noted.get(&truth.request.id) != Some(&truth.said.status)
        })?;
        if Instant::now() > deadline {
            return Some(format!(
                "the server's log says {:?} of {}, and the client {}",
                noted.get(&truth.request.id),
                truth.request.path,
                truth.said.status
            ));
        }
        std::thread::sleep(LOOK);
    }
}

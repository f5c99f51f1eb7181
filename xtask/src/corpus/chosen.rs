//! What is to be done, and what of it this machine can do.

use std::path::PathBuf;

use clap::Args;

use super::case::Case;
use super::cases::CASES;
use super::client::Client;
use super::server::Server;
use crate::machine;

/// What to do, and where to write it.
#[derive(Args)]
pub(crate) struct Options {
    /// Servers, divided by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "SERVER")]
    pub(super) servers: Vec<Server>,
    /// Clients, divided by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "CLIENT")]
    pub(super) clients: Vec<Client>,
    /// Cases, divided by commas [default: all], for example `keep-alive,chunked`
    #[arg(long, value_delimiter = ',', value_name = "CASE", value_parser = a_case)]
    pub(super) cases: Vec<String>,
    /// File to write the page to [default: docs/conformance.md if all is done, else standard output]
    #[arg(long, value_name = "FILE")]
    pub(super) page: Option<PathBuf>,
    /// Faults that are shown of each cell
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    pub(super) faults: usize,
}

fn a_case(name: &str) -> Result<String, String> {
    if CASES.iter().any(|case| case.name == name) {
        return Ok(name.to_owned());
    }
    let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
    Err(format!("the cases are: {}", names.join(", ")))
}

/// What is to be done, of what can be done on this machine.
pub(super) struct Chosen {
    pub(super) servers: Vec<Server>,
    pub(super) clients: Vec<Client>,
    /// Names; none means all.
    cases: Vec<String>,
    /// What was to be done and cannot be.
    pub absent: Vec<String>,
}

impl Options {
    /// Whether nothing is left out.
    pub(super) fn is_whole(&self) -> bool {
        self.servers.is_empty() && self.clients.is_empty() && self.cases.is_empty()
    }
}

impl Chosen {
    pub(super) fn new(options: &Options) -> Self {
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

    pub(super) fn has(&self, client: Client, case: &Case) -> bool {
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

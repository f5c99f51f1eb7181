//! How many exchanges are seen of those that nginx counts.

use std::io::Read;

use galileo_probes::{Config, Exchange, Ledger, Probes, Role};
use serde_json::{Value, json};

use crate::{
    Outcome,
    status::{self, Status},
};

/// Prints `ready`, then counts with all probes on until standard input ends. Questions for the count itself are left out.
pub async fn count(port: u16) -> Outcome<Value> {
    let mut probes = Probes::load(&Config::default())?;
    let mut stream = probes.exchanges()?;
    let mut status = Status::connect(port)?;
    let before = status.requests_at_rest()?;
    println!("ready");
    let (end, mut ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whatever ends the input ends the count, and nobody waits if the count ended by itself.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = end.send(());
    });
    let mut seen = Seen::default();
    loop {
        let batch = tokio::select! {
            batch = stream.next_batch() => batch?,
            _ = &mut ended => break,
        };
        seen.add(port, batch);
    }
    let counted = status.requests_at_rest()? - before;
    seen.add(port, stream.drain());
    let ledger = probes.snapshot()?.ledger;
    let of = |kind| ledger.get(&kind).copied().unwrap_or(0);
    let lost: u64 = ledger
        .iter()
        .filter(|(kind, _)| kind.is_loss())
        .map(|(_, count)| count)
        .sum();
    Ok(json!({
        "counted": counted,
        "server": seen.server,
        "client": seen.client,
        "lost": lost,
        "ring_full": of(Ledger::RingFull),
        "closed_without_answer": of(Ledger::ClosedWithoutAnswer),
    }))
}

/// Exchanges by role.
#[derive(Default)]
struct Seen {
    server: u64,
    client: u64,
}

impl Seen {
    fn add(&mut self, port: u16, exchanges: &[Exchange]) {
        for exchange in exchanges {
            if &*exchange.path == status::PATH {
                continue;
            }
            match exchange.role {
                Role::Server if exchange.local.port() == port => self.server += 1,
                Role::Client if exchange.remote.port() == port => self.client += 1,
                Role::Server | Role::Client => {}
            }
        }
    }
}

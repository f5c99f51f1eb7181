//! How many exchanges are seen of those that nginx counts.

use std::io::{BufRead, Read};

use galileo_probes::{Config, Exchange, ExchangeStream, Ledger, Probes, Role};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    Outcome,
    status::{self, Status},
};

/// Prints `ready` and counts with all probes on. A line on standard input says that the client does nothing any more but
/// has not closed its connections: nginx answers what it was asked, and its count is taken, so that no request is counted
/// that nobody was there to answer to. Then prints `counted`. The end of standard input says that the client is gone: answers
/// that it did not take in whole become exchanges now. Questions for the count itself are left out.
pub async fn count(port: u16) -> Outcome<Value> {
    let mut probes = Probes::load(&Config::default())?;
    let mut stream = probes.exchanges()?;
    let mut status = Status::connect(port)?;
    let before = status.requests_at_rest()?;
    let mut told = listen();
    let mut seen = Seen::default();
    println!("ready");
    seen.add_until(port, &mut stream, &mut told).await?;
    let counted = status.requests_at_rest()? - before;
    println!("counted");
    seen.add_until(port, &mut stream, &mut told).await?;
    status.requests_at_rest()?;
    loop {
        let rest = stream.drain();
        if rest.is_empty() {
            break;
        }
        seen.add(port, rest)?;
    }
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

/// Something comes for the first line of standard input, and for its end.
fn listen() -> mpsc::UnboundedReceiver<()> {
    let (tell, told) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        // Whatever ends the input ends the count, and nobody waits if the count ended by itself.
        let _ = input.read_line(&mut String::new());
        let _ = tell.send(());
        let _ = input.read_to_end(&mut Vec::new());
    });
    told
}

/// Exchanges by role.
#[derive(Default)]
struct Seen {
    server: u64,
    client: u64,
}

impl Seen {
    /// Takes exchanges until something was told, or nothing can be any more.
    async fn add_until(
        &mut self,
        port: u16,
        stream: &mut ExchangeStream,
        told: &mut mpsc::UnboundedReceiver<()>,
    ) -> Outcome<()> {
        loop {
            let batch = tokio::select! {
                batch = stream.next_batch() => batch?,
                _ = told.recv() => return Ok(()),
            };
            self.add(port, batch)?;
        }
    }

    fn add(&mut self, port: u16, exchanges: &[Exchange]) -> Outcome<()> {
        for exchange in exchanges {
            let count = match exchange.role {
                Role::Server if exchange.local.port() == port => &mut self.server,
                Role::Client if exchange.remote.port() == port => &mut self.client,
                Role::Server | Role::Client => continue,
            };
            if &*exchange.path == status::PATH {
                continue;
            }
            if exchange.status != 200 {
                return Err(format!("nginx refuses what it is asked for: {exchange:?}").into());
            }
            *count += 1;
        }
        Ok(())
    }
}

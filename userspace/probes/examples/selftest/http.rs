//! A thousand exchanges of the oddest kinds, each known beforehand: every one must be reported by both roles, and nothing
//! else.

mod kinds;
mod script;
mod talk;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use galileo_probes::{Exchange, ExchangeStream, Role};

use crate::{Outcome, report::Report};
use script::Expected;
use talk::Ports;

/// At least so many.
const EXCHANGES: usize = 1000;
/// How often one looks in vain for the last exchanges, with pauses between: no time, as an emulator may stand still.
const PATIENCE: u32 = 2_000;
const PAUSE: Duration = Duration::from_millis(10);
/// Differences that are told one by one.
const TOLD: usize = 20;

/// Has them, and compares. Returns how many exchanges came out of the probes in all.
pub(crate) fn check(stream: &mut ExchangeStream) -> Outcome<u64> {
    let ports = Ports::open()?;
    let mut expected = Vec::new();
    let mut round = 0;
    while expected.len() < EXCHANGES {
        for script in kinds::all(round) {
            ports.have(&script)?;
            expected.extend(script.expected);
        }
        round += 1;
    }
    let mut all = 0;
    let mut seen: Vec<Exchange> = Vec::new();
    let mut in_vain = 0;
    while seen.len() < 2 * expected.len() && in_vain < PATIENCE {
        let batch = stream.drain();
        if batch.is_empty() {
            in_vain += 1;
            std::thread::sleep(PAUSE);
        }
        all += batch.len() as u64;
        seen.extend(batch.iter().filter(|exchange| ports.is_ours(exchange)));
    }
    for (role, name) in [(Role::Server, "server"), (Role::Client, "client")] {
        compare(role, name, &expected, &seen);
    }
    // What still comes is too much, and counts for the ledger.
    let rest = stream.drain();
    Report::check(
        "nothing is reported that did not happen",
        rest.is_empty(),
        &format!("{} more exchanges", rest.len()),
    );
    Ok(all + rest.len() as u64)
}

/// Compares what one role saw with what happened, and tells how much of it is right.
fn compare(role: Role, name: &str, expected: &[Expected], seen: &[Exchange]) {
    let mut missing: BTreeMap<&str, &Expected> = expected
        .iter()
        .map(|expected| (expected.path.as_str(), expected))
        .collect();
    let seen: Vec<_> = seen
        .iter()
        .filter(|exchange| exchange.role == role)
        .collect();
    let mut right = 0;
    let mut differences = Vec::new();
    let mut kinds = BTreeSet::new();
    for exchange in &seen {
        match missing.remove(exchange.path.as_str()) {
            None => differences.push(format!("{} came unexpectedly or twice", exchange.path)),
            Some(expected) => match expected.difference(exchange) {
                None => right += 1,
                Some(difference) => {
                    kinds.insert(expected.kind);
                    differences.push(difference);
                }
            },
        }
    }
    for expected in missing.values() {
        kinds.insert(expected.kind);
        differences.push(format!("{}: not seen", expected.path));
    }
    Report::recall(name, expected.len(), seen.len(), right);
    if !differences.is_empty() {
        differences.truncate(TOLD);
        Report::check(
            &format!("exchanges of the {name}"),
            false,
            &format!("wrong in {kinds:?}: {}", differences.join("; ")),
        );
    }
}

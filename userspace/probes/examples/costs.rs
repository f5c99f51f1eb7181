//! What a run of each of the probes' programs costs while a command runs, by the kernel's own count, in nanoseconds.
//!
//! `cargo run -p galileo-probes --example costs -- COMMAND…`
//!
//! All features are on, the hooks of interrupts too. The kernel's counting, some 30 ns a run, is within; what is called by a tail call
//! counts as its caller's. Counted is what the whole machine does meanwhile.

use std::{collections::BTreeMap, process::Command};

use galileo_probes::{Config, Probes};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("usage: costs COMMAND…")?;
    let probes = Probes::load(&Config {
        statistics: true,
        interrupts: true,
        ..Config::default()
    })?;
    for capability in probes.capabilities() {
        if let Some(reason) = &capability.off {
            eprintln!("{}: {reason}", capability.feature.meaning());
        }
    }
    let before = probes.programs();
    let status = Command::new(&program)
        .args(arguments)
        .status()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    let after = probes.programs();
    let used = before.iter().filter_map(|before| {
        let after = after.iter().find(|after| after.name == before.name)?;
        Some((
            &before.name,
            after.runs - before.runs,
            after.time_ns - before.time_ns,
        ))
    });
    let used: BTreeMap<_, _> = used.map(|(name, runs, ns)| (name, (runs, ns))).collect();
    println!("| program | runs | ns a run |\n|---|---|---|");
    for (name, (runs, ns)) in used {
        if let Some(each) = ns.checked_div(runs) {
            println!("| {name} | {runs} | {each} |");
        }
    }
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("the command has failed: {status}").into())
}

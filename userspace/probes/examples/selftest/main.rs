//! Shows on this machine's kernel that the probes load and tell the truth: what they report is compared with work whose
//! amount is known. `cargo xtask kernels` boots kernels with this program as their first process.
//!
//! * `selftest run`: everything; must be root, and nothing else on the machine may speak HTTP meanwhile.
//! * `selftest verify OBJECT`: what the verifier says to each program of an object.
//! * `selftest child …`: parts that run in cgroups of their own; started by `run`.
//!
//! Prints one line of JSON per finding; what is wrong is a finding like others, and does not end the test.

mod child;
mod cpu;
mod facts;
mod http;
mod init;
mod ledger;
mod network;
mod report;
mod senders;

use std::{error::Error, path::Path, process::ExitCode};

use galileo_probes::{Config, Probes};
use report::Report;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter("error")
        .with_writer(std::io::stderr)
        .init();
    if std::process::id() == 1 {
        init::run();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["run"] => run(),
        ["verify", object] => verify(Path::new(object)),
        ["child", cgroup, what, argument] => child::run(Path::new(cgroup), what, argument),
        _ => Err("usage: selftest run | verify OBJECT".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Report::error(&*error);
            ExitCode::FAILURE
        }
    }
}

fn verify(object: &Path) -> Outcome {
    facts::report();
    for verdict in galileo_probes::verify(object)? {
        Report::verdict(&verdict);
    }
    Ok(())
}

fn run() -> Outcome {
    facts::report();
    // AsyncFd needs a runtime; nothing here waits in it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    let mut probes = Probes::load(&Config {
        statistics: true,
        interrupts: true,
        ..Config::default()
    })?;
    for capability in probes.capabilities() {
        Report::capability(capability);
    }
    let mut stream = probes.exchanges()?;
    let before = probes.snapshot()?;
    cpu::check(&probes)?;
    network::check(&probes)?;
    senders::check(&probes)?;
    let seen = http::check(&mut stream)?;
    ledger::check(&probes.snapshot()?.since(&before), seen);
    Ok(())
}

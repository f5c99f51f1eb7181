//! Shows on this machine's kernel that the probes load and tell the truth: what they report is compared with work whose
//! amount is known. `cargo xtask kernels` boots kernels with this program as their first process.
//!
//! * `selftest verify OBJECT`: what the verifier says to each program.
//!
//! Prints one line of JSON per finding.

mod init;
mod report;

use std::{error::Error, path::Path};

use report::Report;

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter("warn")
        .with_writer(std::io::stderr)
        .init();
    if std::process::id() == 1 {
        init::run();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["verify", object] => verify(Path::new(object)),
        _ => Err("usage: selftest verify OBJECT".into()),
    }
}

fn verify(object: &Path) -> Result<(), Box<dyn Error>> {
    for verdict in galileo_probes::verify(object)? {
        Report::verdict(&verdict);
    }
    Ok(())
}
